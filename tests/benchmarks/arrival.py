"""From a writer's close to the complete file under its final name: one large file, and a burst of small ones."""

import filecmp
import itertools
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.benchmarks.carriers import Carrier, competitors
from tests.benchmarks.measuring import MEGABYTE, Arrivals, Report, Sample, Settings, ratio, settle, wait_until
from tests.factories import lora_bytes

REFERENCE = "lsyncd"
BASELINE = "cp"
SUBJECT = "lorawatch"
_serial_numbers = itertools.count(1)


@dataclass(slots=True)
class Times:
    """What one competitor took, counted from the last close and from the first."""

    since_last: Sample = field(default_factory=Sample)
    since_first: Sample = field(default_factory=Sample)


def measure_large(directory: str, settings: Settings) -> Report:
    """One file of 150 MB."""
    times, notes = _race(directory, count=1, size_bytes=settings.large_bytes, rounds=settings.rounds)
    reference = times[REFERENCE].since_last.median if REFERENCE in times else None
    baseline = times[BASELINE].since_last.median
    report = Report(
        f"close → complete at the destination, {settings.large_bytes / MEGABYTE:.0f} MB, median of {settings.rounds}",
        ("", "seconds", "spread", "x lsyncd", "x cp", "asked"),
        notes=notes,
    )
    for label, each in times.items():
        median = each.since_last.median
        asked = "≤ 1.0 x lsyncd, aim 0.8" if label == SUBJECT else ""
        report.rows.append(
            (
                label,
                f"{median:.3f}",
                each.since_last.spread,
                ratio(median, reference),
                ratio(median, baseline),
                asked,
            )
        )
    return report


def measure_burst(directory: str, settings: Settings) -> Report:
    """200 files of 1 MB, written back to back."""
    count = settings.burst_count
    times, notes = _race(directory, count=count, size_bytes=MEGABYTE, rounds=settings.rounds)
    reference = times.get(REFERENCE)
    report = Report(
        f"burst of {count} x 1 MB, until the last one is complete, median of {settings.rounds}",
        ("", "since last close", "spread", "x lsyncd", "since first close", "x lsyncd", "asked"),
        notes=[*notes, "cp, rsync and rclone are started once, for all files, at the last close."],
    )
    for label, each in times.items():
        last, first = each.since_last.median, each.since_first.median
        asked = "≤ 1.3 x lsyncd, aim 1.0" if label == SUBJECT else ""
        report.rows.append(
            (
                label,
                f"{last:.3f}",
                each.since_last.spread,
                ratio(last, None if reference is None else reference.since_last.median),
                f"{first:.3f}",
                ratio(first, None if reference is None else reference.since_first.median),
                asked,
            )
        )
    return report


def _race(directory: str, *, count: int, size_bytes: int, rounds: int) -> tuple[dict[str, Times], list[str]]:
    """Let all of them carry in turn, round by round, so that a slow minute of the machine hits each of them."""
    content = bytearray(lora_bytes(size_bytes=size_bytes))
    carriers, notes = competitors(directory)
    times = {carrier.label: Times() for carrier in carriers}
    with ExitStack() as stack:
        for carrier in carriers:
            stack.enter_context(carrier)
        settle()
        for number in range(-1, rounds):  # the first round warms up and does not count
            for carrier in carriers:
                names = [f"round{number + 1}_{each:09d}.safetensors" for each in range(count)]
                since_first, since_last = carry(carrier, names, content)
                if number >= 0:
                    times[carrier.label].since_first.seconds.append(since_first)
                    times[carrier.label].since_last.seconds.append(since_last)
                settle()
    return times, notes


def carry(
    carrier: Carrier, names: Sequence[str], content: bytearray, *, is_flushed: bool = False
) -> tuple[float, float]:
    """Write the files, wait for their arrival, check their bytes; return the seconds since the first and last close.

    Every file has other bytes, so that none is known already.
    """
    sources = [os.path.join(carrier.source, name) for name in names]
    destinations = [os.path.join(carrier.destination, name) for name in names]
    closes = [_write(path, content, is_flushed=is_flushed) for path in sources]
    carrier.carry(sources)
    arrivals = Arrivals(dict.fromkeys(destinations, len(content)))
    arrived = wait_until(
        lambda: arrivals.are_complete() and carrier.is_done(), f"{carrier.label} carries {len(names)} files"
    )
    for source, destination in zip(sources, destinations, strict=True):
        if not filecmp.cmp(source, destination, shallow=False):
            raise RuntimeError(f"{carrier.label} delivered other bytes: {destination}")
    for path in (*sources, *destinations):
        put_away(path, carrier.attic)
    return arrived - closes[0], arrived - closes[-1]


def put_away(path: str, attic: str) -> None:
    """Take a file out of its directory and empty it. Nothing is removed before all is measured.

    ext4 leaves freshly freed inodes alone for a minute or more, and looks at every one of them whenever a file is
    made: each removal would slow down whoever comes next (measured: 1.0 ms instead of 0.06 for one create).
    """
    gone = os.path.join(attic, str(next(_serial_numbers)))
    os.rename(path, gone)
    os.truncate(gone, 0)


def _write(path: str, content: bytearray, *, is_flushed: bool) -> float:
    """Write a file in place, as safetensors up to 0.7 does; return the time of its close."""
    content[-4096:-4088] = next(_serial_numbers).to_bytes(8, "little")  # read as bf16 it is no NaN and no zero tail
    with open(path, "wb", buffering=0) as file:
        file.write(content)
        if is_flushed:
            os.fsync(file.fileno())
    return time.perf_counter()
