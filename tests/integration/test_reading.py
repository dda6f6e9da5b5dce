"""A small file that is read on one thread and proved on another: the verdict, and what is left where it fails."""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lorawatch.app import build_service
from lorawatch.config_loading import load
from lorawatch.domain.errors import StoppedError
from lorawatch.domain.model import Candidate
from lorawatch.engine import reader_pool
from lorawatch.engine.reader_pool import AT_HAND_BYTES, ReaderPool
from lorawatch.engine.reading import HalfRead, Reader, Reading, Refused
from lorawatch.engine.recording import Accepted
from lorawatch.engine.staged import MOST_STAGED
from lorawatch.engine.tally import Tally
from lorawatch.inspection.examination import Examiner
from lorawatch.journal.database import Database
from tests.factories import lora_bytes

SMALL = lora_bytes(size_bytes=100_000, seed=1)


class Scene:
    """A real reader between two real directories, and a pool around it that is not started."""

    def __init__(self, folder: Path) -> None:
        self.outputs, self.loras = folder / "outputs", folder / "loras"
        self.outputs.mkdir()
        self.loras.mkdir()
        environ = {
            "HOME": str(folder),
            "LORAWATCH_STATE_DIRECTORY": str(folder / "state"),
            "LORAWATCH_DESTINATIONS__LORAS__MIN_FREE_BYTES": "0",
        }
        config = load(None, environ=environ, watch=[str(self.outputs)], to=str(self.loras)).config
        self.journal = Database.open(config.state_directory)
        self.service = service = build_service(config, self.journal, Tally())
        service.health.load()
        (route,) = service.routes
        service.health.probe_if_due(route.name)
        self.stop = threading.Event()
        self.is_hang_proof = True
        self.source = service.intakes[0]._source
        self.staged = service.staged
        self.reader = Reader(
            source=self.source,
            examiner=Examiner(max_header_bytes=1 << 20, scan_weights=True, on_nonfinite="reject"),
            routes=service.routes,
            health=service.health,
            staged=service.staged,
            journal=self.journal,
            stop=self.stop,
            is_hang_proof=lambda: self.is_hang_proof,
        )
        self.results: list[Reading] = []
        self.read_by: list[str] = []
        self.crashes: list[Candidate] = []
        self.pool = ReaderPool(self.reader, on_result=self._take, on_crash=lambda each, _: self.crashes.append(each))

    def _take(self, result: Reading) -> None:
        self.read_by.append(threading.current_thread().name)
        self.results.append(result)

    def candidate(self, name: str = "cat", content: bytes = SMALL) -> Candidate:
        path = self.outputs / f"{name}.safetensors"
        path.write_bytes(content)
        candidate = self.source.look(str(path))
        assert candidate is not None
        return Candidate(candidate.root, candidate.path, candidate.version, candidate.ctime_ns, is_closed=True)

    def half(self) -> HalfRead:
        half = self.reader.begin(self.candidate())
        assert isinstance(half, HalfRead)
        return half

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 10
        while len(self.results) + len(self.crashes) < count and time.monotonic() < deadline:
            time.sleep(0.005)
        assert len(self.results) + len(self.crashes) == count

    def assert_nothing_is_left(self) -> None:
        assert os.listdir(self.loras) == []
        places = 0
        while self.staged.reserve():
            places += 1
        assert places == MOST_STAGED


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(reader_pool, "AT_HAND_SECONDS", 60.0)  # the first file waits for numpy
    scene = Scene(tmp_path)
    yield scene
    scene.stop.set()
    scene.pool.stop(deadline=lambda: 5.0)
    for result in scene.results:
        if isinstance(result, Accepted) and result.staged is not None:
            os.unlink(result.staged.path)
    scene.journal.close()


def damage_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda target, view, offset: real(target, bytes(len(view)), offset))


def test_the_verdict_of_another_thread_is_that_of_one(scene: Scene) -> None:
    half = scene.half()
    scene.results.append(scene.reader.finish(half))
    (accepted,) = scene.results
    assert isinstance(accepted, Accepted)
    assert accepted.sha256 == hashlib.sha256(SMALL).hexdigest()
    assert accepted.staged is not None
    assert Path(accepted.staged.path).read_bytes() == SMALL
    assert accepted.staged_at == "loras"


def test_a_copy_that_is_not_the_file_is_removed_and_the_verdict_comes_without_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage_copies(monkeypatch)
    accepted = scene.reader.finish(scene.half())
    assert isinstance(accepted, Accepted)
    assert accepted.sha256 == hashlib.sha256(SMALL).hexdigest()
    assert (accepted.staged, accepted.staged_at) == (None, None)
    scene.assert_nothing_is_left()


def test_weights_that_are_rejected_leave_no_copy(scene: Scene) -> None:
    content = bytearray(SMALL)
    content[-4:] = b"\xff\xff\xff\xff"
    refused = scene.reader.begin(scene.candidate(content=bytes(content)))
    assert isinstance(refused, Refused)
    assert refused.rejection.code == "nonfinite"
    scene.assert_nothing_is_left()


def test_a_stop_before_the_proof_leaves_no_copy(scene: Scene) -> None:
    half = scene.half()
    scene.stop.set()
    with pytest.raises(StoppedError):
        scene.reader.finish(half)
    scene.assert_nothing_is_left()


def test_what_is_still_unproved_at_the_stop_of_the_pool_is_forgotten(scene: Scene) -> None:
    for number in range(3):
        scene.pool.submit(scene.candidate(str(number)))
    scene.pool.read_at_hand()
    (last,) = scene.results  # it was read whole, for lack of another
    assert isinstance(last, Accepted)
    assert last.candidate.path.endswith("/0.safetensors")
    scene.stop.set()
    scene.pool.start()
    assert scene.pool.stop(deadline=lambda: 5.0)
    assert [scene.loras / name for name in os.listdir(scene.loras)] == [Path(last.staged.path if last.staged else "")]
    assert len(scene.results) == 1


def test_what_was_being_read_when_the_pool_had_stopped_leaves_no_copy(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Reader.begin

    def hang(reader: Reader, candidate: Candidate) -> Reading | HalfRead:
        result = begin(reader, candidate)
        scene.stop.set()
        assert scene.pool.stop(deadline=lambda: 5.0)
        return result

    monkeypatch.setattr(Reader, "begin", hang)
    scene.pool.start()
    for number in range(2):
        scene.pool.submit(scene.candidate(str(number)))
    with pytest.raises(StoppedError):
        scene.pool.read_at_hand()
    scene.assert_nothing_is_left()


def test_small_new_files_are_read_by_who_submits_them_and_proved_by_another(scene: Scene) -> None:
    scene.pool.start()
    for number in range(3):
        scene.pool.submit(scene.candidate(str(number)))
    assert scene.results == []
    scene.pool.read_at_hand()
    scene.wait_for(3)
    assert sorted(scene.read_by) == ["MainThread", "reader-back", "reader-back"]
    assert all(isinstance(result, Accepted) and result.staged for result in scene.results)


@pytest.mark.parametrize("why", ["backlog", "unclosed", "larger", "remote"])
def test_whatever_may_take_long_is_left_to_the_reader_threads(scene: Scene, why: str) -> None:
    content = lora_bytes(size_bytes=AT_HAND_BYTES + 1_000_000) if why == "larger" else SMALL
    each = scene.candidate(content=content)
    scene.is_hang_proof = why != "remote"
    is_closed, is_backlog = why != "unclosed", why == "backlog"
    candidate = Candidate(each.root, each.path, each.version, each.ctime_ns, is_closed=is_closed, is_backlog=is_backlog)
    scene.pool.submit(candidate)
    scene.pool.read_at_hand()
    assert scene.results == []
    scene.pool.start()
    scene.wait_for(1)
    assert scene.read_by[0] in {"reader-quick", "reader-small"}


def test_one_turn_reads_no_more_than_its_share_the_newest_first(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_pool, "MOST_AT_HAND", 2)
    for number in range(4):
        scene.pool.submit(scene.candidate(str(number)))
    begun: list[str] = []
    begin = Reader.begin

    def note(reader: Reader, candidate: Candidate) -> Reading | HalfRead:
        begun.append(os.path.basename(candidate.path))
        return begin(reader, candidate)

    monkeypatch.setattr(Reader, "begin", note)
    scene.pool.read_at_hand()
    assert begun == ["3.safetensors", "2.safetensors"]
    monkeypatch.setattr(reader_pool, "AT_HAND_SECONDS", 0.0)
    scene.pool.read_at_hand()
    assert begun[2:] == ["1.safetensors"]
    scene.pool.forget_at_hand()
    scene.pool.read_at_hand()
    assert len(begun) == 3


@pytest.mark.parametrize("half", ["begin", "finish"])
def test_a_bug_in_either_half_costs_its_file_only(scene: Scene, monkeypatch: pytest.MonkeyPatch, half: str) -> None:
    real: Callable[[Reader, object], object] = getattr(Reader, half)

    def stumble(reader: Reader, what: object) -> object:
        candidate = what.candidate if isinstance(what, HalfRead) else what
        if isinstance(candidate, Candidate) and candidate.path.endswith("/1.safetensors"):
            if isinstance(what, HalfRead):
                reader.forget(what)
            raise RuntimeError("a bug")
        return real(reader, what)

    monkeypatch.setattr(Reader, half, stumble)
    scene.pool.start()
    for number in range(3):
        scene.pool.submit(scene.candidate(str(number)))
    scene.pool.read_at_hand()
    scene.wait_for(3)
    assert [os.path.basename(each.path) for each in scene.crashes] == ["1.safetensors"]
    assert len(scene.results) == 2
