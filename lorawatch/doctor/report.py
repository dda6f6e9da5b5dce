"""The findings as a person reads them: one line each, colours by level, what to do below. Pure; `doctor` prints it."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lorawatch import humanize
from lorawatch.doctor.findings import Finding, Level
from lorawatch.terminal import styled

_STYLES = {Level.OK: "good", Level.WARNING: "warning", Level.ERROR: "error"}
_LEVEL_WIDTH = 9
_CHECK_WIDTH = 25
_NARROW = 72  # below this the columns leave too little for the words


@dataclass(frozen=True, slots=True)
class Look:
    """How it is to look. `columns`: 0 for a pipe, where lines are not broken."""

    columns: int = 0
    is_coloured: bool = False


def lines_of(finding: Finding, look: Look) -> Iterator[str]:
    """Yield the lines of one finding. A line with a command is never broken: it is to be copied."""
    level = _styled(finding.level.value, finding.level, look) + " " * (_LEVEL_WIDTH - len(finding.level.value))
    is_narrow = 0 < look.columns < _NARROW
    subject = f" ({finding.subject})" if finding.subject and finding.subject not in finding.detail else ""
    detail = f"{finding.detail}{subject}"
    indent = "  " if is_narrow else " " * (_LEVEL_WIDTH + _CHECK_WIDTH)
    if is_narrow:
        yield f"{level}{finding.check}"
        yield from _wrapped(detail, indent, look.columns)
    else:
        first, *rest = _wrapped(detail, indent, look.columns)
        yield f"{level}{finding.check:<{_CHECK_WIDTH - 1}} {first.lstrip()}"
        yield from rest
    for fix in finding.fix.splitlines():
        yield f"{indent}→ {fix}"


def summary(findings: Sequence[Finding], look: Look) -> str:
    """Return the last line."""
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    if not counts[Level.WARNING] and not counts[Level.ERROR]:
        return _styled(f"All is well: {humanize.count(len(findings), 'finding')}, nothing to do.", Level.OK, look)
    parts = [
        _styled(humanize.count(counts[level], level.value), level, look)
        for level in (Level.ERROR, Level.WARNING)
        if counts[level]
    ]
    return f"{' and '.join(parts)}; {counts[Level.OK]} fine. What to do stands behind each →."


def _wrapped(text: str, indent: str, columns: int) -> list[str]:
    if not columns:
        return [indent + text]
    return textwrap.wrap(
        text,
        width=max(columns, len(indent) + 20),
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    ) or [indent]


def _styled(text: str, level: Level, look: Look) -> str:
    return styled(text, _STYLES[level], is_wanted=look.is_coloured)
