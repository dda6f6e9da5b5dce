"""How the service is, in a few lines. Asks systemd; `service status` prints it."""

import os

from lorawatch.domain.errors import LorawatchError
from lorawatch.service_unit import manager, places

_PROPERTIES = (
    "ActiveState",
    "SubState",
    "UnitFileState",
    "StatusText",
    "User",
    "MainPID",
    "NRestarts",
    "DropInPaths",
    "Result",
    "ExecMainStatus",
)
_CONFIGURATION_ERROR = "78"


def report() -> tuple[list[str], bool]:
    """Return the lines, and whether it runs."""
    if not os.path.exists(places.UNIT_FILE):
        return ["not installed; to do so: sudo lorawatch service install"], False
    try:
        found = manager.properties(places.UNIT, _PROPERTIES)
    except LorawatchError as error:
        return [error.message], False
    is_running = found.get("ActiveState") in {"active", "reloading"}
    lines = [
        f"state:    {found.get('ActiveState')} ({found.get('SubState')}), {found.get('UnitFileState')} at boot",
        f"user:     {found.get('User')}",
    ]
    if is_running:
        lines.append(f"process:  {found.get('MainPID')}, restarted {found.get('NRestarts')} times")
        lines.append(f"status:   {found.get('StatusText')}")
    elif found.get("Result") != "success":
        status = found.get("ExecMainStatus")
        meaning = ", a configuration error" if status == _CONFIGURATION_ERROR else ""
        lines.append(f"ended:    {found.get('Result')} {status}{meaning}")
    lines += [f"drop-in:  {path}" for path in manager.paths(found.get("DropInPaths", ""))]
    lines.append("events:   journalctl -fu lorawatch" if is_running else "why:      journalctl -u lorawatch -n 30")
    return lines, is_running
