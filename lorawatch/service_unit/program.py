"""Can any user start this program, and if not: a copy of it that everybody can. Called by survey.py and applying.py.

A venv below /root or a home directory, as pipx makes, gives the service 203/EXEC. The copy is made of exactly what
runs now, offline: a bare virtual environment, and in it the files of lorawatch and of the packages it needs.
"""

import hashlib
import os
import re
import shutil
import stat
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata

import lorawatch
from lorawatch.domain.errors import LorawatchError
from lorawatch.packaged import NAMES, packaged
from lorawatch.service_unit import places
from lorawatch.service_unit.site import is_below
from lorawatch.transport.process import run

HIDDEN_HOMES = ("/home", "/root", "/run/user")  # by ProtectHome= (systemd.exec(5))
HIDDEN_TEMPORARY = ("/tmp", "/var/tmp")  # by PrivateTmp=  # noqa: S108  nothing is made there
_MARKER = ".copied-by-lorawatch-service-install"  # holds the fingerprint of what was copied
_SYSTEM_PYTHON = "/usr/bin/python3"
_VENV_SECONDS = 120.0
_COMPILE_SECONDS = 300.0


def command() -> str:
    """Return what starts the running program: its script, else the interpreter with the module."""
    script = os.path.join(os.path.dirname(sys.executable), "lorawatch")
    return script if os.access(script, os.X_OK) else f"{sys.executable} -m lorawatch"


def is_open_to_all() -> bool:
    """Return whether every user can run interpreter and package where they are, within the unit's sandbox."""
    parts = (sys.executable, os.__file__, lorawatch.__file__, sysconfig.get_path("purelib"))
    return all(_is_open(os.path.realpath(part)) and _is_open(os.path.abspath(part)) for part in parts)


def parts(*, is_copied: bool) -> Iterator[str]:
    """Yield the files whose change means that a running service runs another program: of the copy, or of this one."""
    if is_copied:
        yield os.path.join(places.PROGRAM, _MARKER)  # written with each copy
        return
    yield os.path.realpath(sys.executable)
    yield from (path for path, _ in _files())


def is_copy(path: str) -> bool:
    """Return whether this virtual environment was made here, and may be replaced and removed."""
    return os.path.isfile(os.path.join(path, _MARKER))


def copy_to(target: str) -> bool:
    """Make the virtual environment, unless it is there with the same content. Raises LorawatchError."""
    fingerprint = _fingerprint()
    if os.path.lexists(target) and not is_copy(target):
        raise LorawatchError(
            f"{target} is there already and was not made by `lorawatch service install`",
            fix=f"if lorawatch is installed there, run that one: sudo {target}/bin/lorawatch service install",
        )
    if is_copy(target) and _read(os.path.join(target, _MARKER)) == fingerprint:
        return False
    fresh = f"{target}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    mask = os.umask(0o022)  # for everybody to read, whatever root's own umask is
    try:
        _fill(fresh, target)
        with open(os.path.join(fresh, _MARKER), "w", encoding="utf-8") as file:
            file.write(fingerprint)
    finally:
        os.umask(mask)
    before = f"{target}.old"
    shutil.rmtree(before, ignore_errors=True)
    if os.path.lexists(target):
        os.rename(target, before)
    os.rename(fresh, target)
    shutil.rmtree(before, ignore_errors=True)
    return True


def _fill(fresh: str, target: str) -> None:
    made = run([_open_interpreter(), "-m", "venv", "--without-pip", fresh], timeout_seconds=_VENV_SECONDS)
    if not made.is_fine:
        raise LorawatchError(f"{fresh} could not be made: {made.stderr.strip()}", fix="apt install python3-venv")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = os.path.join(fresh, "lib", version, "site-packages")
    for source, name in _files():
        destination = os.path.join(packages, name)
        os.makedirs(os.path.dirname(destination), exist_ok=True)
        shutil.copyfile(source, destination)
        if os.stat(source).st_mode & stat.S_IXUSR:
            os.chmod(destination, 0o755)  # noqa: S103 every user is to run it
    # The service's user may not write here, so that it would compile everything anew at each start. Where this fails,
    # it does that.
    run([os.path.join(fresh, "bin", "python"), "-m", "compileall", "-q", packages], timeout_seconds=_COMPILE_SECONDS)
    script = os.path.join(fresh, "bin", "lorawatch")
    with open(script, "w", encoding="utf-8") as file:
        file.write(f"#!{target}/bin/python\nfrom lorawatch.cli import main\n\nmain()\n")
    os.chmod(script, 0o755)  # noqa: S103 every user is to run it


def _files() -> Iterator[tuple[str, str]]:
    """Yield every file to copy, with its name below site-packages."""
    for name in sorted(_needed("lorawatch", set()) - {"lorawatch"}):
        for file in metadata.distribution(name).files or ():
            source = str(file.locate())
            if ".." not in file.parts and "__pycache__" not in file.parts and os.path.isfile(source):
                yield source, str(file)
    yield from _tree(os.path.dirname(os.path.abspath(lorawatch.__file__)), "lorawatch")
    if not os.path.isdir(os.path.join(os.path.dirname(lorawatch.__file__), "data")):  # in a checkout
        for each in NAMES:
            source = str(packaged(each))
            inside = os.path.join("lorawatch", "data", each)
            yield from _tree(source, inside) if os.path.isdir(source) else [(source, inside)]


def _tree(directory: str, name: str) -> Iterator[tuple[str, str]]:
    for folder, folders, files in os.walk(directory):
        folders[:] = [each for each in folders if each != "__pycache__"]
        for file in files:
            path = os.path.join(folder, file)
            yield path, os.path.join(name, os.path.relpath(path, directory))


def _needed(name: str, found: set[str]) -> set[str]:
    """Return a distribution and all that it needs, as far as they are installed: markers are settled by that."""
    try:
        requirements = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return found
    found.add(name)
    for requirement in requirements:
        needed = re.match(r"[A-Za-z0-9._-]+", requirement)
        if needed and "extra ==" not in requirement and needed[0].lower() not in found:
            _needed(needed[0].lower(), found)
    return found


def _fingerprint() -> str:
    """Return what changes whenever a copy would differ: names, sizes and times of all files."""
    lines = [f"{name} {os.stat(path).st_size} {os.stat(path).st_mtime_ns}" for path, name in _files()]
    return hashlib.sha256("\n".join([sys.version, *sorted(lines)]).encode("utf-8", "surrogateescape")).hexdigest()


def _open_interpreter() -> str:
    """Return an interpreter of this version that every user can run."""
    base = os.path.realpath(sys.executable)
    if _is_open(base) and _is_open(os.path.realpath(os.__file__)):
        return base
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    asked = run([_SYSTEM_PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
    if asked.stdout.strip() == version:
        return _SYSTEM_PYTHON
    raise LorawatchError(
        f"the service's user cannot run {base}, and {_SYSTEM_PYTHON} is not Python {version}",
        fix="install lorawatch with the system's Python: sudo python3 -m venv /opt/lorawatch, and pip in there",
    )


def _is_open(path: str) -> bool:
    """Return whether everybody may read this file or enter this directory, and the sandbox does not hide it."""
    if is_below(path, *HIDDEN_HOMES, *HIDDEN_TEMPORARY):
        return False
    try:
        status = os.stat(path)
        wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else 0)
        while status.st_mode & wanted == wanted:
            if path == "/":
                return True
            path, wanted = os.path.dirname(path), stat.S_IXOTH
            status = os.stat(path)
    except OSError:
        pass  # what cannot be looked at is not open
    return False


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()
