"""Help, suggestions, completion and `explain`: a person finds the way without reading the README."""

import sys
from pathlib import Path

import pytest

from lorawatch.cli.program import program
from lorawatch.domain.codes import CODES
from tests.process import PROJECT, Finished, Lorawatch
from tests.scenes import Scene, save_in_place, scene, small_lora

__all__ = ["scene"]

COMMANDS = [[str(each.callback.__name__)] for each in program.registered_commands if each.callback] + [
    [str(group.typer_instance.info.name), str(each.callback.__name__)]
    for group in program.registered_groups
    if group.typer_instance
    for each in group.typer_instance.registered_commands
    if each.callback
]


def words(finished: Finished) -> str:
    """Return what was said to a person, without the frames and line breaks of the help."""
    return " ".join((finished.stdout + finished.stderr).translate({ord(each): None for each in "│╭╮╰╯─"}).split())


def test_every_command_shows_an_example_of_itself(tmp_path: Path) -> None:
    for command in COMMANDS:
        finished = Lorawatch(tmp_path).command(*command, "--help")
        assert finished.exit_code == 0
        example = words(finished).partition("Example: ")[2]
        assert f"lorawatch {' '.join(command)}" in example, command


def test_help_breaks_its_paragraphs_where_the_terminal_ends_and_nowhere_else(tmp_path: Path) -> None:
    text = Lorawatch(tmp_path, environ={"COLUMNS": "100"}).command("doctor", "--help").stdout
    paragraph = text.partition("It changes nothing")[2].partition("Example")[0].rstrip()
    assert [len(line.rstrip()) > 60 for line in paragraph.splitlines()] == [True, False]


@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [
        (["statsu"], "status"),
        (["status", "--wathc"], "--watch"),
        (["once", "--log-levle", "debug"], "--log-level"),
        (["explain", "to-large"], "too-large"),
        (["explain", "permision-denied"], "permission-denied"),
    ],
)
def test_what_is_mistyped_is_answered_with_what_may_be_meant(tmp_path: Path, mistyped: list[str], meant: str) -> None:
    finished = Lorawatch(tmp_path).command(*mistyped)
    assert finished.exit_code == 2
    assert meant in words(finished)
    assert finished.stdout == ""


def test_explain_tells_cause_and_cure_of_a_code_and_of_a_message(tmp_path: Path) -> None:
    lorawatch = Lorawatch(tmp_path)
    for asked in ("too-large", "Too-Large", "request entity too large"):
        finished = lorawatch.command("explain", asked)
        assert finished.exit_code == 0
        assert finished.stdout.startswith('too-large\n  "Request Entity Too Large" (413)')
        assert "client_max_body_size" in finished.stdout


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (["Value", "not", "in", "list"], "value-not-in-list"),
        (["Value not in list: lora_name: 'x' not in ['a', 'b']"], "value-not-in-list"),
        (["413"], "too-large"),
        (["TypeError:", "argument of type 'NoneType' is not iterable"], "none-type-not-iterable"),
    ],
)
def test_explain_knows_messages_as_they_are_pasted(tmp_path: Path, message: list[str], code: str) -> None:
    finished = Lorawatch(tmp_path).command("explain", *message)
    assert finished.exit_code == 0, finished.stderr
    assert finished.stdout.startswith(f"{code}\n")
    assert finished.stdout.count("→") <= 2


def test_a_stream_of_another_encoding_gets_plain_characters_instead_of_marks(tmp_path: Path) -> None:
    lorawatch = Lorawatch(tmp_path, environ={"PYTHONIOENCODING": "latin-1"})
    assert "\n  -> Send chunks" in lorawatch.command("explain", "too-large").stdout
    assert "\n                                  -> lorawatch init" in lorawatch.command("doctor").stdout


def test_explain_without_a_code_lists_all_of_them(tmp_path: Path) -> None:
    lorawatch = Lorawatch(tmp_path)
    finished = lorawatch.command("explain")
    assert finished.exit_code == 0
    lines = finished.stdout.splitlines()
    assert all(code.code in lines for code in CODES)
    listed = lorawatch.command("explain", "--json").json()["codes"]
    assert [each["code"] for each in listed] == [code.code for code in CODES]
    assert set(listed[0]) == {"code", "cause", "cure"}


def test_docs_shows_the_readme_by_sections(tmp_path: Path) -> None:
    lorawatch = Lorawatch(tmp_path)
    titles = lorawatch.command("docs").stdout.splitlines()
    assert {"Use it", "Events", "Codes"} <= set(titles)
    section = lorawatch.command("docs", "codes").stdout
    assert section.startswith("## Codes")
    assert "### A server" in section  # what stands below it belongs to it
    assert lorawatch.command("docs", "nonsense").exit_code == 2
    whole = lorawatch.command("docs", "all").stdout
    assert all(title in whole for title in titles)


def test_docs_prints_the_configuration_with_every_key_ready_to_be_saved(tmp_path: Path) -> None:
    printed = Lorawatch(tmp_path).command("docs", "config.example.toml").stdout
    assert printed == (PROJECT / "config.example.toml").read_text("utf-8")


def complete(lorawatch: Lorawatch, shell: str, line: str) -> list[str]:
    """Return what a shell is offered for the last word of a line."""
    words_ = line.split(" ")
    lorawatch.environ = {
        "_LORAWATCH_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words_) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    lorawatch.program = ["sh", "-c", 'exec "$0" -c "from lorawatch.cli import main; main()"', sys.executable]
    finished = lorawatch.command()
    assert finished.stderr == ""
    return finished.stdout.split("\n")[:-1] if finished.stdout.strip() else []


def test_shells_are_offered_destinations_deliveries_and_codes(scene: Scene) -> None:
    lorawatch = Lorawatch(scene.tmp_path, watch=scene.outputs, to=scene.loras)
    save_in_place(scene.outputs / "cat.safetensors", small_lora())
    assert lorawatch.run_once().exit_code == 0
    config = scene.config(tables=scene.second_destination(scene.tmp_path / "second"))
    (scene.tmp_path / "lorawatch.toml").write_text(config)
    assert complete(lorawatch, "bash", "lorawatch send --to ") == ["comfyui", "other"]
    assert complete(lorawatch, "fish", "lorawatch send --to o") == ["other"]
    assert "comfyui" in complete(lorawatch, "zsh", "lorawatch send --to ")[0]
    assert complete(lorawatch, "bash", "lorawatch retry ") == ["1"]
    assert complete(lorawatch, "bash", "lorawatch explain too") == ["too-large", "tool-missing"]
    assert complete(lorawatch, "bash", "lorawatch stat") == ["status"]
    assert complete(lorawatch, "bash", "lorawatch run --log-format j") == ["json", "journal"]
    assert complete(lorawatch, "bash", "lorawatch docs perm") == ["permissions: files with mode 0600"]


def test_completion_without_a_usable_configuration_offers_nothing_and_says_nothing(scene: Scene) -> None:
    lorawatch = Lorawatch(scene.tmp_path)
    assert complete(lorawatch, "bash", "lorawatch send --to ") == []
    (scene.tmp_path / "lorawatch.toml").write_text("[watch")
    assert complete(lorawatch, "bash", "lorawatch send --to ") == []
    assert complete(lorawatch, "bash", "lorawatch retry ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_each_shell_can_be_shown_and_installed(tmp_path: Path, shell: str) -> None:
    lorawatch = Lorawatch(tmp_path, environ={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    shown = lorawatch.command("--show-completion", shell)
    assert shown.exit_code == 0
    assert "_LORAWATCH_COMPLETE" in shown.stdout
    assert lorawatch.command("--install-completion", shell).exit_code == 0
    installed = [each for each in tmp_path.rglob("*") if each.is_file() and "lorawatch" in each.name]
    assert any("_LORAWATCH_COMPLETE" in each.read_text() for each in installed)
