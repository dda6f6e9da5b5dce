"""One file as intake would look at it: what it is, and whether it would be delivered. Behind `check` and `send`.

Runs on the main thread, `look_at_all` on a few of its own, beside a daemon or without one. It writes nothing, and
knows nothing of the engine: `check` on one file is done in the time that importing that takes.
"""

import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from lorawatch.config import Config
from lorawatch.domain.errors import FileRejectedError, FileVanishedError, LorawatchError, SourceError
from lorawatch.domain.model import Candidate, Facts, Finding
from lorawatch.domain.ports import Stop
from lorawatch.inspection.examination import Examiner
from lorawatch.sources.looking import Sighting, open_sighted
from lorawatch.sources.scanning import NameFilter

# While one file's bytes are hashed, which leaves the interpreter free, another one's header is understood. Measured
# on two cores, LoRAs of 20 MB: 1.27 times the time of sha256 alone with one reader, 0.76 times with two.
READERS = 2

Progress = Callable[[int, int], None]  # of the size and the bytes done
Refusal = Callable[[str, Facts], tuple[str, str] | None]  # of a path and its facts: (code, reason)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a file is, and whether it would be delivered."""

    file: str  # as it was given
    is_accepted: bool
    code: str | None
    reason: str | None
    facts: Facts
    size_bytes: int | None
    sha256: str | None = None
    candidate: Candidate | None = None


def examiner_of(config: Config) -> Examiner:
    """Return the examiner for the settings of `[inspect]`. Raises LorawatchError where it could not open a file."""
    if not os.path.isdir("/proc/self/fd"):  # a bare chroot: every file would seem to vanish when it is opened
        raise LorawatchError(
            "/proc is not mounted here, and without it no file can be opened safely",
            fix="mount it: mount -t proc proc /proc",
        )
    return Examiner(
        max_header_bytes=config.inspect.max_header_bytes,
        scan_weights=config.inspect.scan_weights,
        on_nonfinite=config.inspect.on_nonfinite,
    )


def name_filter_of(config: Config) -> Callable[[str], bool]:
    """Return what tells whether `include` and `exclude` of `[watch]` want an absolute path.

    Of a file outside of every watched directory only the name counts: it has yet to be put somewhere.
    """
    wanted = NameFilter(config.watch.include, config.watch.exclude)
    roots = [os.path.join(directory, "") for directory in config.watch.directories]

    def is_wanted(path: str) -> bool:
        root = next(filter(path.startswith, roots), os.path.join(os.path.dirname(path), ""))
        return wanted.wants(path, len(root))

    return is_wanted


def look_at_all(files: Sequence[str], examiner: Examiner, refusal: Refusal) -> Generator[Verdict, None, None]:
    """Yield what `look_at` says of each file, in their order, while the next ones are being read.

    Whatever ends the iteration also ends the reads. Raises nothing of its own.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(READERS, thread_name_prefix="look") as pool:
        try:
            yield from pool.map(lambda file: look_at(file, examiner, refusal, stop), files)
        finally:
            stop.set()


def _open(path: str) -> tuple[Sighting, int]:
    try:
        return open_sighted(path, "/")
    except FileVanishedError as error:
        raise SourceError("there is no such file", code="file-missing") from error


def _with_finding(facts: Facts, finding: Finding) -> Facts:
    known = facts.findings
    return facts if finding in known else replace(facts, findings=(*known, finding))


def look_at(file: str, examiner: Examiner, refusal: Refusal, stop: Stop, progress: Progress | None = None) -> Verdict:
    """Read a file whole and say what it is. Raises StoppedError only: every other trouble is in the verdict.

    `progress` is told the size, and how much of it is read.
    """
    path = os.path.abspath(file)
    candidate, examination, sha256 = None, None, None
    try:
        sighting, descriptor = _open(path)
        candidate = Candidate(os.path.dirname(path), path, sighting.version, sighting.ctime_ns, is_closed=True)
        try:
            size_bytes = sighting.version.size_bytes
            examination = examiner.begin(descriptor, name=os.path.basename(path), size_bytes=size_bytes)
            told = None if progress is None else partial(progress, size_bytes)
            sha256 = examination.hash(descriptor, size_bytes=size_bytes, stop=stop, progress=told)
            facts = examination.conclude()
        finally:
            os.close(descriptor)
    except (FileRejectedError, SourceError) as error:
        return Verdict(
            file,
            is_accepted=False,
            code=error.code,
            reason=error.message,
            facts=_with_finding(examination.facts if examination else Facts(), Finding(error.code, error.message)),
            size_bytes=candidate.version.size_bytes if candidate else None,
            sha256=sha256,
        )
    refused = refusal(path, facts)
    code, reason = refused or (None, None)
    return Verdict(
        file,
        is_accepted=refused is None,
        code=code,
        reason=reason,
        facts=facts,
        size_bytes=candidate.version.size_bytes,
        sha256=sha256,
        candidate=candidate,
    )
