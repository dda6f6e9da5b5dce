"""Whether the root of a local destination is there, is the disk that it was, and has room.

Used by the directory destination on lane and intake threads; cheap enough to be asked before every act. It never
creates, writes or remembers anything beyond this process: the engine keeps `was_mount_point` for the next one.
"""

import os
import stat

from lorawatch.domain.errors import DestinationDownError
from lorawatch.transport.files import free_bytes
from lorawatch.transport.os_errors import destination_errors, missing_directory


class Root:
    """The directory itself. `was_mount_point`: it has been seen as a mount; None: it has not been seen yet."""

    def __init__(self, directory: str, *, min_free_bytes: int) -> None:
        self._directory = directory
        self._min_free_bytes = min_free_bytes
        self.was_mount_point: bool | None = None
        self._known = (0, 0, False)  # device and inode number of the root, and whether something is mounted there

    @property
    def is_mount_point(self) -> bool:
        """Return whether the root is on another device than its parent. Raises DestinationDownError."""
        return self._look()

    def require(self) -> None:
        """Raise DestinationDownError if the root is missing, or the disk that was mounted there is gone."""
        is_mount_point = self._look()
        if self.was_mount_point and not is_mount_point:
            raise DestinationDownError(
                f"{self._directory} was a mounted disk and is now a plain directory on its parent's disk",
                code="destination-unmounted",
                fix="mount the disk again; if it shall stay as it is, give this destination a new name",
            )
        self.was_mount_point = is_mount_point

    def require_room(self, folder: str, needed_bytes: int) -> None:
        """Raise DestinationDownError if writing so much would leave less than `min_free_bytes`."""
        with destination_errors(f"ask {folder} for its free space", self._directory):
            free = free_bytes(folder)
        if free - needed_bytes < self._min_free_bytes:
            raise DestinationDownError(
                f"{folder} has {free:,} bytes free; {needed_bytes:,} more would leave less than"
                f" min_free_bytes = {self._min_free_bytes:,}",
                code="low-disk-space",
                fix="free some space, or lower min_free_bytes; the delivery goes on by itself",
            )

    def _look(self) -> bool:
        with destination_errors(f"look at {self._directory}", self._directory):
            try:
                root = os.stat(self._directory)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise missing_directory(self._directory) from error
            if not stat.S_ISDIR(root.st_mode):
                raise missing_directory(self._directory)
            device, inode, is_mount_point = self._known
            if (device, inode) != (root.st_dev, root.st_ino):  # it is not asked twice of the same directory
                # ".." of what a link leads to, not the directory that holds the link
                is_mount_point = root.st_dev != os.stat(os.path.join(self._directory, "..")).st_dev
                self._known = (root.st_dev, root.st_ino, is_mount_point)
            return is_mount_point
