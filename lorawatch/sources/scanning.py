"""Which names are wanted, and every file below a directory that has one.

The folder source scans on its intake thread; 100,000 known files cost little more than scandir and stat themselves.
It never opens a file, never follows a link to a directory, and lists one directory at a time.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from lorawatch.domain.errors import SourceError
from lorawatch.domain.model import Candidate, Version
from lorawatch.domain.ports import Entry, Unsettled
from lorawatch.sources.looking import sight, version_of

# "**/*.safetensors" and "*.safetensors": any name that ends so.
_ANY_WITH_SUFFIX = re.compile(r"(?:\*\*/)?\*(?P<suffix>\.[^*?\[\]\\/!]*[^*?\[\]\\/!\s])")
_NAMED_GROUP = re.compile(r"\(\?P<\w+>")

_AS_BYTES = (sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())  # as os.fsencode does it, without its call
PAGE = 250  # entries held at once, however many a directory has
_Page = dict[Entry, int]  # with the ctime in ns of each; a stat_result is four times as large


class NameFilter:
    """The include and exclude patterns, with the rules of .gitignore, made ready for a hundred thousand names."""

    __slots__ = ("_excluded", "_included", "_suffixes", "endings")

    def __init__(self, include: Sequence[str], exclude: Sequence[str] = ()) -> None:
        simple = [_ANY_WITH_SUFFIX.fullmatch(pattern) for pattern in include]
        suffixes = tuple(match["suffix"] for match in simple if match)
        self._suffixes = suffixes if len(suffixes) == len(simple) else None
        self._included = None if self._suffixes is not None else _translate(include)
        self._excluded = _translate(exclude) if exclude else None
        # With nothing but suffixes to compare, whoever scans need not ask for each name.
        is_simple = self._suffixes is not None and not exclude
        self.endings = suffixes if is_simple else None

    def wants(self, path: str, start: int) -> bool:
        """Return whether a path is wanted; what counts of it begins at `start`, behind the root and its slash."""
        if self._suffixes is not None and not path.endswith(self._suffixes):
            return False
        if self._included is not None and not self._included.match(path[start:]):
            return False
        return self._excluded is None or not self._excluded.match(path[start:])


def _translate(patterns: Sequence[str]) -> re.Pattern[str]:
    """Make one regular expression of all: asking pathspec pattern by pattern costs more than the scan itself.

    The last pattern that matches decides, as git has it: each one is laid around those before it.
    """
    import pathspec  # a twentieth of a start, where a suffix is all that is asked for

    combined = "(?!)"  # nothing matches this
    for pattern in pathspec.GitIgnoreSpec.from_lines(patterns).patterns:
        if pattern.regex is None:
            continue  # a comment or an empty line
        one = _NAMED_GROUP.sub("(?:", pattern.regex.pattern)
        combined = f"(?:{one}|{combined})" if pattern.include else f"(?!{one}){combined}"
    return re.compile(combined, re.DOTALL)


def scan_tree(
    directory: str,
    *,
    root: str,
    wanted: NameFilter,
    unreadable: dict[str, str],
    unsettled: Unsettled | None = None,
) -> Iterator[Candidate]:
    """Yield what has a wanted name below a directory; note in `unreadable` where that cannot be told, and why."""
    pending = [directory]
    while pending:
        current = pending.pop()
        try:
            odd: list[str] = []
            with _entries(current) as (descriptor, entries):
                for page in _pages(entries, current, pending, odd, root, wanted):
                    if not os.path.samestat(os.stat(current), os.fstat(descriptor)):
                        break  # it has another name by now, and so have its files: whoever has seen that scans it again
                    yield from _candidates(current, page, root, unsettled)
            yield from filter(None, (_odd_candidate(path, root) for path in odd))
        except OSError as error:
            # A directory that is gone holds nothing; a root that is gone says nothing about its files.
            if not isinstance(error, FileNotFoundError | NotADirectoryError) or current == root:
                unreadable[current] = error.strerror or str(error)


@contextmanager
def _entries(directory: str) -> Iterator[tuple[int, Iterator[os.DirEntry[str]]]]:
    """Open a directory and list it by its descriptor: a tenth of each stat is finding the way (measured, five deep)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with os.scandir(descriptor) as entries:
            yield descriptor, entries
    finally:
        os.close(descriptor)


def _pages(
    entries: Iterator[os.DirEntry[str]],
    directory: str,
    pending: list[str],
    odd: list[str],
    root: str,
    wanted: NameFilter,
) -> Iterator[_Page]:
    """Yield the wanted files of one directory a page at a time; its sub-directories go to `pending`, the rest to `odd`.

    This is the loop that runs a hundred thousand times: no call in it that could be outside. Raises OSError.
    """
    start, endings = len(os.path.join(root, "")), wanted.endings
    below = os.path.join(directory, "")
    page: _Page = {}
    for entry in entries:
        name = entry.name
        if name.startswith("."):
            continue
        if not entry.is_file(follow_symlinks=False):
            path = below + name
            if entry.is_dir(follow_symlinks=False):
                pending.append(path)
            if wanted.wants(path, start):
                odd.append(path)
            continue
        if not (name.endswith(endings) if endings else wanted.wants(below + name, start)):
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # removed since it was listed
            continue
        page[name.encode(*_AS_BYTES), status.st_ino, status.st_size, status.st_mtime_ns] = status.st_ctime_ns
        if len(page) == PAGE:
            yield page
            page = {}
    yield page


def _candidates(
    directory: str, page: Mapping[Entry, int], root: str, unsettled: Unsettled | None
) -> Iterator[Candidate]:
    """Make candidates of those files of a page that need a look."""
    for entry in unsettled(directory, page.keys()) if unsettled is not None and page else page:
        name, inode, size_bytes, mtime_ns = entry
        path = os.path.join(directory, os.fsdecode(name))
        yield Candidate(root, path, Version(inode, size_bytes, mtime_ns), page[entry])


def _odd_candidate(path: str, root: str) -> Candidate | None:
    """Return what is no regular file as a candidate: a link with the version of its target, if that is allowed."""
    try:
        sighting = sight(path, root)
    except SourceError:  # gone, or a link into where we may not look: whoever opens it is told which
        try:
            status = os.lstat(path)
        except OSError:
            return None
        return Candidate(root, path, version_of(status), status.st_ctime_ns)
    return Candidate(root, path, sighting.version, sighting.ctime_ns)
