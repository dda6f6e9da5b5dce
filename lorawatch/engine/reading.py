"""Read a settled candidate: header, bytes, hash, and (for a local destination) the staged copy, all in one pass.

The readers of one watched directory call it, on their threads or on intake's (see ReaderPool). It records nothing:
intake does.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lorawatch.domain.errors import (
    DeliveryRefusedError,
    DestinationError,
    FileChangedError,
    FileRejectedError,
    FileVanishedError,
    JournalError,
    LorawatchError,
    SourceError,
)
from lorawatch.domain.model import Candidate, Facts, Rejection, StagedCopy, UnprovenCopy
from lorawatch.domain.planning import base_name_of
from lorawatch.domain.ports import Source, Stager, Stop
from lorawatch.engine.health import Health
from lorawatch.engine.progress import ReadingReport
from lorawatch.engine.recording import Accepted
from lorawatch.engine.settings import Route
from lorawatch.engine.staged import StagedCopies
from lorawatch.inspection.examination import Examination, Examiner
from lorawatch.journal import places
from lorawatch.journal.database import Database


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that is not delivered as it is: rejected or skipped."""

    candidate: Candidate
    rejection: Rejection


@dataclass(frozen=True, slots=True)
class Unread:
    """A file that could not be read to its end; the error tells whether it changed, vanished or is forbidden."""

    candidate: Candidate
    error: LorawatchError


Reading = Accepted | Refused | Unread
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class HalfRead:
    """A file that may be delivered, with a copy that is still to be read back."""

    candidate: Candidate
    facts: Facts
    stager: Stager
    copy: UnprovenCopy


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads candidates of one source."""

    source: Source
    examiner: Examiner
    routes: Sequence[Route]
    health: Health
    staged: StagedCopies
    journal: Database
    stop: Stop
    is_hang_proof: Callable[[], bool]  # neither the source nor any place for staged copies is on another machine's disk

    def read(self, candidate: Candidate) -> Reading:
        """Return the verdict on a candidate. Raises StoppedError; every other expected error is in the result."""
        begun = self.begin(candidate)
        return self.finish(begun) if isinstance(begun, HalfRead) else begun

    def begin(self, candidate: Candidate) -> Reading | HalfRead:
        """Do what needs the source: all of it, but for a small copy that is still to be proved. Raises as `read`."""
        return self._with_open(candidate, self._read_and_stage)

    def finish(self, half: HalfRead) -> Reading:
        """Return the verdict on a candidate whose copy is to be proved. On any thread; raises as `read`."""
        try:
            staged = half.stager.prove(half.copy, stop=self.stop)
        except (DestinationError, OSError):
            # The lane meets the same error when it carries the file itself, and waits or reports there.
            self.staged.give_back()
            return self._with_open(half.candidate, self._read_only)
        except BaseException:
            self.staged.give_back()
            raise
        return Accepted(half.candidate, staged.sha256, half.facts, staged, half.stager.name)

    def forget(self, half: HalfRead) -> None:
        """Remove a copy that nobody is going to prove."""
        self._unstage(half.stager, half.copy)

    def _with_open(self, candidate: Candidate, read: Callable[[Candidate, int], R]) -> R | Refused | Unread:
        try:
            descriptor = self.source.open(candidate)
        except FileRejectedError as error:
            return Refused(candidate, Rejection("rejected", error.code, error.message))
        except SourceError as error:
            return Unread(candidate, error)
        try:
            return read(candidate, descriptor)
        except FileRejectedError as error:
            return Refused(candidate, Rejection("rejected", error.code, error.message))
        except (SourceError, JournalError) as error:
            return Unread(candidate, error)
        finally:
            os.close(descriptor)

    def _read_and_stage(self, candidate: Candidate, descriptor: int) -> Accepted | Refused | HalfRead:
        before = os.fstat(descriptor)
        examination = self._examine(candidate, descriptor, before)
        wanted, refusal = self._wanted(examination.facts)
        if not wanted:
            code, reason = refusal
            return Refused(candidate, Rejection("skipped", code, reason, examination.facts))
        stager = self._stager_for(candidate, examination.facts, wanted)
        copy = None if stager is None else self._stage(stager, candidate, descriptor, before.st_size, examination)
        if stager is None or copy is None:
            return self._hash(candidate, descriptor, before, examination)
        try:
            self._refuse_changed(candidate, descriptor, before)
            facts = examination.conclude()
        except FileRejectedError as error:
            self._unstage(stager, copy)
            return Refused(candidate, Rejection("rejected", error.code, error.message, examination.facts))
        except BaseException:
            self._unstage(stager, copy)
            raise
        if isinstance(copy, UnprovenCopy):
            return HalfRead(candidate, facts, stager, copy)
        return Accepted(candidate, copy.sha256, facts, copy, stager.name)

    def _read_only(self, candidate: Candidate, descriptor: int) -> Accepted | Refused:
        before = os.fstat(descriptor)
        return self._hash(candidate, descriptor, before, self._examine(candidate, descriptor, before))

    def _examine(self, candidate: Candidate, descriptor: int, status: os.stat_result) -> Examination:
        return self.examiner.begin(descriptor, name=os.path.basename(candidate.path), size_bytes=status.st_size)

    def _hash(
        self, candidate: Candidate, descriptor: int, before: os.stat_result, examination: Examination
    ) -> Accepted | Refused:
        report = ReadingReport(candidate, None, self.journal)
        sha256 = examination.hash(descriptor, size_bytes=before.st_size, stop=self.stop, progress=report)
        self._refuse_changed(candidate, descriptor, before)
        try:
            return Accepted(candidate, sha256, examination.conclude())
        except FileRejectedError as error:
            return Refused(candidate, Rejection("rejected", error.code, error.message, examination.facts))

    def _wanted(self, facts: Facts) -> tuple[list[Route], tuple[str, str]]:
        """Return the routes that want files like this; if there is none, why."""
        refusals = [route.refusal(facts) for route in self.routes]
        wanted = [route for route, refused in zip(self.routes, refusals, strict=True) if refused is None]
        return wanted, next(filter(None, refusals), ("no-destination", "no destination is enabled"))

    def _stager_for(self, candidate: Candidate, facts: Facts, wanted: Sequence[Route]) -> Stager | None:
        """Choose the local destination whose copy is made while the verdict is pending; None if that could be in vain.

        A file of the same size at the name may be this very file, put there by hand: then it is only hashed.
        """
        for route in wanted:
            if route.stager is None or not self.health.is_up(route.name):
                continue
            try:
                name = base_name_of(
                    route.name_template, path=candidate.path, root=candidate.root, sha256="0" * 64, facts=facts
                )
                there = route.destination.find(name)
            except (DeliveryRefusedError, DestinationError):
                continue  # the lane meets the same error, reports it and waits
            if there is None or there.size_bytes != candidate.version.size_bytes:
                return route.stager
            with self.journal.read() as connection:
                placement = places.owner_of(connection, route.destination_id, name)
            if placement is not None and placement.sha256 and placement.fingerprint == there.fingerprint:
                return route.stager
        return None

    def _stage(
        self, stager: Stager, candidate: Candidate, descriptor: int, size_bytes: int, examination: Examination
    ) -> StagedCopy | UnprovenCopy | None:
        if not self.staged.reserve():
            return None
        report = ReadingReport(candidate, stager.name, self.journal)
        try:
            return stager.stage(
                descriptor, size_bytes=size_bytes, sinks=examination.sinks, progress=report, stop=self.stop
            )
        except (DestinationError, OSError):
            # As in `finish`.
            self.staged.give_back()
            examination.restart()
            return None
        except BaseException:
            self.staged.give_back()
            raise

    def _unstage(self, stager: Stager, copy: StagedCopy | UnprovenCopy) -> None:
        stager.unstage(copy)
        self.staged.give_back()

    @staticmethod
    def _refuse_changed(candidate: Candidate, descriptor: int, before: os.stat_result) -> None:
        after = os.fstat(descriptor)
        if (after.st_size, after.st_mtime_ns, after.st_ctime_ns) != (
            before.st_size,
            before.st_mtime_ns,
            before.st_ctime_ns,
        ):
            if not after.st_nlink:
                raise FileVanishedError(f"{candidate.path} was removed while it was read")
            raise FileChangedError(f"{candidate.path} changed while it was read")
