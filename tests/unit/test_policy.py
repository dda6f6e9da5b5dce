"""When a failed delivery is tried again, and when it is not."""

import pytest

from lorawatch.domain.errors import (
    ConfigurationError,
    DeliveryDelayedError,
    DeliveryRefusedError,
    DestinationDownError,
    DestinationParkedError,
    FileChangedError,
    FileUnreadableError,
    FileVanishedError,
    LorawatchError,
    NameTakenError,
    StoppedError,
)
from lorawatch.domain.model import DeliveryState
from lorawatch.domain.policy import Outcome, RetrySettings, after_failure, backoff_seconds

NOW = 1_800_000_000.0
SETTINGS = RetrySettings(first_seconds=1, max_seconds=300)


def outcome(
    error: LorawatchError, *, attempt: int = 1, since: float = NOW, settings: RetrySettings = SETTINGS
) -> Outcome:
    return after_failure(error, attempt=attempt, since=since, now=NOW, settings=settings, jitter=0.5)


def test_each_wait_is_twice_as_long_until_the_longest() -> None:
    waits = [backoff_seconds(attempt, SETTINGS, jitter=0.5) for attempt in range(1, 12)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@pytest.mark.parametrize("attempt", [0, 1, 10**9])
def test_a_wait_stays_within_a_quarter_of_its_length(attempt: int) -> None:
    shortest, longest = (backoff_seconds(attempt, SETTINGS, jitter=jitter) for jitter in (0.0, 0.999))
    full = backoff_seconds(attempt, SETTINGS, jitter=0.5)
    assert shortest == full * 0.75
    assert full * 1.2 < longest < full * 1.25


@pytest.mark.parametrize("error", [FileChangedError("x"), FileVanishedError("x")])
def test_what_is_gone_or_changed_is_cancelled(error: LorawatchError) -> None:
    assert outcome(error) == Outcome(DeliveryState.CANCELLED, error.code, "x")


@pytest.mark.parametrize(
    "error",
    [
        DestinationDownError("x"),
        DestinationParkedError("x"),
        DeliveryDelayedError("x"),
        FileUnreadableError("x"),
        NameTakenError("x"),
    ],
)
def test_what_lies_in_the_surroundings_waits_for_ever(error: LorawatchError) -> None:
    after_years = outcome(error, attempt=10_000, since=NOW - 1e8)
    assert (after_years.state, after_years.code) == (DeliveryState.WAITING, error.code)
    assert after_years.next_attempt_at == NOW + 300


def test_it_gives_up_where_the_user_says_so() -> None:
    settings = RetrySettings(1, 300, give_up_after_seconds=60)
    assert outcome(DestinationDownError("x"), since=NOW - 59, settings=settings).state is DeliveryState.WAITING
    given_up = outcome(DestinationDownError("no route"), since=NOW - 60, settings=settings)
    assert (given_up.state, given_up.code) == (DeliveryState.FAILED, "gave-up")
    assert "no route" in given_up.reason
    assert given_up.next_attempt_at is None


@pytest.mark.parametrize("error", [DeliveryRefusedError("x"), ConfigurationError([]), LorawatchError("x")])
def test_what_is_permanent_or_unknown_fails_at_once(error: LorawatchError) -> None:
    assert outcome(error).state is DeliveryState.FAILED


def test_a_stop_counts_as_nothing_and_is_due_at_once() -> None:
    stopped = outcome(StoppedError("x"), since=NOW - 1e9, settings=RetrySettings(1, 300, give_up_after_seconds=1))
    assert (stopped.state, stopped.next_attempt_at) == (DeliveryState.WAITING, NOW)


@pytest.mark.parametrize(("asked", "waited"), [(10.0, 10.0), (0.1, 1.0), (86_400.0, 300.0)])
def test_a_server_that_names_a_wait_gets_it_within_bounds(asked: float, waited: float) -> None:
    error = DeliveryDelayedError("x", retry_after_seconds=asked)
    assert outcome(error).next_attempt_at == NOW + waited
