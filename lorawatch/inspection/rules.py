"""By which rules a verdict is made: what they are called in a stored verdict, and the text of the family table.

app.py asks for the name when a service is built, so nothing is loaded here that a first look at a file would need.
"""

import hashlib
from functools import cache
from importlib import resources

# Part of each stored verdict, beside the family table's own. Raise it when any verdict could come out differently.
_RULES = 3


def rules_version(*, max_header_bytes: int) -> str:
    """Return what names the rules: another text, and what was rejected or skipped is looked at again."""
    return f"safetensors-{_RULES}/families:{table_version()}/header:{max_header_bytes}"


@cache
def table_text() -> str:
    """Return the text of families.toml."""
    return resources.files(__package__).joinpath("families.toml").read_text(encoding="utf-8")


def table_version() -> str:
    """Return a short hash of the table, to be stored beside verdicts that depend on it."""
    return hashlib.sha256(table_text().encode()).hexdigest()[:12]
