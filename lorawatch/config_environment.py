"""What the environment says: overrides of single keys, where the state lies by default, and tokens.

Called by config_loading.py, and by app.py for the tokens. `LORAWATCH_WATCH__QUIET_SECONDS=1` reads as if
`quiet_seconds = 1` stood in `[watch]`; `LORAWATCH_DESTINATIONS__RENDER_BOX__URL` finds its entry by name. What cannot
be converted or is not known is left as it is, for the validation to report in the same words as for the file.
"""

import json
import os
from collections.abc import Mapping
from typing import get_args, get_origin

from pydantic import SecretStr, TypeAdapter, ValidationError

from lorawatch.config import ARRAYS, TABLES, AIToolkitSourceConfig, ComfyUIMcpDestinationConfig
from lorawatch.config_problems import Keys, Problem, Table, field_at
from lorawatch.config_types import did_you_mean, is_token
from lorawatch.domain.errors import ConfigurationError

_PREFIX = "LORAWATCH_"
_NOT_OVERRIDES = ("TOKEN_", "BENCHMARK", "REQUIRE_SYSTEM")  # may hold "__", and name no key


def apply_overrides(tables: Table, environ: Mapping[str, str]) -> tuple[dict[Keys, str], list[Problem]]:
    """Write the overrides into `tables`; return where each value came from, and the overrides that lead nowhere."""
    origins: dict[Keys, str] = {}
    problems: list[Problem] = []
    for variable, text in sorted(environ.items()):
        name = variable.removeprefix(_PREFIX)
        if name == variable or name.startswith(_NOT_OVERRIDES):
            continue
        place = _place_of(name, tables)
        if isinstance(place, Problem):
            problems.append(place)
        elif place:
            is_known_table = place[0] in TABLES or place[0] in ARRAYS
            origins[place if is_known_table else place[:1]] = f"${variable}"
            _write(tables, place, text)
    return origins, problems


def default_state_directory(environ: Mapping[str, str]) -> str:
    """Return systemd's $STATE_DIRECTORY (its first), else the user's own place for state (XDG)."""
    if given := environ.get("STATE_DIRECTORY", "").split(":")[0]:
        return given
    base = environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):  # the XDG specification: a relative path is to be ignored
        base = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "lorawatch")


def token_for(server: ComfyUIMcpDestinationConfig | AIToolkitSourceConfig, environ: Mapping[str, str]) -> SecretStr:
    """Return the token for a server, empty if there is none: systemd credential > environment > file.

    Reads a file when $CREDENTIALS_DIRECTORY is set. Raises ConfigurationError, never with the token in it.
    """
    variable = f"{_PREFIX}TOKEN_{_as_variable(server.name)}"
    credential = os.path.join(environ.get("CREDENTIALS_DIRECTORY", ""), server.name)
    array = "sources" if isinstance(server, AIToolkitSourceConfig) else "destinations"
    path = f"{array}.{server.name}.token"
    if "CREDENTIALS_DIRECTORY" in environ and (token := _read_credential(credential, path)):
        return _checked(token, path, f"the credential {credential}")
    if token := environ.get(variable, "").strip():
        return _checked(token, path, f"${variable}")
    return server.token


def _place_of(name: str, tables: Table) -> Keys | Problem | None:
    """Return the place an override writes to; None for a variable that is no override."""
    section, _, key = name.lower().partition("__")
    if not key:
        return ("state_directory",) if section == "state_directory" else _forgotten_underscore(name)
    if section not in ARRAYS:
        return (section, key)
    wanted, _, key = key.rpartition("__")
    entries = tables.get(section)
    names = [str(entry.get("name")) for entry in _tables_in(entries)]
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict) and _as_variable(str(entry.get("name"))) == wanted.upper():
            return (section, index, key)
    known = did_you_mean(wanted, tuple(names)) or f"There are {', '.join(names) or 'none'}"
    shape = f"The form is {_PREFIX}{section.upper()}__<NAME>__<KEY>. "
    wrong = f"names {wanted or 'nothing'}, which is none of the {section}"
    return Problem(f"${_PREFIX}{name}", wrong, f"{'' if wanted else shape}{known}")


def _forgotten_underscore(name: str) -> Problem | None:
    """Recognise LORAWATCH_LOG_LEVEL, which looks like an override and would do nothing."""
    section, _, key = name.lower().partition("_")
    if section in TABLES and key in TABLES[section].model_fields:
        right = f"{_PREFIX}{section.upper()}__{key.upper()}"
    elif section in ARRAYS and key:
        right = f"{_PREFIX}{section.upper()}__<NAME>__<KEY>"
    else:
        return None
    return Problem(f"${_PREFIX}{name}", "overrides nothing", f"Write {right}, with two underscores")


def _write(tables: Table, place: Keys, text: str) -> None:
    *above, last = place
    holder: object = tables
    for key in above:
        if isinstance(holder, dict):
            holder = holder.setdefault(key, {})
        elif isinstance(holder, list) and isinstance(key, int):
            holder = holder[key]
    if isinstance(holder, dict):  # else the file has something else there, which the validation reports
        field = field_at(place, tables)
        holder[last] = _converted(text, field.annotation) if field else text


def _converted(text: str, wanted: object) -> object:
    """Convert to the type of a key, or return the text as it is: then the validation says what is expected."""
    if _is_list(wanted):
        return _list_of(text)
    if wanted in {bool, int, float}:
        try:
            return TypeAdapter[object](wanted).validate_python(text.strip())
        except ValidationError:
            return text
    return text


def _list_of(text: str) -> list[object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None  # not JSON: separated by commas
    return value if isinstance(value, list) else [part.strip() for part in text.split(",") if part.strip()]


def _is_list(wanted: object) -> bool:
    return get_origin(wanted) is tuple or any(_is_list(part) for part in get_args(wanted))


def _tables_in(entries: object) -> list[Table]:
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _as_variable(name: str) -> str:
    return name.replace("-", "_").upper()


def _read_credential(file: str, path: str) -> str:
    try:
        with open(file, encoding="utf-8") as stream:
            return stream.read().strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        wrong = f"the credential {file} cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        wrong = f"the credential {file} is not text"
    raise ConfigurationError([(path, wrong, "Check LoadCredential= of the service")])


def _checked(token: str, path: str, origin: str) -> SecretStr:
    if not is_token(token):
        fix = "Copy the token again, without quotes or line breaks"
        raise ConfigurationError([(path, f"{origin} must be printable ASCII without spaces", fix)])
    return SecretStr(token)
