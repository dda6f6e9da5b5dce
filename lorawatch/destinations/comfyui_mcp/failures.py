"""What a failed call means for a delivery: the one place where the failures of calls become the house's errors.

Used by the comfyui-mcp destination. Permanent are only what the server was clear about; what it is not clear about
is tried again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from lorawatch.domain.errors import (
    DeliveryDelayedError,
    DeliveryRefusedError,
    DestinationDownError,
    DestinationError,
    DestinationParkedError,
    NameTakenError,
)
from lorawatch.transport.calls import CallError, Failure


class _Meaning(NamedTuple):
    error: type[DestinationError]
    fix: str = ""
    code: str = ""  # where the failure's own is not for people


_MEANINGS: dict[Failure, _Meaning] = {
    Failure.NOT_CONNECTED: _Meaning(DestinationDownError, "start the server, or correct url"),
    Failure.TIMED_OUT: _Meaning(DestinationDownError, "raise read_timeout_seconds, or lower chunk_bytes"),
    Failure.LOST: _Meaning(DestinationDownError, "see the server's log; the upload goes on where it can"),
    Failure.BUSY: _Meaning(DeliveryDelayedError),
    Failure.BROKEN: _Meaning(DeliveryDelayedError, "see the server's log for this time"),
    Failure.UNREADABLE: _Meaning(DeliveryDelayedError, "check that url leads to the MCP server itself"),
    Failure.REDIRECTED: _Meaning(DestinationDownError, "if that is the right server, write it as url"),
    Failure.NOT_AUTHORIZED: _Meaning(
        DestinationParkedError, "correct the token, then reload, or: lorawatch retry --all"
    ),
    Failure.TOO_LARGE: _Meaning(
        DeliveryRefusedError, "raise the request limit of the server or of the proxy before it"
    ),
    Failure.WRONG_PARAMETERS: _Meaning(
        DeliveryRefusedError, "set api to what this server speaks; see lorawatch doctor"
    ),
    Failure.NO_ROUTE: _Meaning(DeliveryRefusedError, "check url, and the server's version", "tool-missing"),
    Failure.TOOL_MISSING: _Meaning(DestinationDownError, "check url, and the server's version"),
    Failure.UPLOAD_LOST: _Meaning(DeliveryDelayedError),
    Failure.CHUNK_STORED: _Meaning(DeliveryDelayedError, code="answered-error"),
    Failure.INCOMPLETE: _Meaning(DeliveryDelayedError, "it is sent again from the start"),
    Failure.NAME_TAKEN: _Meaning(NameTakenError),
    Failure.NOT_FOUND: _Meaning(DeliveryDelayedError, code="answered-error"),
    Failure.DISK_FULL: _Meaning(DestinationDownError, "free some space on the server"),
    Failure.REPORTED: _Meaning(DeliveryDelayedError, "see the server's log for this time"),
}


def destination_error(error: CallError) -> DestinationError:
    """Return what a failed call means for the delivery it was made for."""
    meaning = _MEANINGS[error.failure]
    code, fix = meaning.code or error.failure.value, error.fix or meaning.fix
    if meaning.error is DeliveryDelayedError:
        return DeliveryDelayedError(
            error.message,
            code=code,
            fix=fix,
            retry_after_seconds=error.retry_after_seconds,
            is_strained=error.failure in {Failure.BUSY, Failure.BROKEN},
        )
    return meaning.error(error.message, code=code, fix=fix)


def down_error(error: CallError) -> DestinationDownError:
    """Return what a failed call means for the server as a whole."""
    found = destination_error(error)
    if isinstance(found, DestinationDownError):
        return found
    wait = error.retry_after_seconds
    return DestinationDownError(found.message, code=found.code, fix=found.fix, retry_after_seconds=wait)


@contextmanager
def destination_errors() -> Iterator[None]:
    """Raise what a failed call in the body means for the delivery."""
    try:
        yield
    except CallError as error:
        raise destination_error(error) from error
