"""May lorawatch's user read the source and write the destination? Really tried, as that user where that is possible.

watched.py, directory.py and state.py call it. A writing test leaves nothing behind; it is the probe that
`service install` uses.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence

from lorawatch.doctor.findings import Finding, Level, fine, together, warning
from lorawatch.doctor.worker import Worker, name_of
from lorawatch.service_unit import advice, places, probe
from lorawatch.service_unit.probe import Obstacle
from lorawatch.transport.process import run

_SECONDS = 15.0
_SYSTEM_PYTHON = "/usr/bin/python3"
_ABOUT_READING = frozenset({"way-blocked", "directory-unreadable", "files-unreadable"})


def tried(
    check: str, worker: Worker, *, read: Sequence[str] = (), write: Sequence[str] = (), subject: str, what: str
) -> list[Finding]:
    """Return a finding for each obstacle; a fine one if there is none. `what` completes "USER may …".

    What cannot be tried as lorawatch's user is never claimed: then it is said as whom it was tried.
    """
    user, found = _tried(worker, read=read, write=write)
    who = advice.Who(user, is_service=worker.is_service)
    said = [advice.advise(each, who) for each in found]
    said = [each for each in said if each.code != advice.MISSING]  # whoever asks says that in better words
    if user == worker.name:
        wrong = [Finding(check, Level.ERROR, each.detail, together(each.fixes), subject, each.code) for each in said]
        return wrong or [fine(check, f"{user} may {what}", subject=subject)]
    aside = f"but lorawatch works as {worker.name}, which was not tried"
    fix = f"try it as that user: sudo -u {worker.name} lorawatch doctor"
    doubts = [warning(check, f"{each.detail}; {aside}", fix=fix, subject=subject, code=each.code) for each in said]
    return doubts or [fine(check, f"{user} may {what}; {aside}", subject=subject)]


def _tried(worker: Worker, *, read: Sequence[str], write: Sequence[str]) -> tuple[str, list[Obstacle]]:
    """Return as whom it was tried, and what stood in the way."""
    if not worker.is_me and worker.can_be_tried:
        found = _as_other(worker, {"read": list(read), "write": list(write)})
        if found is not None:
            is_free = worker.reads_everything and not write
            return worker.name, [each for each in found if not (is_free and each["code"] in _ABOUT_READING)]
    return name_of(os.geteuid()), probe.obstacles(list(read), list(write))


def _as_other(worker: Worker, wanted: Mapping[str, list[str]]) -> list[Obstacle] | None:
    """Return what the other user's probe says; None if that user cannot run any Python.

    The probe travels as text: our own files may lie where that user cannot go, such as /root.
    """
    with open(probe.__file__, encoding="utf-8") as file:
        text = file.read()
    for interpreter in dict.fromkeys((sys.executable, _SYSTEM_PYTHON, os.path.join(places.PROGRAM, "bin", "python"))):
        done = run(
            [interpreter, "-I", "-c", text],
            timeout_seconds=_SECONDS,
            text=json.dumps(wanted),
            identity=worker.identity,
            directory="/",
        )
        if done.is_fine:
            found: list[Obstacle] = json.loads(done.stdout)
            return found
    return None
