"""The short retry loop around one HTTP call: what passes in seconds is bridged, longer waits are the delivery's.

Used by http.py, on the thread that makes the call. The longer loop is in domain/policy.py; there is no third.
"""

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, retry_if_result

from lorawatch.domain.errors import StoppedError
from lorawatch.domain.ports import Stop
from lorawatch.transport.calls import CallError, Failure

# What is bridged: a restart, a full queue.
MOST_ATTEMPTS = 4
FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 5.0
# A call that has taken its whole read time-out is not repeated at once: the server needs its rest.
LONGEST_LOOP_SECONDS = 15.0
_BUSY = frozenset({429, 503})
_PASSING = frozenset({408, 425, 500, 502, 504})


class Answered(Protocol):
    """What the loop wants to know of an answer."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def retry_after_seconds(self) -> float | None:
        """How long the server asks to be left alone."""


AnswerT = TypeVar("AnswerT", bound=Answered)


class NeverStop:
    """For calls that nobody interrupts."""

    def is_set(self) -> bool:
        """Return False."""
        return False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for so long."""
        threading.Event().wait(timeout)
        return False


def repeated(
    call: Callable[[], AnswerT],
    *,
    called: str,
    attempts: int,
    is_repeatable: bool,
    stop: Stop | None,
    on_doubt: Callable[[], None] | None = None,
) -> AnswerT:
    """Make a call, several times if that helps, and return its last answer. Raises its last CallError, StoppedError.

    What was surely not carried out (no connection, 429, 503) is repeated in any case; before anything else is,
    `on_doubt` is called.
    """
    stop = stop or NeverStop()

    def pause(seconds: float) -> None:
        if stop.wait(seconds):
            raise StoppedError(f"calling {called} was interrupted")

    def is_enough(state: RetryCallState) -> bool:
        """Leave long waits to the delivery, which does not block a thread meanwhile."""
        is_long = (state.seconds_since_start or 0.0) > LONGEST_LOOP_SECONDS
        return is_long or state.attempt_number >= attempts or (_asked_wait(state) or 0.0) > LONGEST_WAIT_SECONDS

    def note(state: RetryCallState) -> None:
        if on_doubt is not None and _may_have_happened(state):
            on_doubt()

    passing = _BUSY | _PASSING if is_repeatable else _BUSY
    failures = {Failure.NOT_CONNECTED}
    if is_repeatable:
        failures |= {Failure.LOST, Failure.TIMED_OUT}
    loop = Retrying(
        stop=is_enough,
        wait=_wait_seconds,
        sleep=pause,
        retry=retry_if_exception(lambda error: isinstance(error, CallError) and error.failure in failures)
        | retry_if_result(lambda answer: answer.status in passing),
        retry_error_callback=_last_outcome,
        before_sleep=note,
    )
    if stop.is_set():
        raise StoppedError(f"{called} was not called any more")
    answer: AnswerT = loop(call)
    return answer


def _asked_wait(state: RetryCallState) -> float | None:
    outcome = state.outcome
    if outcome is None or outcome.failed:
        return None
    asked: float | None = outcome.result().retry_after_seconds
    return asked


def _may_have_happened(state: RetryCallState) -> bool:
    """Return whether the call that is to be repeated may have been carried out."""
    outcome = state.outcome
    if outcome is None or not outcome.failed:
        return outcome is not None and outcome.result().status in _PASSING
    error = outcome.exception()
    return isinstance(error, CallError) and error.failure.may_have_happened


def _wait_seconds(state: RetryCallState) -> float:
    asked = _asked_wait(state)
    backoff = FIRST_WAIT_SECONDS * 3.0 ** (state.attempt_number - 1)
    return min(backoff if asked is None else asked, LONGEST_WAIT_SECONDS)


def _last_outcome(state: RetryCallState) -> object:
    """Return the last answer, or raise the last error, once the loop gives up."""
    if state.outcome is None:
        msg = "tenacity gave up before the first attempt"
        raise RuntimeError(msg)
    return state.outcome.result()
