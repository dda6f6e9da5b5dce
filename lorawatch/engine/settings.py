"""What the engine needs to know, made of the configuration by app.py. Nothing here reads a file."""

import threading
from dataclasses import dataclass, field

from lorawatch.domain.model import Facts
from lorawatch.domain.planning import CheckpointPolicy
from lorawatch.domain.ports import Destination, SidecarWriter, Stager, Toucher

# Files below this never wait behind larger ones: readers and lanes keep a place free for them. Most LoRAs are
# between 18 and 300 MB; full fine-tunes and video models are above.
SMALL_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """What intake does with what it sees. Times in seconds."""

    quiet_seconds: float = 2.0
    poll_seconds: float = 10.0
    # The full scan is the truth: whatever event was lost, by a full queue, a network mount or a bug, is found by it.
    reconcile_seconds: float = 300.0
    is_existing_delivered: bool = True
    checkpoints: CheckpointPolicy = field(default_factory=CheckpointPolicy)
    is_retiring: bool = False
    verdict_key: str = ""  # the inspector's version and the settings that a verdict depends on


@dataclass(frozen=True, slots=True)
class ComfyUILink:
    """The ComfyUI that reads a destination, and how it is told of what changes there."""

    url: str
    wake: threading.Event  # set when something has arrived; the same for all links to one ComfyUI
    refresh: str = "idle"  # idle | always | never
    refresh_wait_seconds: float = 600.0  # with idle: tell a busy one after this all the same; 0: never
    directories: tuple[str, ...] = ()  # where the destination is, by every name that is known; (): elsewhere
    toucher: Toucher | None = None
    has_same_times: bool = False  # ComfyUI sees the same modification times as we do


@dataclass(frozen=True, slots=True)
class Route:
    """A destination with the rules that lead to it."""

    destination_id: int
    destination: Destination
    stager: Stager | None
    name_template: str = "{file_name}"
    on_conflict: str = "keep-both"
    kinds: frozenset[str] | None = None  # None: everything
    families: frozenset[str] | None = None
    connections: int = 1
    reads_back: bool = False  # every file is proved by the hash of what stands there, whatever that costs
    sidecars: frozenset[str] = frozenset()  # "preview", "metadata"
    sidecar_writer: SidecarWriter | None = None
    comfyui: ComfyUILink | None = None  # None: ComfyUI is not asked

    @property
    def name(self) -> str:
        """The destination's name."""
        return self.destination.name

    @property
    def wants(self) -> str:
        """What the filters let through, as the journal remembers it: another text is another choice."""
        return f"kinds {_listed(self.kinds)}; families {_listed(self.families)}"

    def refusal(self, facts: Facts) -> tuple[str, str] | None:
        """Return (code, reason) if files like this are not for this destination."""
        if self.kinds is not None and facts.kind not in self.kinds:
            return "kind-not-wanted", f"it is of kind {facts.kind}; wanted: {', '.join(sorted(self.kinds))}"
        if self.families is not None and (facts.family or "unsorted") not in self.families:
            family = facts.family or "unknown"
            return "family-not-wanted", f"it is of family {family}; wanted: {', '.join(sorted(self.families))}"
        return None


def _listed(names: frozenset[str] | None) -> str:
    return "any" if names is None else ", ".join(sorted(names))
