"""What can the service's user really do? Runs inside the service's sandbox: `python -m lorawatch.service_unit.probe`.

checking.py starts it there, and `doctor` as that user, with the text of this module alone: it imports nothing of ours.
It reads a JSON document from stdin, `{"read": [...], "write": [...]}`, and writes one to stdout: a list of obstacles.
It never reads a file's content and leaves nothing behind.
"""

import errno
import itertools
import json
import os
import pwd
import stat
import sys
import tempfile
from collections.abc import Iterator

MOST_FILES = 5000  # enough to know how a trainer writes, and quick on any disk
_SUFFIX = ".safetensors"

Obstacle = dict[str, str | int]


def obstacles(read: list[str], write: list[str]) -> list[Obstacle]:
    """Return what stands in the way, each with `code`, `path`, and what belongs to the code."""
    return [*itertools.chain(*map(_when_reading, read), *map(_when_writing, write))]


def _when_reading(directory: str) -> Iterator[Obstacle]:
    blocked = _blocked(directory)
    if blocked is not None:
        yield blocked
        return
    if not _may(directory, os.R_OK | os.X_OK):
        yield _described("directory-unreadable", directory)
        return
    unreadable = [path for path in itertools.islice(_files(directory), MOST_FILES) if not _may(path, os.R_OK)]
    if unreadable:
        yield _described("files-unreadable", unreadable[0]) | {"count": len(unreadable)}


def _when_writing(directory: str) -> Iterator[Obstacle]:
    blocked = _blocked(directory)
    if blocked is not None:
        yield blocked
        return
    try:
        with tempfile.TemporaryFile(dir=directory, prefix=".lorawatch-"):  # without a name, where that is possible
            pass
    except OSError as error:
        code = "destination-read-only" if error.errno == errno.EROFS else "destination-permission-denied"
        yield _described(code, directory) | {"error": os.strerror(error.errno or 0)}


def _blocked(path: str) -> Obstacle | None:
    """Return the obstacle on the way to a directory: it is missing, or one above it may not be entered."""
    for above in _ancestors(path):
        try:
            status = os.stat(above)
        except PermissionError:
            return _described("way-blocked", os.path.dirname(above)) | {"wanted": path}
        except OSError as error:
            return {"code": "missing", "path": path, "error": os.strerror(error.errno or 0)}
        if not stat.S_ISDIR(status.st_mode):
            return {"code": "missing", "path": path, "error": os.strerror(errno.ENOTDIR)}
    return None


def _ancestors(path: str) -> list[str]:
    above = [path]
    while above[-1] != os.path.dirname(above[-1]):
        above.append(os.path.dirname(above[-1]))
    return above[::-1]


def _files(directory: str) -> Iterator[str]:
    """Yield the LoRAs below a directory; hidden names are nothing to us."""
    for folder, folders, files in os.walk(directory):
        folders[:] = [each for each in folders if not each.startswith(".")]
        for name in files:
            if name.endswith(_SUFFIX) and not name.startswith("."):
                yield os.path.join(folder, name)


def _may(path: str, mode: int) -> bool:
    return os.access(path, mode, effective_ids=True)


def _described(code: str, path: str) -> Obstacle:
    """Return an obstacle with owner and mode, as far as they can be seen."""
    try:
        status = os.stat(path)
    except OSError:
        return {"code": code, "path": path}
    try:
        owner = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        owner = str(status.st_uid)
    return {"code": code, "path": path, "mode": f"{stat.S_IMODE(status.st_mode):04o}", "owner": owner}


if __name__ == "__main__":
    wanted = json.load(sys.stdin)
    json.dump(obstacles(wanted["read"], wanted["write"]), sys.stdout)
