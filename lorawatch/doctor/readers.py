"""Can ComfyUI's user read what lorawatch delivers? By the modes of the way there, and by those of the files.

Who that is, a running ComfyUI tells; without one only `file_mode` is looked at. Access lists are not computed: where
one is set, the directory is passed over.
"""

import os
import shlex
from collections.abc import Iterator, Sequence

from lorawatch.config import DirectoryDestinationConfig
from lorawatch.doctor.findings import Finding, fine, warning
from lorawatch.doctor.worker import Worker, identity_of, may, name_of, status_of
from lorawatch.domain.planning import MODEL_EXTENSIONS
from lorawatch.finding.comfyui import installations
from lorawatch.finding.processes import Process, running
from lorawatch.finding.usual import Machine
from lorawatch.transport.process import Identity

CHECK = "comfyui-permissions"
_MOST_FILES = 5000
_CODE = "value-not-in-list"
_OTHERS_AND_GROUP = 0o044


def look(config: DirectoryDestinationConfig, worker: Worker) -> Iterator[Finding]:
    """Look at one directory destination."""
    try:
        root = os.stat(config.directory)
    except OSError:
        return  # directory.py says why
    mode = int(config.file_mode, 8)
    reader = reader_of(config.directory, running())
    if reader is None:
        yield from _without_reader(config, mode)
        return
    who = f"{name_of(reader.uid)}, as whom ComfyUI runs,"
    blocked = next((path for path in _way_to(config.directory) if not _may_pass(path, config.directory, reader)), None)
    delivered = os.stat_result((mode, 0, 0, 1, worker.identity.uid, root.st_gid, 0, 0, 0, 0))
    unreadable = [] if blocked else [path for path in _models(config.directory) if not may(os.stat(path), reader, 4)]
    if blocked is not None:
        yield warning(
            CHECK,
            f"{who} may not enter {blocked}",
            fix=f"sudo setfacl -m u:{name_of(reader.uid)}:rx {shlex.quote(blocked)}",
            subject=config.name,
            code=_CODE,
        )
    elif not may(delivered, reader, 4):
        yield warning(
            CHECK,
            f"{who} may not read what is delivered: mode {mode:04o}, user {worker.name}, group {root.st_gid}",
            fix=f'write file_mode = "0644" at this destination, or: sudo chgrp {reader.gid}'
            f" {shlex.quote(config.directory)} && sudo chmod g+s {shlex.quote(config.directory)}",
            subject=config.name,
            code=_CODE,
        )
    elif unreadable:
        files = " ".join(map(shlex.quote, unreadable[:3]))
        more = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        yield warning(
            CHECK,
            f"{who} may not read {unreadable[0]}{more}",
            fix=f"sudo chmod a+r {files}",
            subject=config.name,
            code=_CODE,
        )
    else:
        yield fine(CHECK, f"{who} may read what is delivered", subject=config.name)


def reader_of(directory: str, processes: Sequence[Process]) -> Identity | None:
    """Return as whom the ComfyUI runs that reads this directory; None if none is seen to."""
    wanted = os.path.realpath(directory)
    for each in installations(Machine(), processes):
        places = [os.path.realpath(place.path) for place in each.places()] if each.process else []
        if each.process and any(wanted == place or wanted.startswith(os.path.join(place, "")) for place in places):
            return identity_of(status_of(each.process.pid))
    return None


def _without_reader(config: DirectoryDestinationConfig, mode: int) -> Iterator[Finding]:
    if mode & _OTHERS_AND_GROUP:
        yield fine(
            CHECK, f"delivered files get the mode {mode:04o} and the group of the directory", subject=config.name
        )
    else:
        yield warning(
            CHECK,
            f"delivered files get the mode {mode:04o}: nobody but lorawatch's own user can read them",
            fix='write file_mode = "0664" at this destination',
            subject=config.name,
            code=_CODE,
        )


def _way_to(directory: str) -> list[str]:
    way = [os.path.realpath(directory)]
    while way[-1] != os.path.dirname(way[-1]):
        way.append(os.path.dirname(way[-1]))
    return way[::-1]


def _may_pass(path: str, directory: str, reader: Identity) -> bool:
    """Return whether a directory may be entered, the last one also listed; where a list of access says so is open."""
    is_last = path == os.path.realpath(directory)
    try:
        return "system.posix_acl_access" in os.listxattr(path) or may(os.stat(path), reader, 5 if is_last else 1)
    except OSError:
        return True  # not known: no reason to alarm anybody


def _models(directory: str) -> Iterator[str]:
    """Yield the models right in the directory that are regular files."""
    with os.scandir(directory) as entries:
        for number, entry in enumerate(entries):
            if number >= _MOST_FILES:
                return
            extension = os.path.splitext(entry.name)[1].lower()
            if extension in MODEL_EXTENSIONS and not entry.name.startswith(".") and entry.is_file():
                yield entry.path
