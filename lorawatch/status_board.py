"""The state of everything for a person's eyes: rows that fit a terminal of any width. Pure.

`status` prints them once or, with --watch, redraws them; a row that is in flight is also the bar of `send` and `once`.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lorawatch import humanize
from lorawatch.event_record import one_line
from lorawatch.journal.views import DeliveryView, DestinationView, FileView
from lorawatch.status_plain import IN_COMFYUI, again, with_retry
from lorawatch.status_report import ATTENTION_FILES, Snapshot, cure, cure_of_delivery, pace
from lorawatch.status_rows import Part, Rank, Row, cut, entry, flight_row, prose, space, subject_of
from lorawatch.terminal import cells, sparkline

_SPARK_COLUMNS = 24
_LEAST_SPARK_COLUMNS = 6
_MOST_OF_A_KIND = 5
_MOST_DELIVERED = 3


@dataclass(frozen=True, slots=True)
class Pulse:
    """How fast things have gone of late; a view that looks again and again knows it better than one look."""

    throughput: dict[str, list[float]] = field(default_factory=dict)  # bytes per second, oldest first, by destination
    paces: dict[int | str, float] = field(default_factory=dict)  # by a delivery's number, or a file's path


def rows(snapshot: Snapshot, columns: int, pulse: Pulse | None = None) -> list[Row]:
    """Return the board, as many rows as it takes."""
    if not snapshot.has_journal:
        text = f"Nothing has been delivered yet: there is no journal in {snapshot.state_directory}."
        return [*prose(text, "", columns, Rank.HEAD), *prose("Begin with: lorawatch run", "dim", columns, Rank.ADVICE)]
    return list(_Board(snapshot, columns, pulse or Pulse()).rows())


@dataclass(frozen=True, slots=True)
class _Board:
    snapshot: Snapshot
    columns: int
    pulse: Pulse

    def rows(self) -> Iterator[Row]:
        yield from self._head()
        for destination in self.snapshot.destinations:
            yield space()
            yield from self._destination(destination)
        files = list(self._files())
        if files:
            yield space()
            yield Row((Part("files", "strong"),), Rank.HEAD)
            yield from files

    def _head(self) -> Iterator[Row]:
        running = Part("running", "good") if self.snapshot.is_running else Part("not running", "warning")
        counts = self.snapshot.counts
        about = [
            f"{counts[state]:,} {state}" for state in ("sending", "planned", "waiting", "failed") if counts.get(state)
        ]
        text = " · ".join([*about, f"{counts.get('delivered', 0):,} delivered"])
        head = [Part("lorawatch ", "strong"), running]
        if cells(text) + 24 <= self.columns:
            yield Row((*head, Part(f"  {text}")), Rank.HEAD)
        else:
            yield Row(cut(head, self.columns), Rank.HEAD)
            yield from prose(text, "", self.columns, Rank.HEAD)

    def _destination(self, destination: DestinationView) -> Iterator[Row]:
        yield self._heading(destination)
        if destination.state != "up" and destination.reason:
            advice = cure(destination.code, destination)
            yield from self._trouble(destination.reason, destination.code, "  ", advice=advice)
        mine = [each for each in self.snapshot.deliveries if each.delivery.destination == destination.name]
        for view in _of(mine, "sending"):
            yield sending_row(view, self.pulse, self.snapshot.now, self.columns)
        yield from self._waiting(_of(mine, "waiting"), destination)
        yield from self._some("planned", _of(mine, "planned"), destination, Rank.WAITING)
        yield from self._failed(_of(mine, "failed"), destination)
        yield from self._rested(mine, destination)

    def _heading(self, destination: DestinationView) -> Row:
        style = {"up": "good", "down": "warning"}.get(destination.state, "error")
        parts = [Part(one_line(destination.name), "strong"), Part(" "), Part(destination.state, style)]
        is_asked = destination.state == "down" and destination.next_probe_at is not None
        asked = f"  asked {self._again(destination.next_probe_at or 0)}" if is_asked else ""
        parts.append(Part(f"{asked}  {destination.kind}", "dim"))
        used = cells("".join(part.text for part in parts))
        history = self.pulse.throughput.get(destination.name, [])
        if any(history) and self.columns - used >= _LEAST_SPARK_COLUMNS + 12:
            speed = humanize.rate(history[-1]) if history[-1] else ""
            spark = sparkline(history, min(_SPARK_COLUMNS, self.columns - used - 12))
            gap = self.columns - used - len(spark) - 10
            parts += [Part(" " * gap), Part(spark, "good"), Part(f"{speed:>10}", "dim")]
        return Row(cut(parts, self.columns), Rank.HEAD)

    def _trouble(
        self, reason: str, code: str | None, indent: str, *, advice: str | None, rank: int = Rank.TROUBLE
    ) -> Iterator[Row]:
        """Yield why something is wrong, and what to do."""
        yield from prose(f"{reason} ({code})" if code else reason, "warning", self.columns, rank, indent)
        if advice and not advice.startswith("Nothing"):
            yield from prose(f"→ {advice}", "", self.columns, Rank.ADVICE, indent)

    def _again(self, at: float) -> str:
        return again(at, self.snapshot.now, is_running=self.snapshot.is_running)

    def _waiting(self, views: list[DeliveryView], destination: DestinationView) -> Iterator[Row]:
        """Yield what waits, by reason: the reason of a destination that is down has been said."""
        for code in dict.fromkeys(view.delivery.code for view in views):
            same = [view for view in views if view.delivery.code == code]
            yield from self._some("waiting", same, destination, Rank.WAITING)
            if code != destination.code:
                reason, advice = same[0].delivery.reason or "", cure_of_delivery(same[0], destination)
                yield from self._trouble(reason, code, "    ", advice=advice, rank=Rank.WAITING)

    def _failed(self, views: list[DeliveryView], destination: DestinationView) -> Iterator[Row]:
        for view in views[:_MOST_OF_A_KIND]:
            yield entry(
                "✗",
                "error",
                "failed",
                _name_of(view),
                [f"#{view.delivery.delivery_id}"],
                rank=Rank.TROUBLE,
                columns=self.columns,
            )
            advice = with_retry(cure_of_delivery(view, destination) or "", view.delivery.delivery_id)
            yield from self._trouble(view.delivery.reason or "", view.delivery.code, "    ", advice=advice)
        yield from self._more("failed", len(views), destination, Rank.TROUBLE)

    def _some(self, state: str, views: list[DeliveryView], destination: DestinationView, rank: int) -> Iterator[Row]:
        for view in views[:_MOST_OF_A_KIND]:
            at = view.delivery.next_attempt_at
            about = [humanize.size(view.delivery.artifact.version.size_bytes)]
            if at is not None:
                about.insert(0, self._again(at))
            yield entry(
                "…",
                "warning" if state == "waiting" else "dim",
                state,
                _name_of(view),
                about,
                rank=rank,
                columns=self.columns,
            )
        yield from self._more(state, len(views), destination, rank, whole=len(views))

    def _more(
        self, state: str, shown: int, destination: DestinationView, rank: int, *, whole: int | None = None
    ) -> Iterator[Row]:
        """Yield how many more there are than are shown."""
        if whole is None:
            whole = self.snapshot.destination_counts.get(destination.name, {}).get(state, shown)
        if whole > _MOST_OF_A_KIND:
            yield Row((Part(f"    and {whole - _MOST_OF_A_KIND:,} more {state}", "dim"),), rank)

    def _rested(self, mine: list[DeliveryView], destination: DestinationView) -> Iterator[Row]:
        delivered = _of(mine, "delivered")
        unlisted = [view for view in delivered[_MOST_DELIVERED:] if view.comfyui == "not-listed"]
        for view in delivered[:_MOST_DELIVERED] + unlisted[:_MOST_OF_A_KIND]:
            about = [f"{humanize.size(view.delivery.artifact.version.size_bytes)}"]
            if view.changed_at is not None:
                about.append(f"{humanize.duration(max(1, round(self.snapshot.now - view.changed_at)))} ago")
            about += [view.evidence or "", IN_COMFYUI.get(view.comfyui or "", "")]
            is_listed = view.comfyui != "not-listed"
            mark, style, rank = ("✓", "good", Rank.RESTED) if is_listed else ("!", "warning", Rank.TROUBLE)
            yield entry(mark, style, "delivered", _name_of(view), about, rank=rank, columns=self.columns)
            if not is_listed:
                advice = cure(view.comfyui_code, destination, path=view.delivery.artifact.path)
                yield from self._trouble(view.comfyui_reason or "", view.comfyui_code, "    ", advice=advice)

    def _files(self) -> Iterator[Row]:
        for state in ("settling", *ATTENTION_FILES, "skipped"):
            found = [each for each in self.snapshot.files if each.state == state]
            is_wrong = state in ATTENTION_FILES
            rank = Rank.TROUBLE if is_wrong else Rank.RESTED if state == "skipped" else Rank.FILE
            for file in found[: _MOST_OF_A_KIND if state != "skipped" else 1]:
                yield from self._file(file, rank, is_wrong=is_wrong)
            whole = self.snapshot.file_counts.get(state, len(found))
            shown = min(len(found), _MOST_OF_A_KIND if state != "skipped" else 1)
            if whole > shown:
                yield Row((Part(f"    and {whole - shown:,} more {state}", "dim"),), rank)

    def _file(self, file: FileView, rank: int, *, is_wrong: bool) -> Iterator[Row]:
        name, columns = subject_of(file.path), self.columns
        if is_wrong:
            mark, style = ("✗", "error") if file.state == "rejected" else ("!", "warning")
            yield entry(mark, style, file.state, name, [os.path.dirname(file.path)], rank=rank, columns=columns)
            advice = cure(file.code, path=file.path)
            yield from self._trouble(file.reason or "", file.code, "    ", advice=advice)
        elif file.read_bytes is not None:
            yield reading_row(file, self.pulse, columns)
        else:
            yield entry("·", "dim", file.state, name, [file.reason or ""], rank=rank, columns=columns)


def sending_row(view: DeliveryView, pulse: Pulse, now: float, columns: int) -> Row:
    """Return the row of a delivery that is being sent."""
    delivery = view.delivery
    speed = pulse.paces.get(delivery.delivery_id, pace(view, now))
    size_bytes = delivery.artifact.version.size_bytes
    return flight_row("sending", _name_of(view), delivery.sent_bytes, size_bytes, speed, columns=columns)


def reading_row(file: FileView, pulse: Pulse, columns: int) -> Row:
    """Return the row of a file that is being read: checked, and for a local destination copied meanwhile."""
    speed = pulse.paces.get(file.path)
    return flight_row("reading", subject_of(file.path), file.read_bytes or 0, file.size_bytes, speed, columns=columns)


def _name_of(view: DeliveryView) -> str:
    """Name a delivery by its file, and by its name there if it is another."""
    name, there = subject_of(view.delivery.artifact.path), subject_of(view.delivery.remote_name)
    return name if there == name else f"{name} → {there}"


def _of(views: Sequence[DeliveryView], state: str) -> list[DeliveryView]:
    return [view for view in views if view.delivery.state.value == state]
