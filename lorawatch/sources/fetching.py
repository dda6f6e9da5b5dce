"""Keeps a spool directory as a copy of what AI Toolkit's server offers: each model once, whole or not at all.

Runs on a thread of its own, which `AIToolkitSource` starts and stops. What it makes visible is complete, of the size
that was announced, and durable. Nobody else writes into the spool.
"""

import os
import secrets
import threading
from collections.abc import Callable

from lorawatch.domain.errors import LorawatchError, StoppedError
from lorawatch.domain.ports import Memory
from lorawatch.sources.aitoolkit_api import AIToolkitApi, Model
from lorawatch.transport.calls import CallError, Failure
from lorawatch.transport.files import flush, flush_directory, free_bytes, remove_quietly
from lorawatch.transport.renaming import rename_over

# The journal lives on the same disk: it must never be what fills it.
KEPT_FREE_BYTES = 1 << 30
# Hidden, so that no scan takes it for a model; what a dead process left is removed at the start.
_TEMPORARY = ".fetching-"


class Fetcher:
    """Fetches what is new, every `poll_seconds`. `trouble` is why the last poll was not complete: (code, reason)."""

    def __init__(self, api: AIToolkitApi, spool: str, *, poll_seconds: float, memory: Memory) -> None:
        self.trouble: tuple[str, str] | None = None
        self.has_polled = threading.Event()
        self._api = api
        self._spool = spool
        self._poll_seconds = poll_seconds
        self._memory = memory
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to fetch. Idempotent."""
        if self._thread is None:
            os.makedirs(self._spool, mode=0o750, exist_ok=True)
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name=f"fetch-{self._spool}", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread, or leave it to the end of the process if a call keeps it. Idempotent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)
            self._thread = None

    def poll(self) -> None:
        """Fetch what is new now. Sets `trouble`; raises StoppedError only."""
        trouble: tuple[str, str] | None = None
        try:
            for model in self._api.models(self._stop):
                trouble = self._fetch_if_new(model) or trouble
        except CallError as error:
            trouble = (_code(error), error.message)
        except StoppedError:
            raise
        except LorawatchError as error:  # of the journal
            trouble = (error.code, error.message)
        except OSError as error:
            trouble = ("io-error", f"could not write into {self._spool}: {error.strerror or error}")
        self.trouble = trouble

    def _run(self) -> None:
        self._sweep()
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
            self._stop.wait(self._poll_seconds)

    def _fetch_if_new(self, model: Model) -> tuple[str, str] | None:
        """Fetch a model unless its mark is known; return what went wrong with it alone."""
        target = os.path.join(self._spool, model.relative_path)
        if self._memory.recall(model.relative_path) == model.mark:
            return None
        if self._memory.recall(model.relative_path) is None and _size_of(target) == model.size_bytes is not None:
            self._memory.remember(model.relative_path, model.mark)  # fetched just before we were killed
            return None
        room = free_bytes(self._spool) - KEPT_FREE_BYTES
        if room < (model.size_bytes or 0):
            return "low-disk-space", f"{self._spool} has no room for {model.relative_path}"
        try:
            self._fetch(model, target)
        except CallError as error:
            if error.failure in {Failure.NOT_CONNECTED, Failure.TIMED_OUT, Failure.LOST, Failure.NOT_AUTHORIZED}:
                raise  # the others would fail in the same way
            return _code(error), error.message
        self._memory.remember(model.relative_path, model.mark)
        return None

    def _fetch(self, model: Model, target: str) -> None:
        folder = os.path.dirname(target)
        os.makedirs(folder, mode=0o750, exist_ok=True)
        temporary = os.path.join(folder, f"{_TEMPORARY}{secrets.token_hex(6)}")
        try:
            with open(temporary, "xb", buffering=0) as file:
                self._api.download(model, _writer(file.fileno()), self._stop)
                flush(file.fileno())
            rename_over(temporary, target, is_expected=lambda _: True)
        finally:
            remove_quietly(temporary)
        flush_directory(folder)

    def _sweep(self) -> None:
        for folder, _, names in os.walk(self._spool):
            for name in names:
                if name.startswith(_TEMPORARY):
                    remove_quietly(os.path.join(folder, name))


def _writer(descriptor: int) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    return write


def _size_of(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _code(error: CallError) -> str:
    """Return the code for people."""
    hidden = {Failure.NO_ROUTE, Failure.NOT_FOUND, Failure.CHUNK_STORED}
    return "answered-error" if error.failure in hidden else error.failure.value
