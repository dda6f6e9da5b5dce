"""Who reads what: the smallest new files intake itself, a few in each of its turns; all others the reader threads.

One intake thread submits, and reads what is at hand; the results of all reach it as messages. A pool records nothing.
"""

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from lorawatch.domain.errors import StoppedError
from lorawatch.domain.model import Candidate
from lorawatch.engine.reading import HalfRead, Reader, Reading
from lorawatch.engine.tickets import IDLE_SECONDS, Size, Tickets
from lorawatch.transport.files import release_memory

# Two threads that read files this small get into each other's way at every system call, because Python hands its lock
# over there. One that reads, and one that only reads the copies back and hashes them, need a sixth less time for 200
# files of 1 MB, and a seventh less of the processors (measured on two).
AT_HAND_BYTES = 2 << 20
# So much in one turn of intake: as many as a destination publishes together, and no longer than anybody notices.
MOST_AT_HAND = 64
AT_HAND_SECONDS = 0.15


class ReaderPool:
    """The readers of one source. `submit` never blocks; each result goes to `on_result`."""

    def __init__(
        self, reader: Reader, *, on_result: Callable[[Reading], None], on_crash: Callable[[Candidate, Exception], None]
    ) -> None:
        self._reader = reader
        self._on_result = on_result
        self._on_crash = on_crash
        self._tickets = Tickets()
        self._at_hand: list[Candidate] = []
        self._last_at_hand: float | None = None  # monotonic; None: no memory is kept for the next one
        self._unproven: queue.SimpleQueue[HalfRead | None] = queue.SimpleQueue()
        # One of each size: a burst is shared by the first two. A third gains nothing on two cores and costs a quarter
        # of the burst (measured): the interpreter's lock then goes from hand to hand at every system call.
        self._threads = [
            threading.Thread(target=self._run, args=(size,), name=f"reader-{size.name.lower()}", daemon=True)
            for size in Size
        ]
        self._threads.append(threading.Thread(target=self._prove, name="reader-back", daemon=True))

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def submit(self, candidate: Candidate) -> None:
        """Have a candidate read."""
        is_new = candidate.is_closed and not candidate.is_backlog
        if is_new and candidate.version.size_bytes < AT_HAND_BYTES:
            self._at_hand.append(candidate)
        else:
            self._tickets.put(candidate)

    def read_at_hand(self) -> None:
        """Read some of the smallest files here and now, the newest first, if no disk can hang. Raises StoppedError."""
        if not self._at_hand:
            self._let_go()
            return
        if not self._reader.is_hang_proof():
            for candidate in self._at_hand:
                self._tickets.put(candidate)
            self._at_hand.clear()
            return
        deadline = time.monotonic() + AT_HAND_SECONDS
        for _ in range(min(len(self._at_hand), MOST_AT_HAND)):
            self._read_one_at_hand()
            self._last_at_hand = time.monotonic()
            if self._last_at_hand > deadline:
                break

    def forget_at_hand(self) -> None:
        """Leave what is at hand unread: the next scan finds it again."""
        self._at_hand.clear()

    @property
    def is_busy(self) -> bool:
        """Return whether every reader has more to do when it is done with what it has in hand."""
        return not self._at_hand and (self._tickets.is_anything_waiting or not self._unproven.empty())

    def stop(self, *, deadline: Callable[[], float]) -> bool:
        """End the threads after what they are doing now; return whether all ended, and none hangs in a call."""
        self._tickets.close()
        self._unproven.put(None)
        started = [thread for thread in self._threads if thread.is_alive()]  # stopped before it began, it has none
        for thread in started:
            thread.join(max(0.0, deadline()))
        return not any(thread.is_alive() for thread in started)

    def _run(self, size: Size) -> None:
        self._reader.examiner.warm_up()
        with suppress(StoppedError):
            while candidate := self._tickets.take(size, on_idle=release_memory):
                if self._reader.stop.is_set():
                    return
                self._tell(candidate, partial(self._reader.read, candidate))

    def _prove(self) -> None:
        """Finish what intake has begun, in its order."""
        while half := self._next_unproven():
            if self._reader.stop.is_set():
                self._reader.forget(half)
                continue
            with suppress(StoppedError):
                self._tell(half.candidate, partial(self._reader.finish, half))

    def _next_unproven(self) -> HalfRead | None:
        try:
            return self._unproven.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            release_memory()
            return self._unproven.get()

    def _read_one_at_hand(self) -> None:
        """Read the source; leave the proof of the copy to the other thread while there is more to read here."""
        candidate = self._at_hand.pop()
        if self._at_hand:
            self._tell(candidate, partial(self._reader.begin, candidate))
        else:
            self._tell(candidate, partial(self._reader.read, candidate))

    def _tell(self, candidate: Candidate, read: Callable[[], Reading | HalfRead]) -> None:
        try:
            result = read()
        except StoppedError:
            raise
        except Exception as error:  # noqa: BLE001 the readers' boundary: a bug fails its file, not the thread
            self._on_crash(candidate, error)
            return
        if isinstance(result, HalfRead) and self._reader.stop.is_set():  # nobody may be there any more to finish it
            self._reader.forget(result)
            raise StoppedError(f"stopped before the copy of {candidate.path} was proved")
        if isinstance(result, HalfRead):
            self._unproven.put(result)
        else:
            self._on_result(result)

    def _let_go(self) -> None:
        """Give back the memory that this thread keeps for its next file, once none has come for a while."""
        if self._last_at_hand is not None and time.monotonic() - self._last_at_hand > IDLE_SECONDS:
            self._last_at_hand = None
            release_memory()
