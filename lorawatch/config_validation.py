"""Make a Config of plain tables, or say everything that is wrong with them at once.

Called by config_loading.py. pydantic reports all problems of single values but stops before rules between tables; so
the wrong values are taken out until the rest is valid, and the rules are applied to that rest.
"""

from collections.abc import Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lorawatch.config import Config
from lorawatch.config_problems import Keys, Problem, Table, explain, keys_of
from lorawatch.config_rules import broken_rules, duplicate_names, nothing_to_do


def validate(
    written: Table, *, context: Mapping[str, str], origins: Mapping[Keys, str], has_work: bool = True
) -> tuple[Config | None, list[Problem]]:
    """Return the configuration, or None and every problem, each once. `has_work`: nothing to do is one of them."""
    config, errors = _attempt(written, context)
    problems = explain(errors, written, origins)
    problems += duplicate_names(written)
    rest = config or _sound_part(written, errors, context)
    if has_work:
        problems += [found for found in nothing_to_do(rest) if not _is_consequence(found, problems)]
    problems += broken_rules(rest)
    return (None if problems else config), list(dict.fromkeys(problems))


def _attempt(tables: Table, context: Mapping[str, str]) -> tuple[Config | None, list[ErrorDetails]]:
    try:
        return Config.model_validate(tables, context=dict(context)), []
    except ValidationError as error:
        return None, error.errors(include_url=False)


def _sound_part(tables: Table, errors: list[ErrorDetails], context: Mapping[str, str]) -> Config:
    """Return what is left when everything wrong is taken out, which may make other things incomplete in turn."""
    config: Config | None = None
    while config is None:
        wrong = {_removable(keys_of(error), tables) for error in errors}
        tables = {key: _without(value, wrong, (key,)) for key, value in tables.items() if (key,) not in wrong}
        config, errors = _attempt(tables, context)
    return config


def _removable(keys: Keys, tables: Table) -> Keys:
    """Return the value that stands there; where none does (a key is missing), the table that lacks it."""
    value: object = tables
    for depth, key in enumerate(keys):
        is_there = key in value if isinstance(value, dict) else isinstance(value, list) and isinstance(key, int)
        if not is_there:
            return keys[:depth]
        value = value[key]  # type: ignore[index]  # a table with this key, or a list with this index
    return keys


def _without(value: object, wrong: set[Keys], at: Keys) -> object:
    if isinstance(value, dict):
        return {key: _without(below, wrong, (*at, key)) for key, below in value.items() if (*at, key) not in wrong}
    if isinstance(value, list):
        return [_without(below, wrong, (*at, n)) for n, below in enumerate(value) if (*at, n) not in wrong]
    return value


def _is_consequence(found: Problem, problems: list[Problem]) -> bool:
    """Tell whether something may be missing only because a wrong value was taken out there or below."""
    return any(f"{known.path}.".startswith(f"{found.path}.") for known in problems)
