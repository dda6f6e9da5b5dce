"""What every benchmark shares: where it works, how it waits, and the table in which it answers.

Nothing here asserts: the numbers depend on the machine, only their ratios carry over.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

MEGABYTE = 1_000_000
POLL_SECONDS = 0.0005  # what a detector may add to each measurement: one stat costs 2 µs, so it takes no core away
PATIENCE_SECONDS = 120.0
SETTLE_SECONDS = 0.3  # between two measurements: whatever the last one left behind is done


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line asked for."""

    rounds: int
    large_bytes: int
    burst_count: int
    known_files: int
    idle_seconds: float


@dataclass(slots=True)
class Report:
    """One table of answers. `asked` stands beside what was measured; nobody compares them but the reader."""

    title: str
    columns: Sequence[str]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def print_to(self, console: Console) -> None:
        table = Table(title=self.title, title_justify="left", title_style="bold")
        for position, column in enumerate(self.columns):
            table.add_column(column, justify="right" if position else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        console.print(table)
        for note in self.notes:
            console.print(f"  {note}", highlight=False)


@dataclass(slots=True)
class Sample:
    """The repetitions of one measurement."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> str:
        return f"{min(self.seconds):.3f} to {max(self.seconds):.3f}"


def ratio(value: float, reference: float | None) -> str:
    """Two digits, or a dash where there is nothing to compare with."""
    return "-" if not reference else f"{value / reference:.2f}"


def wait_until(is_true: Callable[[], bool], what: str, *, every_seconds: float = POLL_SECONDS) -> float:
    """Return the monotonic time at which the claim was first seen to be true. Raises TimeoutError."""
    deadline = time.perf_counter() + PATIENCE_SECONDS
    while not is_true():
        if time.perf_counter() > deadline:
            raise TimeoutError(f"waited {PATIENCE_SECONDS:.0f} s in vain: {what}")
        time.sleep(every_seconds)
    return time.perf_counter()


class Arrivals:
    """Tells whether every file is at its final name with its full size. Files that have arrived are not asked again."""

    def __init__(self, expected: dict[str, int]) -> None:
        self._missing = list(expected.items())

    def are_complete(self) -> bool:
        while self._missing:
            path, size_bytes = self._missing[-1]
            try:
                if os.stat(path).st_size != size_bytes:
                    return False
            except FileNotFoundError:
                return False
            self._missing.pop()
        return True


def settle() -> None:
    """Write back what the last measurement left dirty, so that the next one does not pay for it."""
    os.sync()
    time.sleep(SETTLE_SECONDS)
