"""What the exceptions of requests and urllib3 mean: the one boundary at which they become CallErrors.

Used by http.py. The words are those of the system; the wrapping of the libraries helps nobody, and might hold headers.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import requests
import urllib3

from lorawatch.transport.calls import CallError, Failure


@contextmanager
def foreign_errors(called: str) -> Iterator[None]:
    """Turn whatever requests or urllib3 raise into a CallError: the one boundary."""
    try:
        yield
    except requests.exceptions.SSLError as error:
        fix = (
            "correct the certificate, or name it in $REQUESTS_CA_BUNDLE; for an MCP server that you trust, set"
            " verify_tls = false"
        )
        raise CallError(Failure.NOT_CONNECTED, f"{called}: TLS failed: {_cause(error)}", fix=fix) from error
    except requests.exceptions.ConnectTimeout as error:
        raise CallError(Failure.NOT_CONNECTED, f"{called}: no connection in time") from error
    except requests.exceptions.Timeout as error:
        raise CallError(Failure.TIMED_OUT, f"{called}: no answer in time") from error
    except requests.exceptions.ConnectionError as error:
        raise _connection_failure(error, called) from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise CallError(Failure.LOST, f"{called}: {_cause(error)}") from error


def _connection_failure(error: requests.exceptions.ConnectionError, called: str) -> CallError:
    """Tell a connection that never was from one that broke; requests gives both one name."""
    reason = error.args[0] if error.args else error
    while isinstance(reason, urllib3.exceptions.MaxRetryError) and reason.reason is not None:
        reason = reason.reason
    if isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ProxyError):
        return CallError(Failure.NOT_CONNECTED, f"{called}: {_cause(reason)}")
    if isinstance(reason, urllib3.exceptions.ReadTimeoutError) or isinstance(_innermost(error), TimeoutError):
        return CallError(Failure.TIMED_OUT, f"{called}: no answer in time")
    return CallError(Failure.LOST, f"{called}: the connection broke: {_cause(error)}")


def _cause(error: object) -> str:
    """Return the innermost reason in the system's words; what a server sent instead of HTTP is not repeated."""
    error = _innermost(error)
    if not isinstance(error, OSError):
        return type(error).__name__
    return str(error.strerror) if error.strerror else f"{type(error).__name__}: {error}"[:200]


def _innermost(error: object) -> object:
    while isinstance(error, BaseException) and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__
    return error
