"""When a failed delivery is tried again, and when it is not.

Called by the lanes after every failure of a delivery or its destination. Pure: time and jitter are handed in.
"""

from dataclasses import dataclass

from lorawatch.domain.errors import (
    DeliveryDelayedError,
    DestinationDownError,
    FileChangedError,
    FileUnreadableError,
    FileVanishedError,
    LorawatchError,
    NameTakenError,
    StoppedError,
)
from lorawatch.domain.model import DeliveryState

# Above this exponent every sensible first_seconds has passed every sensible max_seconds; it keeps 2**n small.
MAX_EXPONENT = 30


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """The [retry] section. `give_up_after_seconds` of 0 means never."""

    first_seconds: float = 1.0
    max_seconds: float = 300.0
    give_up_after_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a delivery that did not arrive."""

    state: DeliveryState
    code: str
    reason: str
    next_attempt_at: float | None = None


def backoff_seconds(attempt: int, settings: RetrySettings, *, jitter: float) -> float:
    """Return the wait after the given attempt (1 is the first); `jitter` in [0, 1) spreads it over 75 to 125 %."""
    full = settings.first_seconds * 2.0 ** min(max(attempt, 1) - 1, MAX_EXPONENT)
    return float(min(full, settings.max_seconds) * (0.75 + 0.5 * jitter))


def after_failure(
    error: LorawatchError, *, attempt: int, since: float, now: float, settings: RetrySettings, jitter: float
) -> Outcome:
    """Return what becomes of a delivery after this error.

    `since` is when the delivery first failed (unix seconds). Environmental errors wait for ever unless
    `give_up_after_seconds` says otherwise; unknown errors count as permanent, so that nothing hammers.
    """
    if isinstance(error, FileChangedError | FileVanishedError):
        return Outcome(DeliveryState.CANCELLED, error.code, error.message)
    if isinstance(error, StoppedError):
        return Outcome(DeliveryState.WAITING, error.code, error.message, next_attempt_at=now)
    if not isinstance(error, DestinationDownError | DeliveryDelayedError | FileUnreadableError | NameTakenError):
        return Outcome(DeliveryState.FAILED, error.code, error.message)
    if 0 < settings.give_up_after_seconds <= now - since:
        return gave_up(error.message, settings)
    wait = backoff_seconds(attempt, settings, jitter=jitter)
    if isinstance(error, DeliveryDelayedError) and error.retry_after_seconds is not None:
        wait = max(wait, min(error.retry_after_seconds, settings.max_seconds))
    return Outcome(DeliveryState.WAITING, error.code, error.message, next_attempt_at=now + wait)


def gave_up(last_reason: str, settings: RetrySettings) -> Outcome:
    """Return what becomes of a delivery that has failed for longer than `give_up_after_seconds`."""
    reason = f"gave up after {settings.give_up_after_seconds:g} s of trying; the last error: {last_reason}"
    return Outcome(DeliveryState.FAILED, "gave-up", reason)
