"""Turn what the operating system refuses into the house's own errors: the one place where an errno gets a meaning.

Called by everything that touches a file of a source or of a local destination, on any thread. Permanent or
transient is decided here and nowhere else. It never lets an OSError through and never raises one.
"""

import errno
import os
import pwd
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from lorawatch.domain.errors import (
    DeliveryDelayedError,
    DeliveryRefusedError,
    DestinationDownError,
    DestinationError,
    FileUnreadableError,
    FileVanishedError,
    SourceError,
)

# A file system that cannot do what was asked says one of these; vfat, ntfs, cifs and FUSE differ in which.
UNSUPPORTED = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENOTTY})


class _Meaning(NamedTuple):
    error: type[DestinationError]
    code: str
    fix: str


_FULL = _Meaning(DestinationDownError, "disk-full", "free some space; the delivery goes on by itself")
_READ_ONLY = _Meaning(
    DestinationDownError,
    "destination-read-only",
    "mount it writable; a disk that turned read-only by itself has errors: see `dmesg`; for the service a directory"
    " that was made after its start is read-only, too: sudo systemctl restart lorawatch",
)
_BROKEN = _Meaning(DestinationDownError, "io-error", "check the disk and its cable: see `dmesg`")
_STALE = _Meaning(DestinationDownError, "stale-handle", "the server forgot this mount: unmount and mount it again")
_FAR = _Meaning(DestinationDownError, "destination-unreachable", "check the file server and the network to it")
_NAME = _Meaning(DeliveryRefusedError, "name-refused", "change name_template, or give a name with --as")
_LARGE = _Meaning(
    DeliveryRefusedError,
    "file-too-large",
    "this file system cannot hold a file of that size (vfat: 4 GiB); use another one",
)
_CHANGED = _Meaning(
    DeliveryDelayedError,
    "destination-changed",
    "somebody moved or removed something there meanwhile; it is done again",
)
_LOCKED = _Meaning(
    DestinationDownError,
    "destination-down",
    "unlock the encrypted directory (`fscrypt unlock`), or renew the ticket of the file server (`kinit`)",
)
_BUSY = _Meaning(DeliveryDelayedError, "delivery-delayed", "another program holds it just now; it is tried again")
_CIRCLE = _Meaning(
    DeliveryDelayedError,
    "delivery-delayed",
    "symbolic links there lead in a circle: see `namei -l PATH` and mend one; it is tried again",
)
_HANDLES = _Meaning(
    DeliveryDelayedError,
    "delivery-delayed",
    "too many files are open: raise LimitNOFILE= of the service, or `sysctl fs.file-max`; it is tried again",
)
_UNKNOWN = _Meaning(DeliveryDelayedError, "io-error", "it is tried again; if it stays, see `dmesg`")

_MEANINGS: dict[int, _Meaning] = {
    errno.ENOENT: _CHANGED,
    errno.ENOTDIR: _CHANGED,
    errno.EXDEV: _CHANGED,  # a disk was mounted on a sub-directory since the copy was made
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: _READ_ONLY,
    errno.EIO: _BROKEN,
    errno.ENXIO: _BROKEN,
    errno.ENODEV: _BROKEN,
    errno.ENOMEDIUM: _BROKEN,
    errno.EUCLEAN: _BROKEN,
    errno.ESTALE: _STALE,
    errno.ETIMEDOUT: _FAR,
    errno.EHOSTDOWN: _FAR,
    errno.EHOSTUNREACH: _FAR,
    errno.ENETDOWN: _FAR,
    errno.ENETUNREACH: _FAR,
    errno.ENOTCONN: _FAR,
    errno.ECONNREFUSED: _FAR,
    errno.ECONNRESET: _FAR,
    errno.ECONNABORTED: _FAR,
    errno.ESHUTDOWN: _FAR,
    errno.EREMOTEIO: _FAR,
    errno.ENAMETOOLONG: _NAME,
    errno.EILSEQ: _NAME,
    errno.EFBIG: _LARGE,
    errno.ENOKEY: _LOCKED,  # fscrypt: new names cannot be made while the directory is locked
    errno.EKEYEXPIRED: _LOCKED,  # NFS with Kerberos
    errno.EBUSY: _BUSY,
    errno.ELOOP: _CIRCLE,
    errno.EMFILE: _HANDLES,
    errno.ENFILE: _HANDLES,
}


def destination_error(error: OSError, *, doing: str, directory: str) -> DestinationError:
    """Return the error that this OSError means for the destination whose root is `directory`.

    `doing` says what was tried on what, as in "write /loras/.x.part".
    """
    if error.errno in {errno.EACCES, errno.EPERM}:
        return _permission_denied(doing, directory)
    if error.errno in {errno.ENOENT, errno.ENOTDIR} and not os.path.isdir(directory):
        return missing_directory(directory)
    return error_of_number(error.errno or 0, doing=doing, words=_words(error))


def error_of_number(number: int, *, doing: str, words: str) -> DestinationError:
    """Return what an errno means, wherever it was met: in a container there is no directory of ours to look at.

    Permissions and a missing root are for the caller: what to do about them depends on the place.
    """
    meaning = _MEANINGS.get(number, _UNKNOWN)
    return meaning.error(f"could not {doing}: {words}", code=meaning.code, fix=meaning.fix)


@contextmanager
def destination_errors(doing: str, directory: str) -> Iterator[None]:
    """Raise what an OSError in the body means for the destination instead of the OSError."""
    try:
        yield
    except OSError as error:
        raise destination_error(error, doing=doing, directory=directory) from error


def missing_directory(directory: str) -> DestinationDownError:
    """Return the error for a destination whose root is not a directory that is there."""
    return DestinationDownError(
        f"the directory {directory} does not exist; it may be an unmounted disk, so it is not created",
        code="destination-missing",
        fix=f"mount it, or create it once: mkdir -p {shlex.quote(directory)}",
    )


def source_error(error: OSError, path: str) -> SourceError:
    """Return the error that this OSError means for the source file at `path`."""
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return FileVanishedError(f"{path} is gone")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return FileUnreadableError(
            f"{path} may not be read by {_who()}",
            code="permission-denied",
            fix=_private_file_fix(path),
        )
    code = "stale-handle" if error.errno == errno.ESTALE else "io-error"
    return FileUnreadableError(f"could not read {path}: {_words(error)}", code=code, fix="it is looked at again")


def _private_file_fix(path: str) -> str:
    """Say what opens a file that only its owner can read: in the order of the privilege that it takes."""
    install = "sudo lorawatch service install"
    try:
        owner = pwd.getpwuid(os.stat(path).st_uid).pw_name
    except (OSError, KeyError):
        owner = "NAME"
    as_owner = f"run it as the trainer's user ({install} --user {shlex.quote(owner)}), or "
    return (
        "safetensors 0.8 writes mode 0600, against which groups and ACLs do not help: "
        f"{'' if owner == 'root' else as_owner}let it read the files of every user ({install} --private-files), or "
        "set a umask in the trainer's container"
    )


def _permission_denied(doing: str, directory: str) -> DestinationDownError:
    quoted = shlex.quote(directory)
    try:
        root = os.stat(directory)
        owner = f"it belongs to uid {root.st_uid}, gid {root.st_gid}, mode {root.st_mode & 0o7777:04o}"
    except OSError:
        owner = "it may not even be looked at"
    return DestinationDownError(
        f"could not {doing}: permission denied for {_who()}; {directory}: {owner}",
        code="destination-permission-denied",
        fix=f"setfacl -m u:{os.geteuid()}:rwx {quoted}"
        f", or: chgrp {os.getegid()} {quoted} && chmod g+rwxs {quoted} (with sudo)",
    )


def _who() -> str:
    groups = sorted({os.getegid(), *os.getgroups()})
    return f"uid {os.geteuid()}, groups {' '.join(map(str, groups))}"


def _words(error: OSError) -> str:
    name = errno.errorcode.get(error.errno or 0, "no errno")
    return f"{error.strerror or error} ({name})"
