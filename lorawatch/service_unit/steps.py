"""What an installation consists of, as data: `--dry-run` prints it, applying.py does it."""

import re
import shlex
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    """A directory that is to be there, with this owner and mode."""

    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"

    def __str__(self) -> str:
        return f"make the directory {self.path} ({self.mode:04o} {self.owner}:{self.group})"


# What a configuration holds after `token =`, however it is quoted: it is written, never shown.
_VALUE = r"""\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\])*"|'[^']*'|[^\s#,}]+"""
_TOKEN = re.compile(rf"""(\btoken["']?\s*=\s*)(?:{_VALUE})""", re.DOTALL)


@dataclass(frozen=True, slots=True)
class WriteFile:
    """A file that is to have this text."""

    path: str
    text: str
    mode: int = 0o644
    group: str = "root"

    def __str__(self) -> str:
        shown = _TOKEN.sub(r'\1"***"', self.text)
        lines = "".join(f"    {line}".rstrip() + "\n" for line in shown.splitlines())
        return f"write {self.path} ({self.mode:04o} root:{self.group}):\n{lines}".rstrip("\n")


@dataclass(frozen=True, slots=True)
class Remove:
    """A file or a directory that is to be gone; a directory only when it is empty, unless `is_tree`."""

    path: str
    is_tree: bool = False

    def __str__(self) -> str:
        return f"remove {self.path}{' and everything in it' if self.is_tree else ''}"


@dataclass(frozen=True, slots=True)
class CopyProgram:
    """lorawatch and what it needs, in a virtual environment that root owns."""

    path: str

    def __str__(self) -> str:
        return f"make the virtual environment {self.path}, owned by root, with a copy of this lorawatch"


@dataclass(frozen=True, slots=True)
class RunCommand:
    """A command to run. `is_said`: it is told when it has been run, as every change of a file is."""

    arguments: tuple[str, ...]
    is_said: bool = False
    may_fail: bool = False

    def __str__(self) -> str:
        return f"run: {shlex.join(self.arguments)}"


Step = MakeDirectory | WriteFile | Remove | CopyProgram | RunCommand
