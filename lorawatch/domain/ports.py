"""The doors of the house: what the engine asks of sources, destinations and inspectors.

Implementations live in sources/, destinations/ and inspection/; app.py puts them together. The journal is one
concrete class, because there is one: the engine names it directly.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from lorawatch.domain.errors import DestinationError, FileRejectedError
from lorawatch.domain.model import Candidate, Delivery, Finding, RemoteFile, StagedCopy, UnprovenCopy, Version

if TYPE_CHECKING:
    from lorawatch.domain.comfyui import ListedFile, Queue  # words of those who have a ComfyUI to ask


class Stop(Protocol):
    """What every wait ends on; `threading.Event` is one."""

    def is_set(self) -> bool:
        """Return whether the work is to end now."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the work is to end, at most `timeout` seconds; return whether it is."""


# A version of a file in a directory: (name as the system has it, inode, size in bytes, mtime in ns).
Entry = tuple[bytes, int, int, int]
# (directory, entries) → those of them that need a look. It is asked for a few hundred files at a time, so that a
# hundred thousand known ones never become objects.
Unsettled = Callable[[str, Collection[Entry]], Collection[Entry]]


@dataclass(frozen=True, slots=True)
class Hint:
    """Something may have happened at a path. Hints may be lost, late or wrong: only a look decides."""

    path: str
    is_directory: bool = False
    is_closed: bool = False  # a writer closed it, or it was renamed to this name
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """What can be seen of one version of a file that bears on whether its writer is done."""

    candidate: Candidate
    is_local: bool  # times and leases of this mount can be believed
    expected_bytes: int | None  # the length that the header announces; None: no complete header yet
    has_gap: bool  # unwritten extents, or zeros at the end that cut a tensor
    is_held_open: bool | None  # somebody has it open for writing; None: cannot be known
    flaw: FileRejectedError | None = None  # what it holds now can never become a LoRA, however it goes on


@dataclass(frozen=True, slots=True)
class WatchState:
    """How well a source sees its root. `code` is None when all is well."""

    is_present: bool  # the root is there and is the one that was there before
    code: str | None = None
    reason: str = ""
    is_rescan_needed: bool = False  # what happened since the last check may have sent no hint


class Source(Protocol):
    """Where candidates come from. One intake thread calls it; only hints come from other threads."""

    root: str
    is_local: bool  # a call that hangs on a local disk is our fault; on a network mount it is the network's

    @property
    def is_settled(self) -> bool:
        """Return whether a scan finds all that there is; False while the source still fetches some of it."""

    def start(self, on_hint: Callable[[Hint], None], on_overflow: Callable[[], None]) -> None:
        """Begin to send hints. Idempotent; never raises for a root that is missing: `supervise` tells."""

    def supervise(self) -> WatchState:
        """Check the root and the watch, and mend what can be mended. Cheap; called about once a second."""

    def scan(self, below: str | None = None, *, unsettled: Unsettled | None = None) -> Iterator[Candidate]:
        """Yield every file below a directory (default: the root) whose name may be a LoRA's, with its version.

        Regular files that `unsettled` does not return are left out, and so are hidden names. A directory that
        cannot be read is reported through `unreadable`, not raised.
        """

    def unreadable(self) -> dict[str, str]:
        """Return the directories that the last scan could not read, each with the reason."""

    def polled(self) -> Sequence[str]:
        """Return the directories that send no hints and must be scanned every `poll_seconds`."""

    def look(self, path: str) -> Candidate | None:
        """Return the candidate at this path now, or None if it is gone or not wanted.

        What can never be delivered is a candidate too: `observe` rejects it. Raises FileUnreadableError.
        """

    def observe(self, candidate: Candidate) -> Observation:
        """Look at the bytes as far as needed to tell whether the writer is done: header, gaps, open writers.

        Raises FileVanishedError, FileChangedError, FileUnreadableError, and FileRejectedError for what can
        never become a LoRA (a header that is no safetensors header at all, a link out of the root).
        """

    def open(self, candidate: Candidate) -> int:
        """Return a read-only descriptor of exactly this version; the caller closes it. Raises as `observe`."""

    def stop(self) -> None:
        """Send no more hints; join the threads. Idempotent."""


class Waypoints(Protocol):
    """Where an interrupted upload can be taken up again; kept across restarts as `Delivery.resume`."""

    def reached(self, resume: str, *, sent_bytes: int) -> None:
        """Record at once that the upload stands here; an empty `resume` forgets it."""

    def resumed(self, sent_bytes: int) -> None:
        """Say that an upload goes on after so many bytes that the destination has already."""


class NoWaypoints:
    """For who starts again from the beginning."""

    def reached(self, resume: str, *, sent_bytes: int) -> None:
        """Forget it."""

    def resumed(self, sent_bytes: int) -> None:
        """Say nothing."""


class Memory(Protocol):
    """Small texts that a destination wants to find again after a restart. Thread-safe."""

    def recall(self, key: str) -> str | None:
        """Return what was remembered under a key."""

    def remember(self, key: str, value: str | None) -> None:
        """Remember a text at once and durably; None forgets it."""


@dataclass(frozen=True, slots=True)
class Consignment:
    """A delivery handed to a destination, with everything it needs to carry it."""

    delivery: Delivery
    replaces: RemoteFile | None  # what may be replaced; None: nothing may stand at the name
    staged: StagedCopy | None = None
    waypoints: Waypoints = field(default_factory=NoWaypoints)

    @property
    def source_path(self) -> str:
        """The file to read."""
        return self.delivery.artifact.path

    @property
    def source_version(self) -> Version:
        """The version that was accepted; anything else at the path is not to be sent."""
        return self.delivery.artifact.version


@dataclass(frozen=True, slots=True)
class Prepared:
    """A consignment whose bytes are at the destination, under no name that a person would see."""

    consignment: Consignment
    token: str  # opaque to the engine: a temporary path, an upload id
    sha256: str | None = None  # of the bytes at the destination, where they were read back


class Destination(Protocol):
    """Where deliveries go. Lane threads call it, several at once if `connections` is above one.

    Every method raises DestinationError subclasses only, plus FileChangedError, FileVanishedError and
    FileUnreadableError for the source side and StoppedError. It never certifies itself: the engine calls
    `find` before and after.
    """

    name: str
    kind: str
    group_size: int  # how many small deliveries are worth publishing together
    # Whether a disk was mounted there when it was last up; None: unknown, or it means nothing. The engine keeps it
    # from process to process: without that disk, it is not the same place.
    was_mount_point: bool | None
    notes: list[Finding]  # what it cannot do, each once; only ever appended to

    def probe(self, *, needed_bytes: int) -> None:
        """Return if a delivery of this size could go there now; raise DestinationDownError with the reason if not."""

    def find(self, remote_name: str) -> RemoteFile | None:
        """Return what stands at the name now, without reading its bytes."""

    def digest(self, remote_name: str) -> str | None:
        """Return the sha256 of the bytes at the name, read back now; None where that is impossible."""

    def prepare(self, consignment: Consignment, *, progress: Callable[[int], None], stop: Stop) -> Prepared:
        """Carry the bytes. Idempotent after a crash; what an earlier process left is swept or resumed."""

    def publish(self, prepared: Sequence[Prepared]) -> list[RemoteFile | DestinationError]:
        """Make each visible under its name at once and durably; one result per consignment, in order.

        NameTakenError if something not named in `replaces` stands there: it is left alone.
        """

    def discard(self, prepared: Prepared) -> None:
        """Remove what `prepare` left. Never raises."""

    def remove(self, remote: RemoteFile) -> bool:
        """Remove the file if it is still the one described; return whether it was removed."""

    def sweep(self) -> None:
        """Remove leftovers of earlier processes of this installation, and only those."""


@runtime_checkable
class SidecarWriter(Protocol):
    """A destination that takes small files beside the delivered ones."""

    def write_beside(self, name: str, content: bytes, *, replaces: RemoteFile | None) -> RemoteFile:
        """Give a small file its name whole, durably and at once; return what then stands there.

        NameTakenError if something not named in `replaces` stands there: it is left alone. Raises DestinationError.
        """


@runtime_checkable
class Toucher(Protocol):
    """A destination whose directories can be given the present time, for who knows their lists by their times."""

    def touch(self, remote_names: Sequence[str]) -> None:
        """Touch every directory that leads to these names, its own root included. Raises DestinationError."""


class ComfyUIApi(Protocol):
    """ComfyUI's own API, as far as the engine asks it. Every method raises ComfyUIError and StoppedError."""

    def listing(self, folder: str, *, stop: Stop) -> list[str] | None:
        """Return the names in a models folder; None if it knows no such folder."""

    def files(self, folder: str, *, stop: Stop) -> "list[ListedFile] | None":
        """Return the files in a models folder with size and time; None if it cannot tell."""

    def can_choose_lora(self, name: str, *, stop: Stop) -> bool | None:
        """Return whether a graph may name this LoRA; None if it cannot tell."""

    def can_read(self, folder: str, name: str, *, stop: Stop) -> bool:
        """Return False if it surely fails to read a file that it lists."""

    def queue(self, *, stop: Stop) -> "Queue":
        """Return how much it has to do."""

    def free(self, *, stop: Stop) -> None:
        """Have it forget every loaded model."""


class Stager(Protocol):
    """A destination on a local file system that can take the bytes while the verdict is still pending."""

    name: str

    def stage(
        self,
        source: int,
        *,
        size_bytes: int,
        progress: Callable[[int], None],
        stop: Stop,
        sinks: Sequence[Callable[[memoryview], object]] = (),
    ) -> StagedCopy | UnprovenCopy:
        """Copy an open source file (descriptor at any offset) to a temporary name and hash what arrived.

        Each sink is given the source's bytes in order while they pass; a view is valid during the call only. A small
        copy is not hashed yet: `prove` does that, when and on which thread the caller likes.
        Raises DestinationError; the caller then goes on without a staged copy. SourceError if the source cannot
        be read to `size_bytes`, StoppedError on stop, and whatever a sink raises.
        """

    def prove(self, unproven: UnprovenCopy, *, stop: Stop) -> StagedCopy:
        """Read a copy back and hash it. Raises DestinationError and StoppedError; the copy is then removed."""

    def unstage(self, staged: StagedCopy | UnprovenCopy) -> None:
        """Remove a staged copy that will not be published. Never raises."""
