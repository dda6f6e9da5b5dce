"""What `status` prints where no person looks: one line for each thing, with full paths, for grep and for mail. Pure."""

import math
from collections.abc import Iterator

from lorawatch import humanize
from lorawatch.journal.views import DeliveryView, DestinationView, FileView
from lorawatch.status_report import ATTENTION_FILES, Snapshot, cure, cure_of_delivery, pace, seconds_left

IN_COMFYUI = {
    "listed": "listed in ComfyUI",
    "not-listed": "not listed in ComfyUI",
    "unknown": "ComfyUI not asked yet",
}
_TOLD_FILES = (*ATTENTION_FILES, "settling", "skipped")


def lines(snapshot: Snapshot) -> list[str]:
    """Return the state of everything."""
    if not snapshot.has_journal:
        return [f"Nothing has been delivered yet: there is no journal in {snapshot.state_directory}."]
    return list(_lines(snapshot))


def _lines(snapshot: Snapshot) -> Iterator[str]:
    yield "The daemon is running." if snapshot.is_running else "The daemon is not running."
    yield ""
    for each in snapshot.destinations:
        trouble = f": {each.reason}" if each.state != "up" and each.reason else ""
        yield f"{each.name} ({each.kind}) is {each.state}{trouble}"
        if each.state != "up" and (advice := cure(each.code, each)):
            yield f"    what to do: {advice}"
    said = {(each.name, each.code) for each in snapshot.destinations}
    by_name = {each.name: each for each in snapshot.destinations}
    for view in snapshot.deliveries:
        yield f"  {sentence(view, snapshot.now, is_running=snapshot.is_running)}"
        yield from _advice(view, by_name.get(view.delivery.destination), said)
    for file in snapshot.files:
        if file.state in _TOLD_FILES:
            yield from _file(file)
    yield ""
    yield from _in_all(snapshot)


def _in_all(snapshot: Snapshot) -> Iterator[str]:
    """Yield how many there are of everything, also of what was not told one by one."""
    deliveries = ", ".join(f"{number:,} {state}" for state, number in snapshot.counts.items() if number)
    files = [(state, number) for state in _TOLD_FILES if (number := snapshot.file_counts.get(state, 0))]
    others = ", ".join(f"{number:,} {state}" for state, number in files)
    yield f"In all: {deliveries or 'no deliveries'}{f'; files: {others}' if others else ''}."
    told = len(snapshot.deliveries) + sum(file.state in _TOLD_FILES for file in snapshot.files)
    whole = sum(snapshot.counts.values()) + sum(number for _, number in files)
    if told < whole:
        yield f"Told here are {told:,}, the latest; lorawatch status --json tells all {whole:,}."


def sentence(view: DeliveryView, now: float, *, is_running: bool = True) -> str:
    """Return where one delivery stands."""
    delivery = view.delivery
    size_bytes = delivery.artifact.version.size_bytes
    text = (
        f"{delivery.state.value:<11} #{delivery.delivery_id} {delivery.artifact.path}"
        f" → {delivery.destination}:{delivery.remote_name}"
    )
    if delivery.state.value == "sending":
        speed = pace(view, now)
        left = seconds_left(view, speed)
        about = [
            f"{humanize.percent(delivery.sent_bytes, size_bytes)} of {humanize.size(size_bytes)}",
            humanize.rate(speed) if speed else "",
            "" if left is None else f"{humanize.duration(left)} left",
        ]
        return f"{text} ({', '.join(filter(None, about))})"
    if delivery.next_attempt_at is not None:
        when = again(delivery.next_attempt_at, now, is_running=is_running)
        return f"{text} ({delivery.code}, {when}): {delivery.reason}"
    if delivery.code:
        return f"{text} ({delivery.code}): {delivery.reason}"
    about = [
        humanize.size(size_bytes),
        f"proof: {view.evidence}" if view.evidence else "",
        IN_COMFYUI.get(view.comfyui or "", "") if delivery.state.value == "delivered" else "",
    ]
    return f"{text} ({', '.join(filter(None, about))})"


def again(at: float, now: float, *, is_running: bool = True) -> str:
    """Say when something is tried again."""
    if not is_running:
        return "when lorawatch runs"
    return f"again in {humanize.duration(math.ceil(at - now))}" if at > now else "again now"


def _advice(
    view: DeliveryView, destination: DestinationView | None, said: set[tuple[str, str | None]]
) -> Iterator[str]:
    """Say what to do; what many wait for is said once for each destination."""
    delivery, advice = view.delivery, cure_of_delivery(view, destination)
    if delivery.state.value == "failed":
        yield f"    what to do: {with_retry(advice or '', delivery.delivery_id)}"
    elif delivery.state.value == "waiting" and advice and (delivery.destination, delivery.code) not in said:
        said.add((delivery.destination, delivery.code))
        yield f"    what to do: {advice}"
    if view.comfyui == "not-listed" and view.comfyui_reason:
        known = cure(view.comfyui_code, destination, path=delivery.artifact.path)
        yield f"    {view.comfyui_reason}{f'. What to do: {known}' if known else ''}"
    elif view.comfyui == "unknown" and view.comfyui_reason:
        yield f"    ComfyUI: {view.comfyui_reason}"


def with_retry(advice: str, number: int) -> str:
    """Return what to do about a delivery that has failed: it goes on by itself only when somebody says so."""
    if "lorawatch retry" in advice:
        return advice
    return f"{advice} Then: lorawatch retry {number}".lstrip()


def _file(file: FileView) -> Iterator[str]:
    code = f" ({file.code})" if file.code and file.reason else ""
    yield f"  {file.state:<11} {file.path}: {file.reason or file.code or 'it is looked at'}{code}"
    advice = cure(file.code, path=file.path)
    if file.state in ATTENTION_FILES and advice:
        yield f"    what to do: {advice}"
