"""What each event says to a person: one line, understood at a glance. Pure; one table.

Used for the console and for MESSAGE in the systemd journal. Every sentence copes with missing data, and shows no
control character: a file name can neither move the cursor nor forge a line.
"""

import shlex
from collections.abc import Callable, Mapping
from typing import NamedTuple

from lorawatch import humanize
from lorawatch.domain import codes
from lorawatch.event_names import Event
from lorawatch.event_record import Json, Record, one_line
from lorawatch.terminal import shortened_path

_PATH_COLUMNS = 60  # of a longer path the first directories are left out; the data has all of it
_PROSE = ("reason", "fix")  # may have several lines; anywhere else a line break is part of a name, and shown as \\n


class Sentence(NamedTuple):
    """One line for people: `delivered`, `cat.safetensors → comfyui (151 MB in 0.14 s, sha256)`."""

    label: str
    text: str
    is_good: bool  # something worked out: it may be ticked
    cure: str = ""  # what to do

    @property
    def whole(self) -> str:
        """The sentence with what to do, on one line."""
        return f"{self.text}. To do: {self.cure}" if self.cure else self.text


class _Data:
    """The data of one event, in words. What is missing or of an unexpected type is left out."""

    def __init__(self, data: Mapping[str, Json]) -> None:
        self._data = data

    def text(self, key: str, default: str = "") -> str:
        value = self._data.get(key)
        if isinstance(value, str):
            return one_line(_joined(value) if key in _PROSE else value) or default
        return str(value) if isinstance(value, int | float) else default

    def number(self, key: str) -> float | None:
        value = self._data.get(key)
        return value if isinstance(value, int | float) else None

    def is_set(self, key: str) -> bool:
        return bool(self._data.get(key))

    def size(self, key: str = "size_bytes") -> str:
        value = self.number(key)
        return "" if value is None else humanize.size(value)

    def time(self, key: str = "seconds") -> str:
        value = self.number(key)
        return "" if value is None else humanize.duration(value)

    def file(self) -> str:
        """Name the file by the last part of its path: where it is matters only when something is wrong with it."""
        return self.text("file").rpartition("/")[2] or self.text("remote_name", "a file")

    def route(self) -> str:
        destination, remote_name = self.text("destination"), self.text("remote_name")
        renamed = f" as {remote_name}" if remote_name and remote_name != self.file() else ""
        return f"{self.file()} → {destination}{renamed}" if destination else self.file()

    def why(self) -> str:
        reason, code = self.text("reason"), self.text("code")
        return f"{reason} ({code})" if reason and code else reason or code or "for an unknown reason"

    def cure(self) -> str:
        """Say what to do: what the error itself advises, else what the table of codes knows."""
        advice = self.text("fix") or codes.cure_of(self.text("code"), self._placeholders())
        return "" if advice.startswith("Nothing") else advice

    def _placeholders(self) -> dict[str, str]:
        """Return what is known of the words that stand for something in a cure."""
        file, directory = self.text("file"), self.text("directory")
        number = self._data.get("delivery_id")
        found = codes.words_for(file) if file else {}
        if self.text("destination"):  # then both are about that
            found = {word: text for word, text in found.items() if word not in {"NAME", "DIRECTORY"}}
        found |= {"DIRECTORY": shlex.quote(directory)} if directory else {}
        return found | ({"ID": str(number)} if isinstance(number, int) else {})

    def words(self, key: str) -> str:
        """Join a list for reading."""
        value = self._data.get(key)
        return ", ".join(one_line(str(each)) for each in value) if isinstance(value, list) else ""

    def first_of(self, key: str) -> str:
        """Name the first of a list, and how many others there are."""
        value = self._data.get(key)
        if not isinstance(value, list) or not value:
            return self.file()
        others = f" and {humanize.count(len(value) - 1, 'other')}" if len(value) > 1 else ""
        return f"{one_line(str(value[0]))}{others}"

    def findings(self) -> list[str]:
        """Return what deserves a look although it decides nothing."""
        value = self._data.get("findings")
        found = [_Data(each) for each in value if isinstance(each, dict)] if isinstance(value, list) else []
        return [f"{each.text('detail')} ({each.text('code')})" for each in found]


def _comfyui_down(data: _Data) -> str:
    return f"ComfyUI: {data.why()}. Deliveries go on; what it lists is checked when it answers"


def _why_of(subject: str) -> Callable[[_Data], str]:
    """Return the sentence of an event that says why something is wrong with its subject."""

    def sentence(data: _Data) -> str:
        name, why = data.text(subject), data.why()
        return why if not name or name in why else f"{shortened_path(name, _PATH_COLUMNS)}: {why}"

    return sentence


def _accepted(data: _Data) -> str:
    rank, step, trigger = data.text("rank"), data.text("step"), data.words("trigger_words")
    known = (
        data.text("kind"),
        data.text("family"),
        rank and f"rank {rank}",
        step and f"step {step}",
        data.size(),
        trigger and f"trigger {trigger}",
    )
    return f"{data.file()}{_in_brackets(*known)}{''.join(f'. {each}' for each in data.findings())}"


def _starting(data: _Data) -> str:
    config_file, state_directory = data.text("config_file"), data.text("state_directory")
    about = (
        f"lorawatch {data.text('version')}".strip(),
        f"configuration {config_file}" if config_file else "",
        f"state in {state_directory}" if state_directory else "",
    )
    return ", ".join(filter(None, about))


def _ready(data: _Data) -> str:
    directories, destinations = data.words("directories"), data.words("destinations")
    return f"watching {directories or 'nothing'}, delivering to {destinations or 'nowhere'}"


def _armed(data: _Data) -> str:
    polled = data.words("polled")
    return f"{data.text('directory')}{f'; no events from {polled}, looked at again and again' if polled else ''}"


def _scanned(data: _Data) -> str:
    fresh = data.number("backlog_files")
    about = (
        humanize.count(int(data.number("files") or 0), "file"),
        f"{fresh:,.0f} of them new ({data.size('backlog_bytes')})" if fresh else "",
    )
    return f"{data.text('directory')}: {', '.join(filter(None, about))}, in {data.time()}"


def _started(data: _Data) -> str:
    attempt = data.number("attempt") or 1
    return f"{data.route()}{_in_brackets(data.size(), f'attempt {attempt:.0f}' if attempt > 1 else '')}"


def _progress(data: _Data) -> str:
    sent, total = data.number("sent_bytes") or 0, data.number("size_bytes") or 0
    speed, left = data.number("bytes_per_second"), data.time("seconds_left") if data.is_set("seconds_left") else ""
    about = (
        f"{humanize.size(sent)} of {humanize.size(total)}",
        "" if speed is None else humanize.rate(speed),
        left and f"{left} left",
    )
    return f"{data.route()} {humanize.percent(sent, total)}{_in_brackets(*about)}"


def _waiting(data: _Data) -> str:
    wait = data.time("retry_in_seconds")
    when = "goes on at the next start" if data.text("code") == "stopped" else f"again in {wait}" if wait else ""
    return f"{data.route()}: {data.why()}{f', {when}' if when else ''}"


def _not_made(data: _Data) -> str:
    return f"{data.route()}: {data.why()}"


def _delivered(data: _Data) -> str:
    taken = data.time()
    how = "already there" if data.number("carried_bytes") == 0 else taken and f"in {taken}"
    replaced = "replaced" if data.is_set("replaced") else ""
    carried = " ".join(filter(None, (data.size(), how)))
    return f"{data.route()}{_in_brackets(carried, data.text('evidence'), replaced)}"


def _collision(data: _Data) -> str:
    taken_name = data.text("taken_name", "the name that it would have had")
    taken_by = data.text("taken_by", "a file that lorawatch did not put there")
    return f"{data.route()}: {taken_name} is taken by {taken_by}; both are kept"


def _stays_away(data: _Data) -> str:
    reason = data.text("reason") or data.text("code")
    return f"{data.route()}{f': {reason}' if reason else ''}"


def _down(data: _Data) -> str:
    wait = data.time("retry_in_seconds")
    return f"{data.text('destination')}: {data.why()}{f', asked again in {wait}' if wait else ''}"


class _Row(NamedTuple):
    label: str
    text: Callable[[_Data], str]
    is_good: bool = False


# What to do is not said of these: they need nobody, or only repeat what has been said.
_NEEDING_NOBODY = frozenset(
    {Event.FILE_SKIPPED, Event.DELIVERY_CANCELLED, Event.DAEMON_RECOVERED, Event.DELIVERY_RETIRED}
)

_ROWS: dict[Event, _Row] = {
    Event.DAEMON_STARTING: _Row("starting", _starting),
    Event.DAEMON_READY: _Row("ready", _ready, is_good=True),
    Event.DAEMON_DEGRADED: _Row("degraded", _why_of("subject")),
    Event.DAEMON_RECOVERED: _Row("recovered", lambda data: f"no {data.text('code')} any more", is_good=True),
    Event.DAEMON_RELOADED: _Row("reloaded", lambda data: data.text("config_file", "the configuration"), is_good=True),
    Event.DAEMON_STOPPING: _Row("stopping", lambda data: data.text("reason")),
    Event.DAEMON_STOPPED: _Row("stopped", lambda data: data.time() and f"after {data.time()}"),
    Event.WATCH_ARMED: _Row("watching", _armed, is_good=True),
    Event.WATCH_LOST: _Row("watch lost", _why_of("directory")),
    Event.WATCH_REESTABLISHED: _Row("watching", lambda data: f"{data.text('directory')} again", is_good=True),
    Event.WATCH_INCOMPLETE: _Row("watch gaps", _why_of("directory")),
    Event.WATCH_OVERFLOW: _Row(
        "overflow", lambda data: f"{data.text('directory')}: too many changes at once, so all of it is looked at again"
    ),
    Event.SCAN_FINISHED: _Row("scanned", _scanned),
    Event.FILE_DETECTED: _Row("detected", lambda data: data.file() + _in_brackets(data.size())),
    Event.FILE_PROGRESS: _Row("reading", _progress),
    Event.FILE_ACCEPTED: _Row("accepted", _accepted),
    Event.FILE_REJECTED: _Row("rejected", _why_of("file")),
    Event.FILE_SKIPPED: _Row("skipped", lambda data: f"{data.file()}: {data.why()}"),
    Event.FILE_UNREADABLE: _Row("unreadable", _why_of("file")),
    Event.FILE_VANISHED: _Row("vanished", lambda data: f"{data.file()} was removed before it was delivered"),
    Event.FILE_INCOMPLETE: _Row("incomplete", _why_of("file")),
    Event.PAIR_INCOMPLETE: _Row("one half", _why_of("file")),
    Event.DELIVERY_PLANNED: _Row("planned", _Data.route),
    Event.DELIVERY_STARTED: _Row("sending", _started),
    Event.DELIVERY_PROGRESS: _Row("sending", _progress),
    Event.DELIVERY_WAITING: _Row("waiting", _waiting),
    Event.DELIVERY_RESUMED: _Row("resumed", _progress),
    Event.DELIVERY_DELIVERED: _Row("delivered", _delivered, is_good=True),
    Event.DELIVERY_FAILED: _Row("failed", _not_made),
    Event.DELIVERY_COLLISION: _Row("collision", _collision),
    Event.DELIVERY_CANCELLED: _Row("cancelled", _stays_away),
    Event.DELIVERY_RETIRED: _Row("retired", _stays_away),
    Event.SIDECAR_WRITTEN: _Row("sidecar", _Data.route),
    Event.SIDECAR_REMOVED: _Row("sidecar", lambda data: f"{data.route()} was removed: it was for the version before"),
    Event.SIDECAR_FAILED: _Row("no sidecar", _not_made),
    Event.DESTINATION_DOWN: _Row("down", _down),
    Event.DESTINATION_UP: _Row("up", lambda data: f"{data.text('destination')} takes deliveries again", is_good=True),
    Event.DESTINATION_NOTE: _Row("note", lambda data: f"{data.text('destination')}: {data.text('reason')}"),
    Event.COMFYUI_LISTED: _Row("listed", lambda data: f"{data.file()} can be chosen in ComfyUI", is_good=True),
    Event.COMFYUI_NOT_LISTED: _Row("not listed", lambda data: f"{data.file()}: {data.why()}"),
    Event.COMFYUI_REFRESHED: _Row(
        "refreshed",
        lambda data: f"{data.first_of('remote_names')}: ComfyUI has dropped the old weights and loads the new",
        is_good=True,
    ),
    Event.COMFYUI_NOT_REFRESHED: _Row(
        "not fresh", lambda data: f"{data.first_of('remote_names')}: {data.why()}; tried again"
    ),
    Event.COMFYUI_DOWN: _Row("down", _comfyui_down),
    Event.COMFYUI_UP: _Row("up", lambda data: f"ComfyUI at {data.text('url')} answers again", is_good=True),
    Event.COMFYUI_CRASHED: _Row("crashed", lambda data: f"asking ComfyUI at {data.text('url')}: {data.why()}"),
    Event.LANE_CRASHED: _Row("crashed", lambda data: f"the lane to {data.text('destination')}: {data.why()}"),
    Event.INTAKE_CRASHED: _Row("crashed", lambda data: f"the intake of {data.text('directory')}: {data.why()}"),
}


def sentence_of(record: Record) -> Sentence:
    """Return what an event says to a person."""
    row, data = _ROWS[record.event], _Data(record.data)
    cure = "" if row.is_good or record.event in _NEEDING_NOBODY else data.cure()
    return Sentence(row.label, row.text(data).strip(), row.is_good, cure)


def _in_brackets(*parts: str) -> str:
    known = ", ".join(filter(None, parts))
    return f" ({known})" if known else ""


def _joined(prose: str) -> str:
    return "; ".join(line.strip() for line in prose.splitlines() if line.strip())
