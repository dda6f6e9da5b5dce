"""A directory in which every call hangs: a FUSE file system whose program never answers, not even the first question.

It is what a dead network disk or a broken one looks like to the daemon: calls do not come back, and only the end of
the process, or of the file system, frees them.
"""

import subprocess
from types import TracebackType
from typing import Self

from tests.system.nspawn import Machine

# Runs in the machine. A `fuseblk` counts as a local disk (ntfs-3g is one) and needs a block device; `fuse` does not.
_PROGRAM = """
import ctypes, os, sys
kind, device, point = sys.argv[1:]
if not os.path.exists("/dev/fuse"):
    os.mknod("/dev/fuse", 0o20666, os.makedev(10, 229))
if kind == "fuseblk" and not os.path.exists(device):
    os.mknod(device, 0o60600, os.makedev(7, int(device.removeprefix("/dev/loop"))))
fd = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fd},rootmode=40755,user_id=0,group_id=0,allow_other" + (",blksize=512" if kind == "fuseblk" else "")
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(device.encode(), point.encode(), kind.encode(), 0, options.encode()):
    sys.exit(os.strerror(ctypes.get_errno()))
print("mounted", flush=True)
sys.stdin.read()
"""


class Hanging:
    """Hangs everything below `point` while it is entered. `is_local`: it counts as a disk of this machine."""

    def __init__(self, machine: Machine, point: str, *, is_local: bool = False) -> None:
        self._machine = machine
        self._point = point
        self._is_local = is_local
        self._device = "hanging"
        self._holder: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if self._is_local:
            image = self._machine.root.parent / "hanging.img"
            with open(image, "wb") as file:
                file.truncate(1 << 20)
            found = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True)
            self._device = found.stdout.strip()
        words = ["python3", "-c", _PROGRAM, "fuseblk" if self._is_local else "fuse", self._device, self._point]
        self._holder = subprocess.Popen(
            [*self._machine.enter(), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        said = self._holder.stdout.readline()
        assert said == b"mounted\n", self._holder.communicate()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the program, which gives every hanging call an error, and take the file system away."""
        assert self._holder is not None
        self._holder.communicate(b"")
        self._machine.run("umount", "--lazy", self._point)
        if self._is_local:
            subprocess.run(["losetup", "--detach", self._device], check=True)
