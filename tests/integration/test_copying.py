"""Copying with proof: what is corrupted, cut, refused or stopped on the way is always noticed."""

import errno
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lorawatch.domain.errors import DeliveryDelayedError, FileChangedError, FileUnreadableError, StoppedError
from lorawatch.domain.ports import Stop
from lorawatch.transport import copying
from lorawatch.transport.copying import INLINE_BYTES, copy_verified
from tests.contract.bench import NeverStop, StopAfter, ignore
from tests.factories import finite_bytes
from tests.fakes.failing_calls import FailingCalls

SMALL = finite_bytes((2 << 20) + 1, seed=1)
LARGE = finite_bytes(INLINE_BYTES + (1 << 20) + 1, seed=2)
both_sizes = pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])


class Pair:
    """A source and an empty target, open."""

    def __init__(self, folder: Path) -> None:
        self.source = os.open(folder / "source", os.O_RDWR | os.O_CREAT)
        self.target = os.open(folder / "target", os.O_RDWR | os.O_CREAT)

    def copy(
        self,
        content: bytes,
        *,
        stop: Stop | None = None,
        progress: Callable[[int], None] = ignore,
        sink: Callable[[memoryview], object] | None = None,
    ) -> str:
        os.write(self.source, content)
        return copy_verified(
            self.source,
            self.target,
            size_bytes=len(content),
            progress=progress,
            stop=stop or NeverStop(),
            sinks=[sink] if sink else [],
        )


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path)
    yield pair
    os.close(pair.source)
    os.close(pair.target)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-back")]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> FailingCalls:
    return FailingCalls(monkeypatch)


@both_sizes
def test_the_copy_is_the_source_and_the_hash_is_that_of_the_copy(pair: Pair, content: bytes) -> None:
    sha256 = pair.copy(content)
    assert os.pread(pair.target, len(content) + 1, 0) == content
    assert sha256 == hashlib.sha256(content).hexdigest()


@both_sizes
def test_a_sink_sees_every_byte_of_the_source_once_and_in_order(pair: Pair, content: bytes) -> None:
    seen = bytearray()
    pair.copy(content, sink=seen.extend)
    assert seen == content


@both_sizes
@pytest.mark.parametrize("place", [0, 1 << 20, -1])
def test_a_byte_that_changes_on_its_way_to_the_disk_is_found(
    pair: Pair, content: bytes, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = range(len(content))[place]
    real = os.pwrite

    def corrupt(descriptor: int, view: memoryview, offset: int) -> int:
        data = bytearray(view)
        if offset <= wrong < offset + len(data):
            data[wrong - offset] ^= 1
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", corrupt)
    monkeypatch.setattr(copying, "clone", lambda _source, _target: False)
    with pytest.raises(DeliveryDelayedError) as corrupted:
        pair.copy(content)
    assert corrupted.value.code == "copy-corrupt"


@both_sizes
def test_a_hole_in_the_copy_is_found(pair: Pair, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite

    def skip(descriptor: int, view: memoryview, offset: int) -> int:
        return real(descriptor, bytes(len(view)) if offset == 1 << 20 else view, offset)

    monkeypatch.setattr(os, "pwrite", skip)
    monkeypatch.setattr(copying, "clone", lambda _source, _target: False)
    with pytest.raises(DeliveryDelayedError, match="differs"):
        pair.copy(content)


@both_sizes
def test_a_source_that_ends_early_is_another_version(pair: Pair, content: bytes) -> None:
    with pytest.raises(FileChangedError):
        pair.copy(content, progress=lambda _: os.truncate(pair.source, 10))


@both_sizes
def test_a_full_disk_is_told_as_it_comes(pair: Pair, content: bytes, calls: FailingCalls) -> None:
    calls.fail("pwrite", errno.ENOSPC, when=lambda descriptor, _view, offset: descriptor == pair.target and offset > 0)
    with pytest.raises(OSError, match="No space left"):
        pair.copy(content)


@both_sizes
def test_a_source_that_cannot_be_read_is_the_sources_fault(pair: Pair, content: bytes, calls: FailingCalls) -> None:
    calls.fail("preadv", errno.EIO, when=lambda descriptor, _views, offset: descriptor == pair.source and offset > 0)
    with pytest.raises(FileUnreadableError):
        pair.copy(content)


@both_sizes
def test_a_copy_that_cannot_be_read_back_is_the_destinations_fault(
    pair: Pair, content: bytes, calls: FailingCalls
) -> None:
    calls.fail("preadv", errno.EIO, when=lambda descriptor, _views, _offset: descriptor == pair.target)
    with pytest.raises(OSError, match="Input/output error"):
        pair.copy(content)


@both_sizes
@pytest.mark.parametrize("questions", [0, 1, 4])
def test_a_stop_ends_it_at_once_whoever_asks(pair: Pair, content: bytes, questions: int) -> None:
    with pytest.raises(StoppedError):
        pair.copy(content, stop=StopAfter(questions))


def test_a_sink_that_raises_ends_the_copy(pair: Pair) -> None:
    def refuse(_view: memoryview) -> None:
        raise FileChangedError("refused")

    with pytest.raises(FileChangedError, match="refused"):
        pair.copy(LARGE, sink=refuse)


def test_a_short_write_is_continued(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda target, view, offset: real(target, view[:70_000], offset))
    assert pair.copy(SMALL) == hashlib.sha256(SMALL).hexdigest()


def test_memory_does_not_grow_with_the_size_of_the_file(tmp_path: Path) -> None:
    program = """
import os, resource, sys
from lorawatch.transport.copying import copy_verified
from tests.contract.bench import NeverStop, ignore
def copy(size_bytes):
    source, target = (os.open(sys.argv[1] + name, os.O_RDWR | os.O_CREAT | os.O_TRUNC) for name in ("/s", "/t"))
    os.truncate(source, size_bytes)
    copy_verified(source, target, size_bytes=size_bytes, progress=ignore, stop=NeverStop())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(-copy(16 << 20) + copy(256 << 20))
"""
    run = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 4096  # KiB
