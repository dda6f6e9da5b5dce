"""The signals of a daemon: TERM and INT stop it, HUP has it reload. The main thread makes it, and waits on it.

The handlers take no lock that the main thread might hold when it is interrupted: they set flags and wake it.
"""

import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeAlias

_Handler: TypeAlias = "Callable[[int, FrameType | None], object] | int | signal.Handlers | None"


class Signals:
    """What has been asked of this process by signals."""

    def __init__(self) -> None:
        self.is_stopping = False
        self.is_interrupted = False  # by Ctrl-C: a person is there and wants to know what happens next
        self._is_reload_asked = False
        # Not threading.Event: `set` waits for a lock that the interrupted `wait` or `clear` may hold. `put` never does.
        self._wakeups: queue.SimpleQueue[None] = queue.SimpleQueue()

    def listen(self) -> None:
        """Take the signals from now on, also those that come before there is anything to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)

    def wait(self, seconds: float) -> None:
        """Wait for a signal, at most so long. One that came before is not missed."""
        try:
            self._wakeups.get(timeout=seconds)
        except queue.Empty:
            pass

    def take_reload(self) -> bool:
        """Return whether a reload has been asked for since this was called last."""
        is_asked, self._is_reload_asked = self._is_reload_asked, False
        return is_asked

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        self.is_stopping = True
        self.is_interrupted = number == signal.SIGINT
        self._wakeups.put(None)

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self._is_reload_asked = True
        self._wakeups.put(None)


class Interruption(threading.Event):
    """Set by a signal that asks this process to end."""

    number = 0  # of the signal

    @property
    def exit_code(self) -> int:
        """What a shell would say of a program that this signal ended."""
        return 128 + self.number


@contextmanager
def stop_on_signal() -> Iterator[Interruption]:
    """Give an event that the first Ctrl-C, SIGTERM or SIGHUP sets; the second one ends the program at once."""
    stop = Interruption()
    before: dict[int, _Handler] = {}

    def on_signal(number: int, _: FrameType | None) -> None:
        stop.number = number
        # This thread alone sets it, and does not wait on it: it holds no lock that `set` would wait for.
        stop.set()
        signal.signal(number, before[number])

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        before[number] = signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
