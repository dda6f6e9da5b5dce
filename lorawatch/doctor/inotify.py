"""The kernel's limits for watching, against what the watched directories need. It sets one watch, for a moment."""

import ctypes
import errno
import os
import time
from collections.abc import Iterator, Sequence

from lorawatch.doctor.findings import Finding, error, fine, warning
from lorawatch.doctor.worker import Worker
from lorawatch.sources.mounts import MountTable

CHECK = "inotify"
_LIMITS = "/proc/sys/fs/inotify"
_CODE = "inotify-limit"
_USUAL_EVENTS = 16_384
_COUNT_SECONDS = 8.0
_CLOSE_WRITE = 0x8  # inotify(7)
_CALM_PART = 0.8  # above this part of the limit, a few more jobs reach it


def look(directories: Sequence[str], worker: Worker, *, limits: str = _LIMITS) -> Iterator[Finding]:
    """Compare limits and need."""
    most = {name: _number(os.path.join(limits, name)) for name in ("max_user_watches", "max_queued_events")}
    needed = count_directories(directories)
    watches = most["max_user_watches"]
    fix = f"sudo sysctl fs.inotify.max_user_watches={max(524_288, 4 * needed)} (in /etc/sysctl.d to keep it)"
    told = "1 directory to watch" if needed == 1 else f"{needed:,} directories to watch"
    is_short = watches is not None and needed > watches
    refused = None if is_short or not worker.is_me else _refusal(directories)
    if is_short:
        yield error(CHECK, f"{told}, but max_user_watches is {watches:,}: the rest is polled", fix=fix, code=_CODE)
    elif refused is not None:
        yield error(CHECK, f"the kernel gives no more watches: {refused}", fix=fix, code=_CODE)
    elif watches is not None and needed > watches * _CALM_PART:
        yield warning(CHECK, f"{told}, and max_user_watches is only {watches:,}", fix=fix, code=_CODE)
    else:
        yield fine(CHECK, f"{told}; max_user_watches is {'unknown' if watches is None else f'{watches:,}'}")
    events = most["max_queued_events"]
    if events is not None and events < _USUAL_EVENTS:
        yield warning(
            CHECK,
            f"max_queued_events is only {events:,}: a burst overflows it, and the whole directory is looked through",
            fix="sudo sysctl fs.inotify.max_queued_events=65536 (in /etc/sysctl.d to keep it)",
            code="inotify-overflow",
        )


def count_directories(roots: Sequence[str], *, seconds: float = _COUNT_SECONDS) -> int:
    """Return how many directories there are to watch; as many as could be counted in the time."""
    deadline, mounts, count = time.monotonic() + seconds, MountTable(), 0
    pending = [root for root in roots if mounts.of(os.path.realpath(root)).is_local and os.path.isdir(root)]
    while pending and time.monotonic() < deadline:
        directory = pending.pop()
        count += 1
        try:
            with os.scandir(directory) as entries:
                below = [each.path for each in entries if not each.name.startswith(".") and _is_directory(each)]
        except OSError:
            continue  # watched.py says who may not read it
        pending += [path for path in below if mounts.of(path).is_local]
    return count


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _refusal(directories: Sequence[str]) -> str | None:
    """Return which limit keeps this user from watching one directory more; None if none does."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    if descriptor < 0:
        return "fs.inotify.max_user_instances is exhausted" if ctypes.get_errno() == errno.EMFILE else None
    try:
        for directory in directories:
            added = libc.inotify_add_watch(descriptor, os.fsencode(directory), ctypes.c_uint32(_CLOSE_WRITE))
            if added < 0 and ctypes.get_errno() == errno.ENOSPC:
                return "fs.inotify.max_user_watches is exhausted, also by other programs of this user"
    finally:
        os.close(descriptor)
    return None


def _number(file: str) -> int | None:
    try:
        with open(file, encoding="ascii") as stream:
            return int(stream.read())
    except (OSError, ValueError):
        return None
