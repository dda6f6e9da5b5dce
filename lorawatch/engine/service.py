"""Start, supervise, stop: the threads of one configuration. The main thread calls it; it never blocks for long.

A reload stops one service and starts another on the same journal.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lorawatch.domain.errors import JournalError
from lorawatch.engine.health import Health
from lorawatch.engine.intake import Intake
from lorawatch.engine.lanes import NO_LIMIT, Bell, Lane
from lorawatch.engine.settings import Route
from lorawatch.engine.staged import StagedCopies
from lorawatch.engine.summary import Overview, summary_line
from lorawatch.events import Event, emit
from lorawatch.journal import deliveries, upkeep, views
from lorawatch.journal.database import Database

if TYPE_CHECKING:
    from lorawatch.engine.comfyui_watch import ComfyUIWatch  # loaded where there is a ComfyUI to ask

# A system call that takes longer than this hangs (a dead NFS server keeps its caller for minutes to for ever).
STUCK_SECONDS = 60.0
CLOCK_JUMP_SECONDS = 5.0
STOP_GRACE_SECONDS = 4.0  # the promise is 5 s from the signal to the exit
WATCH_GRACE_SECONDS = 0.5


@dataclass(slots=True)
class Service:
    """Everything that runs for one configuration."""

    journal: Database
    routes: Sequence[Route]
    intakes: Sequence[Intake]
    lanes: Sequence[Lane]
    health: Health
    staged: StagedCopies
    bell: Bell
    stop_event: threading.Event
    process: str
    watches: "Sequence[ComfyUIWatch]" = ()
    stuck_seconds: float = STUCK_SECONDS  # the daemon sets it to half of what the unit's watchdog allows
    _threads: list[threading.Thread] = field(default_factory=list)
    _change_counter: int = -1
    _summary: tuple[int, str] = (-1, "")  # the line, and the state of the journal that it tells
    _clock_offset: float = 0.0
    _trouble: JournalError | None = None  # with the journal, as it was said last
    _stuck_intakes: set[str] = field(default_factory=set)

    def start(self) -> None:
        """Start the threads; `is_ready` tells when everything is listed."""
        now = time.time()
        with self.journal.write() as connection:
            upkeep.release(connection, owner_prefix=self.process.partition("-")[0], now=now)
        self.health.load()
        self._clock_offset = now - time.monotonic()
        for intake in self.intakes:
            thread = threading.Thread(target=intake.run, name=f"intake-{intake.root}", daemon=True)
            self._threads.append(thread)
            thread.start()
        for lane in self.lanes:
            lane.thread.start()
        for watch in self.watches:
            watch.thread.start()

    @property
    def is_ready(self) -> bool:
        """Return whether every watched directory that is there has been listed; a network disk that hangs is not."""
        return all(intake.is_ready.is_set() or self._is_hung_network(intake) for intake in self.intakes)

    def wait_until_ready(self, seconds: float) -> None:
        """Wait until the first watched directory that has not been listed is, at most so long."""
        for intake in self.intakes:
            if not intake.is_ready.is_set():
                intake.is_ready.wait(seconds)
                return

    def supervise(self) -> bool:
        """Do what the main thread does once a second; return whether watcher and intakes are alive."""
        try:
            self._notice_foreign_changes()
            self._notice_clock_jump()
        except JournalError as error:
            self._say_trouble(error)
        else:
            self._say_trouble(self.journal.trouble)
        self._notice_stuck_lanes()
        return self._are_intakes_alive()

    def summary(self) -> str:
        """Return one line for the service manager's status."""
        if self._trouble is not None:
            return f"degraded: {self._trouble.message}"
        if self._summary[0] != self._change_counter:  # counting all deliveries each second would be felt
            try:
                self._summary = (self._change_counter, summary_line(len(self.intakes), self._overview()))
            except JournalError as error:
                return f"degraded: {error.message}"
        return self._summary[1]

    @property
    def is_carrying(self) -> bool:
        """Return whether a lane is carrying or looking."""
        return any(lane.work.touched_at for lane in self.lanes)

    def is_anything_due(self) -> bool:
        """Return whether a lane is carrying or looking, or something waits that a destination could take now."""
        if not all(self.health.is_known(route.name) for route in self.routes):
            return True
        now = time.time()
        with self.journal.read() as connection:
            for route in self.routes:
                due = deliveries.next_due_at(connection, route.destination_id, owner=self.process, below=NO_LIMIT)
                if due is not None and due <= now and self.health.is_taking(route.name):
                    return True
        # Asked after the journal: a lane that has just claimed what was due there is carrying it.
        return self.is_carrying or any(watch.is_settling for watch in self.watches)

    def drain(self) -> None:
        """Let the lanes claim nothing more; `is_carrying` tells when they have finished what they carry."""
        for lane in self.lanes:
            lane.is_draining = True

    def destination_recovered(self, name: str) -> None:
        """Say that a call to a destination which hung has come back."""
        emit(Event.DESTINATION_UP, destination=name)

    def stop(self, grace_seconds: float = STOP_GRACE_SECONDS) -> bool:
        """Stop every thread and remove what was staged; return whether all of them ended in time."""
        deadline = time.monotonic() + grace_seconds
        self.stop_event.set()
        self.bell.ring()
        for intake in self.intakes:
            intake.wake()
        for watch in self.watches:
            watch.wake()
        threads = [*self._threads, *(lane.thread for lane in self.lanes)]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for watch in self.watches:  # a call to a ComfyUI that hangs is left alone: when it ends, nothing comes of it
            watch.thread.join(max(0.0, min(WATCH_GRACE_SECONDS, deadline - time.monotonic())))
        threads += [watch.thread for watch in self.watches]
        are_readers_ended = [
            intake.stop_readers(deadline=lambda: deadline - time.monotonic()) for intake in self.intakes
        ]
        for route in self.routes:
            for staged in self.staged.take_all(route.name):
                if route.stager is not None:
                    route.stager.unstage(staged)
        return all(are_readers_ended) and not any(thread.is_alive() for thread in threads)

    def _say_trouble(self, trouble: JournalError | None) -> None:
        """Say once that the journal fails, for all threads that have met it, and once that it works again."""
        if trouble is not None and self._trouble is None:
            emit(Event.DAEMON_DEGRADED, code=trouble.code, reason=trouble.message, fix=trouble.fix)
        elif trouble is None and self._trouble is not None:
            emit(Event.DAEMON_RECOVERED, code=self._trouble.code)
        self._trouble = trouble

    def _notice_foreign_changes(self) -> None:
        """Act on what another process wrote (`retry`): wake the lanes."""
        counter = self.journal.change_counter()
        if counter != self._change_counter:
            self._change_counter = counter
            self.health.refresh()
            self.bell.ring()
            for watch in self.watches:
                watch.wake()

    def _notice_clock_jump(self) -> None:
        """Try everything that waits after the clock was set: stored times mean nothing then."""
        offset = time.time() - time.monotonic()
        if abs(offset - self._clock_offset) > CLOCK_JUMP_SECONDS:
            with self.journal.write() as connection:
                for route in self.routes:
                    upkeep.expect_soon(connection, route.destination_id, now=time.time())
            self.health.probe_soon()
            self.bell.ring()
            for watch in self.watches:
                watch.expect_soon()
        self._clock_offset = offset

    def _notice_stuck_lanes(self) -> None:
        now = time.monotonic()
        for lane in self.lanes:
            work = lane.work
            if work.touched_at and now - work.touched_at > self.stuck_seconds and not work.is_reported_stuck:
                work.is_reported_stuck = True
                emit(
                    Event.DESTINATION_DOWN,
                    destination=work.destination,
                    code="io-stuck",
                    reason=f"a system call has not come back for {self.stuck_seconds:.0f} s; other destinations go on",
                )

    def _overview(self) -> Overview:
        with self.journal.read() as connection:
            sent_bytes, sending_bytes = views.in_flight_bytes(connection)
            return Overview(
                counts=views.counts(connection),
                sent_bytes=sent_bytes,
                sending_bytes=sending_bytes,
                waiting_for=views.waited_for(connection),
                down=self.health.down_states(),
            )

    def _is_hung_network(self, intake: Intake) -> bool:
        return intake.root in self._stuck_intakes and not intake.is_local

    def _are_intakes_alive(self) -> bool:
        """Return whether every intake of a local directory has turned around lately; say so for the others."""
        is_alive = True
        now = time.monotonic()
        for intake in self.intakes:
            is_stuck = now - intake.beat > self.stuck_seconds
            if is_stuck and intake.root not in self._stuck_intakes:
                self._stuck_intakes.add(intake.root)
                reason = f"listing or reading it has not come back for {self.stuck_seconds:.0f} s"
                emit(Event.WATCH_LOST, directory=intake.root, code="io-stuck", reason=reason)
            elif not is_stuck and intake.root in self._stuck_intakes:
                self._stuck_intakes.discard(intake.root)
                emit(Event.WATCH_REESTABLISHED, directory=intake.root)
            is_alive = is_alive and (not is_stuck or not intake.is_local)
        return is_alive
