"""`doctor` on a machine with the service: as root it tries everything as the service's user, and looks at the unit."""

import json
from typing import Any

import pytest

from tests.factories import lora_bytes
from tests.system.serving import CONFIGURATION, LORAS, OUTPUTS, PROGRAM, Serving

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]


def wrong(serving: Serving) -> list[dict[str, Any]]:
    """Return what root's doctor finds wrong."""
    done = serving.machine.run(PROGRAM, "doctor", "--json", check=False)
    found = [each for each in json.loads(done.stdout)["findings"] if each["level"] != "ok"]
    assert done.returncode == (3 if found else 0), done.stderr
    return found


def test_beside_a_running_service_all_is_well_until_something_is_not(serving: Serving) -> None:
    serving.machine.run(PROGRAM, "init")
    serving.install()
    assert wrong(serving) == []
    path = f"{OUTPUTS}/private.safetensors"
    serving.save(path, lora_bytes(size_bytes=200_000), mode="0600")
    found = {each["check"]: each for each in wrong(serving)}
    assert "sudo lorawatch service install --user trainer" in found["source-permissions"]["fix"]
    serving.machine.run("rm", path)
    serving.systemctl("stop")
    assert [(each["check"], each["fix"]) for each in wrong(serving)][:1] == [
        ("systemd", "sudo systemctl start lorawatch")
    ]


def test_a_destination_that_the_sandbox_does_not_know_is_told_with_what_adds_it(serving: Serving) -> None:
    serving.install("--watch", OUTPUTS, "--to", LORAS)
    serving.machine.run("install", "-d", "-m", "0777", "/comfyui/second")
    more = '\n[[destinations]]\nname = "second"\nkind = "directory"\ndirectory = "/comfyui/second"\n'
    serving.machine.run("sh", "-c", f"cat >> {CONFIGURATION}", stdin=more.encode())
    found = wrong(serving)
    assert {each["fix"] for each in found if each["check"] in {"systemd", "sandbox"}} == {
        "sudo lorawatch service install"
    }
    serving.install()
    assert wrong(serving) == []
