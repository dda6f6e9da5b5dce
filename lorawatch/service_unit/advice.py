"""What the probe found, in words, with what to do. Pure; checking.py and `doctor` call it."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Found = Mapping[str, str | int]

_INSTALL = "sudo lorawatch service install"
_ROOT = "root"
MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Who:
    """As whom it was tried. `is_service`: what runs is the systemd service, whose user can be chosen anew."""

    user: str
    is_service: bool = True

    def as_owner(self, found: Found) -> str:
        """Return the command that runs lorawatch as whoever owns what is in the way."""
        owner = found.get("owner", "NAME")
        return f"{_INSTALL} --user {owner}" if self.is_service else f"sudo -u {owner} lorawatch run"

    @property
    def to_run_as(self) -> str:
        """How the words before that command go on."""
        return "run the service as" if self.is_service else "run lorawatch as"


@dataclass(frozen=True, slots=True)
class Advice:
    """One obstacle in words. `fixes`: each helps by itself, the best first; every one ends with its command."""

    code: str
    detail: str
    fixes: tuple[str, ...]


def on(found: Sequence[Found], *, user: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return errors (the service would not work) and notes (it waits by itself)."""
    who = Who(user)
    errors = tuple(_as_text(advise(each, who)) for each in found if each["code"] != MISSING)
    notes = tuple(advise(each, who).detail for each in found if each["code"] == MISSING)
    return errors, notes


def advise(found: Found, who: Who) -> Advice:
    """Return what one obstacle means, and what helps."""
    return _WORDS[str(found["code"])](found, who)


def _as_text(advice: Advice) -> str:
    return "\n".join([advice.detail, *(f"  {fix}" for fix in advice.fixes)])


def _missing(found: Found, _: Who) -> Advice:
    path = str(found["path"])
    detail = f"{path} is not there ({found['error']}): lorawatch waits for it, as for a disk that is not mounted"
    return Advice(MISSING, detail, (f"mount its disk, or create it once: mkdir -p {shlex.quote(path)}",))


def _way_blocked(found: Found, who: Who) -> Advice:
    path = str(found["path"])
    return Advice(
        "permission-denied",
        f"{who.user} may not enter {path}{_seen(found)}, which leads to {found['wanted']}",
        (
            f"let it pass, without seeing what is there: sudo setfacl -m u:{who.user}:x {shlex.quote(path)}",
            f"or {who.to_run_as} its owner: {who.as_owner(found)}",
        ),
    )


def _directory_unreadable(found: Found, who: Who) -> Advice:
    path = str(found["path"])
    acl = f"-m u:{who.user}:rX -m d:u:{who.user}:rX"
    return Advice(
        "permission-denied",
        f"{who.user} may not list {path}{_seen(found)}",
        (
            f"let it read: sudo setfacl -R {acl} {shlex.quote(path)}",
            f"or {who.to_run_as} its owner: {who.as_owner(found)}",
        ),
    )


def _files_unreadable(found: Found, who: Who) -> Advice:
    """Offer what helps against mode 0600, the smallest privilege first; groups and ACLs do not (tried)."""
    count = int(found["count"])
    what = "a file" if count == 1 else f"{count} files"
    detail = f"{who.user} may not read {what}, such as {found['path']}{_seen(found)}"
    fixes = []
    if found.get("owner") != _ROOT:
        fixes.append(f"{who.to_run_as} the trainer's user:  {who.as_owner(found)}")
    fixes.append(f"let it read the files of every user:     {_INSTALL} --private-files")
    file = shlex.quote(str(found["path"]))
    fixes.append(
        f"or in the trainer's container, after each save: chmod g+r {file}, with {who.user} in the file's group"
    )
    return Advice("permission-denied", detail, tuple(fixes))


def _directory_unwritable(found: Found, who: Who) -> Advice:
    path = str(found["path"])
    acl = f"-m u:{who.user}:rwx -m d:u:{who.user}:rwx"
    return Advice(
        "destination-permission-denied",
        f"{who.user} may not write into {path}{_seen(found)}: {found['error']}",
        (
            f"let it write: sudo setfacl {acl} {shlex.quote(path)}",
            f"or {who.to_run_as} its owner: {who.as_owner(found)}",
        ),
    )


def _read_only(found: Found, _: Who) -> Advice:
    path = str(found["path"])
    mount = f"$(findmnt -nT {shlex.quote(path)} -o TARGET)"
    return Advice(
        "destination-read-only",
        f"{path} cannot be written to: {found['error']}",
        (f"if its disk is mounted read-only: sudo mount -o remount,rw {mount}",),
    )


_WORDS: Mapping[str, Callable[[Found, Who], Advice]] = {
    MISSING: _missing,
    "way-blocked": _way_blocked,
    "directory-unreadable": _directory_unreadable,
    "files-unreadable": _files_unreadable,
    "destination-permission-denied": _directory_unwritable,
    "destination-read-only": _read_only,
}


def _seen(found: Found) -> str:
    return f" (mode {found['mode']}, owner {found['owner']})" if "mode" in found else ""
