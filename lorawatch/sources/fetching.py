"""Fetches what AI Toolkit's server offers into the spool: each model once, whole or not at all.

Runs on a thread of its own, which `AIToolkitSource` starts and stops. What cannot be fetched is tried again after
longer and longer pauses: every try carries the whole model.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lorawatch.domain.errors import LorawatchError, StoppedError
from lorawatch.domain.ports import Memory
from lorawatch.sources.aitoolkit_api import AIToolkitApi, Model
from lorawatch.sources.spool import Spool
from lorawatch.transport.calls import CallError, Failure

# A server that asks for longer is asked again after this; a model that cannot be fetched is tried once an hour.
LONGEST_REST_SECONDS = 600.0
LONGEST_PAUSE_SECONDS = 3600.0
_MOST_DOUBLINGS = 20
# Remembered once the first listing has been dealt with; no model is called so, as all have an extension.
_FIRST = "first listing"
# The others would fail in the same way.
_FINAL = frozenset({Failure.NOT_CONNECTED, Failure.TIMED_OUT, Failure.LOST, Failure.BUSY, Failure.NOT_AUTHORIZED})
# Nothing was carried then.
_FREE = frozenset({Failure.NOT_CONNECTED, Failure.BUSY, Failure.NOT_AUTHORIZED})


@dataclass(frozen=True, slots=True)
class _Failed:
    """How often a model could not be fetched, and when that may be tried again (monotonic)."""

    times: int
    not_before: float
    trouble: tuple[str, str]


class Fetcher:
    """Fetches what is new, every `poll_seconds`. `trouble` is why the last poll was not complete: (code, reason).

    `is_wanted` tells of a path in the spool whether anybody would look at it; with `is_existing_wanted` false, what
    the very first listing holds is left alone.
    """

    def __init__(
        self,
        api: AIToolkitApi,
        spool: Spool,
        *,
        poll_seconds: float,
        memory: Memory,
        is_wanted: Callable[[str], bool] = lambda _: True,
        is_existing_wanted: bool = True,
    ) -> None:
        self.trouble: tuple[str, str] | None = None
        self.has_polled = threading.Event()
        self._api = api
        self._spool = spool
        self._poll_seconds = poll_seconds
        self._memory = memory
        self._is_wanted = is_wanted
        self._is_existing_wanted = is_existing_wanted
        self._failed: dict[str, _Failed] = {}
        self._rest_seconds = 0.0  # what the server asked for
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to fetch. Idempotent."""
        if self._thread is None:
            self._spool.prepare()
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name=f"fetch-{self._spool.directory}", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread, or leave it to the end of the process if a call keeps it. Idempotent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)
            self._thread = None

    def poll(self) -> None:
        """Fetch what is new now, and drop what has served. Sets `trouble`; raises StoppedError only."""
        trouble: tuple[str, str] | None = None
        self._rest_seconds = 0.0
        try:
            models = self._api.models(self._stop)
            self._leave_existing(models)
            for model in models:
                trouble = self._fetch_if_new(model) or trouble
            self._forget_others(models)
        except CallError as error:
            trouble = (_code(error), error.message)
            self._rest_seconds = min(error.retry_after_seconds or 0.0, LONGEST_REST_SECONDS)
        except StoppedError:
            raise
        except LorawatchError as error:  # of the journal
            trouble = (error.code, error.message)
        except OSError as error:
            trouble = self._disk_trouble(error)
        self.trouble = trouble

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.poll()
            except StoppedError:
                return
            except Exception as error:  # noqa: BLE001  the boundary of this thread: a bug is told, and it goes on
                self.trouble = ("internal-error", f"{type(error).__name__}: {error}")
            self.has_polled.set()
            if self.trouble is not None and self.trouble[0] == Failure.NOT_AUTHORIZED.value:
                return  # asking on would only hammer it: the token is read anew by a reload
            self._stop.wait(max(self._poll_seconds, self._rest_seconds))

    def _leave_existing(self, models: Sequence[Model]) -> None:
        """Count the models of the very first listing as known, if the user wants only what comes after."""
        if self._memory.recall(_FIRST) is not None:
            return
        if not self._is_existing_wanted:
            for model in models:
                self._memory.remember(model.relative_path, model.mark)
        self._memory.remember(_FIRST, "done")

    def _fetch_if_new(self, model: Model) -> tuple[str, str] | None:
        """Fetch a model unless its mark is known; return what went wrong with it alone."""
        path = model.relative_path
        known = self._memory.recall(path)
        if known == model.mark or not self._is_wanted(path):
            return None
        if known is None and self._spool.size_of(path) == model.size_bytes is not None:
            self._memory.remember(path, model.mark)  # fetched just before we were killed
            return None
        failed = self._failed.get(path)
        if failed is not None and time.monotonic() < failed.not_before:
            return failed.trouble
        try:
            if not self._spool.make_room(model.size_bytes or 0):
                return "low-disk-space", f"{self._spool.directory} has no room for {path}"
            self._spool.write(path, lambda write: self._api.download(model, write, self._stop))
        except CallError as error:
            trouble = (_code(error), error.message)
            if error.failure not in _FREE:
                self._note_failure(path, trouble)
            if error.failure in _FINAL:
                raise
            return trouble
        except OSError as error:  # of this name alone, perhaps: the others are tried too
            trouble = self._disk_trouble(error)
            self._note_failure(path, trouble)
            return trouble
        self._failed.pop(path, None)
        self._memory.remember(path, model.mark)
        return None

    def _note_failure(self, path: str, trouble: tuple[str, str]) -> None:
        times = self._failed[path].times + 1 if path in self._failed else 1
        pause = min(self._poll_seconds * 2.0 ** min(times, _MOST_DOUBLINGS), LONGEST_PAUSE_SECONDS)
        self._failed[path] = _Failed(times, time.monotonic() + pause, trouble)

    def _forget_others(self, models: Sequence[Model]) -> None:
        """Drop what the server does not have any more."""
        listed = {model.relative_path for model in models}
        self._failed = {path: failed for path, failed in self._failed.items() if path in listed}
        self._spool.drop_unlisted(listed)

    def _disk_trouble(self, error: OSError) -> tuple[str, str]:
        return "io-error", f"could not write into {self._spool.directory}: {error.strerror or error}"


def _code(error: CallError) -> str:
    """Return the code for people."""
    hidden = {Failure.NO_ROUTE, Failure.NOT_FOUND, Failure.CHUNK_STORED}
    return "answered-error" if error.failure in hidden else error.failure.value
