"""What is under way in this process at this moment, for the bars of `once`.

The main thread looks into the journal a few times a second; the thread that draws only reads what was seen last.
"""

import time
from typing import TYPE_CHECKING

from lorawatch import humanize
from lorawatch.domain.errors import JournalError
from lorawatch.journal import views
from lorawatch.journal.database import Database
from lorawatch.status_board import Pulse, reading_row, sending_row
from lorawatch.status_pulse import Pulsometer
from lorawatch.status_rows import Part, Rank, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOOK_SECONDS = 0.25
_MOST_ROWS = 8


class InFlight:
    """Looks, and gives rows."""

    def __init__(self) -> None:
        self._pulsometer = Pulsometer()
        self._looked_at = 0.0
        self._seen: tuple[Sequence[views.DeliveryView], Sequence[views.FileView], Pulse] = ((), (), Pulse())

    def look(self, journal: Database) -> None:
        """See what is under way, if the last look was long enough ago. Never raises."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        try:
            with journal.read() as connection:
                deliveries, files = views.in_flight(connection)
        except JournalError:
            return  # what is shown stays; the daemon itself says what is wrong
        self._seen = (deliveries, files, Pulse({}, self._pulsometer.watch(deliveries, files, time.time())))

    def rows(self, columns: int) -> list[Row]:
        """Return a row for each thing that is under way, on any thread."""
        deliveries, files, pulse = self._seen
        rows = [reading_row(each, pulse, columns) for each in files]
        rows += [sending_row(each, pulse, time.time(), columns) for each in deliveries]
        if len(rows) > _MOST_ROWS:
            more = f"  and {humanize.count(len(rows) - _MOST_ROWS, 'more file')} under way"
            rows[_MOST_ROWS:] = [Row((Part(more, "dim"),), Rank.FLIGHT)]
        return rows
