"""The state of everything, from the journal alone: it works beside the daemon and without it, and changes nothing.

Behind `status`: the one document for scripts, and what status_plain.py and status_board.py put into words.
"""

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lorawatch.domain.codes import cure_of, is_about_source, words_for
from lorawatch.domain.errors import JournalError
from lorawatch.domain.pairing import pair_id_of
from lorawatch.journal import views
from lorawatch.journal.database import Database
from lorawatch.journal.lock import is_locked
from lorawatch.journal.views import CarriedView, DeliveryView, DestinationView, FileView

ATTENTION_FILES = ("rejected", "unreadable", "incomplete")
# The throughput that a view begins with: what arrived in this time before it.
RECENT_SECONDS = 60.0
_PLACES = {"directory": "DIRECTORY", "comfyui-mcp": "URL"}  # what a destination's location is, in a cure


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the journal knew at one moment."""

    state_directory: str
    now: float
    has_journal: bool = True
    is_running: bool = False
    deliveries: Sequence[DeliveryView] = ()  # open ones first, see journal/views.py
    files: Sequence[FileView] = ()
    destinations: Sequence[DestinationView] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    destination_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    file_counts: Mapping[str, int] = field(default_factory=dict)
    carried: Sequence[CarriedView] = ()  # lately
    unlisted: int = 0  # delivered files that ComfyUI does not list

    @property
    def needs_person(self) -> bool:
        """Return whether something goes on only after a person has done something."""
        return (
            bool(self.counts.get("failed"))
            or self.unlisted > 0
            or any(each.state == "parked" for each in self.destinations)
            or any(self.file_counts.get(state) for state in ATTENTION_FILES)
        )


def take(state_directory: str, *, is_whole: bool = False) -> Snapshot:
    """Return the state recorded in a state directory. Raises JournalError if it may not be read.

    `is_whole`: with every delivery and every file that the journal knows, however many; else with the latest.
    """
    database = Database.open_read_only(state_directory)
    now = time.time()
    if database is None:
        return Snapshot(state_directory, now, has_journal=False)
    try:
        if database.is_outdated:
            wrong = f"the journal in {state_directory} is as an older lorawatch left it"
            fix = "start or restart the daemon: that brings it up to date"
            raise JournalError(wrong, code="journal-older", fix=fix)
        with database.read() as connection:
            return Snapshot(
                state_directory,
                now,
                is_running=is_locked(state_directory),
                deliveries=[
                    *views.open_deliveries(connection, most=views.EVERYTHING if is_whole else views.MOST_OPEN),
                    *views.rested_deliveries(connection, most=views.EVERYTHING if is_whole else views.MOST_DELIVERED),
                ],
                files=views.files(connection, most=views.EVERYTHING if is_whole else views.MOST_OPEN),
                destinations=views.destinations(connection),
                counts={**dict.fromkeys(views.STATES, 0), **views.counts(connection)},
                destination_counts=views.counts_by_destination(connection),
                file_counts=views.file_counts(connection),
                carried=views.carried_since(connection, now - RECENT_SECONDS),
                unlisted=views.unlisted_count(connection),
            )
    finally:
        database.close()


def document(snapshot: Snapshot) -> dict[str, object]:
    """Return it for scripts. Keys are only ever added."""
    if not snapshot.has_journal:
        return {"running": False, "deliveries": [], "files": [], "destinations": [], "counts": {}}
    by_name = {each.name: each for each in snapshot.destinations}
    return {
        "running": snapshot.is_running,
        "deliveries": [_delivery(view, snapshot.now, by_name) for view in snapshot.deliveries],
        "files": [
            {
                "file": each.path,
                "state": each.state,
                "code": each.code,
                "reason": each.reason,
                "fix": cure(each.code, path=each.path),
                "size_bytes": each.size_bytes,
                "read_bytes": each.read_bytes,
            }
            for each in snapshot.files
        ],
        "destinations": [
            {
                "name": each.name,
                "kind": each.kind,
                "state": each.state,
                "code": each.code,
                "reason": each.reason,
                "fix": None if each.state == "up" else cure(each.code, each),
                "next_probe_at": each.next_probe_at,
                "counts": dict(snapshot.destination_counts.get(each.name, {})),
            }
            for each in snapshot.destinations
        ],
        "counts": {**snapshot.counts, "files": dict(snapshot.file_counts)},
        "comfyui": {"not_listed": snapshot.unlisted},
    }


def _delivery(view: DeliveryView, now: float, destinations: Mapping[str, DestinationView]) -> dict[str, object]:
    delivery = view.delivery
    speed = pace(view, now)
    return {
        "delivery_id": delivery.delivery_id,
        "file": delivery.artifact.path,
        "destination": delivery.destination,
        "remote_name": delivery.remote_name,
        "state": delivery.state.value,
        "size_bytes": delivery.artifact.version.size_bytes,
        "sent_bytes": delivery.sent_bytes,
        "bytes_per_second": speed,
        "seconds_left": seconds_left(view, speed),
        "attempt": delivery.attempt,
        "code": delivery.code,
        "reason": delivery.reason,
        "fix": cure_of_delivery(view, destinations.get(delivery.destination)),
        "next_attempt_at": delivery.next_attempt_at,
        "sha256": delivery.artifact.sha256,
        "pair_id": pair_id_of(delivery.artifact),
        "evidence": view.evidence,
        "comfyui": view.comfyui,
        "comfyui_code": view.comfyui_code,
        "comfyui_reason": view.comfyui_reason,
        "changed_at": view.changed_at,
    }


def cure(
    code: str | None, destination: DestinationView | None = None, *, path: str = "", number: int | None = None
) -> str | None:
    """Return what to do about a code, with what is known of it in place of DIRECTORY, URL, FILE and ID."""
    words = {} if number is None else {"ID": str(number)}
    words |= words_for(path) if path else {}
    if destination is not None and not is_about_source(code or ""):
        words = {word: text for word, text in words.items() if word not in {"NAME", "DIRECTORY"}}
        words["<NAME>"] = destination.name.replace("-", "_").upper()
        words |= {_PLACES[destination.kind]: shlex.quote(destination.location)} if destination.kind in _PLACES else {}
    return cure_of(code or "", words) or None


def cure_of_delivery(view: DeliveryView, destination: DestinationView | None) -> str | None:
    """Return what to do about a delivery that waits or has failed."""
    delivery = view.delivery
    return cure(delivery.code, destination, path=delivery.artifact.path, number=delivery.delivery_id)


def pace(view: DeliveryView, now: float) -> float | None:
    """Return the bytes per second of the present attempt; None before it has carried any."""
    carried = view.delivery.sent_bytes - view.begun_bytes
    if view.delivery.state.value != "sending" or carried <= 0 or view.changed_at is None:
        return None
    return carried / max(now - view.changed_at, 0.001)


def seconds_left(view: DeliveryView, bytes_per_second: float | None) -> float | None:
    """Return how long a delivery takes from now on, if it goes on like this."""
    if not bytes_per_second:
        return None
    return max(0, view.delivery.artifact.version.size_bytes - view.delivery.sent_bytes) / bytes_per_second
