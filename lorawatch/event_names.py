"""The events: every name that lorawatch ever logs, how loud it is, and what data it carries.

A pure table, read by events.py and event_sentences.py. Users, scripts and alerts match on these names: they are only
ever added to. The data of an event may hold more than is listed here, and `code`, `reason` and `fix` wherever
something is wrong.
"""

from enum import StrEnum
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["debug", "info", "warning", "error"]


class Event(StrEnum):
    """An event's name, as it stands in the log."""

    DAEMON_STARTING = "daemon.starting"  # version, config_file, state_directory
    DAEMON_READY = "daemon.ready"  # directories, destinations
    DAEMON_DEGRADED = "daemon.degraded"  # code, reason, fix: it goes on, with less
    DAEMON_RECOVERED = "daemon.recovered"  # code: what had been degraded works again
    DAEMON_RELOADED = "daemon.reloaded"  # config_file
    DAEMON_STOPPING = "daemon.stopping"  # reason
    DAEMON_STOPPED = "daemon.stopped"  # seconds

    WATCH_ARMED = "watch.armed"  # directory, polled
    WATCH_LOST = "watch.lost"  # directory, code, reason
    WATCH_REESTABLISHED = "watch.reestablished"  # directory
    WATCH_INCOMPLETE = "watch.incomplete"  # directory, code, reason
    WATCH_OVERFLOW = "watch.overflow"  # directory
    SCAN_FINISHED = "scan.finished"  # directory, files, backlog_files, backlog_bytes, seconds

    FILE_DETECTED = "file.detected"  # file, size_bytes
    FILE_PROGRESS = "file.progress"  # file, destination, sent_bytes, size_bytes: it is read, before its verdict
    FILE_ACCEPTED = "file.accepted"  # file, sha256, size_bytes, kind, family, rank, trigger_words, step, findings
    FILE_REJECTED = "file.rejected"  # file, code, reason
    FILE_SKIPPED = "file.skipped"  # file, code, reason, kind
    FILE_UNREADABLE = "file.unreadable"  # file, code, reason, fix
    FILE_VANISHED = "file.vanished"  # file
    FILE_INCOMPLETE = "file.incomplete"  # file, code, reason
    PAIR_INCOMPLETE = "pair.incomplete"  # file, pair, pair_id, code, reason: one half of a Wan 2.2 LoRA has come alone

    # All of these: file, destination, remote_name, delivery_id.
    DELIVERY_PLANNED = "delivery.planned"
    DELIVERY_STARTED = "delivery.started"  # size_bytes, attempt
    DELIVERY_PROGRESS = "delivery.progress"  # sent_bytes, size_bytes, bytes_per_second, seconds_left
    DELIVERY_WAITING = "delivery.waiting"  # code, reason, fix, attempt, retry_in_seconds
    DELIVERY_RESUMED = "delivery.resumed"  # sent_bytes, size_bytes
    DELIVERY_DELIVERED = "delivery.delivered"  # size_bytes, seconds, evidence, replaced, carried_bytes, sha256
    DELIVERY_FAILED = "delivery.failed"  # code, reason, fix, attempt
    DELIVERY_COLLISION = "delivery.collision"  # taken_by
    DELIVERY_CANCELLED = "delivery.cancelled"  # code, reason
    DELIVERY_RETIRED = "delivery.retired"

    # All of these: file, destination, remote_name (the sidecar's own), delivery_id.
    SIDECAR_WRITTEN = "sidecar.written"
    SIDECAR_REMOVED = "sidecar.removed"
    SIDECAR_FAILED = "sidecar.failed"  # code, reason, fix; the delivery itself is made

    DESTINATION_DOWN = "destination.down"  # destination, code, reason, fix, retry_in_seconds
    DESTINATION_UP = "destination.up"  # destination
    DESTINATION_NOTE = "destination.note"  # destination, code, reason: something it cannot do, not an error

    COMFYUI_LISTED = "comfyui.listed"  # file, destination, remote_name, delivery_id, listed_as, folder
    COMFYUI_NOT_LISTED = "comfyui.not_listed"  # file, destination, remote_name, delivery_id, code, reason, fix
    COMFYUI_REFRESHED = "comfyui.refreshed"  # destination, remote_names: it has forgotten the old weights of these
    COMFYUI_NOT_REFRESHED = "comfyui.not_refreshed"  # destination, remote_names, code, reason, fix: tried again
    COMFYUI_DOWN = "comfyui.down"  # url, destinations, code, reason, fix, retry_in_seconds; deliveries go on
    COMFYUI_UP = "comfyui.up"  # url, destinations
    COMFYUI_CRASHED = "comfyui.crashed"  # url, reason, traceback

    LANE_CRASHED = "lane.crashed"  # destination, reason, traceback
    INTAKE_CRASHED = "intake.crashed"  # directory, reason, traceback


_LOUDER: dict[Event, Level] = {
    Event.DAEMON_DEGRADED: "warning",
    Event.WATCH_LOST: "warning",
    Event.WATCH_INCOMPLETE: "warning",
    Event.WATCH_OVERFLOW: "warning",
    Event.FILE_REJECTED: "error",
    Event.FILE_UNREADABLE: "warning",
    Event.FILE_INCOMPLETE: "warning",
    Event.PAIR_INCOMPLETE: "warning",
    Event.SIDECAR_FAILED: "warning",
    Event.DELIVERY_WAITING: "warning",
    Event.DELIVERY_FAILED: "error",
    Event.DELIVERY_COLLISION: "warning",
    Event.DESTINATION_DOWN: "warning",
    Event.COMFYUI_NOT_LISTED: "warning",
    Event.COMFYUI_NOT_REFRESHED: "warning",
    Event.COMFYUI_DOWN: "warning",
    Event.COMFYUI_CRASHED: "error",
    Event.LANE_CRASHED: "error",
    Event.INTAKE_CRASHED: "error",
}

# INFO: a state changed. WARNING: something is wrong and will be tried again, or deserves a look. ERROR: needs a person.
# DEBUG is for single steps: a caller lowers an event to it where it only repeats what is known.
LEVELS: dict[Event, Level] = {event: _LOUDER.get(event, "info") for event in Event}
