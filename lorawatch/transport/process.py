"""Other programs: run one to its end, with a deadline, and keep what it said.

The service installation calls it, on the main thread. It never uses a shell, and never lets a program read our stdin.
"""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NOT_FOUND = 127  # what a shell returns for a program that is not there
TIMED_OUT = 124  # what timeout(1) returns


@dataclass(frozen=True, slots=True)
class Finished:
    """What a program left: its exit code (negative: the signal that ended it) and its words."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def is_fine(self) -> bool:
        """Return whether it ended with 0."""
        return self.exit_code == 0


def run(
    arguments: Sequence[str], *, timeout_seconds: float = 60.0, environ: Mapping[str, str] | None = None
) -> Finished:
    """Run a program to its end and return what it left. A missing program or a time-out is an exit code too."""
    try:
        done = subprocess.run(
            list(arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_seconds,
            env=environ,
            check=False,
            text=True,
            errors="backslashreplace",
        )
    except FileNotFoundError:
        return Finished(NOT_FOUND, "", f"{arguments[0]} is not installed")
    except subprocess.TimeoutExpired:
        return Finished(TIMED_OUT, "", f"{arguments[0]} did not end within {timeout_seconds:.0f} s")
    return Finished(done.returncode, done.stdout, done.stderr)
