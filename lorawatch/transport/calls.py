"""What can go wrong with one call over HTTP, in this house's words: raised by http.py and answers.py, read by adapters.

A failure says what is known for certain: whether the call may have been carried out all the same, and whether
repeating it can help. What it means for a delivery or for a source is decided by whoever made the call.
"""

from enum import Enum


class Failure(Enum):
    """Why a call failed. The value is the code that people see."""

    NOT_CONNECTED = "connection-failed"  # nothing was sent
    TIMED_OUT = "timeout"  # it was sent, and no answer came in time
    LOST = "connection-lost"  # the connection broke on the way: it may have been carried out
    BUSY = "server-busy"  # 429, 503: it was not carried out
    BROKEN = "server-error"  # 5xx, 408
    UNREADABLE = "answer-unreadable"  # a proxy's page, nothing, half of it, or no JSON object
    REDIRECTED = "redirect-refused"  # to another host
    NOT_AUTHORIZED = "not-authorized"
    TOO_LARGE = "too-large"
    WRONG_PARAMETERS = "wrong-parameters"  # 400, 422, and what servers say instead
    NO_ROUTE = "route-missing"  # 404, 405: nothing answers calls at this address
    TOOL_MISSING = "tool-missing"
    UPLOAD_LOST = "upload-lost"
    CHUNK_STORED = "chunk-stored"  # it has this chunk already
    INCOMPLETE = "size-mismatch"  # what it has put together is not what was announced
    NAME_TAKEN = "name-taken"
    NOT_FOUND = "not-found"
    DISK_FULL = "disk-full"
    REPORTED = "answered-error"  # an error that none of the above describes

    @property
    def may_have_happened(self) -> bool:
        """Return whether the server may have done what was asked."""
        return self in _DOUBTFUL


_DOUBTFUL = frozenset({Failure.TIMED_OUT, Failure.LOST, Failure.BROKEN, Failure.UNREADABLE})


class CallError(Exception):
    """One call failed. `message` says what was called and what came back; it never holds a secret or a body."""

    def __init__(
        self, failure: Failure, message: str, *, fix: str = "", retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.failure = failure
        self.message = message
        self.fix = fix
        self.retry_after_seconds = retry_after_seconds
