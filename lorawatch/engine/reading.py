"""Read a settled candidate: header, bytes, hash, and (for a local destination) the staged copy, in one go.

Reader threads call it, a few for each watched directory, so that a slow mount holds up nobody else; small files
have readers of their own, so that a large one holds up no small one. It records nothing: intake does.
"""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lorawatch.domain.errors import (
    DeliveryRefusedError,
    DestinationError,
    FileChangedError,
    FileRejectedError,
    FileVanishedError,
    JournalError,
    LorawatchError,
    SourceError,
    StoppedError,
)
from lorawatch.domain.model import Candidate, Facts, Rejection
from lorawatch.domain.planning import base_name_of
from lorawatch.domain.ports import Source, StagedCopy, Stop
from lorawatch.engine.health import Health
from lorawatch.engine.progress import ReadingReport
from lorawatch.engine.recording import Accepted
from lorawatch.engine.settings import Route
from lorawatch.engine.staged import StagedCopies
from lorawatch.engine.tickets import Size, Tickets
from lorawatch.inspection.examination import Examination, Examiner
from lorawatch.journal import places
from lorawatch.journal.database import Database
from lorawatch.transport.files import release_memory


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

    def read(self, candidate: Candidate) -> Reading:
        """Return the verdict on a candidate. Raises StoppedError; every other expected error is in the result."""
        try:
            descriptor = self.source.open(candidate)
        except FileRejectedError as error:
            return Refused(candidate, Rejection("rejected", error.code, error.message))
        except SourceError as error:
            return Unread(candidate, error)
        try:
            return self._read_open(candidate, descriptor)
        except FileRejectedError as error:
            return Refused(candidate, Rejection("rejected", error.code, error.message))
        except (SourceError, JournalError) as error:
            return Unread(candidate, error)
        finally:
            os.close(descriptor)

    def _read_open(self, candidate: Candidate, descriptor: int) -> Reading:
        before = os.fstat(descriptor)
        name = os.path.basename(candidate.path)
        examination = self.examiner.begin(descriptor, name=name, size_bytes=before.st_size)
        wanted, refusal = self._wanted(examination.facts)
        if not wanted:
            code, reason = refusal
            return Refused(candidate, Rejection("skipped", code, reason, examination.facts))
        route = self._route_to_stage_for(candidate, examination.facts, wanted)
        report = ReadingReport(candidate, route.name if route else None, self.journal)
        staged = None if route is None else self._stage(route, descriptor, before.st_size, examination, report)
        try:
            if staged is None:
                sha256 = examination.hash(descriptor, size_bytes=before.st_size, stop=self.stop, progress=report)
            else:
                sha256 = staged.sha256
            self._refuse_changed(candidate, descriptor, before)
            facts = examination.conclude()
        except FileRejectedError as error:
            self._unstage(route, staged)
            return Refused(candidate, Rejection("rejected", error.code, error.message, examination.facts))
        except BaseException:
            self._unstage(route, staged)
            raise
        return Accepted(candidate, sha256, facts, staged, route.name if route and staged else None)

    def _wanted(self, facts: Facts) -> tuple[list[Route], tuple[str, str]]:
        """Return the routes that want files like this; if there is none, why."""
        refusals = [route.refusal(facts) for route in self.routes]
        wanted = [route for route, refused in zip(self.routes, refusals, strict=True) if refused is None]
        return wanted, next(filter(None, refusals), ("no-destination", "no destination is enabled"))

    def _route_to_stage_for(self, candidate: Candidate, facts: Facts, wanted: Sequence[Route]) -> Route | None:
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
                return route
            with self.journal.read() as connection:
                placement = places.owner_of(connection, route.destination_id, name)
            if placement is not None and placement.sha256 and placement.fingerprint == there.fingerprint:
                return route
        return None

    def _stage(
        self, route: Route, descriptor: int, size_bytes: int, examination: Examination, report: ReadingReport
    ) -> StagedCopy | None:
        if route.stager is None or not self.staged.reserve():
            return None
        try:
            return route.stager.stage(
                descriptor, size_bytes=size_bytes, sinks=examination.sinks, progress=report, stop=self.stop
            )
        except (DestinationError, OSError):
            # The lane meets the same error when it carries the file itself, and waits or reports there.
            self.staged.give_back()
            examination.restart()
            return None
        except BaseException:
            self.staged.give_back()
            raise

    def _unstage(self, route: Route | None, staged: StagedCopy | None) -> None:
        if route is not None and route.stager is not None and staged is not None:
            route.stager.unstage(staged)
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


class ReaderPool:
    """The reader threads of one source. `submit` never blocks; each result goes to `on_result`."""

    def __init__(
        self, reader: Reader, *, on_result: Callable[[Reading], None], on_crash: Callable[[Candidate, Exception], None]
    ) -> None:
        self._reader = reader
        self._on_result = on_result
        self._on_crash = on_crash
        self._tickets = Tickets()
        # One of each size: a burst is shared by the first two. A third gains nothing on two cores and costs a quarter
        # of the burst (measured): the interpreter's lock then goes from hand to hand at every system call.
        self._threads = [
            threading.Thread(target=self._run, args=(size,), name=f"reader-{size.name.lower()}", daemon=True)
            for size in Size
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def submit(self, candidate: Candidate) -> None:
        """Have a candidate read."""
        self._tickets.put(candidate)

    @property
    def is_busy(self) -> bool:
        """Return whether every reader has more to do when it is done with what it has in hand."""
        return self._tickets.is_anything_waiting

    def stop(self, *, deadline: Callable[[], float]) -> bool:
        """End the threads after what they are doing now; return whether all ended, and none hangs in a call."""
        self._tickets.close()
        started = [thread for thread in self._threads if thread.is_alive()]  # stopped before it began, it has none
        for thread in started:
            thread.join(max(0.0, deadline()))
        return not any(thread.is_alive() for thread in started)

    def _run(self, size: Size) -> None:
        self._reader.examiner.warm_up()
        while candidate := self._tickets.take(size, on_idle=release_memory):
            if self._reader.stop.is_set():
                return
            try:
                result = self._reader.read(candidate)
            except StoppedError:
                return
            except Exception as error:  # noqa: BLE001 the readers' boundary: a bug fails its file, not the thread
                self._on_crash(candidate, error)
            else:
                self._on_result(result)
