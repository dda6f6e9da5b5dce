"""What becomes of a staged copy whose delivery is cancelled: it does not stay at the destination."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lorawatch.destinations.directory import DirectoryDestination
from lorawatch.domain.errors import JournalError
from lorawatch.domain.model import Candidate, Facts, Version
from lorawatch.engine.desk import VerdictDesk
from lorawatch.engine.recording import Accepted
from lorawatch.engine.settings import IntakeSettings, Route
from lorawatch.engine.staged import MOST_STAGED, StagedCopies
from lorawatch.engine.tally import Tally
from lorawatch.journal import places
from lorawatch.journal.database import Database
from lorawatch.journal.rows import Connection
from tests.contract import bench

Stage = Callable[[int], Accepted]


@pytest.fixture
def loras(tmp_path: Path) -> Path:
    directory = tmp_path / "loras"
    directory.mkdir()
    return directory


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(os.fspath(tmp_path / "state"))
    yield database
    database.close()


@pytest.fixture
def destination(loras: Path) -> DirectoryDestination:
    return DirectoryDestination(
        name="comfyui", directory=os.fspath(loras), file_mode=0o664, min_free_bytes=0, instance="0123456789ab"
    )


@pytest.fixture
def staged() -> StagedCopies:
    return StagedCopies()


@pytest.fixture
def desk(journal: Database, destination: DirectoryDestination, staged: StagedCopies) -> VerdictDesk:
    with journal.write() as connection:
        number = places.register_destination(
            connection, name="comfyui", location=destination.directory, kind="directory", now=time.time()
        )
    return VerdictDesk(
        "/out",
        journal=journal,
        routes=[Route(number, destination, destination)],
        settings=IntakeSettings(),
        staged=staged,
        tally=Tally(),
        wake_lanes=lambda: None,
    )


@pytest.fixture
def stage(tmp_path: Path, destination: DirectoryDestination, staged: StagedCopies) -> Stage:
    """Return a function that makes the n-th version of one path and a real staged copy of it."""
    source = tmp_path / "cat.safetensors"

    def make(number: int) -> Accepted:
        source.write_bytes(b"%d" % number * 1000)
        assert staged.reserve()
        copy = bench.stage(destination, source)
        candidate = Candidate("/out", "/out/cat.safetensors", Version(number, 1000, number), number)
        return Accepted(candidate, copy.sha256, Facts(kind="lora"), copy, "comfyui")

    return make


def left_places(staged: StagedCopies) -> int:
    count = 0
    while staged.reserve():
        count += 1
    return count


def test_the_copy_of_an_older_version_goes_when_a_newer_one_is_accepted(
    desk: VerdictDesk, loras: Path, stage: Stage, staged: StagedCopies
) -> None:
    desk.record([stage(1)])
    desk.record([stage(2)])
    assert len(list(loras.iterdir())) == 1
    assert left_places(staged) == MOST_STAGED - 1


def test_the_same_holds_for_two_versions_in_one_group(
    desk: VerdictDesk, loras: Path, stage: Stage, staged: StagedCopies
) -> None:
    desk.record([stage(1), stage(2), stage(3)])
    assert len(list(loras.iterdir())) == 1
    assert left_places(staged) == MOST_STAGED - 1


def test_the_copy_goes_when_its_source_does(desk: VerdictDesk, loras: Path, stage: Stage, staged: StagedCopies) -> None:
    desk.record([stage(1)])
    desk.gone("/out/cat.safetensors", was_pending=False)
    assert list(loras.iterdir()) == []
    assert left_places(staged) == MOST_STAGED


def test_whoever_finds_a_delivery_finds_its_copy(
    desk: VerdictDesk, journal: Database, stage: Stage, staged: StagedCopies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lane may look for work at the very moment that the verdict is recorded."""
    found: list[tuple[list[int], list[int]]] = []
    write = journal.write

    @contextmanager
    def watched(*, is_durable: bool = True) -> Iterator[Connection]:
        with write(is_durable=is_durable) as connection:
            yield connection
        numbers = [row[0] for row in connection.execute("SELECT delivery_id FROM delivery WHERE state = 'planned'")]
        found.append((numbers, staged.newest("comfyui", limit=9)))

    monkeypatch.setattr(journal, "write", watched)
    desk.record([stage(1)])
    assert found == [([1], [1])]


def test_a_copy_whose_verdict_cannot_be_recorded_goes_with_its_place(
    desk: VerdictDesk,
    journal: Database,
    loras: Path,
    stage: Stage,
    staged: StagedCopies,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = journal.write

    @contextmanager
    def failing(*, is_durable: bool = True) -> Iterator[Connection]:
        with write(is_durable=is_durable) as connection:
            yield connection
            raise JournalError("the disk is full")

    monkeypatch.setattr(journal, "write", failing)
    with pytest.raises(JournalError):
        desk.record([stage(1)])
    assert list(loras.iterdir()) == []
    assert staged.newest("comfyui", limit=9) == []
    assert left_places(staged) == MOST_STAGED
