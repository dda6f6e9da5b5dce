"""The five nouns: candidate, artifact, delivery, receipt, destination, and the states a delivery goes through.

Everybody imports it, on every thread: all classes here are frozen. It never does I/O.
Paths and names are `str` as `os.fsdecode` gives them, so an undecodable byte survives as a surrogate.
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum


@dataclass(frozen=True, slots=True)
class Version:
    """What makes one version of a path: a file with another version is another artifact."""

    inode: int
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A path seen in a source that may become an artifact."""

    root: str  # the watched directory, absolute
    path: str  # absolute, below root
    version: Version
    ctime_ns: int
    is_backlog: bool = False  # it was there when the daemon started
    is_closed: bool = False  # its writer was seen to close or rename it since it last changed


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person should know about a file; it does not decide over the verdict by itself."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What inspection found in a header. Unknown is None or empty, never a guess."""

    kind: str = "unknown"
    algorithm: str | None = None  # of a LoRA: lora, dora, lokr, loha, oft, full
    family: str | None = None
    families: tuple[str, ...] = ()  # when several fit, and family is None
    rank: int | None = None
    alpha: float | None = None
    step: int | None = None
    epoch: int | None = None
    trigger_words: tuple[str, ...] = ()
    tensor_count: int = 0
    parameter_count: int = 0
    dtypes: tuple[str, ...] = ()
    software: str | None = None
    pair: str | None = None  # Wan 2.2: "high" or "low"
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Artifact:
    """One version of a path, inspected and accepted. `sha256` is that of the bytes that were read."""

    artifact_id: int
    root: str
    path: str
    version: Version
    sha256: str
    facts: Facts
    is_backlog: bool = False


class DeliveryState(StrEnum):
    """Where a delivery stands. `delivered`, `failed` and `cancelled` rest until a person says otherwise."""

    PLANNED = "planned"
    SENDING = "sending"
    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


TRANSITIONS: dict[DeliveryState, frozenset[DeliveryState]] = {
    # Straight to waiting: its destination is known to be down. Straight to failed: its name may not be used.
    DeliveryState.PLANNED: frozenset(
        {DeliveryState.SENDING, DeliveryState.WAITING, DeliveryState.CANCELLED, DeliveryState.FAILED}
    ),
    DeliveryState.SENDING: frozenset(
        {DeliveryState.DELIVERED, DeliveryState.WAITING, DeliveryState.FAILED, DeliveryState.CANCELLED}
    ),
    # Failed when it has waited for longer than give_up_after_seconds.
    DeliveryState.WAITING: frozenset(
        {DeliveryState.SENDING, DeliveryState.CANCELLED, DeliveryState.PLANNED, DeliveryState.FAILED}
    ),
    DeliveryState.DELIVERED: frozenset({DeliveryState.PLANNED}),  # by `retry`, as below
    # Cancelled when it has become pointless: its source is gone, or a newer version has come.
    DeliveryState.FAILED: frozenset({DeliveryState.PLANNED, DeliveryState.CANCELLED}),
    DeliveryState.CANCELLED: frozenset({DeliveryState.PLANNED}),
}


def states_before(state: DeliveryState) -> tuple[str, ...]:
    """Return the states from which this one may be entered; the journal's updates ask for them."""
    return tuple(before.value for before, after in TRANSITIONS.items() if state in after)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One artifact on its way to one destination."""

    delivery_id: int
    artifact: Artifact
    destination: str
    base_name: str  # what the name template gave
    remote_name: str  # the name at the destination: base_name, or with -<sha8>; "/" separates directories
    state: DeliveryState
    attempt: int  # 0 before the first
    sent_bytes: int = 0
    code: str | None = None
    reason: str | None = None
    next_attempt_at: float | None = None
    resume: str | None = None  # opaque to all but the destination: where an interrupted upload stands


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """What a destination says about one of its names, when asked."""

    remote_name: str
    size_bytes: int | None  # None: it does not tell
    fingerprint: str  # opaque; changes whenever the file at this name is replaced or written
    is_link: bool = False
    is_directory: bool = False  # nothing can take its place
    sha256: str | None = None  # only where the destination tells it without reading the bytes
    is_distinct: bool = True  # False: two files of one size have one fingerprint, so an equal one proves nothing
    is_leftover: bool = False  # an interrupted publication of ours may have put it there
    is_proven: bool = True  # False: its size is right, and yet its parts may be in another order than they were sent
    modified_at: float | None = None  # unix seconds; None: it does not tell


@dataclass(frozen=True, slots=True)
class Placement:
    """What lorawatch last put at a name of a destination, and for which path."""

    path: str
    remote_name: str
    sha256: str | None  # None: the name is claimed, nothing has been delivered there yet
    fingerprint: str | None


class Evidence(IntEnum):
    """How much the proof of a delivery proves, weakest first."""

    ANSWERED = 1  # the destination said so
    LISTED = 2  # its listing shows the name
    SIZE = 3  # its listing shows the name with the right size, and changed
    SHA256 = 4  # its bytes were read back, or it told their hash

    @property
    def label(self) -> str:
        """The word used in events and in status."""
        return self.name.lower()


class Standing(IntEnum):
    """What is still to be done about one version of a file."""

    OPEN = 0  # it has not been looked at, or something is owed
    JUDGED = 1  # it goes nowhere: rejected, skipped, ignored, cancelled
    DELIVERED = 2


@dataclass(frozen=True, slots=True)
class Receipt:
    """The proof that a delivery arrived."""

    delivery_id: int
    remote_name: str
    evidence: Evidence
    fingerprint: str | None
    carried_bytes: int  # 0: the same bytes were already there
    is_replacement: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Rejection:
    """The verdict on a file that is not delivered as it is now."""

    state: str  # "rejected" | "skipped"
    code: str
    reason: str
    facts: Facts = field(default_factory=Facts)


@dataclass(frozen=True, slots=True)
class UnprovenCopy:
    """A complete copy under a temporary name at a destination, not read back yet. `xxh3` is that of the source."""

    path: str
    size_bytes: int
    xxh3: bytes


@dataclass(frozen=True, slots=True)
class StagedCopy:
    """A complete, verified, fsynced-or-fsyncable copy under a temporary name at a destination."""

    path: str
    fingerprint: str
    size_bytes: int
    sha256: str
