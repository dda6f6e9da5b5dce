"""Tell whether the watched root is there, and whether it is still the directory that it was.

The folder source asks on its intake thread, about once a second. It only stats the root and its way up; it never
lists it.
"""

import os
import stat
from dataclasses import dataclass

from lorawatch.sources.mounts import Mount, MountTable


@dataclass(frozen=True, slots=True)
class Root:
    """The directory that stands at the watched path, with its links resolved, and the mount it lies on."""

    real_path: str
    device: int
    inode: int
    mount: Mount

    def is_same_as(self, other: "Root") -> bool:
        """Return whether both are one directory. Remote file systems may number theirs anew at any time."""
        if self.real_path != other.real_path or self.mount != other.mount:
            return False
        return not self.mount.is_local or (self.device, self.inode) == (other.device, other.inode)


class RootMissingError(Exception):
    """The root cannot be watched now. `code` says in which way."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def find_root(path: str, mounts: MountTable, *, before: Root | None) -> Root:
    """Return the root at this path now. Raises RootMissingError, also when only its empty mount point is left.

    `before` is what the root was when it was last well: a disk is only missed by who has seen it.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        if before is not None and not _is_mounted(before.mount, mounts):
            raise _unmounted(path, before.mount) from error
        raise RootMissingError("root-missing", f"there is no directory {path}") from error
    except OSError as error:
        raise RootMissingError("root-unreadable", f"could not look at {path}: {error.strerror or error}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise RootMissingError("root-missing", f"{path} is not a directory")
    if not os.access(path, os.R_OK | os.X_OK, effective_ids=True):
        raise RootMissingError("root-unreadable", f"{path} may not be listed by uid {os.geteuid()}")
    real_path = os.path.realpath(path)
    root = Root(real_path, status.st_dev, status.st_ino, mounts.of(real_path))
    if before is not None and real_path == before.real_path and not _is_mounted(before.mount, mounts):
        raise _unmounted(path, before.mount)
    return root


def _is_mounted(mount: Mount, mounts: MountTable) -> bool:
    return mounts.of(mount.point).point == mount.point


def _unmounted(path: str, mount: Mount) -> RootMissingError:
    return RootMissingError("root-unmounted", f"nothing is mounted at {mount.point} any more, which held {path}")
