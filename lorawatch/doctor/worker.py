"""As whom lorawatch works: the running daemon, else the installed service, else whoever asks. Called once, at first."""

import grp
import os
import pwd
import re
import stat
from dataclasses import dataclass

from lorawatch.journal.lock import owner_of
from lorawatch.service_unit import places
from lorawatch.service_unit.survey import installed_user
from lorawatch.transport.process import Identity

# capabilities(7): what opens the files of everybody, as bits of CapEff.
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1 << 1, 1 << 2
_ROOT = 0


@dataclass(frozen=True, slots=True)
class Worker:
    """The user that has to be able to read and write. `why` says how that is known."""

    identity: Identity
    name: str
    why: str
    pid: int | None = None  # of the running daemon
    is_service: bool = False  # it is the systemd service, or would be
    reads_everything: bool = False  # by a capability: modes do not count

    @property
    def is_me(self) -> bool:
        """Return whether what this process may do is what lorawatch may do."""
        return self.identity.uid == os.geteuid()

    @property
    def can_be_tried(self) -> bool:
        """Return whether it can be found out what that user may do."""
        return self.is_me or os.geteuid() == _ROOT


def worker_of(state_directory: str, config_file: str | None) -> Worker:
    """Return as whom lorawatch works, or will."""
    pid = owner_of(state_directory)
    running = _of_process(pid) if pid is not None else None
    if running is not None:
        return running
    if config_file == places.CONFIG_FILE and os.path.exists(places.UNIT_FILE):
        service = _of_user(installed_user(), "as the installed service will")
        if service is not None:
            return service
    return myself()


def myself() -> Worker:
    """Return whoever asks."""
    identity = Identity(os.geteuid(), os.getegid(), tuple(os.getgroups()))
    return Worker(identity, name_of(os.geteuid()), "as you, who asks")


def name_of(uid: int) -> str:
    """Return the name of a user, its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def status_of(pid: int) -> dict[str, str]:
    """Return what /proc/PID/status tells; empty if the process is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return {key: value.strip() for key, _, value in (line.partition(":") for line in file)}
    except OSError:
        return {}


def identity_of(status: dict[str, str]) -> Identity | None:
    """Return as whom a process acts, from its status."""
    try:
        groups = tuple(int(each) for each in status["Groups"].split())
        return Identity(int(status["Uid"].split()[1]), int(status["Gid"].split()[1]), groups)
    except (KeyError, ValueError, IndexError):
        return None


def may(status: os.stat_result, who: Identity, wanted: int) -> bool:
    """Return whether the mode gives a user what is wanted: 4 to read, 2 to write, 1 to pass (inode(7))."""
    if who.uid == _ROOT:
        return True
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid == who.uid:
        return (mode >> 6) & wanted == wanted
    if status.st_gid in {who.gid, *who.groups}:
        return (mode >> 3) & wanted == wanted
    return mode & wanted == wanted


def _of_process(pid: int) -> Worker | None:
    status = status_of(pid)
    identity = identity_of(status)
    if identity is None or not _is_lorawatch(pid):
        return None  # the number is that of another container, say
    capabilities = int(status.get("CapEff", "0"), 16)
    return Worker(
        identity,
        name_of(identity.uid),
        f"as the running lorawatch does (process {pid})",
        pid=pid,
        is_service=_is_service(pid),
        reads_everything=bool(capabilities & (_DAC_OVERRIDE | _DAC_READ_SEARCH)),
    )


def _is_lorawatch(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"lorawatch" in file.read()
    except OSError:
        return False


def _is_service(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            return places.UNIT in file.read()
    except OSError:
        return False


def _of_user(user: str, why: str) -> Worker | None:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    groups = set(os.getgrouplist(user, entry.pw_gid)) | set(_supplementary())
    identity = Identity(entry.pw_uid, entry.pw_gid, tuple(sorted(groups)))
    is_private = os.path.exists(places.PRIVATE_FILES)
    return Worker(identity, user, why, is_service=True, reads_everything=is_private or entry.pw_uid == _ROOT)


def _supplementary() -> list[int]:
    """Return the groups that the unit's drop-in adds."""
    try:
        with open(places.SITE, encoding="utf-8") as file:
            found = re.search(r"^SupplementaryGroups=(.*)$", file.read(), re.MULTILINE)
        return [grp.getgrnam(name).gr_gid for name in (found[1].split() if found else ())]
    except (OSError, KeyError):
        return []  # the unit is not for this user to read, or names a group that is gone: systemd says which
