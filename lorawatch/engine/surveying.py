"""The full scan of one watched directory against the journal. Called by its intake thread; holds one page in memory.

It finds what is new, remembers what was there before a destination was, plans known artifacts for new
destinations, and finds out what is gone. It reads no file.
"""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from lorawatch.domain.errors import SourceError
from lorawatch.domain.model import Candidate
from lorawatch.domain.ports import Entry, Source
from lorawatch.engine.recording import Recorded, plan_route
from lorawatch.engine.settings import IntakeSettings, Route
from lorawatch.journal import files, places, upkeep
from lorawatch.journal.database import Database

PAGE = 500  # candidates compared with the journal in one query; memory stays flat with any number of files
OPEN_STATES = ("settling", "incomplete", "unreadable")
TOLD_STATES = ("incomplete", "unreadable", "rejected", "skipped")  # what is settling is looked at anyway


@dataclass(slots=True)
class Survey:
    """What a full scan found."""

    file_count: int = 0
    new_count: int = 0
    new_bytes: int = 0
    is_root_blank: bool = False  # not one entry in it


@dataclass(slots=True)
class Surveyor:
    """Scans one source. `is_pending` tells whether intake already has a path in hand."""

    source: Source
    journal: Database
    routes: Sequence[Route]
    settings: IntakeSettings
    now: Callable[[], float]
    is_pending: Callable[[str], bool]
    touch: Callable[[], None]  # called for every page: the scan is alive
    _unpaired: list[Route] = field(default_factory=list)  # destinations that have never met the source
    _changed: list[Route] = field(default_factory=list)  # those that want other files than when they last did
    _began_at: float = 0.0

    def __post_init__(self) -> None:
        self._began_at = self.now()

    def first(self, on_planned: Callable[[list[Recorded]], None], *, is_owed: bool) -> Survey:
        """Scan at the start: queue what is new in the journal as backlog, and introduce new destinations.

        A blank root of which something is owed (`is_owed`) is taken for a missing disk: nobody is introduced to it.
        """
        with self.journal.write() as connection:
            wanted = {
                route.destination_id: places.wants_of_pairing(connection, self.source.root, route.destination_id)
                for route in self.routes
            }
            self._unpaired = [route for route in self.routes if wanted[route.destination_id] is None]
            self._changed = [route for route in self.routes if wanted[route.destination_id] not in {None, route.wants}]
            if self._unpaired and self.settings.is_existing_delivered:
                files.requeue_ignored(connection, self.source.root)
        survey = Survey()
        is_all_needed = bool(self._unpaired) and not self.settings.is_existing_delivered
        for page in self._pages(None, survey, is_all_needed=is_all_needed):
            fresh = fresh_of(page, self.journal, self.settings.verdict_key)
            self._count(survey, fresh)
            self._queue(fresh, page, is_backlog=True)
        survey.is_root_blank = survey.file_count == 0 and _is_blank(self.source.root)
        if not (survey.is_root_blank and is_owed):
            self._introduce(on_planned)
        return survey

    def again(self, below: str | None, on_fresh: Callable[[Candidate], bool]) -> Survey:
        """Scan again. `on_fresh` takes what is new, or returns False to have it queued in the journal."""
        survey = Survey()
        for page in self._pages(below, survey, is_all_needed=False):
            fresh = fresh_of(page, self.journal, self.settings.verdict_key)
            fresh = [candidate for candidate in fresh if not self.is_pending(candidate.path)]
            self._count(survey, fresh)
            self._queue([candidate for candidate in fresh if not on_fresh(candidate)], page, is_backlog=False)
        survey.is_root_blank = below is None and survey.file_count == 0 and _is_blank(self.source.root)
        return survey

    def gone(self) -> list[str]:
        """Return the paths below the root that are gone and still matter: something is owed, or a person was told."""
        with self.journal.read() as connection:
            owed = upkeep.owed_paths(connection, self.source.root, is_failed_counted=True)
            told = files.paths_in_states(connection, self.source.root, TOLD_STATES)
            return [path for path in chain(owed, told) if not self.is_there(path)]

    def is_there(self, path: str) -> bool:
        """Return whether a path still exists as something that the source would deliver."""
        try:
            return self.source.look(path) is not None or os.path.isdir(path)
        except SourceError:
            return True

    def _pages(self, below: str | None, survey: Survey, *, is_all_needed: bool) -> Iterator[list[Candidate]]:
        """Yield the candidates in pages; what is settled is left out already by the scan, unless all are needed."""
        with self.journal.read() as connection:
            lasting = files.Settled(connection, verdict_key=self.settings.verdict_key)

        def unsettled(directory: str, entries: Collection[Entry]) -> Collection[Entry]:
            self.touch()
            with self.journal.read():  # for its words, should it fail
                left = lasting.left_of(directory, entries)
            survey.file_count += len(entries) - len(left)
            return left

        candidates = iter(self.source.scan(below, unsettled=None if is_all_needed else unsettled))
        while page := list(islice(candidates, PAGE)):
            self.touch()
            survey.file_count += len(page)
            yield page

    @staticmethod
    def _count(survey: Survey, fresh: Sequence[Candidate]) -> None:
        survey.new_count += len(fresh)
        survey.new_bytes += sum(candidate.version.size_bytes for candidate in fresh)

    def _queue(self, fresh: Sequence[Candidate], page: Sequence[Candidate], *, is_backlog: bool) -> None:
        """Queue what is new, and under `existing = "ignore"` remember whom it is not for.

        What has changed since we began is not existing: a root that a trainer has just made, with its first file.
        """
        ignoring = self._unpaired if not self.settings.is_existing_delivered else []
        existing = [each for each in page if each.ctime_ns < self._began_at * 1e9] if ignoring else []
        if not fresh and not existing:
            return
        for_nobody = {each.path for each in existing} if len(ignoring) == len(self.routes) else set()
        records = [
            files.FileRecord(
                root=each.root,
                path=each.path,
                version=each.version,
                state="ignored" if each.path in for_nobody else "settling",
                verdict_key=self.settings.verdict_key,
                reason="waits to be read",
                is_backlog=is_backlog,
            )
            for each in fresh
        ]
        with self.journal.write() as connection:
            for route in ignoring:
                places.ignore(connection, route.destination_id, existing)
            files.record(connection, records, now=self.now())

    def _introduce(self, on_planned: Callable[[list[Recorded]], None]) -> None:
        """Plan what is known already for destinations to which it is new, and remember that they have met."""
        routes = [*self._changed, *(self._unpaired if self.settings.is_existing_delivered else [])]
        if routes:
            self._plan_known(routes, on_planned)
        with self.journal.write() as connection:
            for route in (*self._changed, *self._unpaired):
                places.pair(connection, self.source.root, route.destination_id, wants=route.wants, now=self.now())
        self._unpaired, self._changed = [], []

    def _plan_known(self, routes: Sequence[Route], on_planned: Callable[[list[Recorded]], None]) -> None:
        with self.journal.read() as connection:
            pages = files.current_artifacts(connection, self.source.root)
            while page := list(islice(pages, PAGE)):
                group = [Recorded(artifact) for artifact in page if self.is_there(artifact.path)]
                with self.journal.write() as writing:
                    for recorded in group:
                        for route in routes:
                            plan_route(writing, recorded, route, self.settings, now=self.now())
                on_planned([recorded for recorded in group if recorded.planned])


def fresh_of(candidates: Sequence[Candidate], journal: Database, verdict_key: str) -> list[Candidate]:
    """Return those whose version still needs a verdict. Ask for a few hundred at a time."""
    by_directory: dict[str, list[tuple[str, Candidate]]] = {}
    for candidate in candidates:
        directory, _, name = candidate.path.rpartition("/")
        by_directory.setdefault(directory or "/", []).append((name, candidate))
    fresh = []
    with journal.read() as connection:
        for directory, named in by_directory.items():
            known = files.known(connection, directory, [name for name, _ in named])
            fresh += [each for name, each in named if _is_fresh(each, known.get(name), verdict_key)]
    return fresh


def _is_fresh(candidate: Candidate, known: files.KnownFile | None, verdict_key: str) -> bool:
    if known is None or known.version != candidate.version or known.state in OPEN_STATES:
        return True
    return known.state in {"rejected", "skipped"} and known.verdict_key != verdict_key


def _is_blank(root: str) -> bool:
    try:
        with os.scandir(root) as entries:
            return next(entries, None) is None
    except OSError:
        return False
