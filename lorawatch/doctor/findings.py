"""What one check has seen: fine or not, in words, and what to do. Pure; every check returns these."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from lorawatch.domain.codes import cure_of
from lorawatch.domain.errors import LorawatchError

_SAME_PART = 0.6  # so many of the words in common is the same advice


class Level(StrEnum):
    """How bad it is. A warning works, but not as well as it could, or not for long."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str  # kebab-case, as scripts match on it; never changes
    level: Level
    detail: str
    fix: str = ""  # one way a line, the best first, each ending with its command; "": nothing is to be done
    subject: str = ""  # what was looked at: a destination's name, a directory; "": the machine
    code: str = ""  # of the list of codes, where there is one

    @property
    def is_fine(self) -> bool:
        """Return whether nothing is to be done."""
        return self.level is Level.OK

    def document(self) -> dict[str, str | None]:
        """Return it as JSON knows it."""
        return {
            "check": self.check,
            "level": self.level.value,
            "detail": self.detail,
            "fix": self.fix,
            "subject": self.subject or None,
            "code": self.code or None,
        }


def fine(check: str, detail: str, *, subject: str = "") -> Finding:
    """Return that all is well, and what was seen."""
    return Finding(check, Level.OK, detail, subject=subject)


def warning(check: str, detail: str, *, fix: str, subject: str = "", code: str = "") -> Finding:
    """Return something that works, but deserves a look."""
    return Finding(check, Level.WARNING, detail, fix, subject, code)


def error(check: str, detail: str, *, fix: str, subject: str = "", code: str = "") -> Finding:
    """Return something that does not work."""
    return Finding(check, Level.ERROR, detail, fix, subject, code)


def of_error(
    check: str,
    raised: LorawatchError,
    *,
    subject: str = "",
    words: Mapping[str, str] | None = None,
    level: Level = Level.ERROR,
) -> Finding:
    """Return what an error of the house means: its own words, and the cure of its code.

    Its own fix goes before the cure, unless the cure says the same with more words.
    """
    cure = cure_of(raised.code, words)
    own, known = _words_of(raised.fix), _words_of(cure)
    is_repeated = len(own & known) >= _SAME_PART * len(own)
    fix = together([cure] if is_repeated else [raised.fix, cure])
    return Finding(check, level, raised.message, fix, subject, raised.code)


def _words_of(text: str) -> set[str]:
    return set(re.findall(r"[a-z_]{2,}", text.lower()))


def together(fixes: Iterable[str]) -> str:
    """Return several ways as one text, a line each; those that say the same only once."""
    lines = [line.strip() for fix in fixes for line in fix.splitlines() if line.strip()]
    return "\n".join(dict.fromkeys(lines))
