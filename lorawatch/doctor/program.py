"""The program itself: its Python, the packages it needs, and the clock it goes by."""

import ctypes
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata

from lorawatch import __version__
from lorawatch.doctor import records
from lorawatch.doctor.findings import Finding, error, fine, warning
from lorawatch.journal import checkup

_OLDEST_PYTHON = (3, 11)
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)\s*>=\s*(?P<least>[0-9.]+)")
_RELEASED_AT = 1_735_689_600  # 2025-01-01: a clock that says less is wrong
_TOLERANCE_SECONDS = 300
# adjtimex(2): `modes` 0 asks and sets nothing. The structure has 208 bytes on 64-bit machines, less on others.
_TIMEX_BYTES, _TIME_ERROR = 512, 5


def python() -> Iterator[Finding]:
    """Look at the interpreter and the packages."""
    version = platform.python_version()
    if sys.version_info < _OLDEST_PYTHON:
        wanted = ".".join(map(str, _OLDEST_PYTHON))
        yield error(
            "python", f"Python {version}; lorawatch needs {wanted}", fix=f"sudo apt install python{wanted}-venv"
        )
    lacking = list(_lacking(_requirements(), metadata.version))
    if lacking:
        names = " ".join(f"'{name}>={least}'" for name, least, _ in lacking)
        seen = ", ".join(f"{name} {found or 'is missing'} (needed: {least})" for name, least, found in lacking)
        yield error("python", seen, fix=f"{sys.executable} -m pip install -U {names}")
    else:
        yield fine("python", f"lorawatch {__version__}, Python {version}, all packages as needed")


def clock(state_directory: str | None) -> Iterator[Finding]:
    """Look at the clock: waits and the order of versions go by it."""
    fix = "sudo timedatectl set-ntp true"
    now = time.time()
    at = records.ask(state_directory, checkup.latest_change) if state_directory else None
    shown = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    if now < _RELEASED_AT:
        yield error("clock", f"it says {shown}, which is past", fix=fix)
    elif at is not None and at > now + _TOLERANCE_SECONDS:
        then = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
        yield warning("clock", f"it says {shown}, but the journal has entries of {then}: it was set back", fix=fix)
    else:
        yield fine("clock", f"{shown}, {'synchronised' if _is_synchronised() else 'not synchronised by the kernel'}")


def _requirements() -> list[str]:
    try:
        return metadata.requires("lorawatch") or []
    except metadata.PackageNotFoundError:
        return []  # run from a checkout


def _lacking(requirements: Iterable[str], version_of: Callable[[str], str]) -> Iterator[tuple[str, str, str]]:
    """Yield name, least version and found version of each package that is too old, or missing."""
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match is None or "extra ==" in requirement:
            continue
        try:
            found = version_of(match["name"])
        except metadata.PackageNotFoundError:
            found = ""
        if _numbers(found) < _numbers(match["least"]):
            yield match["name"], match["least"], found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", version.split("+")[0])[:3])


def _is_synchronised() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "adjtimex"):
        return False
    return int(libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))) not in {_TIME_ERROR, -1}
