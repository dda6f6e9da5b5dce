"""An upload in chunks, which is taken up again where it was interrupted.

Used by publishing.py on lane threads; helper threads send while the lane thread reads and encodes what comes next.
It does not decide whether the file arrived: only a listing does.
"""

import json
import threading
import uuid
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace

from lorawatch.destinations.comfyui_mcp.dialects import ChunkTools
from lorawatch.destinations.comfyui_mcp.encoding import Chunk, PiecewiseBody, chunk_count
from lorawatch.destinations.comfyui_mcp.errands import Doubt, Errand
from lorawatch.destinations.comfyui_mcp.server import Server
from lorawatch.destinations.comfyui_mcp.sizing import ChunkSizer
from lorawatch.domain.errors import StoppedError
from lorawatch.transport.answers import Payload
from lorawatch.transport.calls import CallError, Failure

# A server that forgets an upload twice in a row forgets the third too: then it is the delivery that waits.
MOST_RESTARTS = 2
_STARTS_AGAIN = frozenset({Failure.UPLOAD_LOST, Failure.INCOMPLETE})


@dataclass(frozen=True, slots=True)
class _Session:
    """Where a chunked upload stands: everything below `next_index` is stored."""

    server: str
    remote_name: str
    sha256: str
    upload_id: str
    chunk_bytes: int
    next_index: int = 0
    parallel: int = 1

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str | None) -> "_Session | None":
        try:
            return cls(**json.loads(text or ""))
        except (ValueError, TypeError):
            return None  # of another version of this program: begun anew


class ChunkedUpload:
    """Start, append, finish; what the server has stored already is not sent again."""

    def __init__(self, server: Server, tools: ChunkTools, sizer: ChunkSizer, errand: Errand, *, parallel: int) -> None:
        self._server = server
        self._tools = tools
        self._sizer = sizer
        self._errand = errand
        self._parallel = parallel
        self._session = self._resumable()
        self._is_repeated = self._session is not None  # the chunk that was on its way then may be stored already
        self._sent_bytes = 0

    @property
    def doubt(self) -> Doubt:
        """What may be wrong with what the server has stored, for all that it said."""
        session = self._session
        if session and session.parallel > 1 and chunk_count(self._errand.size_bytes, session.chunk_bytes) > 1:
            return Doubt.ORDER
        return Doubt.SIZE if self._is_repeated else Doubt.NONE

    def carry(self) -> None:
        """Send every chunk, starting again where the server has forgotten what it had or wants smaller ones."""
        restarts = 0
        while True:
            try:
                if self._session is None:
                    self._session = self._start()
                self._send(self._session)
            except CallError as error:
                restarts = 0 if error.failure is Failure.TOO_LARGE else restarts + 1
                if not self._may_start_again(error.failure) or restarts > MOST_RESTARTS:
                    raise
                self.start_over()
            else:
                return

    def _may_start_again(self, failure: Failure) -> bool:
        chunk_bytes = self._session.chunk_bytes if self._session else self._sizer.size_bytes
        if failure is Failure.TIMED_OUT:
            if not self._sent_bytes:
                self._sizer.was_late(chunk_bytes)
                self.start_over()
            return False  # now the server needs its rest; the next attempt goes on
        if self._session is None and failure.may_have_happened:
            return True  # whatever was begun, it is not continued
        return failure in _STARTS_AGAIN or (failure is Failure.TOO_LARGE and self._sizer.refused(chunk_bytes))

    def finish(self) -> Payload:
        """Have the chunks put together."""
        if self._session is None:
            msg = "nothing was carried"
            raise RuntimeError(msg)
        words = {"upload_id": self._session.upload_id, "verify": True}
        payload = self._errand.call(
            lambda: self._server.call(self._tools.finish, words, is_repeatable=False, stop=self._errand.stop),
            lambda: self._sent_bytes,
        )
        self._sizer.went_well(self._session.chunk_bytes)
        return payload

    def start_over(self, *, in_order: bool = False) -> None:
        """Begin a new upload at the next `carry`; `in_order`: with one chunk after the other."""
        self._session = None
        self._sent_bytes = 0
        self._is_repeated = False
        if in_order:
            self._parallel = 1
        self._errand.consignment.waypoints.reached("", sent_bytes=0)

    def _resumable(self) -> _Session | None:
        session = _Session.from_text(self._errand.consignment.delivery.resume)
        if session is None or session.next_index <= 0:
            return None
        wanted = (self._server.identity, self._errand.remote_name, self._errand.sha256)
        return session if (session.server, session.remote_name, session.sha256) == wanted else None

    def _start(self) -> _Session:
        errand, chunk_bytes = self._errand, self._sizer.size_bytes
        session = _Session(
            self._server.identity,
            errand.remote_name,
            errand.sha256,
            str(uuid.uuid4()),
            chunk_bytes,
            parallel=self._parallel,
        )
        words: dict[str, object] = {
            "upload_id": session.upload_id,
            "filename": errand.remote_name,
            "size_bytes": errand.size_bytes,
            "chunk_bytes": chunk_bytes,
            "metadata": errand.metadata,
        }
        # Carried out twice it leaves an upload behind that nobody continues; servers forget these.
        payload = self._server.call(self._tools.start, words, is_repeatable=False, stop=errand.stop)
        told = payload.get("upload_id")
        return replace(session, upload_id=told) if isinstance(told, str) and told else session

    def _send(self, session: _Session) -> None:
        """Keep `parallel` chunks in flight and one more ready, while the next one is read and encoded.

        With one in flight they arrive in order: there is one thread that sends, and it stops at the first failure.
        """
        errand, first, broken = self._errand, session.next_index, threading.Event()
        flights: deque[tuple[Future[None], Chunk]] = deque()
        with errand.reader() as reader, ThreadPoolExecutor(session.parallel) as pool:
            reader.skip(min(first * session.chunk_bytes, errand.size_bytes), errand.stop)
            for chunk in reader.chunks(first=first, chunk_bytes=session.chunk_bytes):
                while len(flights) > session.parallel or (flights and errand.stop.is_set()):
                    self._land(session, first, *flights.popleft())
                if errand.stop.is_set():
                    raise StoppedError(f"the upload of {errand.remote_name} was interrupted")
                flights.append((pool.submit(self._append, session, chunk, broken), chunk))
            while flights:
                self._land(session, first, *flights.popleft())
            reader.verify()
        self._session = replace(session, next_index=chunk_count(errand.size_bytes, session.chunk_bytes))

    def _append(self, session: _Session, chunk: Chunk, broken: threading.Event) -> None:
        if broken.is_set():
            raise CallError(Failure.LOST, "an earlier chunk has failed")
        words: dict[str, object] = {
            "upload_id": session.upload_id,
            "index": chunk.index,
            "count": chunk_count(self._errand.size_bytes, session.chunk_bytes),
        }
        try:
            # Safe to repeat although it may then be stored twice: the size in the listing tells, and it starts over;
            # where no size is told, `doubt` has it sent again.
            self._server.send(
                self._tools.append,
                words,
                lambda around: PiecewiseBody(around, chunk.content),
                is_repeatable=True,
                stop=self._errand.stop,
                on_doubt=self._note_doubt,
            )
        except CallError as error:
            if error.failure is Failure.CHUNK_STORED:  # the answer to the first sending was lost
                return
            broken.set()
            raise
        except BaseException:
            broken.set()
            raise

    def _note_doubt(self) -> None:
        self._is_repeated = True

    def _land(self, session: _Session, first: int, flight: "Future[None]", chunk: Chunk) -> None:
        """Wait for the oldest chunk in flight, and record that it is stored."""
        errand = self._errand
        before = self._sent_bytes or first * session.chunk_bytes
        errand.result_of(flight, lambda: before)
        if first and chunk.index == first:
            errand.consignment.waypoints.resumed(before)
        self._sent_bytes = chunk.end
        reached = replace(session, next_index=chunk.index + 1)
        self._session = reached
        errand.consignment.waypoints.reached(reached.to_text(), sent_bytes=chunk.end)
        errand.progress(chunk.end)
