"""What systemd says about a unit. Called by the parts of this room that ask it; it changes nothing."""

import shlex
from collections.abc import Mapping, Sequence

from lorawatch.domain.errors import LorawatchError
from lorawatch.transport.process import run


def properties(unit: str, names: Sequence[str]) -> Mapping[str, str]:
    """Return properties of a unit as `systemctl show` writes them. Raises LorawatchError where nobody answers."""
    shown = run(["systemctl", "show", f"--property={','.join(names)}", unit])
    if not shown.is_fine:
        raise LorawatchError(
            f"systemd cannot be asked about {unit}: {shown.stderr.strip()}", fix="see whether it runs: systemctl status"
        )
    return dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)


def paths(text: str) -> list[str]:
    """Return the paths of a property that lists some, such as DropInPaths."""
    return shlex.split(text)
