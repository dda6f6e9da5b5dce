"""Numbers as people say them."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorawatch import humanize


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (999.6, "1 kB"),
        (1000, "1 kB"),
        (1234, "1.23 kB"),
        (151_000_000, "151 MB"),
        (999_499_999, "999 MB"),
        (999_500_000, "1 GB"),
        (5_000_000_000, "5 GB"),
        (-2_500, "-2.5 kB"),
        (10**24, "1e+06 EB"),
        (math.inf, "unknown size"),
    ],
)
def test_a_size_has_three_digits_and_the_unit_that_suits_it(size_bytes: float, expected: str) -> None:
    assert humanize.size(size_bytes) == expected


@given(st.integers(0, 10**21))
@settings(database=None)  # the checkout may belong to somebody else
def test_a_size_is_never_off_by_more_than_its_digits_say(size_bytes: int) -> None:
    number, unit = humanize.size(size_bytes).split()
    factor = 1000 ** ("B", "kB", "MB", "GB", "TB", "PB", "EB").index(unit)
    assert abs(float(number) * factor - size_bytes) <= size_bytes * 0.006


def test_a_rate_is_a_size_for_each_second() -> None:
    assert humanize.rate(1_070_000_000) == "1.07 GB/s"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-1, "0 ms"),
        (0, "0 ms"),
        (0.0042, "4 ms"),
        (0.0094, "9 ms"),
        (0.0096, "0.0096 s"),
        (0.14, "0.14 s"),
        (2.44, "2.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (125, "2 min 5 s"),
        (3599.7, "1 h"),
        (7800, "2 h 10 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d"),
        (273_600, "3 d 4 h"),
        (math.nan, "unknown time"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds: float, expected: str) -> None:
    assert humanize.duration(seconds) == expected


def test_only_one_is_singular() -> None:
    assert [humanize.count(number, "file") for number in (0, 1, 2, 12_345)] == [
        "0 files",
        "1 file",
        "2 files",
        "12,345 files",
    ]


@pytest.mark.parametrize(
    ("done", "total", "expected"), [(0, 3, "0%"), (1, 3, "33%"), (999, 1000, "99%"), (3, 3, "100%"), (0, 0, "100%")]
)
def test_a_hundred_percent_is_said_of_the_whole_only(done: int, total: int, expected: str) -> None:
    assert humanize.percent(done, total) == expected


def test_a_noun_in_y_has_its_usual_plural() -> None:
    assert [humanize.count(number, "delivery") for number in (1, 2)] == ["1 delivery", "2 deliveries"]
    assert humanize.count(2, "day") == "2 days"
