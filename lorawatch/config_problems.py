"""Turn what pydantic found wrong into sentences for people: a dotted path, what is wrong, what to write.

Called by config_validation.py with the errors of one attempt and the tables as they were written. It never shows the
value of a key that may hold a secret, nor the value of a key that it does not know.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from lorawatch.config import ARRAYS, TABLES, Config
from lorawatch.config_types import REFUSED, did_you_mean

Table: TypeAlias = dict[str, object]  # what tomllib gives
Keys: TypeAlias = tuple[str | int, ...]  # where a value stands in it

_HIDDEN = frozenset({"token", "url", "comfyui_url"})  # a URL may carry a password
_SHOWN_CHARACTERS = 80
_QUOTED = re.compile(r"'([^']*)'")
_EXPECTED = {
    "string_type": "must be a text in quotes",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "finite_number": "must be a finite number",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least one entry",
    "string_too_short": "must not be empty",
}


class Problem(NamedTuple):
    """One thing that is wrong with the configuration."""

    path: str  # dotted, such as destinations.render-box.url
    wrong: str
    fix: str


def explain(errors: Sequence[ErrorDetails], written: Table, origins: Mapping[Keys, str]) -> list[Problem]:
    """Return one problem per error. `origins` names what else than the file a value came from."""
    # A list whose entries are all wrong is also called too short: one cause, one problem.
    holders = {error["loc"][:-1] for error in errors}
    return [
        _problem(error, written, origins)
        for error in errors
        if error["type"] != "too_short" or error["loc"] not in holders
    ]


def keys_of(error: ErrorDetails) -> Keys:
    """Return where the wrong value stands: pydantic's location without the kind that it adds for a union."""
    location = error["loc"]
    if len(location) > 2 and len(ARRAYS.get(str(location[0]), ())) > 1:
        location = (*location[:2], *location[3:])
    return (*location, "kind") if error["type"].startswith("union_tag") else location


def field_at(keys: Keys, written: Table) -> FieldInfo | None:
    """Return the model's field for a place, or None where the model knows none."""
    model, rest = _model_at(keys, written)
    return model.model_fields.get(str(rest[0])) if model and rest else None


def dotted(keys: Keys, written: Table) -> str:
    """Return a place as people write it: entries of an array by their name, else by their number."""
    parts = [str(key) for key in keys if isinstance(key, str)]
    if len(keys) > 1 and keys[0] in ARRAYS and isinstance(keys[1], int):
        name = _entry(keys, written).get("name")
        parts.insert(1, name if isinstance(name, str) and name.isprintable() and name else f"#{keys[1] + 1}")
    return ".".join(parts)


def _problem(error: ErrorDetails, written: Table, origins: Mapping[Keys, str]) -> Problem:
    keys = keys_of(error)
    path = dotted(keys, written)
    origin = _origin(keys, origins)
    example = _example(field_at(keys, written))
    if error["type"] == "extra_forbidden":
        return Problem(path, f"is not a known key{origin}", _known_instead(keys, written))
    if error["type"] in {"missing", "union_tag_not_found"}:
        known = ARRAYS[str(keys[0])] if keys[-1] == "kind" else ()
        return Problem(path, "is missing", f"Write one of {', '.join(known)}" if known else example)
    is_table_expected = error["type"] in {"model_type", "model_attributes_type"}
    if is_table_expected or (error["type"] == "tuple_type" and len(keys) == 1):
        return _wrong_table(keys, path, origin)
    expected, fix = _expectation(error)
    return Problem(path, f"{_shown(error, keys)}{origin}, {expected}".removeprefix(", "), fix or example)


def _origin(keys: Keys, origins: Mapping[Keys, str]) -> str:
    """Say where a value comes from if not from the file; what is said of a list holds for its entries."""
    named = [origins[keys[:end]] for end in range(len(keys), 0, -1) if keys[:end] in origins]
    return f" (from {named[0]})" if named else ""


def _expectation(error: ErrorDetails) -> tuple[str, str]:
    """Return what would be right, and what to write if that is known better than by an example."""
    context = error.get("ctx", {})
    if error["type"] == REFUSED:
        return str(context["wrong"]), str(context["fix"])
    if error["type"] in {"literal_error", "union_tag_invalid"}:
        known = tuple(_QUOTED.findall(context.get("expected_tags") or context["expected"]))
        expected = f"must be one of {', '.join(known)}" if len(known) > 1 else f"must be {known[0]}"
        return expected, did_you_mean(str(_input(error)), known)
    if error["type"] in _EXPECTED:
        bounds = {key: f"{value:.12g}" for key, value in context.items() if isinstance(value, int | float)}
        return _EXPECTED[error["type"]].format(**bounds), ""
    return f"is refused: {error['msg']}", ""


def _wrong_table(keys: Keys, path: str, origin: str) -> Problem:
    if keys[0] in ARRAYS:
        return Problem(path, f"must be an array of tables{origin}", f"Write [[{keys[0]}]], with two brackets")
    return Problem(path, f"must be a table{origin}", f"Write [{path}], with one bracket, and its keys below")


def _known_instead(keys: Keys, written: Table) -> str:
    """Say what a key that is not known here may have been meant to be, or where it would be known."""
    word = str(keys[-1])
    model = _model_at(keys, written)[0] or Config
    if guess := did_you_mean(word, tuple(model.model_fields)):
        return guess
    for section, table in TABLES.items():
        if word in table.model_fields:
            return f"It belongs in [{section}]"
    for array, kinds in ARRAYS.items():
        for kind, entry in kinds.items():
            if word in entry.model_fields:
                return f'It belongs in [[{array}]] with kind = "{kind}"'
    return f"Known here are {', '.join(model.model_fields)}"


def _model_at(keys: Keys, written: Table) -> tuple[type[BaseModel] | None, Keys]:
    """Return the model that holds a key, and the keys from there on."""
    if len(keys) > 1 and keys[0] in TABLES:
        return TABLES[str(keys[0])], keys[1:]
    if len(keys) > 2 and keys[0] in ARRAYS:
        kinds = ARRAYS[str(keys[0])]
        only = next(iter(kinds)) if len(kinds) == 1 else None
        kind = _entry(keys, written).get("kind", only)
        return kinds.get(kind if isinstance(kind, str) and kind in kinds else str(only)), keys[2:]
    return Config, keys


def _entry(keys: Keys, written: Table) -> Table:
    entries = written.get(str(keys[0]))
    entry = entries[keys[1]] if isinstance(entries, list) and isinstance(keys[1], int) else None
    return entry if isinstance(entry, dict) else {}


def _example(field: FieldInfo | None) -> str:
    if field is None:
        return ""
    example = field.examples[0] if field.examples else field.default
    return f"Write for example {_toml(example)}" if isinstance(example, str | int | float | list | tuple) else ""


def _input(error: ErrorDetails) -> object:
    return error["input"].get("kind") if error["type"] == "union_tag_invalid" else error["input"]


def _shown(error: ErrorDetails, keys: Keys) -> str:
    if _HIDDEN.intersection(keys):
        return ""
    value = _input(error)
    if error["type"] == "too_short":
        return "is empty"
    shown = "a table" if isinstance(value, dict) else "a list" if isinstance(value, list) else _toml(value)
    return f"entry {keys[-1] + 1} is {shown}" if isinstance(keys[-1], int) else f"is {shown}"


def _toml(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    if len(text) > _SHOWN_CHARACTERS:
        text = text[: _SHOWN_CHARACTERS - 1] + "…"
    return text.encode("utf-8", "backslashreplace").decode()  # an undecodable path must not break a terminal
