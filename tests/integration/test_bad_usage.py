"""Whatever is handed to the commands, and whatever they find: words and an exact exit code, never a traceback."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.factories import write_lora
from tests.process import OTHER_USER, PROJECT, Finished, Lorawatch

NAME = "cat.safetensors"
RUNNER = str(PROJECT / "tests" / "commands_runner.py")
READING = (["status"], ["status", "--json"], ["retry", "--all"], ["retry", "1"])
WORKING = (["once"], ["send", NAME])
OTHERS = (["check", NAME], ["check", NAME, "--json"], ["explain"], ["explain", "too-large"], ["--version"], ["--help"])
KNOWN_EXIT_CODES = {0, 1, 2, 3, 4, 78}


def run_all(tmp_path: Path, *commands: list[str], program: list[str] | None = None, **environ: str) -> list[Finished]:
    """Run commands; none may end in a traceback, call itself a bug, or die. With `program` each is started anew."""
    lorawatch = Lorawatch(tmp_path, environ=environ)
    if program is None:
        lorawatch.program = [sys.executable, RUNNER]
        told = lorawatch.command(given=json.dumps(commands), timeout=300)
        assert told.exit_code == 0, told
        finished = [Finished(**each) for each in told.json()]
    else:
        lorawatch.program = program
        finished = [lorawatch.command(*words) for words in commands]
    for command, each in zip(commands, finished, strict=True):
        said = each.stdout + each.stderr
        assert each.exit_code in KNOWN_EXIT_CODES, (command, each)
        assert "Traceback" not in said, (command, said)
        assert "this is a bug" not in said, (command, said)
        assert "Exception ignored" not in said, (command, said)
    return finished


def shell(redirection: str) -> list[str]:
    return ["sh", "-c", f'exec "$0" -m lorawatch "$@" {redirection}', sys.executable]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a LoRA and a configuration that works."""
    for name in ("outputs", "loras"):
        (tmp_path / name).mkdir()
    write_lora(tmp_path / NAME)
    (tmp_path / "lorawatch.toml").write_text(
        f'[watch]\ndirectories = ["{tmp_path}/outputs"]\n'
        f'[[destinations]]\nname = "comfyui"\nkind = "directory"\ndirectory = "{tmp_path}/loras"\nmin_free_bytes = 0\n'
    )
    return tmp_path


@pytest.mark.parametrize("what", ["missing", "directory", "bytes", "syntax", "huge", "nul"])
def test_a_configuration_that_cannot_be_used_is_78(place: Path, what: str) -> None:
    file = place / "other.toml"
    if what == "directory":
        file.mkdir()
    elif what != "missing":
        contents = {
            "bytes": b"\xff\xfe\x00\x01",
            "syntax": b"[watch\n",
            "huge": b"[watch]\nquiet_seconds = 1e999\npoll_seconds = " + b"9" * 5000 + b"\n",
            "nul": b'[watch]\ndirectories = ["/a\\u0000b"]\n',
        }
        file.write_bytes(contents[what])
    commands = [[words[0], "--config", str(file), *words[1:]] for words in (*READING, *WORKING, ["check", NAME])]
    for command, finished in zip(commands, run_all(place, *commands), strict=True):
        assert finished.exit_code == 78, (command, finished)
        assert finished.stdout == ""


@pytest.mark.parametrize("what", ["file", "journal-directory", "garbage", "cut", "endless-name"])
def test_a_state_directory_that_cannot_be_used_is_1_with_words(place: Path, what: str) -> None:
    state = place / "state"
    if what == "file":
        state.write_text("not a directory")
    elif what == "endless-name":
        state = place / ("x" * 300)
    else:
        assert run_all(place, ["once"])[0].exit_code == 0
        journal = state / "journal.sqlite3"
        content = journal.read_bytes()
        journal.unlink()
        if what == "journal-directory":
            journal.mkdir()
        else:
            journal.write_bytes(b"garbage" * 1000 if what == "garbage" else content[: len(content) // 2])
    for finished in run_all(place, *READING, *WORKING, LORAWATCH_STATE_DIRECTORY=str(state)):
        assert finished.exit_code == 1
        assert finished.stdout == ""
        assert finished.stderr.count("\n") >= 2  # what is wrong, and what to do


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "2>/dev/full"])
def test_closed_and_full_streams_change_no_exit_code(place: Path, redirection: str) -> None:
    commands = (["send", NAME], ["status"], ["retry", "1"], ["check", NAME], ["--help"], ["status", "--nonsense"])
    expected = [each.exit_code for each in run_all(place, *commands)]
    assert [each.exit_code for each in run_all(place, *commands, program=shell(redirection))] == expected


def test_a_full_disk_behind_stdout_is_1_with_words(place: Path) -> None:
    for finished in run_all(place, ["status"], ["check", NAME, "--json"], ["--help"], program=shell(">/dev/full")):
        assert finished.exit_code == 1
        assert "No space left on device" in finished.stderr


def test_a_reader_who_has_seen_enough_ends_a_command_well(place: Path) -> None:
    closing = [
        sys.executable,
        "-c",
        "import os,sys;r,w=os.pipe();os.close(r);os.dup2(w,1);os.execv(sys.argv[1],sys.argv[1:])",
    ]
    program = [*closing, sys.executable, "-m", "lorawatch"]
    for finished in run_all(place, ["status"], ["status", "--json"], ["explain"], ["--help"], program=program):
        assert finished.exit_code == 0
        assert finished.stderr == ""


def test_a_bare_environment_is_enough(place: Path) -> None:
    bare = ["env", "-i", f"LORAWATCH_STATE_DIRECTORY={place / 'state'}", f"PYTHONPATH={PROJECT}"]
    for finished in run_all(
        place, ["status"], ["once"], ["check", NAME], ["--help"], program=[*bare, sys.executable, "-m", "lorawatch"]
    ):
        assert finished.exit_code == 0


@pytest.mark.parametrize(
    "strange",
    [os.fsdecode(b"\xff\xfe"), "", "x" * 5000, "\x1b[2J\n", "-", "--", "/dev/zero", "/", "猫"],
)
def test_strange_words_are_refused_in_words(place: Path, strange: str) -> None:
    commands = (
        ["check", "--", strange], ["send", "--", strange], ["send", NAME, f"--to={strange}"],
        ["send", NAME, f"--as={strange}"], ["status", f"--config={strange}"], ["retry", "--", strange],
        ["explain", "--", strange], ["workflow", "--", strange], ["status", f"--log-level={strange}"],
    )  # fmt: skip
    for command, finished in zip(commands, run_all(place, *commands), strict=True):
        if command[0] in {"retry", "explain"} or "--log-level" in command[-1]:
            assert finished.exit_code == 2 or strange in {"--", ""}, (command, finished)
        assert "\x1b[2J" not in finished.stdout + finished.stderr, command


def test_numbers_without_measure_are_no_trouble(place: Path) -> None:
    assert run_all(place, ["once"])[0].exit_code == 0
    big, small = "9" * 5000, "-1"  # Python itself refuses more than 4300 digits
    finished = run_all(place, ["retry", "9" * 25], ["retry", "--", small], ["retry", big])
    assert [each.exit_code for each in finished] == [3, 3, 2]


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root can")
def test_another_user_is_told_what_to_use(place: Path) -> None:
    assert run_all(place, ["once"])[0].exit_code == 0
    (place / "state").chmod(0o750)
    place.chmod(0o755)
    other = [sys.executable, OTHER_USER, "65534", sys.executable, "-m", "lorawatch"]
    for finished in run_all(place, ["status"], ["retry", "--all"], program=other):
        assert finished.exit_code in {1, 78}  # 78: also the directories above may be closed to it
        assert "sudo" in finished.stderr or "Permission denied" in finished.stderr
