"""Other programs: run one to its end, with a deadline, and keep what it said.

The service installation and `doctor` call it, on any thread. It never uses a shell, and never lets a program read our
stdin.
"""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NOT_PERMITTED = 126  # what a shell returns for a program that may not be run
NOT_FOUND = 127  # and for one that is not there
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


@dataclass(frozen=True, slots=True)
class Identity:
    """As whom a program runs. Another one than our own takes root."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def run(
    arguments: Sequence[str],
    *,
    timeout_seconds: float = 60.0,
    environ: Mapping[str, str] | None = None,
    text: str = "",
    identity: Identity | None = None,
    directory: str | None = None,
) -> Finished:
    """Run a program to its end and return what it left. A missing program or a time-out is an exit code too.

    `text` is all that it can read from its stdin.
    """
    try:
        done = subprocess.run(
            list(arguments),
            input=text,
            capture_output=True,
            timeout=timeout_seconds,
            env=environ,
            cwd=directory,
            user=None if identity is None else identity.uid,
            group=None if identity is None else identity.gid,
            extra_groups=None if identity is None else list(identity.groups),
            check=False,
            text=True,
            errors="backslashreplace",
        )
    except FileNotFoundError:
        return Finished(NOT_FOUND, "", f"{arguments[0]} is not installed")
    except PermissionError as error:
        return Finished(NOT_PERMITTED, "", f"{arguments[0]} may not be run: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Finished(TIMED_OUT, "", f"{arguments[0]} did not end within {timeout_seconds:.0f} s")
    return Finished(done.returncode, done.stdout, done.stderr)
