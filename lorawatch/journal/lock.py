"""The single-instance lock of a state directory. Taken by `run` and `once`, and by nobody else."""

import fcntl
import os
import time

from lorawatch.domain.errors import AlreadyRunningError, JournalError

ASKING_SECONDS = 0.2  # `status --watch` asks once a second, for microseconds


class StateLock:
    """An advisory lock on `<state directory>/lock`; the kernel frees it when the process ends, however it ends."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, "lock")
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise AlreadyRunningError at once with the owner's process number."""
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o750, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise JournalError(
                f"the lock {self._path} cannot be made: {error.strerror}",
                fix="set state_directory, or LORAWATCH_STATE_DIRECTORY, to a directory you may write",
            ) from error
        try:
            _lock(descriptor)
        except OSError as error:
            owner = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise AlreadyRunningError(
                f"lorawatch already runs on this state directory (process {owner}, lock {self._path})",
                fix="use the running one (lorawatch status), stop it, or set LORAWATCH_STATE_DIRECTORY to another",
            ) from error
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
        self._descriptor = descriptor

    def release(self) -> None:
        """Free the lock. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def owner_of(directory: str) -> int | None:
    """Return the process number of the daemon that holds the lock; None without one, or where it cannot be asked."""
    if not is_locked(directory):
        return None
    try:
        with open(os.path.join(directory, "lock"), encoding="ascii", errors="replace") as file:
            return int(file.read(32))
    except (OSError, ValueError):
        return None


def _lock(descriptor: int) -> None:
    """Take the lock, or raise OSError. Whoever only asks (`is_locked`) holds it for an instant: that is waited for."""
    deadline = time.monotonic() + ASKING_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(ASKING_SECONDS / 20)
        else:
            return


def is_locked(directory: str) -> bool:
    """Return whether a daemon runs on this state directory; changes nothing, and False where it cannot be asked."""
    try:
        descriptor = os.open(os.path.join(directory, "lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
