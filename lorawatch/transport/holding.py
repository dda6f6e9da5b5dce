"""Names that one process of this machine holds, so that others know what is in use. They go with the process.

The docker destination holds the names of its temporary files, which no descriptor of ours keeps open. Each is an
abstract UNIX socket (unix(7)): it needs no file and no cleaning up, and every user sees it. Any thread may call it;
nothing here blocks.
"""

import errno
import hashlib
import socket
import threading

_lock = threading.Lock()
# Of the whole process: after a reload another object goes on with what the one before it held.
_held: dict[str, socket.socket] = {}


def hold(name: str) -> bool:
    """Hold a name; False if it is held already, by whomever."""
    with _lock:
        if name in _held:
            return False
        holder = _bound(name)
        if holder is None:
            return False
        _held[name] = holder
        return True


def release(name: str) -> None:
    """Hold a name no more. Idempotent."""
    with _lock:
        holder = _held.pop(name, None)
    if holder is not None:
        holder.close()


def is_held(name: str) -> bool:
    """Return whether some process holds the name now."""
    with _lock:
        if name in _held:
            return True
    probe = _bound(name)
    if probe is None:
        return True
    probe.close()
    return False


def _bound(name: str) -> socket.socket | None:
    """Return a socket of this name; None if there is one. Where there are no such sockets, nobody else holds any."""
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        holder.bind(b"\0lorawatch-" + hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            holder.close()
            return None
    return holder
