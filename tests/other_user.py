"""Run a command as another user, also where Python, its packages or the checkout lie in a directory of root's own.

`python other_user.py UID COMMAND…`, as root: tests/process.py starts it. What the user could not reach (mostly /root,
which is 0700) is shown in a mount namespace of this process alone; nothing changes for anybody else.
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_NEW_MOUNTS = 0x00020000  # sched.h: CLONE_NEWNS
_ASIDE = "/mnt"  # covered in the namespace, to keep sight of what is covered elsewhere


def needed() -> set[Path]:
    """Return the directories that a Python process of this checkout reads."""
    project = Path(__file__).resolve().parent.parent
    found = {project, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}
    return {each for each in found if not found.intersection(each.parents)}  # a .venv in the checkout comes with it


def hidden_above(path: Path) -> Path | None:
    """Return the topmost directory on the way to a path, or the path itself, that others may not enter."""
    way = [*reversed(path.parents), path]
    return next((each for each in way if each.stat().st_mode & 0o005 != 0o005), None)


def show(paths: Iterable[Path]) -> None:
    """Let everybody reach these directories, in a namespace of this process."""
    hidden = {top for path in paths if (top := hidden_above(path)) is not None}
    if not hidden:
        return
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS) != 0:
        raise OSError(ctypes.get_errno(), "could not leave the mount namespace")
    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", _ASIDE)
    for number, top in enumerate(sorted(hidden)):
        aside = Path(_ASIDE, str(number))
        aside.mkdir()
        mount("--rbind", top, aside)
        mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", top)
        for path in paths:
            if path.is_relative_to(top):
                show_children(aside / path.relative_to(top), path)


def show_children(real: Path, path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for child in real.iterdir():
        target = path / child.name
        if child.is_symlink():
            target.symlink_to(child.readlink())
        elif child.is_dir():
            target.mkdir(exist_ok=True)
            mount("--rbind", child, target)


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)


if __name__ == "__main__":
    user, command = int(sys.argv[1]), sys.argv[2:]
    directory = os.getcwd()
    os.umask(0o022)
    show(sorted(needed()))
    os.chdir(directory)
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    os.execv(command[0], command)
