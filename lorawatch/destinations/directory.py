"""Deliver into a directory of this machine: a verified temporary copy that gets its name at the very end.

Lane threads call it, and whoever reads files through `stage` and `prove`; several at once. Nothing under a model's name
is ever partial, a file that lorawatch did not put there is neither overwritten nor removed, and the root is never
created: where it is missing, a disk is not mounted.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from lorawatch.config import DirectoryDestinationConfig
from lorawatch.destinations.permissions import Permissions
from lorawatch.destinations.publishing import Publisher, path_of
from lorawatch.destinations.root import Root
from lorawatch.destinations.staging import StagingArea, TemporaryFile
from lorawatch.domain.errors import DeliveryDelayedError, DestinationError, FileChangedError
from lorawatch.domain.model import Finding, RemoteFile, StagedCopy, UnprovenCopy
from lorawatch.domain.ports import Consignment, Prepared, Stop
from lorawatch.transport.copying import INLINE_BYTES, copy_unproven, copy_verified, prove_copy
from lorawatch.transport.files import (
    fingerprint_of,
    flush_directory,
    open_regular,
    open_source,
    remote_file_of,
    require_version,
    sha256_of,
    write_all,
)
from lorawatch.transport.os_errors import destination_errors
from lorawatch.transport.renaming import remove_expected


class DirectoryDestination:
    """A Destination and a Stager. `instance` (12 hex digits) marks this installation's temporary files.

    `notes` collects what the file system cannot do, each once: not an error, but worth an event.
    """

    kind = "directory"
    group_size = 64  # a burst of small files shares one flush of the directory

    def __init__(
        self, *, name: str, directory: str, file_mode: int, min_free_bytes: int, instance: str, owner: str | None = None
    ) -> None:
        self.name = name
        self.directory = directory
        self.notes: list[Finding] = []
        self._root = Root(directory, min_free_bytes=min_free_bytes)
        permissions = Permissions(directory, file_mode=file_mode, note=self._note, owner=owner)
        self._staging = StagingArea(directory, instance=instance, permissions=permissions)
        self._publisher = Publisher(directory, staging=self._staging, permissions=permissions, note=self._note)

    @property
    def is_mount_point(self) -> bool:
        """Return whether a disk of its own is mounted there now. Raises DestinationDownError."""
        return self._root.is_mount_point

    @property
    def was_mount_point(self) -> bool | None:
        """Return whether one was when it was last found in order; None if that is not known.

        The engine sets it from the journal: a disk that was unmounted while the daemon was down is missed too.
        """
        return self._root.was_mount_point

    @was_mount_point.setter
    def was_mount_point(self, value: bool | None) -> None:
        self._root.was_mount_point = value

    def probe(self, *, needed_bytes: int) -> None:
        """Return if a file of this size could be written now; DestinationDownError with the reason if not.

        Really creates and removes a temporary file: permission bits do not tell about ACLs and read-only mounts.
        """
        self._root.require()
        with destination_errors(f"write into {self.directory}", self.directory):
            self._staging.discard(self._staging.create(self.directory).path)
        self._root.require_room(self.directory, needed_bytes)

    def find(self, remote_name: str) -> RemoteFile | None:
        """Return what stands at the name: a link, a directory or a device counts, and is never ours."""
        path = path_of(self.directory, remote_name)
        with destination_errors(f"look at {path}", self.directory):
            try:
                return remote_file_of(remote_name, os.lstat(path))
            except (FileNotFoundError, NotADirectoryError):
                self._root.require()  # nothing can be said about the names of a disk that is not there
                return None

    def digest(self, remote_name: str) -> str | None:
        """Return the sha256 of a regular file's bytes; None if there is none or we may not read it."""
        path = path_of(self.directory, remote_name)
        with destination_errors(f"read {path} back", self.directory):
            try:
                descriptor = open_regular(path)
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                return None
            if descriptor is None:
                return None
            try:
                return sha256_of(descriptor)
            finally:
                os.close(descriptor)

    def stage(
        self,
        source: int,
        *,
        size_bytes: int,
        progress: Callable[[int], None],
        stop: Stop,
        sinks: Sequence[Callable[[memoryview], object]] = (),
    ) -> StagedCopy | UnprovenCopy:
        """Copy an open file to a temporary name; a large one is read back and proved meanwhile. See Stager."""
        self._root.require()
        return self._stage_in(self.directory, source, size_bytes=size_bytes, progress=progress, stop=stop, sinks=sinks)

    def prove(self, unproven: UnprovenCopy, *, stop: Stop) -> StagedCopy:
        """Read a copy back; see Stager."""
        path, size_bytes = unproven.path, unproven.size_bytes
        with destination_errors(f"read {path} back", self.directory), self._removing(path):
            temporary = self._staging.opened(path)
            sha256 = prove_copy(temporary.descriptor, size_bytes=size_bytes, xxh3=unproven.xxh3, stop=stop)
            return StagedCopy(path, _fingerprint_of_whole(temporary, size_bytes), size_bytes, sha256)

    def unstage(self, staged: StagedCopy | UnprovenCopy) -> None:
        """Remove a staged copy. Never raises."""
        self._staging.discard(staged.path)

    def prepare(self, consignment: Consignment, *, progress: Callable[[int], None], stop: Stop) -> Prepared:
        """Take over the staged copy, or copy the source's accepted version to a temporary name.

        FileChangedError if what is read is not what was accepted; nothing is left behind then.
        """
        self._root.require()
        folder = self._publisher.folder_to_stage_in(consignment.delivery.remote_name)
        staged = self._adopt(consignment.staged, folder)
        if staged is None:
            staged = self._carry(consignment, folder, progress=progress, stop=stop)
        if staged.sha256 != consignment.delivery.artifact.sha256:
            self._staging.discard(staged.path)
            raise FileChangedError(f"{consignment.source_path} does not hold the bytes that were inspected")
        return Prepared(replace(consignment, staged=staged), token=staged.path, sha256=staged.sha256)

    def publish(self, prepared: Sequence[Prepared]) -> list[RemoteFile | DestinationError]:
        """Flush all, rename each, flush each directory once; one's failure is its own."""
        return self._publisher.publish(prepared)

    def discard(self, prepared: Prepared) -> None:
        """Remove what `prepare` left. Never raises."""
        self._staging.discard(prepared.token)

    def write_beside(self, name: str, content: bytes, *, replaces: RemoteFile | None) -> RemoteFile:
        """Write a small file the way a model is delivered: under a temporary name, flushed, renamed."""
        self._root.require()
        folder = self._publisher.folder_to_stage_in(name)
        self._root.require_room(folder, len(content))
        with destination_errors(f"write {name!r} into {self.directory}", self.directory):
            temporary = self._staging.create(folder)
        try:
            with destination_errors(f"write {name!r} into {self.directory}", self.directory):
                write_all(temporary.descriptor, content)
            return self._publisher.publish_one(temporary.path, name, replaces=replaces)
        except BaseException:
            self._staging.discard(temporary.path)
            raise

    def touch(self, remote_names: Sequence[str]) -> None:
        """Give the directories that lead to these names the present time, as adding a file to each would."""
        self._root.require()
        folders = {self.directory}
        for name in remote_names:
            folder = os.path.dirname(path_of(self.directory, name))
            while len(folder) > len(self.directory):
                folders.add(folder)
                folder = os.path.dirname(folder)
        for folder in sorted(folders):
            with destination_errors(f"touch {folder}", self.directory):
                os.utime(folder)

    def remove(self, remote: RemoteFile) -> bool:
        """Remove the file if nobody has changed or replaced it since; return whether it was removed."""
        path = path_of(self.directory, remote.remote_name)
        folder = os.path.dirname(path)
        with destination_errors(f"remove {path}", self.directory):
            is_removed = remove_expected(
                path,
                self._staging.path_in(folder),
                is_expected=lambda status: fingerprint_of(status) == remote.fingerprint,
            )
            if is_removed:
                flush_directory(folder)
        return is_removed

    def sweep(self) -> None:
        """Remove temporary files that earlier processes of this installation left, here and in sub-directories."""
        self._root.require()
        with destination_errors(f"look for leftovers in {self.directory}", self.directory):
            self._staging.sweep()

    def _adopt(self, staged: StagedCopy | None, folder: str) -> StagedCopy | None:
        """Return the staged copy if it is where it can be published from, as it was proved; else forget it."""
        if staged is None:
            return None
        try:
            is_intact = fingerprint_of(os.lstat(staged.path)) == staged.fingerprint
        except OSError:
            is_intact = False  # copied again: what is wrong with the destination is met there
        if is_intact and os.path.dirname(staged.path) == folder:
            return staged
        self._staging.discard(staged.path)
        return None

    def _carry(
        self, consignment: Consignment, folder: str, *, progress: Callable[[int], None], stop: Stop
    ) -> StagedCopy:
        path, version = consignment.source_path, consignment.source_version
        source = open_source(path, version)
        try:
            staged = self._stage_in(folder, source, size_bytes=version.size_bytes, progress=progress, stop=stop)
            with self._removing(staged.path):
                require_version(source, path, version)
            return staged if isinstance(staged, StagedCopy) else self.prove(staged, stop=stop)
        finally:
            os.close(source)

    def _stage_in(
        self,
        folder: str,
        source: int,
        *,
        size_bytes: int,
        progress: Callable[[int], None],
        stop: Stop,
        sinks: Sequence[Callable[[memoryview], object]] = (),
    ) -> StagedCopy | UnprovenCopy:
        self._root.require_room(folder, size_bytes)
        with destination_errors(f"copy {size_bytes} bytes into {folder}", self.directory):
            temporary = self._staging.create(folder)
            with self._removing(temporary.path):
                target = temporary.descriptor
                if size_bytes <= INLINE_BYTES:
                    xxh3 = copy_unproven(
                        source, target, size_bytes=size_bytes, progress=progress, stop=stop, sinks=sinks
                    )
                    return UnprovenCopy(temporary.path, size_bytes, xxh3)
                sha256 = copy_verified(source, target, size_bytes=size_bytes, progress=progress, stop=stop, sinks=sinks)
                return StagedCopy(temporary.path, _fingerprint_of_whole(temporary, size_bytes), size_bytes, sha256)

    @contextmanager
    def _removing(self, path: str) -> Iterator[None]:
        """Remove a temporary file if what is done with it fails."""
        try:
            yield
        except BaseException:
            self._staging.discard(path)
            raise

    def _note(self, code: str, detail: str) -> None:
        if all(finding.code != code for finding in self.notes):
            self.notes.append(Finding(code, detail))


def from_config(config: DirectoryDestinationConfig, *, instance: str) -> DirectoryDestination:
    """Return the destination of this part of the configuration."""
    return DirectoryDestination(
        name=config.name,
        directory=config.directory,
        file_mode=int(config.file_mode, 8),
        min_free_bytes=config.min_free_bytes,
        instance=instance,
    )


def _fingerprint_of_whole(temporary: TemporaryFile, size_bytes: int) -> str:
    status = os.fstat(temporary.descriptor)
    if status.st_size == size_bytes and status.st_nlink == 1:
        return fingerprint_of(status)
    raise DeliveryDelayedError(
        f"somebody changed or removed {temporary.path} while it was written",
        code="destination-changed",
        fix="it is copied again; see which program touches hidden files there",
    )
