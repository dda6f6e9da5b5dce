"""The one line that says how everything is: STATUS= of the service. Pure; the main thread calls it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Overview:
    """What the journal knows of the deliveries, and who is down."""

    counts: Mapping[str, int]  # by state
    sent_bytes: int  # of those that are being sent
    sending_bytes: int
    waiting_for: Collection[str]  # destinations that deliveries wait for
    down: Collection[str]


def summary_line(folders: int, overview: Overview) -> str:
    """Return for example "watching 1 folder · 2 sending (64%) · 1 waiting for render-box · 128 delivered"."""
    counts = overview.counts
    parts = [f"watching {folders} folder{'' if folders == 1 else 's'}"]
    if counts.get("sending"):
        share = min(overview.sent_bytes / overview.sending_bytes, 1.0) if overview.sending_bytes else 0.0
        parts.append(f"{counts['sending']} sending ({share:.0%})")
    if counts.get("planned"):
        parts.append(f"{counts['planned']} planned")
    if counts.get("waiting"):
        parts.append(f"{counts['waiting']} waiting for {_names(overview.waiting_for)}")
    if idle_down := set(overview.down) - set(overview.waiting_for):
        parts.append(f"{_names(idle_down)} down")
    if counts.get("failed"):
        parts.append(f"{counts['failed']} failed")
    parts.append(f"{counts.get('delivered', 0)} delivered")
    return " · ".join(parts)


def _names(destinations: Collection[str]) -> str:
    return ", ".join(sorted(destinations))
