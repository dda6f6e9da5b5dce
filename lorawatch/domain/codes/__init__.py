"""Every code that lorawatch can show, with its cause and its cure: the one source for all who explain.

Events, `status`, `doctor`, `explain` and the README's list read it. Pure tables, one module per subject.
"""

from lorawatch.domain.codes.code import Code
from lorawatch.domain.codes.comfyui import COMFYUI_CODES
from lorawatch.domain.codes.destinations import DESTINATION_CODES
from lorawatch.domain.codes.files import FILE_CODES, INCOMPLETE_CODES
from lorawatch.domain.codes.program import PROGRAM_CODES
from lorawatch.domain.codes.servers import SERVER_CODES
from lorawatch.domain.codes.watching import WATCH_CODES

__all__ = ["CODES", "SECTIONS", "Code", "lookup"]

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


def lookup(code: str) -> Code | None:
    """Return what is known about a code; None if it is unknown."""
    return _BY_NAME.get(code)
