"""Which names are wanted, and every file below a directory that has one.

The folder source scans on its intake thread; 100,000 known files cost little more than scandir and stat themselves.
It never opens a file, never follows a link to a directory, and holds one directory open at a time.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence

import pathspec

from lorawatch.domain.errors import FileUnreadableError, FileVanishedError
from lorawatch.domain.model import Candidate, Version
from lorawatch.sources.looking import sight, version_of

# "**/*.safetensors" and "*.safetensors": any name that ends so.
_ANY_WITH_SUFFIX = re.compile(r"(?:\*\*/)?\*(?P<suffix>\.[^*?\[\]\\/!]*[^*?\[\]\\/!\s])")
_NAMED_GROUP = re.compile(r"\(\?P<\w+>")


class NameFilter:
    """The include and exclude patterns, with the rules of .gitignore, made ready for a hundred thousand names."""

    __slots__ = ("_excluded", "_included", "_suffixes")

    def __init__(self, include: Sequence[str], exclude: Sequence[str] = ()) -> None:
        simple = [_ANY_WITH_SUFFIX.fullmatch(pattern) for pattern in include]
        suffixes = tuple(match["suffix"] for match in simple if match)
        self._suffixes = suffixes if len(suffixes) == len(simple) else None
        self._included = _translate(include)
        self._excluded = _translate(exclude) if exclude else None

    def wants(self, path: str, start: int) -> bool:
        """Return whether a path is wanted; what counts of it begins at `start`, behind the root and its slash."""
        if self._suffixes is not None:
            if not path.endswith(self._suffixes):
                return False
        elif not self._included.match(path[start:]):
            return False
        return self._excluded is None or not self._excluded.match(path[start:])


def _translate(patterns: Sequence[str]) -> re.Pattern[str]:
    """Make one regular expression of all: asking pathspec pattern by pattern costs more than the scan itself.

    The last pattern that matches decides, as git has it: each one is laid around those before it.
    """
    combined = "(?!)"  # nothing matches this
    for pattern in pathspec.GitIgnoreSpec.from_lines(patterns).patterns:
        if pattern.regex is None:
            continue  # a comment or an empty line
        one = _NAMED_GROUP.sub("(?:", pattern.regex.pattern)
        combined = f"(?:{one}|{combined})" if pattern.include else f"(?!{one}){combined}"
    return re.compile(combined, re.DOTALL)


def scan_tree(directory: str, *, root: str, wanted: NameFilter, unreadable: dict[str, str]) -> Iterator[Candidate]:
    """Yield what has a wanted name below a directory; note in `unreadable` where that cannot be told, and why."""
    start = len(os.path.join(root, ""))
    pending = [directory]
    while pending:
        current = pending.pop()
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    if wanted.wants(entry.path, start):
                        yield from _candidates(entry, root)
        except OSError as error:
            # A directory that is gone holds nothing; a root that is gone says nothing about its files.
            if not isinstance(error, FileNotFoundError | NotADirectoryError) or current == root:
                unreadable[current] = error.strerror or str(error)


def _candidates(entry: os.DirEntry[str], root: str) -> Iterable[Candidate]:
    """Return the entry as a candidate, or nothing if it is gone. Raises OSError if it cannot even be looked at."""
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return ()
    if stat.S_ISREG(status.st_mode):
        version = Version(status.st_ino, status.st_size, status.st_mtime_ns)
        return (Candidate(root, entry.path, version, status.st_ctime_ns),)
    try:
        sighting = sight(entry.path, root)
    except FileVanishedError:
        return ()
    except FileUnreadableError:  # a link into a directory that we may not enter: opening it will say so
        return (Candidate(root, entry.path, version_of(status), status.st_ctime_ns),)
    return (Candidate(root, entry.path, sighting.version, sighting.ctime_ns),)
