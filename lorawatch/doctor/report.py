"""The findings as a person reads them: a row each, coloured by level, what to do below. Pure; `doctor` prints it."""

import textwrap
from collections.abc import Iterator, Sequence

from lorawatch import humanize
from lorawatch.doctor.findings import Finding, Level
from lorawatch.status_rows import Part, Rank, Row

_STYLES = {Level.OK: "good", Level.WARNING: "warning", Level.ERROR: "error"}
_LEVEL_WIDTH = 9
_CHECK_WIDTH = 25
_NARROW = 72  # below this the columns leave too little for the words


def rows_of(finding: Finding, columns: int) -> Iterator[Row]:
    """Yield the rows of one finding. One with a command is never broken: it is to be copied.

    `columns`: 0 for a pipe, where nothing is broken.
    """
    level = Part(f"{finding.level.value:<{_LEVEL_WIDTH}}", _STYLES[finding.level])
    is_narrow = 0 < columns < _NARROW
    subject = f" ({finding.subject})" if finding.subject and finding.subject not in finding.detail else ""
    detail = f"{finding.detail}{subject}"
    indent = "  " if is_narrow else " " * (_LEVEL_WIDTH + _CHECK_WIDTH)
    if is_narrow:
        yield _row(level, Part(finding.check))
        rest = _wrapped(detail, indent, columns)
    else:
        first, *rest = _wrapped(detail, indent, columns)
        yield _row(level, Part(f"{finding.check:<{_CHECK_WIDTH - 1}} {first.lstrip()}"))
    for line in (*rest, *(f"{indent}→ {fix}" for fix in finding.fix.splitlines())):
        yield _row(Part(line))


def summary(findings: Sequence[Finding]) -> Row:
    """Return the last row."""
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    if not counts[Level.WARNING] and not counts[Level.ERROR]:
        return _row(Part(f"All is well: {humanize.count(len(findings), 'finding')}, nothing to do.", "good"))
    parts = [
        Part(humanize.count(counts[level], level.value), _STYLES[level])
        for level in (Level.ERROR, Level.WARNING)
        if counts[level]
    ]
    joined = [parts[0], *(each for part in parts[1:] for each in (Part(" and "), part))]
    return _row(*joined, Part(f"; {counts[Level.OK]} fine. What to do stands behind each →."))


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


def _row(*parts: Part) -> Row:
    return Row(parts, Rank.HEAD)
