"""The README says what the program does."""

import re

from lorawatch.event_names import Event
from tests.readme import README, with_codes

TEXT = README.read_text(encoding="utf-8")


def test_the_list_of_codes_is_that_of_the_program() -> None:
    assert with_codes(TEXT) == TEXT, "run: python -m tests.readme"


def test_every_event_is_listed() -> None:
    section = TEXT.partition("## Events")[2].partition("## Codes")[0]
    listed = set(re.findall(r"`([a-z]+\.[a-z_]+)`", section))
    assert {event.value for event in Event if not event.startswith("comfyui.")} <= listed


def test_exactly_two_fenced_shell_lines_stand_near_the_top_each_alone() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    assert all(block.count("\n") == 1 for block in blocks)
    assert "lorawatch demo" in blocks[0]
    assert "[dev]" in blocks[1]
    assert "pytest" in blocks[1]


def service_commands() -> list[str]:
    """Return every command of the section on the service: the lines of its blocks, and those in its text."""
    section = TEXT.partition("\n## Run it as a service\n")[2].partition("\n## ")[0]
    lines = [line.partition("  #")[0].strip() for line in section.splitlines() if line.startswith("    ")]
    named = re.findall(r"`((?:sudo|systemctl|lorawatch|journalctl|chmod) [^`]+)`", section)
    return [*lines, *named]


def test_every_command_of_the_section_on_the_service_is_run_by_a_system_test() -> None:
    commands = service_commands()
    assert len(commands) > 20
    tests = (README.parent / "tests/system").glob("test_systemd_*.py")
    sources = "\n".join(path.read_text(encoding="utf-8") for path in tests)
    block = commands[:5]  # the systemd tests run these in their order, as the README has them
    assert block[-1].startswith("sudo lorawatch service install ")
    assert not [command for command in commands[5:] if command not in sources]
