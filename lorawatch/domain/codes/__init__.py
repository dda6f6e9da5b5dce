"""Every code that lorawatch can show, with its cause and its cure: the one source for all who explain.

Events, `status`, `doctor`, `explain` and the README's list read it. Pure tables, one module per subject.
"""

import os
import re
import shlex
from collections.abc import Mapping

from lorawatch.domain.codes.code import Code
from lorawatch.domain.codes.comfyui import COMFYUI_CODES
from lorawatch.domain.codes.destinations import DESTINATION_CODES
from lorawatch.domain.codes.files import FILE_CODES, INCOMPLETE_CODES
from lorawatch.domain.codes.program import PROGRAM_CODES
from lorawatch.domain.codes.servers import SERVER_CODES
from lorawatch.domain.codes.watching import WATCH_CODES

__all__ = ["CODES", "SECTIONS", "Code", "cure_of", "is_about_source", "lookup", "words_for"]

# The words in the cures that stand for what is known only where a code is shown: DIRECTORY, URL, ….
_PLACEHOLDER = re.compile(r"<NAME>|\b[A-Z][A-Z_]+\b")

# In the order in which a reader would look for them.
SECTIONS: dict[str, tuple[Code, ...]] = {
    "A file is not accepted, or only with a warning": FILE_CODES,
    "A file is not finished, or cannot be read now": INCOMPLETE_CODES,
    "A watched directory": WATCH_CODES,
    "A destination on a disk": DESTINATION_CODES,
    "A server": SERVER_CODES,
    "ComfyUI": COMFYUI_CODES,
    "lorawatch itself": PROGRAM_CODES,
}
CODES: tuple[Code, ...] = tuple(code for section in SECTIONS.values() for code in section)
_BY_NAME = {code.code: code for code in CODES}
_ABOUT_SOURCE = frozenset(code.code for code in (*FILE_CODES, *INCOMPLETE_CODES))


def lookup(code: str) -> Code | None:
    """Return what is known about a code; None if it is unknown."""
    return _BY_NAME.get(code)


def is_about_source(code: str) -> bool:
    """Return whether a code is about a source file, and not about where it goes."""
    return code in _ABOUT_SOURCE


def words_for(path: str) -> dict[str, str]:
    """Return what stands for the placeholders of a cure that is about a source file, as a shell takes it."""
    file = shlex.quote(path)
    return {"FILE": file, "PATH": file, "NAME": file, "DIRECTORY": shlex.quote(os.path.dirname(path))}


def cure_of(code: str, words: Mapping[str, str] | None = None) -> str:
    """Return the cure of a code, "" if it is unknown; what is known is put in for its placeholders.

    `words`: by placeholder, as a shell takes it. USER stands for whoever runs lorawatch.
    """
    known, given = lookup(code), words or {}
    if known is None or not given:
        return known.cure if known else ""
    cure = known.cure.replace("u:lorawatch:", f"u:{given.get('USER', 'lorawatch')}:")
    return _PLACEHOLDER.sub(lambda match: given.get(match[0], match[0]), cure)
