"""The last step of a delivery into a directory: flush, rename, flush the directory, for a group at once.

Used by the directory destination on lane threads. Until the rename nothing is visible; after the last flush
everything is durable. It never overwrites what a consignment does not name, and one's failure never fails another.
"""

import errno
import os
import stat
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from lorawatch.destinations.permissions import Note, Permissions
from lorawatch.destinations.staging import StagingArea
from lorawatch.domain.errors import DeliveryDelayedError, DeliveryRefusedError, DestinationError, NameTakenError
from lorawatch.domain.model import RemoteFile
from lorawatch.domain.planning import refuse_unsafe_name
from lorawatch.domain.ports import Prepared
from lorawatch.transport.files import fingerprint_of, flush_directory, mount_of, remote_file_of
from lorawatch.transport.os_errors import destination_errors
from lorawatch.transport.renaming import rename_new, rename_over

P = ParamSpec("P")
T = TypeVar("T")


def path_of(directory: str, remote_name: str) -> str:
    """Return where a name is. Raises DeliveryRefusedError (name-refused) for one that leaves the root or hides."""
    refuse_unsafe_name(remote_name)
    return os.path.join(directory, remote_name)


class Publisher:
    """Gives prepared copies their names below one root."""

    def __init__(self, directory: str, *, staging: StagingArea, permissions: Permissions, note: Note) -> None:
        self._directory = directory
        self._staging = staging
        self._permissions = permissions
        self._note = note

    def publish(self, prepared: Sequence[Prepared]) -> list[RemoteFile | DestinationError]:
        """Return one result per consignment, in order."""
        flushed = [_outcome(self._flush, one) for one in prepared]
        placed = [
            _outcome(self._give_name, one.token, ready, one.consignment.replaces)
            if isinstance(ready, RemoteFile)
            else ready
            for one, ready in zip(prepared, flushed, strict=True)
        ]
        return self._flush_folders(placed)

    def publish_one(self, temporary: str, remote_name: str, *, replaces: RemoteFile | None) -> RemoteFile:
        """Flush one small temporary file and give it its name. Raises DestinationError; the file is then left."""
        with destination_errors(f"flush {temporary} to the disk", self._directory):
            self._staging.flush(temporary)
            ready = remote_file_of(remote_name, os.lstat(temporary))
        self._give_name(temporary, ready, replaces)
        self._flush_folder(os.path.dirname(path_of(self._directory, remote_name)))
        return ready

    def folder_to_stage_in(self, remote_name: str) -> str:
        """Return the root, or the sub-directory that the name leads to if no rename can reach it from there."""
        folder = os.path.dirname(path_of(self._directory, remote_name))
        if folder == self._directory:
            return folder
        with destination_errors(f"look at {folder}", self._directory):
            while not os.path.isdir(folder):
                folder = os.path.dirname(folder)
            return folder if mount_of(folder) != mount_of(self._directory) else self._directory

    def _flush(self, prepared: Prepared) -> RemoteFile:
        """Make the staged bytes durable; return what will stand at the name."""
        path, staged = prepared.token, prepared.consignment.staged
        with destination_errors(f"flush {path} to the disk", self._directory):
            if not self._staging.flush(path):
                self._note("flush-refused", f"the file system of {self._directory} cannot flush a file to its disk")
            status = os.lstat(path)
        if staged is None or fingerprint_of(status) != staged.fingerprint:
            raise DeliveryDelayedError(
                f"{path} was changed by somebody before it was published",
                code="destination-changed",
                fix="it is copied again; see which program touches hidden files there",
            )
        return remote_file_of(prepared.consignment.delivery.remote_name, status)

    def _give_name(self, temporary: str, ready: RemoteFile, replaces: RemoteFile | None) -> RemoteFile:
        path = path_of(self._directory, ready.remote_name)
        self._make_folder(os.path.dirname(path))
        with destination_errors(f"rename {temporary} to {path}", self._directory):
            try:
                is_exclusive = self._rename(temporary, path, replaces)
            except FileExistsError as error:
                raise NameTakenError(
                    f"at {path} stands something that lorawatch may not replace",
                    fix="move it away, or set on_conflict or name_template",
                ) from error
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                raise DeliveryRefusedError(
                    f"the file system of {self._directory} does not accept the name {ready.remote_name!r}",
                    code="name-refused",
                    fix="change name_template, or give a name with --as",
                ) from error
        self._staging.release(temporary)
        if not is_exclusive:
            detail = f"the file system of {self._directory} has no exclusive rename: names are checked just before"
            self._note("rename-not-exclusive", detail)
        return ready

    @staticmethod
    def _rename(temporary: str, path: str, replaces: RemoteFile | None) -> bool:
        if replaces is None:
            return rename_new(temporary, path)
        return rename_over(
            temporary,
            path,
            is_expected=lambda there: not stat.S_ISDIR(there.st_mode) and fingerprint_of(there) == replaces.fingerprint,
        )

    def _make_folder(self, folder: str) -> None:
        """Create what is missing between the root and a folder; the root itself never."""
        if folder == self._directory or os.path.isdir(folder):
            return
        parent = os.path.dirname(folder)
        self._make_folder(parent)
        with destination_errors(f"create the directory {folder}", self._directory):
            try:
                os.mkdir(folder)
            except FileExistsError as error:
                if os.path.isdir(folder):
                    return  # another lane was faster
                raise DeliveryRefusedError(
                    f"{folder} is no directory, so nothing can be delivered below it",
                    code="name-refused",
                    fix="move it away, or change name_template",
                ) from error
            self._permissions.give_to_folder(folder)
            flush_directory(parent)

    def _flush_folders(self, placed: Sequence[RemoteFile | DestinationError]) -> list[RemoteFile | DestinationError]:
        """Make the new names durable; where that fails, nothing is known to have arrived."""
        outcomes: dict[str, DestinationError | None] = {}
        results: list[RemoteFile | DestinationError] = []
        for result in placed:
            if isinstance(result, RemoteFile):
                folder = os.path.dirname(path_of(self._directory, result.remote_name))
                if folder not in outcomes:
                    outcomes[folder] = _outcome(self._flush_folder, folder)
                results.append(outcomes[folder] or result)
            else:
                results.append(result)
        return results

    def _flush_folder(self, folder: str) -> None:
        with destination_errors(f"flush {folder} to the disk", self._directory):
            if not flush_directory(folder):
                detail = f"the file system of {self._directory} cannot flush a directory to its disk"
                self._note("directory-flush-refused", detail)


def _outcome(act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | DestinationError:
    try:
        return act(*args, **kwargs)
    except DestinationError as error:
        return error
