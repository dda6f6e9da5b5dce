"""Give a finished temporary file its name, without ever overwriting or removing what is not expected there.

Called by the directory destination on lane threads. Both files are in one file system; OSError is raised as it
comes, except that EXDEV and EEXIST have their own meaning to the caller. It never flushes anything.
"""

import ctypes
import errno
import os
from collections.abc import Callable

from lorawatch.transport.files import remove_quietly
from lorawatch.transport.os_errors import UNSUPPORTED

_AT_FDCWD = -100
_NOREPLACE = 1  # linux/fs.h
_EXCHANGE = 2

_libc = ctypes.CDLL(None, use_errno=True)


def rename_new(temporary: str, target: str) -> bool:
    """Rename to a name at which nothing stands; FileExistsError if something does.

    Return whether the file system excluded a race (renameat2, or a hard link). False: looked at just before.
    """
    if _rename_with(_NOREPLACE, temporary, target):
        return True
    try:
        os.link(temporary, target, follow_symlinks=False)
    except FileExistsError:
        if not _is_same_file(temporary, target):  # it is ours if a server's first answer was lost (NFS)
            raise
    except OSError as error:
        if error.errno not in UNSUPPORTED | {errno.EMLINK}:
            raise
        _rename_after_a_look(temporary, target)
        return False
    remove_quietly(temporary)
    return True


def rename_over(temporary: str, target: str, *, is_expected: Callable[[os.stat_result], bool]) -> bool:
    """Put the temporary file in the place of the expected one; FileExistsError if another one stands there.

    Exchanges the two, looks at what came out, and exchanges them back if it is not what was expected: so nothing
    is lost even if somebody puts a file there at this very moment. If nothing stands there, it is a new name.
    Return whether the file system excluded a race.
    """
    try:
        if not is_expected(os.lstat(target)):
            raise FileExistsError(errno.EEXIST, "another file stands there", target)
        if not _rename_with(_EXCHANGE, temporary, target):
            os.replace(temporary, target)
            return False
    except FileNotFoundError:
        return rename_new(temporary, target)
    if not is_expected(os.lstat(temporary)):
        _rename_with(_EXCHANGE, temporary, target)
        raise FileExistsError(errno.EEXIST, "another file was put there meanwhile", target)
    remove_quietly(temporary)
    return True


def remove_expected(target: str, aside: str, *, is_expected: Callable[[os.stat_result], bool]) -> bool:
    """Remove the file if it is the expected one, else leave it; return whether it was removed.

    It is moved to the name `aside` and looked at again before it goes.
    """
    try:
        if not is_expected(os.lstat(target)):
            return False
        os.rename(target, aside)
    except FileNotFoundError:
        return False
    if is_expected(os.lstat(aside)):
        os.unlink(aside)
        return True
    rename_new(aside, target)
    return False


def _rename_with(flag: int, temporary: str, target: str) -> bool:
    """Call renameat2; False where kernel, C library or file system do not know it."""
    if not hasattr(_libc, "renameat2"):
        return False
    old, new = os.fsencode(temporary), os.fsencode(target)
    if _libc.renameat2(_AT_FDCWD, old, _AT_FDCWD, new, ctypes.c_uint(flag)) == 0:
        return True
    number = ctypes.get_errno()
    if number in {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
        return False
    raise OSError(number, os.strerror(number), temporary, None, target)


def _rename_after_a_look(temporary: str, target: str) -> None:
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    os.rename(temporary, target)


def _is_same_file(one: str, other: str) -> bool:
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except FileNotFoundError:
        return False
