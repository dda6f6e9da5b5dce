"""How fast things go, as seen by a view that looks again and again. Pure; one view's thread calls it."""

from collections import deque
from collections.abc import Sequence

from lorawatch.journal.views import DeliveryView, FileView
from lorawatch.status_board import Pulse
from lorawatch.status_report import RECENT_SECONDS, Snapshot

# A rate over this time is calm, and still tells within seconds that something hangs.
PACE_SECONDS = 10.0
LEAST_PACE_SECONDS = 2.0
_TICK_SECONDS = 1.0
_TICKS = 60


class _Flight:
    """What has been seen of one thing that is under way: moments and bytes."""

    def __init__(self, begun: int) -> None:
        self.last = begun
        self.step = 0  # since the look before
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, done: int, now: float) -> None:
        self.step, self.last = done - self.last, done
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > PACE_SECONDS:
            self._seen.popleft()

    def pace(self) -> float | None:
        (first_at, first), (last_at, last) = self._seen[0], self._seen[-1]
        return (last - first) / (last_at - first_at) if last_at - first_at >= LEAST_PACE_SECONDS else None


class Pulsometer:
    """Takes one snapshot after the other."""

    def __init__(self) -> None:
        self._flights: dict[int | str, _Flight] = {}
        self._history: dict[str, deque[float]] = {}
        self._looked_at: float | None = None

    def feel(self, snapshot: Snapshot) -> Pulse:
        """Return how fast things have gone up to this snapshot."""
        for each in snapshot.destinations:
            if each.name not in self._history:
                self._history[each.name] = _before(snapshot, each.name)
        before = self._flights
        paces = self.watch(snapshot.deliveries, snapshot.files, snapshot.now)
        moved = self._moved(snapshot, before)
        if self._looked_at is not None:
            seconds = max(snapshot.now - self._looked_at, 0.05)
            for name, history in self._history.items():
                history.append(moved.get(name, 0) / seconds)
        self._looked_at = snapshot.now
        return Pulse({name: list(history) for name, history in self._history.items()}, paces)

    def watch(
        self, deliveries: Sequence[DeliveryView], files: Sequence[FileView], now: float
    ) -> dict[int | str, float]:
        """Note how far everything is that is under way; return how fast each has gone of late."""
        before, self._flights = self._flights, {}
        for view in deliveries:
            if view.delivery.state.value == "sending":
                self._note(before, view.delivery.delivery_id, view.begun_bytes, view.delivery.sent_bytes, now)
        for file in files:
            if file.read_bytes is not None:
                self._note(before, file.path, 0, file.read_bytes, now)
        return {key: pace for key, flight in self._flights.items() if (pace := flight.pace()) is not None}

    def _note(self, before: dict[int | str, _Flight], key: int | str, begun: int, done: int, now: float) -> None:
        flight = before.get(key) or _Flight(begun)
        if done < flight.last:  # it was begun anew
            flight = _Flight(done)
        flight.note(done, now)
        self._flights[key] = flight

    def _moved(self, snapshot: Snapshot, before: dict[int | str, _Flight]) -> dict[str, int]:
        """Return the bytes that each destination took since the snapshot before."""
        moved: dict[str, int] = {}
        for view in snapshot.deliveries:
            flight = self._flights.get(view.delivery.delivery_id)
            if flight is not None:
                moved[view.delivery.destination] = moved.get(view.delivery.destination, 0) + flight.step
        for each in snapshot.carried:
            if self._looked_at is not None and each.at > self._looked_at:
                known = before.get(each.delivery_id)
                rest = max(0, each.carried_bytes - (known.last if known else 0))
                moved[each.destination] = moved.get(each.destination, 0) + rest
        return moved


def _before(snapshot: Snapshot, name: str) -> deque[float]:
    """Return the throughput of the last minute as far as the journal tells: what arrived, when it arrived."""
    history = deque([0.0] * _TICKS, maxlen=_TICKS)
    for each in snapshot.carried:
        tick = int((snapshot.now - each.at) / _TICK_SECONDS)
        if each.destination == name and 0 <= tick < min(_TICKS, RECENT_SECONDS):
            history[-1 - tick] += each.carried_bytes / _TICK_SECONDS
    return history
