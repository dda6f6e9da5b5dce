"""Where a first configuration is written, and that it is written whole, once, and only if it loads. Behind `init`."""

import os
import shlex
import tomllib
from collections.abc import Mapping

from lorawatch.config_loading import SYSTEM_FILE, user_file
from lorawatch.config_types import BASE_DIRECTORY, HOME_DIRECTORY
from lorawatch.config_validation import validate
from lorawatch.domain.errors import ConfigurationError, LorawatchError
from lorawatch.first_configuration import First, text_of

__all__ = [
    "SERVICE_STATE_LINE",
    "SYSTEM_FILE",
    "checked_text",
    "default_file",
    "next_steps",
    "refuse_existing",
    "write",
]

SERVICE_STATE_LINE = 'state_directory = "/var/lib/lorawatch"  # for every command, not only for the service'


class FileIsThereError(LorawatchError):
    """A file of a person would be replaced."""


def default_file(environ: Mapping[str, str], *, is_root: bool) -> str:
    """Return where a configuration is looked for: of the system for root, of the user for everybody else.

    Whoever names a place, by $LORAWATCH_CONFIG or $XDG_CONFIG_HOME, means it.
    """
    if named := environ.get("LORAWATCH_CONFIG"):
        return os.path.abspath(named)
    if is_root and not environ.get("XDG_CONFIG_HOME"):
        return SYSTEM_FILE
    return user_file(environ)


def refuse_existing(file: str, *, is_replacing: bool = False) -> None:
    """Raise FileIsThereError if there is such a file, or with `is_replacing` something else than a file."""
    if is_replacing:
        if os.path.exists(file) and not os.path.isfile(file):
            what = "a directory" if os.path.isdir(file) else "a device or a pipe"
            raise FileIsThereError(
                f"{file} is {what} and was left alone", fix="name a file; to see the text: lorawatch init --output -"
            )
    elif os.path.lexists(file):
        quoted = shlex.quote(file)
        raise FileIsThereError(
            f"{file} is there already and was left alone",
            fix=f"check it with `lorawatch doctor --config {quoted}`, replace it with --force, or see what would be"
            " written: lorawatch init --output -",
        )


def checked_text(first: First, file: str) -> str:
    """Return the text, once it is proved to load. Raises ConfigurationError for directories that exclude each other."""
    text = text_of(first)
    context = {BASE_DIRECTORY: os.path.dirname(os.path.abspath(file)), HOME_DIRECTORY: ""}
    config, problems = validate(tomllib.loads(text), context=context, origins={})
    if config is None:
        raise ConfigurationError([*problems], file="what would be written")
    return text


def write(file: str, text: str, *, is_replacing: bool) -> None:
    """Write the file at once and whole; its directory is made. Raises LorawatchError."""
    refuse_existing(file, is_replacing=is_replacing)
    try:
        _write(file, text, is_replacing=is_replacing)
    except OSError as error:
        raise LorawatchError(
            f"{file} cannot be written: {error.strerror or error}",
            fix="write it elsewhere with --output FILE, or print it with --output -",
        ) from error


def _write(file: str, text: str, *, is_replacing: bool) -> None:
    folder = os.path.dirname(os.path.abspath(file))
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{os.path.basename(file)}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(descriptor)
        if is_replacing:
            os.replace(temporary, os.path.realpath(file))
        else:
            os.link(temporary, file)
    except FileExistsError:
        refuse_existing(file)
        raise
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)


def next_steps(file: str, *, is_guess: bool, is_service: bool) -> list[str]:
    """Return what to do now, as commands."""
    option = f" --config {shlex.quote(file)}" if file != "-" else ""
    steps = [f"edit it:      ${{EDITOR:-nano}} {shlex.quote(file)}"] if is_guess and file != "-" else []
    steps += [f"check it:     lorawatch doctor{option}", f"try it:       lorawatch once{option}"] if file != "-" else []
    if is_service:
        steps.append("as a service: sudo lorawatch service install")
    elif file != "-":
        steps.append(f"run it:       lorawatch run{option}")
    return steps
