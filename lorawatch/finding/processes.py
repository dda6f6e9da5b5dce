"""What the programs that run now reveal: where they stand, how they were started, which files they have open.

directories.py and comfyui.py call it. As far as /proc lets this user see; what it hides is passed over. A process of
a container has its own view of the file system: its paths are translated into ours where its mounts allow that.
"""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Open files are read of these only: it is one look per file, and a desktop has tens of thousands open.
_INTERESTING = re.compile(r"python|comfy|ai-?toolkit", re.IGNORECASE)
_MOST_FILES = 512  # of one process
_ESCAPED = re.compile(r"\\([0-7]{3})")  # proc_pid_mountinfo(5)
_LAYERED = frozenset({"overlay", "aufs", "tmpfs", "fuse.fuse-overlayfs"})  # gone with its container


@dataclass(frozen=True, slots=True)
class MountPoint:
    """One line of a mount table: which part of which device is seen where."""

    device: str
    inside: str
    point: str
    kind: str


@dataclass(frozen=True, slots=True)
class Process:
    """One program. Paths are as it sees them itself; `translate` makes ours of them."""

    pid: int
    directory: str
    words: tuple[str, ...]
    open_files: tuple[str, ...]
    mounts: tuple[MountPoint, ...] | None  # None: it sees what we see
    our_mounts: tuple[MountPoint, ...] = ()

    @property
    def is_contained(self) -> bool:
        """Return whether it has a view of its own, as in a container."""
        return self.mounts is not None

    @property
    def title(self) -> str:
        """What it is called where something is explained."""
        return f"process {self.pid}" + (", in a container" if self.is_contained else "")

    def translate(self, path: str) -> str | None:
        """Return where a path of its view lies in ours; None where nothing of ours shows it."""
        if self.mounts is None:
            return path
        return translated(path, self.mounts, self.our_mounts)

    def mounts_translated(self) -> list[tuple[str, str, str]]:
        """Return what is mounted into its container: where it is here, where it is seen there, and whose it is."""
        found = [(self.translate(each.point), each.point) for each in self.mounts or () if each.point != "/"]
        return [(here, there, f"the container of process {self.pid}") for here, there in found if here]


def running(root: str = "/") -> list[Process]:
    """Return the processes that may be looked at. `root` is another root of the file system, for tests."""
    ours = tuple(_mounts(os.path.join(root, "proc/self/mountinfo")))
    own_view = _link(os.path.join(root, "proc/self/ns/mnt"))
    found = []
    for place in glob.glob(os.path.join(glob.escape(root), "proc/[0-9]*")):
        directory = _link(os.path.join(place, "cwd"))
        if not directory:
            continue  # it has ended, or belongs to somebody else
        words = _words(os.path.join(place, "cmdline"))
        is_interesting = _INTERESTING.search(" ".join([directory, *words])) is not None
        view = _link(os.path.join(place, "ns/mnt"))
        is_contained = bool(view and own_view) and view != own_view
        mounts = tuple(_mounts(os.path.join(place, "mountinfo"))) if is_contained else None
        files = tuple(_open_files(place)) if is_interesting else ()
        found.append(Process(int(os.path.basename(place)), directory, words, files, mounts, ours))
    return sorted(found, key=lambda process: process.pid)


def translated(path: str, theirs: Sequence[MountPoint], ours: Sequence[MountPoint]) -> str | None:
    """Return where a path of one mount table is in another; None for what only lies in a container's own layers."""
    holder = max(
        (each for each in theirs if _is_below(path, each.point)), key=lambda each: len(each.point), default=None
    )
    if holder is None or holder.kind in _LAYERED:
        return None
    inside = os.path.normpath(os.path.join(holder.inside, os.path.relpath(path, holder.point)))
    shown = [each for each in ours if each.device == holder.device and _is_below(inside, each.inside)]
    if not shown:
        return None
    best = max(shown, key=lambda each: len(each.inside))
    return os.path.normpath(os.path.join(best.point, os.path.relpath(inside, best.inside)))


def _is_below(path: str, above: str) -> bool:
    return path == above or path.startswith(os.path.join(above, ""))


def _mounts(table: str) -> Iterator[MountPoint]:
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        front, _, back = line.partition(" - ")
        fields = front.split(" ")
        if len(fields) >= 5 and back:
            inside, point = (_ESCAPED.sub(lambda match: chr(int(match[1], 8)), field) for field in fields[3:5])
            yield MountPoint(fields[2], inside, point, back.split(" ")[0])


def _open_files(place: str) -> Iterator[str]:
    try:
        numbers = os.listdir(os.path.join(place, "fd"))[:_MOST_FILES]
    except OSError:
        return
    for number in numbers:
        target = _link(os.path.join(place, "fd", number))
        if target.startswith("/") and not target.startswith(("/dev/", "/proc/")):
            yield target.removesuffix(" (deleted)")


def _words(file: str) -> tuple[str, ...]:
    try:
        with open(file, "rb") as stream:
            return tuple(os.fsdecode(word) for word in stream.read().split(b"\0") if word)
    except OSError:
        return ()


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
