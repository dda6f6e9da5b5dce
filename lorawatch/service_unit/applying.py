"""Do the steps of a plan, as root. Doing them again changes nothing. `service` calls it, on the main thread."""

import grp
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Sequence

from lorawatch.domain.errors import LorawatchError
from lorawatch.service_unit import program
from lorawatch.service_unit.steps import CopyProgram, MakeDirectory, Remove, RunCommand, Step, WriteFile
from lorawatch.transport.process import run

COMMAND_SECONDS = 200.0  # `systemctl restart` waits for READY: TimeoutStartSec of the unit


class StepFailedError(LorawatchError):
    """A step of the installation could not be done."""


def apply(step: Step) -> bool:
    """Do one step; return whether it changed anything that is worth telling. Raises StepFailedError."""
    try:
        match step:
            case MakeDirectory():
                return _make_directory(step)
            case WriteFile():
                return _write_file(step)
            case Remove():
                return _remove(step)
            case CopyProgram():
                return program.copy_to(step.path)
            case RunCommand():
                return _run(step)
    except OSError as error:
        what = str(step).splitlines()[0]
        raise StepFailedError(f"could not {what}: {error}", fix="Remove the cause and run it again") from error


def _make_directory(step: MakeDirectory) -> bool:
    is_new = not os.path.isdir(step.path)
    os.makedirs(step.path, exist_ok=True)
    return _give(step.path, step.mode, step.owner, step.group) or is_new


def _write_file(step: WriteFile) -> bool:
    """Write through a temporary file: whoever reads it meanwhile sees the old text or the new one."""
    wanted = step.text.encode()
    if _content(step.path) == wanted:
        return _give(step.path, step.mode, "root", step.group)
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(step.path), prefix=".lorawatch-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(wanted)
        file.flush()
        os.fsync(file.fileno())
    _give(temporary, step.mode, "root", step.group)
    os.replace(temporary, step.path)
    return True


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _give(path: str, mode: int, owner: str, group: str) -> bool:
    user, group_id = pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid
    found = os.stat(path)
    if (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (mode, user, group_id):
        return False
    os.chown(path, user, group_id)
    os.chmod(path, mode)
    return True


def _remove(step: Remove) -> bool:
    if not os.path.lexists(step.path):
        return False
    if step.is_tree:
        shutil.rmtree(step.path)
    elif os.path.isdir(step.path):
        if os.listdir(step.path):  # drop-ins of a person: theirs
            return False
        os.rmdir(step.path)
    else:
        os.unlink(step.path)
    return True


def _run(step: RunCommand) -> bool:
    done = run(step.arguments, timeout_seconds=COMMAND_SECONDS)
    if not done.is_fine and not step.may_fail:
        raise StepFailedError(
            f"could not {step}: {_last_line(done.stderr.splitlines())}",
            fix="See journalctl -u lorawatch -n 30, remove the cause and run it again",
        )
    return step.is_said


def _last_line(lines: Sequence[str]) -> str:
    return lines[-1] if lines else "it said nothing"
