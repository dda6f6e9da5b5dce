"""Which mount a path lies on, and whether changes made there are told to this machine.

The folder source refreshes it on its intake thread and asks there and on the watcher's; `doctor` may ask too. Reading
the table costs some 30 microseconds and it is parsed only when its text changed. It never touches a mount: a dead
server cannot make it hang.
"""

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field

_MOUNT_TABLE = "/proc/self/mountinfo"
_ESCAPED = re.compile(rb"\\([0-7]{3})")  # proc_pid_mountinfo(5): space, tab, newline and backslash

# File systems that another machine, or a program behind the kernel's back, may change: inotify tells only what
# this kernel does itself (inotify(7), "Limitations"), and neither their times nor leases vouch for a far writer.
# fuseblk (ntfs-3g, exfat-fuse) is not among them: the block device is ours alone, so every change passes here.
_REMOTE = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "9p", "virtiofs", "fuse"),
        "autofs",  # whatever will be mounted there, and how long that takes, is not known yet
        *("ceph", "lustre", "gpfs", "beegfs", "gfs2", "ocfs2", "orangefs", "pvfs2", "glusterfs", "acfs"),
        # VirtualBox, VMware, Parallels, WSL 1, Docker Desktop
        *("vboxsf", "vmhgfs", "prl_fs", "drvfs", "osxfs", "fakeowner"),
    }
)

# File systems on which each directory has one link more for every directory in it, beside its own two (their kernel
# sources: ext4_mkdir, xfs_create, shmem_mkdir). btrfs always says one, and what FUSE says is anybody's guess.
_COUNTING = frozenset({"ext2", "ext3", "ext4", "xfs", "tmpfs"})
_OWN_LINKS = 2


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the mount table."""

    point: str
    kind: str
    device: int = field(default=0, compare=False)  # st_dev of what is on it, except on btrfs; 0: not known

    @property
    def is_local(self) -> bool:
        """Whether every change to its files is made by this machine's kernel."""
        return self.kind not in _REMOTE and not self.kind.startswith("fuse.")

    def has_no_directory_in(self, status: os.stat_result) -> bool:
        """Return whether a directory with this status, found on this mount, surely holds no other one."""
        is_here = status.st_dev == self.device  # else another mount has come, or covers this one
        return is_here and self.kind in _COUNTING and stat.S_ISDIR(status.st_mode) and status.st_nlink == _OWN_LINKS


_NOWHERE = Mount("/", "")  # without a mount table everything counts as one local file system


class MountTable:
    """The mounts of this process. Paths are real ones: links are for the caller to resolve."""

    def __init__(self, table: str = _MOUNT_TABLE) -> None:
        self._table = table
        self._text = b""
        self._mounts: dict[str, Mount] = {}
        self.refresh()

    def refresh(self) -> bool:
        """Read the table again; return whether it changed."""
        try:
            with open(self._table, "rb") as file:
                text = file.read()
        except OSError:  # no /proc here
            text = b""
        if text == self._text:
            return False
        self._text = text
        self._mounts = {mount.point: mount for mount in map(_parse, text.splitlines())}  # the last one covers others
        return True

    def of(self, path: str) -> Mount:
        """Return the mount that holds this absolute real path."""
        mounts = self._mounts  # another thread may be refreshing it
        while path not in mounts:
            parent = os.path.dirname(path)
            if parent == path:
                return _NOWHERE
            path = parent
        return mounts[path]

    def below(self, directory: str) -> list[Mount]:
        """Return the mounts below this absolute real directory, without the one it lies on itself."""
        start = os.path.join(directory, "")
        return [mount for point, mount in self._mounts.items() if point.startswith(start) and point != directory]


class Disks:
    """The disks of some directories. Asks the mount table alone, which answers also where a server does not."""

    def __init__(self, directories: Iterable[str], *, table: str = _MOUNT_TABLE) -> None:
        self._directories = [os.path.realpath(directory) for directory in directories]
        self._table = MountTable(table)

    def are_local(self) -> bool:
        """Return whether nothing in or below the directories lies on another machine now."""
        self._table.refresh()
        return all(
            mount.is_local
            for directory in self._directories
            for mount in (self._table.of(directory), *self._table.below(directory))
        )


def is_local(path: str) -> bool:
    """Return whether a path lies on a file system that only this machine changes."""
    return MountTable().of(os.path.realpath(path)).is_local


def _parse(line: bytes) -> Mount:
    front, _, back = line.partition(b" - ")
    fields = front.split(b" ")
    point = _ESCAPED.sub(lambda match: bytes((int(match[1], 8),)), fields[4])
    major, minor = map(int, fields[2].split(b":"))
    return Mount(os.fsdecode(point), os.fsdecode(back.split(b" ")[0]), os.makedev(major, minor))
