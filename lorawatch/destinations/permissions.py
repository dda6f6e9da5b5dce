"""Who may read what was delivered: the root's group and the configured mode, never those of the source.

Used by the directory destination on lane and intake threads. A file system that decides for itself (vfat, ntfs,
cifs) is noted, not fought.
"""

import os
import stat
from collections.abc import Callable

from lorawatch.transport.os_errors import UNSUPPORTED

Note = Callable[[str, str], None]

_FOLDER_MODE = 0o775  # whoever shares the group may tidy up there


class Permissions:
    """Group and mode of everything that is created below one root. `note(code, detail)` is told what was refused.

    `owner` in numbers ("1000" or "1000:1000"), or "" for whoever owns the root, also sets the user; None leaves it.
    """

    def __init__(self, root: str, *, file_mode: int, note: Note, owner: str | None = None) -> None:
        self._root = root
        self._file_mode = file_mode
        self._note = note
        self._owner = owner

    def give_to_file(self, descriptor: int, folder: str) -> None:
        """Set group and mode of a file that is being created in a folder. Raises OSError."""
        self._give(descriptor, *self._owner_in(folder), mode=self._file_mode)

    def give_to_folder(self, folder: str) -> None:
        """Set group and mode of a folder that was just created below the root. Raises OSError."""
        root = os.stat(self._root)
        self._give(folder, *self._owner_in(self._root), mode=_FOLDER_MODE | (root.st_mode & stat.S_ISGID))

    def _owner_in(self, folder: str) -> tuple[int, int]:
        """Return user and group of what is created in a folder; a user of -1 stays as it is."""
        status = os.stat(folder)
        if self._owner is None:
            return -1, status.st_gid
        if not self._owner:
            root = os.stat(self._root)
            return root.st_uid, root.st_gid
        user, _, group = self._owner.partition(":")
        return int(user), int(group or status.st_gid)

    def _give(self, target: int | str, user: int, group: int, *, mode: int) -> None:
        status = os.stat(target)
        try:
            if (status.st_uid if user == -1 else user, group) != (status.st_uid, status.st_gid):
                os.chown(target, user, group)
        except OSError as error:
            self._accept(error, "group-not-set", f"what is delivered to {self._root} does not get its group, {group}")
        try:
            if stat.S_IMODE(status.st_mode) != mode:
                os.chmod(target, mode)
        except OSError as error:
            self._accept(error, "mode-not-set", f"what is delivered to {self._root} does not get the mode {mode:04o}")

    def _accept(self, error: OSError, code: str, detail: str) -> None:
        if error.errno not in UNSUPPORTED:
            raise error
        self._note(code, detail)
