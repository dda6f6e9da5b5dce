"""What an intake makes of hints that come together: one look for many, in their order, and none lost by an error."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lorawatch.app import build_service
from lorawatch.config_loading import load
from lorawatch.domain.errors import JournalError
from lorawatch.domain.ports import Hint
from lorawatch.engine.intake import Intake
from lorawatch.engine.tally import Tally
from lorawatch.journal import files
from lorawatch.journal.database import Database
from lorawatch.journal.rows import Connection
from tests.factories import write_lora


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    directory = tmp_path / "outputs"
    directory.mkdir()
    (tmp_path / "loras").mkdir()
    return directory


@pytest.fixture
def intake(tmp_path: Path, outputs: Path) -> Iterator[Intake]:
    """An intake whose thread is this test, and whose hints come from here."""
    environ = {"LORAWATCH_STATE_DIRECTORY": str(tmp_path / "state")}
    config = load(None, environ=environ, watch=[str(outputs)], to=str(tmp_path / "loras")).config
    journal = Database.open(str(tmp_path / "state"))
    service = build_service(config, journal, Tally())
    (intake,) = service.intakes
    yield intake
    service.stop_event.set()
    assert intake.stop_readers(deadline=lambda: 5.0)
    journal.close()


def pending(intake: Intake) -> list[str]:
    return sorted(Path(each.candidate.path).name for each in intake._tracker.all())


def turn(intake: Intake, *hints: Hint) -> None:
    for hint in hints:
        intake._on_hint(hint)
    intake._turn()


def test_what_closed_together_is_asked_for_once(intake: Intake, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    known = files.known

    def counted(connection: Connection, directory: str, names: list[str]) -> dict[str, files.KnownFile]:
        asked.append(len(names))
        return known(connection, directory, names)

    monkeypatch.setattr(files, "known", counted)
    paths = [str(outputs / f"{number}.safetensors") for number in range(50)]
    for path in paths:
        write_lora(path)
    turn(intake, *(hint for path in paths for hint in (Hint(path), Hint(path, is_closed=True))))
    assert len(pending(intake)) == 50
    assert set(asked) == {50}  # by the hints, and by the first scan


def test_a_file_that_was_removed_and_saved_again_is_looked_at_as_it_is_now(intake: Intake, outputs: Path) -> None:
    path = str(outputs / "cat.safetensors")
    write_lora(path, seed=2)
    turn(intake, Hint(path, is_closed=True), Hint(path, is_gone=True), Hint(path), Hint(path, is_closed=True))
    assert pending(intake) == ["cat.safetensors"]


def test_a_file_that_was_closed_and_removed_leaves_nothing_pending(intake: Intake, outputs: Path) -> None:
    path = str(outputs / "cat.safetensors")
    turn(intake, Hint(path, is_closed=True), Hint(path, is_gone=True))
    assert pending(intake) == []


def test_a_directory_between_two_files_loses_neither(intake: Intake, outputs: Path) -> None:
    before, within, after = outputs / "a.safetensors", outputs / "job" / "b.safetensors", outputs / "c.safetensors"
    within.parent.mkdir()
    for path in (before, within, after):
        write_lora(path)
    job = Hint(str(within.parent), is_directory=True)
    turn(intake, Hint(str(before), is_closed=True), job, Hint(str(after), is_closed=True))
    assert pending(intake) == ["a.safetensors", "b.safetensors", "c.safetensors"]


def test_a_name_that_comes_after_a_close_is_a_newcomer_again(intake: Intake, outputs: Path) -> None:
    path = str(outputs / "cat.safetensors")
    write_lora(path)
    turn(intake, Hint(path), Hint(path, is_closed=True))
    assert not intake._newcomers
    turn(intake, Hint(path, is_closed=True), Hint(path))
    assert intake._newcomers


def test_an_overflow_is_heeded_although_the_journal_fails_over_the_hints_beside_it(
    intake: Intake, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(outputs / "cat.safetensors")
    write_lora(path)

    def full(*_: object) -> None:
        raise JournalError("no space is left", fix="make room")

    with monkeypatch.context() as failing:
        failing.setattr(files, "known", full)
        intake._on_overflow()
        with pytest.raises(JournalError):
            turn(intake, Hint(path, is_closed=True))
    intake._start_over(0.0)
    intake._on_overflow()
    assert not intake._mailbox.empty()  # the next one is heeded too
    intake._scans.survey_first()
    intake._turn()
    assert pending(intake) == ["cat.safetensors"]
