"""Does anybody hold a file open for writing? The kernel knows; there are two ways to ask it.

The folder source asks on its intake thread, for files on local mounts whose close was not seen. It never keeps a
lease, and it needs no set-up of the process: see `_lease_says`.
"""

import errno
import fcntl
import os
import signal

# include/linux/proc_ns.h, PROC_PID_INIT_INO: /proc shows every process of the machine only in the first namespace.
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC


def is_held_open(descriptor: int) -> bool | None:
    """Return whether somebody has this open regular file open for writing; None if it cannot be known.

    The descriptor must be the only one of ours, read-only.
    """
    answer = _lease_says(descriptor)
    return _processes_say(os.fstat(descriptor)) if answer is None else answer


def _lease_says(descriptor: int) -> bool | None:
    """Try to take a read lease: granted only while no process anywhere has the file open for writing (fcntl(2)).

    Only the file's owner and CAP_LEASE may, and not on every file system. Who opens the file for writing in the
    microseconds between the two calls waits for the second one, and the kernel signals us: by default with
    SIGIO, which would end the process; SIGURG is ignored unless somebody handles it.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def _processes_say(file: os.stat_result) -> bool | None:
    """Look through the open files of every process. Conclusive only if all of them could be looked at."""
    unseen = {"1"}  # a /proc that hides the processes of others hides this one
    try:
        if os.stat("/proc/self/ns/pid").st_ino != _INITIAL_PID_NAMESPACE:
            unseen.add("other namespaces")
        processes = [name for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:  # no /proc: nothing to look through
        return None
    for process in processes:
        try:
            if _has_open_for_writing(process, file):
                return True
            unseen.discard(process)
        except PermissionError:
            unseen.add(process)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended, and holds nothing any more
    return None if unseen else False


def _has_open_for_writing(process: str, file: os.stat_result) -> bool:
    for number in os.listdir(f"/proc/{process}/fd"):
        try:
            if _is_for_writing(f"/proc/{process}/fdinfo/{number}", file.st_ino):
                other = os.stat(f"/proc/{process}/fd/{number}")
                if os.path.samestat(file, other):
                    return True
        except FileNotFoundError:
            continue  # closed meanwhile
    return False


def _is_for_writing(fdinfo: str, inode: int) -> bool:
    """Read proc_pid_fdinfo(5). `ino` (Linux 5.14) spares a stat, which could hang on a dead file server."""
    with open(fdinfo, "rb") as file:
        fields = dict(line.split(b":", 1) for line in file if b":" in line)
    is_writable = int(fields[b"flags"], 8) & os.O_ACCMODE in (os.O_WRONLY, os.O_RDWR)
    return is_writable and int(fields.get(b"ino", inode)) == inode
