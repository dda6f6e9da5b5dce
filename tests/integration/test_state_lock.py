"""The lock of a state directory: one daemon, and any number of those who only ask whether there is one."""

import fcntl
import os
import threading
from pathlib import Path

import pytest

from lorawatch.domain.errors import AlreadyRunningError
from lorawatch.journal.lock import StateLock, is_locked


def test_a_lock_is_seen_by_whoever_asks_and_refused_to_a_second_one(tmp_path: Path) -> None:
    assert not is_locked(str(tmp_path))
    lock = StateLock(str(tmp_path))
    lock.acquire()
    assert is_locked(str(tmp_path))
    with pytest.raises(AlreadyRunningError, match=str(os.getpid())):
        StateLock(str(tmp_path)).acquire()
    lock.release()
    assert not is_locked(str(tmp_path))


def test_whoever_only_asks_keeps_no_daemon_from_starting(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # what `is_locked` holds for an instant
    closing = threading.Timer(0.05, os.close, (descriptor,))
    closing.start()
    lock = StateLock(str(tmp_path))
    lock.acquire()
    lock.release()
    closing.join()
