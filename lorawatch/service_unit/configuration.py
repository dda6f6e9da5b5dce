"""Which configuration the service gets: the one that is there, a file to take over, or a first one. survey.py calls it.

It reads files and writes none: the text is a step of the plan. A line with `state_directory` is added where it is
missing, so that `lorawatch status` finds the service's state without systemd's environment.
"""

import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

from lorawatch import first_configuration
from lorawatch.config import Config
from lorawatch.config_loading import SYSTEM_FILE
from lorawatch.config_types import BASE_DIRECTORY, HOME_DIRECTORY
from lorawatch.config_validation import validate
from lorawatch.domain.errors import ConfigurationError
from lorawatch.finding import directories
from lorawatch.finding.usual import Machine, Place
from lorawatch.service_unit import places
from lorawatch.service_unit.site import is_below

_NO_STATE = re.compile(r'^state_directory\s*=\s*(""|\'\').*$', re.MULTILINE)
_STATE_LINE = f'state_directory = "{places.STATE}"  # for every command, not only for the service'


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line says."""

    file: str | None = None
    watch: Sequence[str] = ()
    to: str | None = None


def choose(wish: Wish, *, system_file: str = SYSTEM_FILE) -> tuple[Config, str]:
    """Return the configuration and the text of its file, as it is to be. Raises ConfigurationError."""
    present = _text_of(system_file)
    if present is not None:
        text = _with_state(present)
        config = _config_of(text, system_file)
        _refuse_contradiction(wish, config, present, system_file)
        return config, text
    if wish.file is not None and os.path.abspath(wish.file) != system_file:
        text = _with_state(_taken_over(wish.file))
    else:
        text = _first(wish)
    return _config_of(text, system_file), text


def state_elsewhere(system_file: str = SYSTEM_FILE) -> str | None:
    """Return the state directory of the configuration, if it is not where the service keeps it."""
    try:
        found = tomllib.loads(_text_of(system_file) or "").get("state_directory")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, str) and found and not is_below(found, places.STATE) else None


def first_text(watch: Sequence[str], to: str) -> str:
    """Return a first configuration, with its comments."""
    destination = first_configuration.directory("comfyui", to)
    return first_configuration.text_of(
        first_configuration.First(watch, [destination], state_line=_STATE_LINE, is_service=True)
    )


def _text_of(file: str) -> str | None:
    try:
        with open(file, encoding="utf-8-sig") as stream:
            return stream.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError([(file, f"cannot be read: {error.strerror}", "Use sudo")]) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError([(file, f"is not UTF-8 (byte {error.start})", "Save it as UTF-8")]) from error


def _config_of(text: str, file: str) -> Config:
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError([(file, f"is no TOML: {error}", "Compare it with config.example.toml")]) from error
    config, problems = validate(tables, context={BASE_DIRECTORY: os.path.dirname(file), HOME_DIRECTORY: ""}, origins={})
    if config is None:
        raise ConfigurationError([*problems], file=file)
    return config


def _with_state(text: str) -> str:
    """Return the text with a state directory: its own one, or the service's."""
    try:
        has_one = bool(tomllib.loads(text).get("state_directory"))
    except (ValueError, RecursionError):
        return text  # `_config_of` says what is wrong with it
    if has_one:
        return text
    if _NO_STATE.search(text):
        return _NO_STATE.sub(_STATE_LINE, text, count=1)
    return f"{_STATE_LINE}\n{text}"


def _taken_over(file: str) -> str:
    text = _text_of(file)
    if text is None:
        raise ConfigurationError([(file, "is not there", "Name another with --config")])
    relative = [path for path in _paths_in(text) if not path.startswith("/")]
    if relative:
        wrong = f"has paths that depend on where it lies: {', '.join(relative)}"
        raise ConfigurationError([(file, wrong, f"Write them in full: it becomes {SYSTEM_FILE}")])
    return text


def _paths_in(text: str) -> list[str]:
    tables = tomllib.loads(text)
    watched = tables.get("watch", {}).get("directories", [])
    kept = [each.get("directory") for each in tables.get("destinations", []) if each.get("kind") == "directory"]
    others = [tables.get("state_directory"), tables.get("log", {}).get("file")]
    return [path for path in [*watched, *kept, *others] if isinstance(path, str) and path]


def _first(wish: Wish) -> str:
    watch = [os.path.abspath(path) for path in wish.watch] or _paths(directories.outputs(Machine()))
    to = [os.path.abspath(wish.to)] if wish.to else _paths(directories.loras(Machine()))
    problems = []
    for option, found, what in (("--watch", watch, "AI Toolkit's outputs"), ("--to", to, "ComfyUI's models/loras")):
        if len(found) != 1 and not (option == "--watch" and wish.watch):
            seen = f"there are several: {', '.join(found)}" if found else "none was found"
            problems.append((option, f"no configuration, and of {what} {seen}", f"Name it: {option} DIR"))
    if problems:
        raise ConfigurationError(problems)
    return first_text(watch, to[0])


def _paths(places: Sequence[Place]) -> list[str]:
    return [place.path for place in places]


def _refuse_contradiction(wish: Wish, config: Config, present: str, system_file: str) -> None:
    """Refuse options that the file, which is never overwritten, says otherwise."""
    kept = {each.directory for each in config.destinations if each.kind == "directory"}
    problems = []
    fix = f"Edit {system_file}, then run this without the option"
    if wish.file is not None and os.path.abspath(wish.file) != system_file and _text_of(wish.file) != present:
        problems.append(("--config", f"{system_file} is there already, with other content", fix))
    if wish.watch and {os.path.abspath(path) for path in wish.watch} != set(config.watch.directories):
        problems.append(("--watch", f"{system_file} is there already and watches something else", fix))
    if wish.to and os.path.abspath(wish.to) not in kept:
        problems.append(("--to", f"{system_file} is there already and delivers elsewhere", fix))
    if problems:
        raise ConfigurationError(problems)
