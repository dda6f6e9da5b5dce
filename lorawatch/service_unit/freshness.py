"""Does the running service run what is on the disk now? `service install` asks, and restarts it when it does not.

What has changed since its process was started is not what runs: the unit and its drop-ins, the configuration, tokens
and the program. The time is the ctime, which no copying, unpacking or touching sets back. It changes nothing.
"""

import os
import time
from collections.abc import Iterable, Iterator

from lorawatch.config_loading import SYSTEM_FILE
from lorawatch.service_unit import manager, places, program
from lorawatch.service_unit.site import Site

_PROPERTIES = ("MainPID", "FragmentPath", "DropInPaths")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_START_TIME = 19  # starttime in /proc/<pid>/stat, counted behind the name, which may hold spaces (proc(5))


def outdated(site: Site) -> list[str]:
    """Return what the running service does not know yet, in words; nothing where it is up to date or does not run."""
    shown = manager.properties(places.UNIT, _PROPERTIES)
    process = int(shown.get("MainPID") or 0)
    try:
        started_at = _started_at(process)
    except FileNotFoundError:
        return []  # it does not run, or has just ended: the start that follows takes everything anew
    units = [shown.get("FragmentPath", ""), *manager.paths(shown.get("DropInPaths", ""))]
    tokens = [os.path.join(places.CREDENTIALS, name) for name in site.credentials]
    # The directory of the drop-ins changes when one is removed.
    found = [f"{path} has changed" for path in _newer([*units, places.DROP_INS, SYSTEM_FILE, *tokens], started_at)]
    if any(_newer(program.parts(is_copied=site.is_program_copied), started_at)):
        found.append("the program has changed")
    return found + [f"it may not write into {path} yet" for path in _shut(site.written_directories, process)]


def _started_at(process: int) -> float:
    """Return when a process was started, in seconds as the clock counts them now. Raises FileNotFoundError.

    systemd's own time stamps are of the clock as it was then, or leave out the time that the machine slept.
    """
    with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
        ticks = int(file.read().rpartition(")")[2].split()[_START_TIME])
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / _TICKS_PER_SECOND)


def _newer(paths: Iterable[str], moment: float) -> Iterator[str]:
    for path in paths:
        try:
            if os.stat(path).st_ctime > moment:
                yield path
        except OSError:
            continue  # what is not there is not what should run, either


def _shut(directories: Iterable[str], process: int) -> Iterator[str]:
    """Yield the directories that were made after the start: in the sandbox they lie on what is read-only there."""
    for path in directories:
        try:
            is_shut = _is_read_only(f"/proc/{process}/root{path}") and not _is_read_only(path)
        except OSError:
            continue  # not there, or a link that leads elsewhere in the sandbox: the check has said what it means
        if is_shut:
            yield path


def _is_read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
