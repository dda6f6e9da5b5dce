"""Find the configuration, read it, lay environment and command line over it, and validate the result.

Called by the commands at start and by the daemon on SIGHUP, on the main thread. It reads one file and resolves links;
it never writes, and never keeps anything between two calls.
"""

import grp
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lorawatch.config import Config
from lorawatch.config_environment import apply_overrides, default_state_directory
from lorawatch.config_problems import Keys, Table
from lorawatch.config_types import BASE_DIRECTORY, HOME_DIRECTORY, absolute_path
from lorawatch.config_validation import validate
from lorawatch.domain.errors import ConfigurationError, NoConfigurationError

SYSTEM_FILE = "/etc/lorawatch/config.toml"
MOST_BYTES = 4 << 20  # the example has 20 kB; a device such as /dev/zero never ends


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and the file it came from; None when the command line said it all."""

    config: Config
    file: str | None


def load(
    file: str | None,
    *,
    environ: Mapping[str, str],
    watch: Sequence[str] = (),
    to: str | None = None,
    directory: str = ".",
) -> Loaded:
    """Return the configuration. Raises ConfigurationError with every problem at once.

    `watch` replaces the watched directories. `to` replaces all destinations by one directory: by the destination of
    the file that has this directory, with its settings, if there is one. With both, no file is searched; one that is
    named in `file` is still read. `directory` is where relative paths of the command line start.
    """
    directory, home = os.path.abspath(directory), environ.get("HOME", "")
    watch = [one and absolute_path(one, base=directory, home=home) for one in watch]
    to = to and absolute_path(to, base=directory, home=home)
    needs_no_file = bool(watch) and to is not None
    found = None if needs_no_file and file is None else find_file(file, environ=environ, directory=directory)
    if found is None and not needs_no_file:
        raise _nothing_found(has_watch=bool(watch), has_to=to is not None)
    tables = _read(found) if found else {}
    context = {BASE_DIRECTORY: os.path.dirname(found) if found else directory, HOME_DIRECTORY: home}
    # The environment may address the destination that --to makes, but the command line has the last word.
    destination = None if to is None else _destination_at(to, tables, context)
    origins, problems = apply_overrides(tables, environ)
    _lay_over(tables, origins, watch=watch, to=to, destination=destination)
    if tables.get("state_directory", "") == "":
        tables["state_directory"] = default_state_directory(environ)
    config, wrong = validate(tables, context=context, origins=origins)
    if config is None or problems:
        raise ConfigurationError([*problems, *wrong], file=found)
    return Loaded(config, found)


def load_environment(environ: Mapping[str, str]) -> Config:
    """Return the defaults with the environment laid over them, without a file and without anything to do.

    Raises ConfigurationError with every problem at once.
    """
    tables: Table = {}
    origins, problems = apply_overrides(tables, environ)
    context = {BASE_DIRECTORY: os.path.abspath("."), HOME_DIRECTORY: environ.get("HOME", "")}
    config, wrong = validate(tables, context=context, origins=origins, has_work=False)
    if config is None or problems:
        raise ConfigurationError([*problems, *wrong])
    return config


def find_file(file: str | None, *, environ: Mapping[str, str], directory: str = ".") -> str | None:
    """Return the absolute path of the configuration file, or None if there is none.

    A file that is named, by `file` or by $LORAWATCH_CONFIG, is returned whether it is there or not. Raises
    ConfigurationError if there is none that can be found, and the system's place may not be looked into.
    """
    if named := file or environ.get("LORAWATCH_CONFIG"):
        return os.path.abspath(os.path.join(directory, named))
    for place in _places(environ, directory):
        try:
            os.stat(place)
        except PermissionError:
            if place == SYSTEM_FILE:  # the others are somebody else's: sudo and setpriv keep HOME and the directory
                raise ConfigurationError([("--config", f"{place} may not be looked at", _way_in(place))]) from None
        except OSError:
            continue
        else:
            return place
    return None


def _places(environ: Mapping[str, str], directory: str) -> Iterator[str]:
    yield os.path.abspath(os.path.join(directory, "lorawatch.toml"))
    yield user_file(environ)
    yield SYSTEM_FILE


def user_file(environ: Mapping[str, str]) -> str:
    """Return where a user's own configuration is looked for, whether it is there or not."""
    base = environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):  # the XDG specification: a relative path is to be ignored
        base = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".config")
    return os.path.join(base, "lorawatch", "config.toml")


def _read(file: str) -> Table:
    try:
        with open(file, "rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) <= MOST_BYTES:
            return tomllib.loads(content.decode("utf-8-sig"))  # editors on Windows write a BOM
        problem = (file, "is far too long for a configuration", "Name another with --config")
    except FileNotFoundError:
        problem = (file, "is not there", "Name another with --config, or write one with `lorawatch init`")
    except PermissionError:
        problem = (file, "may not be read", _way_in(file))
    except OSError as error:
        problem = (file, f"cannot be read: {error.strerror}", "Name another with --config")
    except UnicodeDecodeError as error:
        problem = (file, f"is not UTF-8 (byte {error.start})", "Save it as UTF-8")
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError, and so are absurd numbers
        fix = "Texts need quotes, lists need square brackets; `lorawatch init` writes a file to compare with"
        problem = (file, f"is no TOML: {error}", fix)
    raise ConfigurationError([problem])


def _way_in(file: str) -> str:
    """Say how to get at a file that only its group may read."""
    for place in (file, os.path.dirname(file)):
        try:
            found = os.stat(place)
            group = grp.getgrgid(found.st_gid).gr_name
        except (OSError, KeyError):
            continue  # not even that may be looked at, or a group without a name: sudo it is
        if found.st_mode & stat.S_IRGRP and group != "root":
            return f"Use sudo, or join its group: sudo usermod -aG {group} $USER"
    return "Use sudo"


def _nothing_found(*, has_watch: bool, has_to: bool) -> ConfigurationError:
    ways = "Write one with `lorawatch init`, or name both directories: --watch DIR --to DIR"
    if has_watch or has_to:
        given, lacking = ("--watch", "--to") if has_watch else ("--to", "--watch")
        return ConfigurationError([(given, f"needs {lacking} beside it, as there is no configuration file", ways)])
    searched = f"./lorawatch.toml, $XDG_CONFIG_HOME/lorawatch/config.toml and {SYSTEM_FILE} do not exist"
    return NoConfigurationError(f"no configuration was found: {searched}", ways)


def _destination_at(directory: str, tables: Table, context: Mapping[str, str]) -> Table:
    """Return the file's destination of kind directory that is this directory, else a new one, put beside them.

    What is delivered is remembered under the destination's name: the same directory keeps its name, and a new one
    never takes over the name of another.
    """
    entries = tables.get("destinations")
    known: list[Table] = [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
    for entry in known:
        place = entry.get("directory")
        if entry.get("kind") == "directory" and isinstance(place, str) and "\0" not in place:
            place = absolute_path(place, base=context[BASE_DIRECTORY], home=context[HOME_DIRECTORY])
            if os.path.realpath(place) == os.path.realpath(directory):
                return entry
    name = re.sub(r"[^a-z0-9]+", "-", os.path.basename(directory).lower()).strip("-") or "destination"
    while any(entry.get("name") == name for entry in known):
        name += "-2"
    made: Table = {"name": name, "kind": "directory", "directory": directory}
    tables["destinations"] = [*known, made]
    return made


def _lay_over(
    tables: Table, origins: dict[Keys, str], *, watch: Sequence[str], to: str | None, destination: Table | None
) -> None:
    """Write what the command line says into the tables, and into `origins` where these values came from."""
    if watch:
        section = tables.setdefault("watch", {})
        if isinstance(section, dict):  # else the validation says what it must be
            section["directories"] = [*watch]
            origins[("watch", "directories")] = "--watch"
    if destination is not None:
        for keys in [keys for keys in origins if keys[0] == "destinations"]:
            del origins[keys]  # the entries are numbered anew
        destination |= {"directory": to, "enabled": True}
        tables["destinations"] = [destination]
        origins[("destinations", 0, "directory")] = "--to"
