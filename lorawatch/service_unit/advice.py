"""What the probe found, in words, with what to do. Pure; checking.py calls it."""

from collections.abc import Mapping, Sequence

Found = Mapping[str, str | int]

_INSTALL = "sudo lorawatch service install"
_ROOT = "root"


def on(found: Sequence[Found], *, user: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return errors (the service would not work) and notes (it waits by itself)."""
    errors = tuple(_WORDS[str(each["code"])](each, user) for each in found if each["code"] != "missing")
    notes = tuple(_missing(each) for each in found if each["code"] == "missing")
    return errors, notes


def _missing(found: Found) -> str:
    return f"{found['path']} is not there ({found['error']}): lorawatch waits for it, as for a disk that is not mounted"


def _way_blocked(found: Found, user: str) -> str:
    path = found["path"]
    return (
        f"{user} may not enter {path}{_seen(found)}, which leads to {found['wanted']}\n"
        f"  let it pass, without seeing what is there: sudo setfacl -m u:{user}:x {path}\n"
        f"  or run the service as its owner: {_as_owner(found)}"
    )


def _directory_unreadable(found: Found, user: str) -> str:
    path = found["path"]
    return (
        f"{user} may not list {path}{_seen(found)}\n"
        f"  let it read: sudo setfacl -R -m u:{user}:rX -m d:u:{user}:rX {path}\n"
        f"  or run the service as its owner: {_as_owner(found)}"
    )


def _files_unreadable(found: Found, user: str) -> str:
    """Offer what helps against mode 0600, the smallest privilege first; groups and ACLs do not (FACTS: tried)."""
    count = int(found["count"])
    what = "a file" if count == 1 else f"{count} files"
    lines = [f"{user} may not read {what}, such as {found['path']}{_seen(found)}. One of these helps, the best first:"]
    if found.get("owner") != _ROOT:
        lines.append(f"  run the service as the trainer's user:  {_as_owner(found)}")
    lines.append(f"  let it read the files of every user:     {_INSTALL} --private-files")
    lines.append(f"  or in the trainer's container, after each save: chmod g+r FILE, with {user} in the file's group")
    return "\n".join(lines)


def _directory_unwritable(found: Found, user: str) -> str:
    path = found["path"]
    return (
        f"{user} may not write into {path}{_seen(found)}: {found['error']}\n"
        f"  let it write: sudo setfacl -m u:{user}:rwx -m d:u:{user}:rwx {path}\n"
        f"  or run the service as its owner: {_as_owner(found)}"
    )


def _read_only(found: Found, _: str) -> str:
    return (
        f"{found['path']} cannot be written to: {found['error']}\n"
        f"  if its disk is mounted read-only: sudo mount -o remount,rw $(findmnt -nT {found['path']} -o TARGET)"
    )


_WORDS = {
    "way-blocked": _way_blocked,
    "directory-unreadable": _directory_unreadable,
    "files-unreadable": _files_unreadable,
    "destination-permission-denied": _directory_unwritable,
    "destination-read-only": _read_only,
}


def _seen(found: Found) -> str:
    return f" (mode {found['mode']}, owner {found['owner']})" if "mode" in found else ""


def _as_owner(found: Found) -> str:
    return f"{_INSTALL} --user {found.get('owner', 'NAME')}"
