"""What `status` tells, from the journal alone: it works beside the daemon and without it, and changes nothing."""

import time
from dataclasses import dataclass

from lorawatch import humanize
from lorawatch.domain.codes import lookup
from lorawatch.domain.errors import JournalError
from lorawatch.domain.pairing import pair_id_of
from lorawatch.journal import views
from lorawatch.journal.database import Database
from lorawatch.journal.lock import is_locked
from lorawatch.journal.views import DeliveryView, DestinationView, FileView

_IN_COMFYUI = {
    "listed": "listed in ComfyUI",
    "not-listed": "not listed in ComfyUI",
    "unknown": "ComfyUI not asked yet",
}
_ATTENTION_FILES = frozenset({"rejected", "unreadable", "incomplete"})


@dataclass(frozen=True, slots=True)
class Report:
    """The state of everything, for scripts and for people."""

    document: dict[str, object]
    lines: list[str]
    needs_person: bool = False


def report(state_directory: str) -> Report:
    """Return the state recorded in a state directory. Raises JournalError if it may not be read."""
    database = Database.open_read_only(state_directory)
    if database is None:
        document: dict[str, object] = {"deliveries": [], "files": [], "destinations": [], "counts": {}}
        return Report(document, [f"Nothing has been delivered yet: there is no journal in {state_directory}."])
    try:
        if database.is_outdated:
            wrong = f"the journal in {state_directory} is as an older lorawatch left it"
            raise JournalError(wrong, fix="start or restart the daemon: that brings it up to date")
        with database.read() as connection:
            is_running = is_locked(state_directory)
            deliveries = [*views.open_deliveries(connection), *views.rested_deliveries(connection)]
            files = views.files(connection)
            destinations = views.destinations(connection)
            counts = {**dict.fromkeys(views.STATES, 0), **views.counts(connection)}
            file_counts = views.file_counts(connection)
            unlisted = views.unlisted_count(connection)
    finally:
        database.close()
    document = {
        "running": is_running,
        "deliveries": [_delivery(view) for view in deliveries],
        "files": [{"file": each.path, "state": each.state, "code": each.code, "reason": each.reason} for each in files],
        "destinations": [
            {"name": each.name, "kind": each.kind, "state": each.state, "code": each.code, "reason": each.reason}
            for each in destinations
        ],
        "counts": {**counts, "files": file_counts},
        "comfyui": {"not_listed": unlisted},
    }
    needs_person = (
        counts["failed"] > 0
        or unlisted > 0
        or any(each.state == "parked" for each in destinations)
        or any(file_counts.get(state) for state in _ATTENTION_FILES)
    )
    lines = _lines(deliveries, files, destinations, is_running=is_running, counts=counts)
    return Report(document, lines, needs_person)


def _delivery(view: DeliveryView) -> dict[str, object]:
    delivery = view.delivery
    return {
        "delivery_id": delivery.delivery_id,
        "file": delivery.artifact.path,
        "destination": delivery.destination,
        "remote_name": delivery.remote_name,
        "state": delivery.state.value,
        "size_bytes": delivery.artifact.version.size_bytes,
        "sent_bytes": delivery.sent_bytes,
        "bytes_per_second": _pace(view),
        "attempt": delivery.attempt,
        "code": delivery.code,
        "reason": delivery.reason,
        "next_attempt_at": delivery.next_attempt_at,
        "sha256": delivery.artifact.sha256,
        "pair_id": pair_id_of(delivery.artifact),
        "evidence": view.evidence,
        "comfyui": view.comfyui,
        "comfyui_code": view.comfyui_code,
        "comfyui_reason": view.comfyui_reason,
        "changed_at": view.changed_at,
    }


def _lines(
    deliveries: list[DeliveryView],
    files: list[FileView],
    destinations: list[DestinationView],
    *,
    is_running: bool,
    counts: dict[str, int],
) -> list[str]:
    lines = ["The daemon is running." if is_running else "The daemon is not running.", ""]
    for each in destinations:
        trouble = f": {each.reason}" if each.state != "up" and each.reason else ""
        lines.append(f"{each.name} ({each.kind}) is {each.state}{trouble}")
    for view in deliveries:
        lines.append(_sentence(view))
        if view.comfyui == "not-listed" and view.comfyui_reason:
            known = lookup(view.comfyui_code or "")
            lines.append(f"    {view.comfyui_reason}" + (f". What to do: {known.cure}" if known else ""))
        elif view.comfyui == "unknown" and view.comfyui_reason:
            lines.append(f"    ComfyUI: {view.comfyui_reason}")
        known = lookup(view.delivery.code or "") if view.delivery.state.value == "failed" else None
        if known is not None:
            lines.append(f"    what to do: {known.cure}; then: lorawatch retry {view.delivery.delivery_id}")
    lines += [
        f"  {each.state:<11} {each.path}: {each.reason or each.code}"
        for each in files
        if each.state in _ATTENTION_FILES or each.state == "settling"
    ]
    total = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    return [*lines, "", f"In all: {total or 'no deliveries'}."]


def _pace(view: DeliveryView) -> float | None:
    """Return the bytes per second of this attempt so far; None where that cannot be told, as after a resumption."""
    delivery = view.delivery
    if delivery.state.value != "sending" or not delivery.sent_bytes or delivery.resume or view.changed_at is None:
        return None
    return delivery.sent_bytes / max(time.time() - view.changed_at, 0.001)


def _sentence(view: DeliveryView) -> str:
    delivery = view.delivery
    size_bytes = delivery.artifact.version.size_bytes
    text = (
        f"  {delivery.state.value:<11} #{delivery.delivery_id} {delivery.artifact.path}"
        f" → {delivery.destination}:{delivery.remote_name}"
    )
    if delivery.state.value == "sending":
        pace = _pace(view)
        speed = f", {humanize.rate(pace)}" if pace else ""
        left = f", {humanize.duration((size_bytes - delivery.sent_bytes) / pace)} left" if pace else ""
        done = humanize.percent(delivery.sent_bytes, size_bytes)
        return f"{text} ({done} of {humanize.size(size_bytes)}{speed}{left})"
    if delivery.next_attempt_at is not None:
        wait = humanize.duration(max(0.0, delivery.next_attempt_at - time.time()))
        return f"{text} ({delivery.code}, again in {wait}): {delivery.reason}"
    if delivery.code:
        return f"{text} ({delivery.code}): {delivery.reason}"
    about = (
        humanize.size(size_bytes),
        f"proof: {view.evidence}" if view.evidence else "",
        _IN_COMFYUI.get(view.comfyui or "", "") if delivery.state.value == "delivered" else "",
    )
    return f"{text} ({', '.join(filter(None, about))})"
