"""How the service is, in a few lines. Asks systemd; `service status` prints it."""

import os

from lorawatch.service_unit import places
from lorawatch.transport.process import run

_PROPERTIES = ("ActiveState", "SubState", "UnitFileState", "StatusText", "User", "MainPID", "NRestarts", "DropInPaths")


def report() -> tuple[list[str], bool]:
    """Return the lines, and whether it runs."""
    if not os.path.exists(places.UNIT_FILE):
        return ["not installed; to do so: sudo lorawatch service install"], False
    shown = run(["systemctl", "show", f"--property={','.join(_PROPERTIES)}", places.UNIT])
    if not shown.is_fine:
        return [f"systemd cannot be asked: {shown.stderr.strip()}"], False
    found = dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)
    is_running = found.get("ActiveState") in {"active", "reloading"}
    lines = [
        f"state:    {found.get('ActiveState')} ({found.get('SubState')}), {found.get('UnitFileState')} at boot",
        f"user:     {found.get('User')}",
    ]
    if is_running:
        lines.append(f"process:  {found.get('MainPID')}, restarted {found.get('NRestarts')} times")
        lines.append(f"status:   {found.get('StatusText')}")
    lines += [f"drop-in:  {path}" for path in found.get("DropInPaths", "").split()]
    lines.append("events:   journalctl -fu lorawatch" if is_running else "why:      journalctl -u lorawatch -n 30")
    return lines, is_running
