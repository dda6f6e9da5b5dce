"""When is a writer done? Every rule of the quiet, the vouched and the torn, with both clocks in hand."""

from dataclasses import replace

import pytest

from lorawatch.domain.errors import FileRejectedError
from lorawatch.domain.model import Candidate, Version
from lorawatch.domain.ports import Observation
from lorawatch.domain.settle import INCOMPLETE_AFTER_SECONDS, Moment, Ready, Torn, Verdict, Wait, observe

SIZE = 1000
WALL = 1_700_000_000.0
MONOTONIC = 50.0
QUIET_SECONDS = 2.0
FIRST_SEEN = Moment(WALL, MONOTONIC)


def observation(
    *,
    size_bytes: int = SIZE,
    expected_bytes: int | None = SIZE,
    changed_at: float = WALL,
    ctime: float | None = None,
    is_closed: bool = False,
    is_local: bool = True,
    is_held_open: bool | None = None,
    has_gap: bool = False,
) -> Observation:
    version = Version(inode=1, size_bytes=size_bytes, mtime_ns=int(changed_at * 1e9))
    ctime_ns = int((changed_at if ctime is None else ctime) * 1e9)
    candidate = Candidate("/out", "/out/a.safetensors", version, ctime_ns, is_closed=is_closed)
    return Observation(
        candidate, is_local=is_local, expected_bytes=expected_bytes, has_gap=has_gap, is_held_open=is_held_open
    )


def after(seen: Observation, seconds: float, *, wall_jump: float = 0.0, first_seen: Moment = FIRST_SEEN) -> Verdict:
    now = Moment(first_seen.wall + seconds + wall_jump, first_seen.monotonic + seconds)
    return observe(seen, first_seen=first_seen, now=now, quiet_seconds=QUIET_SECONDS)


def waiting(verdict: Verdict) -> Wait:
    assert isinstance(verdict, Wait), verdict
    return verdict


@pytest.mark.parametrize("is_local", [True, False])
def test_a_closed_file_of_full_length_is_ready_at_once(is_local: bool) -> None:
    assert after(observation(is_closed=True, is_local=is_local), 0) == Ready()


def test_a_renamed_file_is_ready_even_while_its_writer_still_holds_it() -> None:
    assert after(observation(is_closed=True, is_held_open=True), 0) == Ready()


def test_a_file_that_nobody_holds_open_is_ready_at_once_on_a_local_mount() -> None:
    assert after(observation(is_held_open=False), 0) == Ready()


def test_a_far_writer_is_not_vouched_for_by_what_this_machine_knows() -> None:
    seen = observation(is_held_open=False, is_local=False)
    assert waiting(after(seen, 0)).code == "not-quiet"
    assert after(seen, QUIET_SECONDS) == Ready()


@pytest.mark.parametrize("size_bytes", [SIZE, SIZE - 1, 0])
def test_a_file_held_open_waits_however_long_it_stands_still(size_bytes: int) -> None:
    verdict = waiting(after(observation(size_bytes=size_bytes, is_held_open=True), 400))
    assert (verdict.code, verdict.is_incomplete) == ("still-open", False)


def test_quiet_is_counted_from_the_last_change_on_a_local_mount() -> None:
    seen = observation(changed_at=WALL - 1.5)
    assert waiting(after(seen, 0)).recheck_in_seconds == pytest.approx(0.5)
    assert after(seen, 0.5) == Ready()


def test_the_later_of_both_times_counts() -> None:
    seen = observation(changed_at=WALL - 100, ctime=WALL - 1)
    assert waiting(after(seen, 0)).recheck_in_seconds == pytest.approx(1.0)


def test_an_old_file_on_a_local_mount_is_ready_at_the_first_look() -> None:
    assert after(observation(changed_at=WALL - 3600), 0) == Ready()


def test_times_of_a_network_mount_are_not_believed() -> None:
    seen = observation(changed_at=WALL - 3600, is_local=False)
    assert waiting(after(seen, 1.9)).code == "not-quiet"
    assert after(seen, 2.0) == Ready()


@pytest.mark.parametrize("is_local", [True, False])
def test_a_time_in_the_future_counts_as_now(is_local: bool) -> None:
    seen = observation(changed_at=WALL + 86_400, is_local=is_local)
    assert waiting(after(seen, 0)).recheck_in_seconds == pytest.approx(QUIET_SECONDS)
    assert after(seen, QUIET_SECONDS) == Ready()


@pytest.mark.parametrize("wall_jump", [-86_400.0, 86_400.0])
def test_a_clock_that_jumps_neither_strands_a_file_nor_lets_it_through_early(wall_jump: float) -> None:
    seen = observation()
    assert waiting(after(seen, 1.9, wall_jump=wall_jump)).recheck_in_seconds == pytest.approx(0.1)
    assert after(seen, 2.0, wall_jump=wall_jump) == Ready()


@pytest.mark.parametrize(
    ("size_bytes", "expected_bytes", "code"),
    [
        (0, None, "empty-file"),
        (7, None, "truncated"),
        (SIZE - 1, SIZE, "truncated"),
        (SIZE + 1, SIZE, "trailing-bytes"),
    ],
)
@pytest.mark.parametrize("vouching", [{"is_closed": True}, {"is_held_open": False}])
def test_a_wrong_length_is_final_once_its_writer_is_done_and_the_file_is_quiet(
    size_bytes: int, expected_bytes: int | None, code: str, vouching: dict[str, bool]
) -> None:
    seen = observation(size_bytes=size_bytes, expected_bytes=expected_bytes, **vouching)
    verdict = waiting(after(seen, 0.5))
    assert (verdict.code, verdict.is_incomplete) == (code, False)
    assert verdict.recheck_in_seconds == pytest.approx(1.5)
    torn = after(seen, QUIET_SECONDS)
    assert isinstance(torn, Torn)
    assert torn.code == code


@pytest.mark.parametrize("seen", [observation(size_bytes=10), observation(size_bytes=10, is_local=False)])
def test_a_short_file_that_nothing_vouches_for_waits_forever_and_is_incomplete_after_ten_minutes(
    seen: Observation,
) -> None:
    assert waiting(after(seen, INCOMPLETE_AFTER_SECONDS - 1)).is_incomplete is False
    assert waiting(after(seen, INCOMPLETE_AFTER_SECONDS)).is_incomplete is True
    assert waiting(after(seen, 86_400)).is_incomplete is True


@pytest.mark.parametrize("vouching", [{}, {"is_closed": True}, {"is_held_open": False}])
def test_a_gap_is_never_ready_whoever_vouches(vouching: dict[str, bool]) -> None:
    seen = observation(has_gap=True, changed_at=WALL - 3600, **vouching)
    assert waiting(after(seen, 0)).code == "unwritten-data"
    late = waiting(after(seen, INCOMPLETE_AFTER_SECONDS))
    assert (late.code, late.is_incomplete) == ("unwritten-data", True)


def test_a_gap_in_the_header_is_a_gap_not_a_torn_file() -> None:
    seen = observation(has_gap=True, expected_bytes=None, is_closed=True)
    assert waiting(after(seen, 3600)).code == "unwritten-data"


@pytest.mark.parametrize("age_seconds", [0.0, 0.01, 1.0, 10.0, 599.99, 600.0, 1e6])
@pytest.mark.parametrize(
    "seen",
    [
        observation(is_held_open=True),
        observation(has_gap=True),
        observation(size_bytes=1),
        replace(observation(size_bytes=1), is_local=False),
    ],
)
def test_looking_again_is_never_a_busy_loop_and_never_seldom(seen: Observation, age_seconds: float) -> None:
    recheck_seconds = waiting(after(seen, age_seconds)).recheck_in_seconds
    assert 0.05 <= recheck_seconds <= (6.0 if age_seconds <= INCOMPLETE_AFTER_SECONDS else 60.0)


def test_what_was_left_behind_long_ago_is_looked_at_once_a_minute() -> None:
    assert waiting(after(observation(has_gap=True), 6 * 3600)).recheck_in_seconds == pytest.approx(60.0)


def test_the_look_that_finds_a_file_incomplete_comes_when_it_turns_so() -> None:
    verdict = waiting(after(observation(has_gap=True), INCOMPLETE_AFTER_SECONDS - 1))
    assert verdict.recheck_in_seconds == pytest.approx(1.0)


def test_a_quiet_time_that_is_nearly_over_keeps_the_floor() -> None:
    verdict = waiting(after(observation(), QUIET_SECONDS - 1e-6))
    assert verdict.recheck_in_seconds == pytest.approx(0.05)


WEB_PAGE = FileRejectedError("it is a web page", code="html-page")


def test_what_can_never_become_a_lora_is_rejected_when_its_writer_is_done_not_before() -> None:
    writing = replace(observation(expected_bytes=None, is_held_open=True), flaw=WEB_PAGE)
    assert waiting(after(writing, QUIET_SECONDS + 1)).code == "still-open"
    left = replace(observation(expected_bytes=None, is_held_open=False), flaw=WEB_PAGE)
    closed = replace(observation(expected_bytes=None, is_closed=True), flaw=WEB_PAGE)
    assert after(left, 0) == after(closed, 0) == Torn("html-page", "it is a web page")


def test_what_can_never_become_a_lora_is_given_its_quiet_time_where_nobody_vouches_for_its_writer() -> None:
    seen = replace(observation(expected_bytes=None, is_local=False), flaw=WEB_PAGE)
    assert waiting(after(seen, 0)).recheck_in_seconds == QUIET_SECONDS
    assert after(seen, QUIET_SECONDS) == Torn("html-page", "it is a web page")
