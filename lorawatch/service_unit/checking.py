"""Prove that the service's user reads the source, writes the destinations and can start the program, in its sandbox.

`service install` calls it before it enables anything. The installed unit, with all its drop-ins, is started once
under another name with probe.py in place of the daemon: what is proved is what will run, not a likeness of it.
"""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from lorawatch.service_unit import advice, manager, places
from lorawatch.service_unit.site import Site
from lorawatch.transport.process import run

_CHECK_UNIT = "lorawatch-check.service"
_UNITS = "/run/systemd/system"  # gone with the next boot, whatever happens
_WORK = "/run/lorawatch-check"
# A check takes a second. What hangs is killed by systemd, and what cannot be killed is left behind.
_CHECK_SECONDS = 60
_COMMAND_SECONDS = 120.0
# systemd.exec(5), "Process exit codes": what systemd could not do before it started the program.
_BEFORE_START = {
    "203": "the program cannot be run by this user inside the sandbox",
    "216": "one of the groups in SupplementaryGroups= does not exist",
    "217": "the user does not exist",
    "226": "the sandbox could not be set up",
    "243": "a file in LoadCredential= cannot be read",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the check found. With errors the service would not work; notes are for a person to know."""

    errors: tuple[str, ...]
    notes: tuple[str, ...] = ()


def check(site: Site) -> Outcome:
    """Run the probe as the service and return its findings in words. Needs root and a running systemd."""
    try:
        _prepare(site)
        run(["systemctl", "daemon-reload"])
        started = run(["systemctl", "start", _CHECK_UNIT], timeout_seconds=_COMMAND_SECONDS)
        ended = manager.properties(_CHECK_UNIT, ("Result", "ExecMainStatus"))
        if not started.is_fine:
            return Outcome((failure(ended.get("Result", ""), ended.get("ExecMainStatus", "")),))
        with open(os.path.join(_WORK, "found"), encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError:
        return Outcome((f"a condition of {places.UNIT} is not fulfilled, so that it does not start",))
    finally:
        _clean_up()
    return Outcome(*advice.on(found, user=site.user))


def _prepare(site: Site) -> None:
    unit = os.path.join(_UNITS, _CHECK_UNIT)
    os.makedirs(f"{unit}.d", exist_ok=True)
    os.makedirs(_WORK, mode=0o700, exist_ok=True)
    shutil.copyfile(places.UNIT_FILE, unit)
    drop_ins = manager.paths(manager.properties(places.UNIT, ["DropInPaths"]).get("DropInPaths", ""))
    for path in drop_ins:
        if os.path.basename(os.path.dirname(path)) == os.path.basename(places.DROP_INS):  # others are for every unit
            shutil.copyfile(path, os.path.join(f"{unit}.d", os.path.basename(path)))
    with open(os.path.join(_WORK, "wanted"), "w", encoding="utf-8") as file:
        json.dump({"read": site.read_directories, "write": site.written_directories}, file)
    with open(os.path.join(f"{unit}.d", name_after(drop_ins)), "w", encoding="utf-8") as file:
        file.write(_override(site))


def name_after(drop_ins: Iterable[str]) -> str:
    """Return a name for the drop-in that is to have the last word: they are read in the order of their names."""
    last = max(map(os.path.basename, drop_ins), default="0.conf")
    return f"{last.removesuffix('.conf')}~.conf"


def _override(site: Site) -> str:
    """Return the drop-in that makes of the unit its own check, without the state that a running daemon may use."""
    python = os.path.join(os.path.dirname(shlex.split(site.command)[0]), "python")
    interpreter = python if site.is_program_copied or os.path.exists(python) else sys.executable
    return f"""\
[Service]
Type=oneshot
TimeoutStartSec={_CHECK_SECONDS}
WatchdogSec=0
Restart=no
StateDirectory=
LogsDirectory=
ConfigurationDirectory=
ExecStart=
ExecStartPost=
ExecStop=
ExecStopPost=
ExecStart={interpreter} -m lorawatch.service_unit.probe
StandardInput=file:{_WORK}/wanted
StandardOutput=truncate:{_WORK}/found
"""


def failure(result: str, status: str) -> str:
    """Return in words why the check did not come to its end, from systemd's Result= (success: it is still at it)."""
    if result in {"timeout", "success"}:
        return (
            f"looking at the directories has not come back for {_CHECK_SECONDS} s: one of them hangs, as a network disk"
            " does whose server is away; findmnt shows them"
        )
    what = _BEFORE_START.get(status, f"the check ended with {status or 'nothing'}")
    return f"{what}; see journalctl -u {_CHECK_UNIT} -n 20"


def _clean_up() -> None:
    unit = os.path.join(_UNITS, _CHECK_UNIT)
    run(["systemctl", "stop", "--no-block", _CHECK_UNIT])
    shutil.rmtree(f"{unit}.d", ignore_errors=True)
    shutil.rmtree(_WORK, ignore_errors=True)
    if os.path.exists(unit):
        os.unlink(unit)
    run(["systemctl", "reset-failed", _CHECK_UNIT])
    run(["systemctl", "daemon-reload"])
