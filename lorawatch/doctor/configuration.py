"""The configuration: every problem of it, and who may read the tokens in it."""

import os
import shlex
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lorawatch import humanize
from lorawatch.config import Config
from lorawatch.config_loading import Loaded, find_file, load
from lorawatch.doctor.findings import Finding, error, fine, warning
from lorawatch.domain.errors import ConfigurationError

CHECK = "configuration"
_CODE = "configuration-invalid"


@dataclass(frozen=True, slots=True)
class Read:
    """What became of reading it: a configuration, or what is wrong with it."""

    loaded: Loaded | None
    findings: tuple[Finding, ...]


def read(file: str | None, environ: Mapping[str, str]) -> Read:
    """Read the configuration as `run` would. Never raises ConfigurationError."""
    try:
        loaded = load(file, environ=environ)
    except ConfigurationError as raised:
        return Read(None, tuple(_problems(raised, file)))
    return Read(loaded, tuple(_of_loaded(loaded, environ)))


def directories_in(file: str | None, environ: Mapping[str, str]) -> list[str]:
    """Return the directories that a file names, as they are written: for when even resolving them hangs."""
    try:
        found = find_file(file, environ=environ)
        with open(found or os.devnull, "rb") as stream:
            tables = tomllib.loads(stream.read().decode("utf-8-sig"))
        named = [*tables.get("watch", {}).get("directories", ()), tables.get("state_directory")]
        named += [each.get("directory") for each in tables.get("destinations", ()) if each.get("kind") == "directory"]
    except (OSError, ValueError, AttributeError, TypeError, ConfigurationError):
        return []  # what is wrong with it is for later, when it can be read
    return list(dict.fromkeys(each for each in named if isinstance(each, str) and os.path.isabs(each)))


def _problems(raised: ConfigurationError, file: str | None) -> Iterator[Finding]:
    where = f"{raised.file}: " if raised.file else ""
    for path, wrong, fix in raised.problems:
        is_missing = path == "--config" or (file is not None and "is not there" in wrong)
        words = "lorawatch init" if is_missing else fix
        if path == "--config":  # there is none, and so no place in it
            yield error(CHECK, wrong, fix=words, code=_CODE)
            continue
        place = f"{where if path != raised.file else ''}{path}"
        yield error(CHECK, f"{place}: {wrong}", fix=words, subject=path, code=_CODE)


def _of_loaded(loaded: Loaded, environ: Mapping[str, str]) -> Iterator[Finding]:
    config = loaded.config
    counts = [
        humanize.count(len(config.watch.directories), "watched directory"),
        humanize.count(len(enabled := [each for each in config.destinations if each.enabled]), "destination"),
    ]
    sources = sum(source.enabled for source in config.sources)
    counts += [humanize.count(sources, "source")] if sources else []
    overrides = sorted(name for name in environ if name.startswith("LORAWATCH_") and "__" in name)
    beside = f"; overridden by {', '.join(f'${name}' for name in overrides)}" if overrides else ""
    names = ", ".join(each.name for each in enabled)
    yield fine(CHECK, f"{loaded.file or 'the command line'}: {', '.join(counts)} ({names}){beside}")
    if loaded.file is not None and _holds_token(config) and _is_open(loaded.file):
        quoted = shlex.quote(loaded.file)
        yield warning(
            CHECK,
            f"{loaded.file} holds a token and may be read by everybody on this machine",
            fix=f"chmod 640 {quoted}, or take the token out: a credential or $LORAWATCH_TOKEN_<NAME> is better",
            subject="token",
        )


def _holds_token(config: Config) -> bool:
    servers = [*config.destinations, *config.sources]
    return any(getattr(each, "token", None) and each.token.get_secret_value() for each in servers)  # type: ignore[union-attr]  # has one


def _is_open(file: str) -> bool:
    try:
        return bool(os.stat(file).st_mode & stat.S_IROTH)
    except OSError:
        return False
