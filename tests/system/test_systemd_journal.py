"""The journal of a real systemd: with systemd-python, without it, and without the journal's socket. Needs root."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories import broken, lora_bytes
from tests.system.nspawn import Machine, eventually
from tests.system.serving import LORAS, OUTPUTS, PROGRAM, Entry, Serving

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

LORA = lora_bytes(seed=7, size_bytes=200_000)
UNDECODABLE = os.fsdecode(b"/ai-toolkit/outputs/\xff.safetensors")
WITHOUT_LIBRARY, WITH_LIBRARY = PROGRAM, "/opt/with-library/bin/lorawatch"
# More than a datagram holds (about 200 kB), and names that are no text.
_SPEAKING = r"""
import os, sys
from lorawatch.events import Event, configure, emit
configure(format="auto", level="info", environ=os.environ)
emit(Event.LANE_CRASHED, destination="comfyui", traceback="a frame\n" * 300_000)
emit(Event.FILE_REJECTED, file=os.fsdecode(b"/out/\xff\xfe.safetensors"), code="truncated", reason="a\0b\ud800")
emit(Event.FILE_ACCEPTED, file="/out/cat.safetensors", trigger_words=["x" * 300_000, "p1x"])
emit(Event.DAEMON_STOPPED)
print("systemd.journal" in sys.modules, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def with_library(machine: Machine) -> Iterator[str]:
    """lorawatch in a virtual environment that sees Debian's python3-systemd, as the README says."""
    machine.run("python3", "-m", "venv", "--system-site-packages", "--without-pip", "/opt/with-library")
    # What pip would put there, without its minute.
    machine.run("cp", "-r", "/opt/lorawatch/lib", "/opt/with-library/")
    script = machine.run("cat", WITHOUT_LIBRARY).stdout.replace("/opt/lorawatch/", "/opt/with-library/")
    machine.run("tee", WITH_LIBRARY, stdin=script.encode())
    machine.run("chmod", "755", WITH_LIBRARY)
    yield WITH_LIBRARY
    machine.run("rm", "-rf", "/opt/with-library")


@pytest.fixture(params=[WITHOUT_LIBRARY, WITH_LIBRARY], ids=["without-systemd-python", "with-systemd-python"])
def program(request: pytest.FixtureRequest) -> str:
    if request.param == WITH_LIBRARY:
        request.getfixturevalue("with_library")
    return str(request.param)


def install(serving: Serving, program: str) -> None:
    serving.machine.run(program, "service", "install", "--watch", OUTPUTS, "--to", LORAS)


def is_library_loaded(serving: Serving) -> bool:
    maps = Path(f"/proc/{serving.machine.pid}/root/proc/{serving.property('MainPID')}/maps").read_text()
    return "systemd/_journal." in maps


def test_the_journal_can_be_asked_for_every_field(serving: Serving, program: str) -> None:
    install(serving, program)
    path = f"{OUTPUTS}/job/čat \U0001f431.safetensors"
    serving.save(path, LORA)
    serving.save(UNDECODABLE, LORA)
    serving.save(f"{OUTPUTS}/broken.safetensors", broken("data-cut"))
    delivered = serving.wait_for("delivery.delivered", file=path, destination="comfyui")
    assert delivered["MESSAGE"].startswith("delivered")
    assert delivered["PRIORITY"] == "6"
    assert delivered["SYSLOG_IDENTIFIER"] == "lorawatch"
    assert delivered["LORAWATCH_SIZE_BYTES"] == str(len(LORA))
    assert delivered["CODE_FILE"].endswith(".py")
    assert delivered["CODE_LINE"].isdecimal()
    assert delivered["CODE_FUNC"].isidentifier()
    accepted = serving.wait_for("file.accepted", file=path)
    assert re.fullmatch("[0-9a-f]{64}", accepted["LORAWATCH_SHA256"])
    assert serving.entries(sha256=accepted["LORAWATCH_SHA256"])
    rejected = serving.wait_for("file.rejected")
    assert rejected["PRIORITY"] == "3"
    assert rejected["LORAWATCH_CODE"] == "truncated"
    serving.wait_for("delivery.delivered", file=f"{OUTPUTS}/\\xff.safetensors")
    assert is_library_loaded(serving) is (program == WITH_LIBRARY)


def test_neither_too_large_nor_undecodable_values_lose_an_event(machine: Machine, program: str) -> None:
    python = f"{os.path.dirname(program)}/python"
    unit = f"lorawatch-speaking-{'with' if program == WITH_LIBRARY else 'without'}"
    machine.run("systemd-run", "--quiet", "--wait", f"--unit={unit}", python, "-c", _SPEAKING)

    def entries() -> list[Entry]:
        said = machine.run("journalctl", "-u", unit, "-o", "json", "--all").stdout
        return [json.loads(line) for line in said.splitlines()]

    def events() -> list[Entry]:
        return [each for each in entries() if "LORAWATCH_EVENT" in each]

    crashed, rejected, accepted, _ = eventually(
        lambda: found if len(found := events()) == 4 else None, lambda: str([each["MESSAGE"] for each in entries()])
    )
    assert crashed["LORAWATCH_TRACEBACK"] == "a frame\n" * 300_000
    assert rejected["LORAWATCH_FILE"] == r"/out/\xff\xfe.safetensors"
    assert accepted["LORAWATCH_TRIGGER_WORDS"] == ["x" * 300_000, "p1x"]
    assert [each["MESSAGE"] for each in entries() if each["MESSAGE"] in {"True", "False"}] == [
        str(program == WITH_LIBRARY)
    ]


def test_where_the_journal_s_socket_is_absent_events_are_lines_with_their_priority(
    serving: Serving, program: str
) -> None:
    serving.drop_in("[Service]\nInaccessiblePaths=/run/systemd/journal/socket\n")
    install(serving, program)
    serving.save(f"{OUTPUTS}/cat.safetensors", LORA)
    serving.save(f"{OUTPUTS}/broken.safetensors", broken("data-cut"))

    def told(event: str) -> Entry | None:
        found = [each for each in serving.entries() if f'"event": "{event}"' in each["MESSAGE"]]
        return found[0] if found else None

    for event, priority in (("delivery.delivered", "6"), ("file.rejected", "3")):
        entry = eventually(lambda event=event: told(event), serving.story)  # type: ignore[misc]  # bound per turn
        assert entry["PRIORITY"] == priority
        assert entry["_TRANSPORT"] == "stdout"
        assert json.loads(entry["MESSAGE"])["event"] == event
