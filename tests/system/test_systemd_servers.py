"""The service in front of an MCP server: its token, and a stop in the middle of an upload. Needs root."""

import re
from pathlib import Path

import pytest

from tests.factories import lora_bytes
from tests.system import mcp_in_machine
from tests.system.mcp_in_machine import McpInMachine
from tests.system.nspawn import eventually
from tests.system.serving import OUTPUTS, Serving, render_box

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

LORA = lora_bytes(seed=4, size_bytes=200_000)
TOKEN = "only-root-and-the-server-know-this"


def test_a_token_reaches_the_server_as_a_credential_and_nothing_else_shows_it(serving: Serving) -> None:
    machine = serving.machine
    with McpInMachine(machine, token=TOKEN) as server:
        serving.configure(render_box(server.url))
        serving.install()
        serving.save(f"{OUTPUTS}/cat.safetensors", LORA)
        refused = serving.wait_for("destination.down", destination="render-box")
        assert refused["LORAWATCH_CODE"] == "not-authorized"
        machine.run("tee", "/etc/lorawatch/credentials/render-box", stdin=TOKEN.encode())
        machine.run("chmod", "600", "/etc/lorawatch/credentials/render-box")
        said = serving.install()
        serving.wait_for("delivery.delivered", destination="render-box")
        assert serving.contents(mcp_in_machine.LORAS) == {"cat.safetensors": LORA}
        serving.systemctl("reload")
        serving.wait_for("daemon.reloaded")
        process = Path(f"/proc/{machine.pid}/root/proc/{serving.property('MainPID')}")
        shown = [said, (process / "cmdline").read_text(), (process / "environ").read_text()]
        shown += [machine.run("journalctl", "-o", "export").stdout, machine.run("systemctl", "cat", "lorawatch").stdout]
        shown += [
            machine.run("systemctl", "show", "lorawatch").stdout,
            machine.run("lorawatch", "status", "--json").stdout,
        ]
        assert not [text for text in shown if TOKEN in text]
        searched = machine.run("grep", "-raF", TOKEN, "/var/lib/lorawatch", "/etc/lorawatch/config.toml", check=False)
        assert (searched.returncode, searched.stdout) == (1, "")


def test_a_stop_in_the_middle_of_an_upload_is_quick_and_the_next_start_finishes_it(serving: Serving) -> None:
    large = lora_bytes(seed=5, size_bytes=8_000_000)
    with McpInMachine(serving.machine, seconds_per_chunk=0.05) as server:
        serving.configure(render_box(server.url))
        serving.install()
        serving.save(f"{OUTPUTS}/large.safetensors", large)
        eventually(lambda: server.uploaded_bytes() > 1_000_000, serving.story)
        sending = r"watching 1 folder · 1 sending \(\d+%\) · 0 delivered"
        eventually(
            lambda: re.fullmatch(sending, serving.property("StatusText")), lambda: serving.property("StatusText")
        )
        serving.systemctl("stop")
        assert serving.property("Result") == "success", "else systemd had to kill it, after TimeoutStopSec="
        assert serving.contents(mcp_in_machine.LORAS) == {}
        serving.systemctl("start")
        serving.wait_for("delivery.delivered", destination="render-box")
        assert serving.contents(mcp_in_machine.LORAS) == {"large.safetensors": large}


def test_a_reload_in_the_middle_of_an_upload_is_a_state_of_its_own_and_lets_it_end(serving: Serving) -> None:
    large = lora_bytes(seed=9, size_bytes=8_000_000)
    with McpInMachine(serving.machine, seconds_per_chunk=0.05) as server:
        serving.configure(render_box(server.url))
        serving.install()
        process = serving.property("MainPID")
        serving.save(f"{OUTPUTS}/large.safetensors", large)
        eventually(lambda: server.uploaded_bytes() > 1_000_000, serving.story)
        serving.systemctl("reload", "--no-block")
        serving.wait_for_state("reloading")
        serving.wait_for("daemon.reloaded")
        serving.wait_for_state("active")
        serving.wait_for("delivery.delivered", destination="render-box")
        assert serving.contents(mcp_in_machine.LORAS) == {"large.safetensors": large}
        assert serving.property("MainPID") == process
