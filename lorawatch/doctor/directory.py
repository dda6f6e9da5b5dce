"""A destination that is a directory: there, the disk that it was, writable, with room, and what copies cost there."""

import errno
import os
import shlex
import tempfile
from collections.abc import Iterator, Sequence

from lorawatch import humanize
from lorawatch.config import DirectoryDestinationConfig
from lorawatch.destinations.registry import location_of
from lorawatch.destinations.root import Root
from lorawatch.doctor import access, records
from lorawatch.doctor.findings import Finding, error, fine, of_error
from lorawatch.doctor.worker import Worker
from lorawatch.domain.errors import DestinationDownError
from lorawatch.journal import checkup
from lorawatch.sources.mounts import MountTable
from lorawatch.transport.files import clone, free_bytes

_BLOCK = b"\0" * 65_536  # a whole block of every file system that can share them
_FAT = frozenset({"vfat", "msdos"})


def look(
    config: DirectoryDestinationConfig, worker: Worker, *, state_directory: str, sources: Sequence[str]
) -> Iterator[Finding]:
    """Look at one directory. Writes an unnamed temporary file there, and nothing else."""
    name, directory = config.name, config.directory
    check, what = "destination-permissions", f"write into {directory}"
    found = access.tried(check, worker, write=[directory], subject=name, what=what)
    is_open = all(finding.is_fine for finding in found)
    root = Root(directory, min_free_bytes=config.min_free_bytes)
    root.was_mount_point = records.ask(
        state_directory, lambda connection: checkup.was_mount_point(connection, name, location_of(config))
    )
    words = {"DIRECTORY": shlex.quote(directory)}
    try:
        root.require()
    except DestinationDownError as raised:
        if not is_open:
            yield from found
        else:
            yield of_error("destination-directory", raised, subject=name, words=words)
        return
    yield fine("destination-directory", f"{directory} is there", subject=name)
    yield from found
    yield from _room(config, root, words)
    yield from _file_system(config, sources, is_tried=is_open)


def _room(config: DirectoryDestinationConfig, root: Root, words: dict[str, str]) -> Iterator[Finding]:
    check = "disk-room"
    room = os.statvfs(config.directory)
    try:
        root.require_room(config.directory, 0)
    except DestinationDownError as raised:
        yield of_error(check, raised, subject=config.name, words=words)
        return
    if room.f_files and not room.f_favail:
        yield error(
            check,
            f"the disk of {config.directory} can hold no more files, however small",
            fix=f"remove small files there: df -i {words['DIRECTORY']}",
            subject=config.name,
            code="disk-full",
        )
        return
    free, kept = humanize.size(free_bytes(config.directory)), humanize.size(config.min_free_bytes)
    yield fine(check, f"{free} free; deliveries wait below {kept}", subject=config.name)


def _file_system(config: DirectoryDestinationConfig, sources: Sequence[str], *, is_tried: bool) -> Iterator[Finding]:
    """Say what a copy costs: nothing is wrong with any of these."""
    mount = MountTable().of(os.path.realpath(config.directory))
    said = [f"{mount.kind or 'unknown'}, mounted at {mount.point}"]
    same = [directory for directory in sources if _device(directory) == _device(config.directory)]
    if sources:
        said.append("the same as the source's" if len(same) == len(sources) else "another than the source's")
    if not mount.is_local:
        said.append("over the network")
    if mount.kind in _FAT:
        said.append("which keeps no modes, and no file above 4 GiB")
    if is_tried:
        shares = _can_share_blocks(config.directory)
        reflink = "copies within it share their blocks (reflink)" if shares else "every byte is copied (no reflink)"
        said.append(reflink)
    yield fine("file-system", "; ".join(said), subject=config.name)


def _device(directory: str) -> int | None:
    try:
        return os.stat(directory).st_dev
    except OSError:
        return None  # watched.py says that it is not there


def _can_share_blocks(directory: str) -> bool:
    """Return whether the file system knows reflinks, by making one between two files without names."""
    try:
        with tempfile.TemporaryFile(dir=directory, prefix=".lorawatch-") as source:
            source.write(_BLOCK)
            source.flush()
            with tempfile.TemporaryFile(dir=directory, prefix=".lorawatch-") as target:
                return clone(source.fileno(), target.fileno())
    except OSError as raised:
        if raised.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            return False  # tried as another user: whether that one may write has been said
        raise
