"""The signals of a daemon: TERM and INT stop it, HUP has it reload. The main thread makes it, and waits on it.

The handlers take no lock that the main thread might hold when it is interrupted: they set flags and wake it.
"""

import queue
import signal
from types import FrameType


class Signals:
    """What has been asked of this process by signals."""

    def __init__(self) -> None:
        self.is_stopping = False
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

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.is_stopping = True
        self._wakeups.put(None)

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self._is_reload_asked = True
        self._wakeups.put(None)
