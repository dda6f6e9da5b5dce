"""What the destination suite works with: source files, a look behind the destination's back, stops that come early."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from lorawatch.domain.errors import DestinationError
from lorawatch.domain.model import Artifact, Delivery, DeliveryState, Facts, RemoteFile, StagedCopy, Version
from lorawatch.domain.planning import MODEL_EXTENSIONS
from lorawatch.domain.ports import Consignment, Destination, Prepared, Stager, Stop
from tests.factories import lora_bytes

ONE = lora_bytes(size_bytes=3 << 20, seed=1)
TWO = lora_bytes(size_bytes=3 << 20, seed=2)  # same name, same tensors, same size, other weights
LARGE = lora_bytes(size_bytes=20 << 20, seed=3)


class Shelf(Protocol):
    """A look at the destination that does not go through lorawatch."""

    def names(self) -> Sequence[str]:
        """Every name there, hidden ones too."""

    def read(self, name: str) -> bytes | None:
        """The bytes at a name; None if there are none."""

    def put(self, name: str, content: bytes) -> None:
        """Put a file there as another program would."""

    def put_link(self, name: str, target: str) -> None:
        """Put a symbolic link there."""

    def take(self, name: str) -> None:
        """Remove what is there."""


class NeverStop:
    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float | None = None) -> bool:
        return False


class StopAfter(NeverStop):
    """Stops at the nth time somebody asks."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


def ignore(_: int) -> None:
    pass


def stage(stager: Stager, path: str | os.PathLike[str]) -> StagedCopy:
    """Have a file staged as it is now, and proved."""
    with open(path, "rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        copy = stager.stage(file.fileno(), size_bytes=size_bytes, progress=ignore, stop=NeverStop())
    return copy if isinstance(copy, StagedCopy) else stager.prove(copy, stop=NeverStop())


class Sender:
    """Writes source files and makes consignments of them."""

    def __init__(self, root: str) -> None:
        self.root = root

    def write(self, content: bytes, name: str = "cat.safetensors") -> str:
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def rewrite(self, content: bytes, name: str = "cat.safetensors") -> None:
        """Write another version in place, as a trainer does that starts again."""
        self.write(content, name)

    def consignment(
        self,
        content: bytes = ONE,
        *,
        name: str = "cat.safetensors",
        remote_name: str | None = None,
        replaces: RemoteFile | None = None,
    ) -> Consignment:
        path = self.write(content, os.path.basename(name) or "odd.safetensors")
        status = os.stat(path)
        artifact = Artifact(
            artifact_id=1,
            root=self.root,
            path=path,
            version=Version(status.st_ino, status.st_size, status.st_mtime_ns),
            sha256=hashlib.sha256(content).hexdigest(),
            facts=Facts(),
        )
        remote_name = name if remote_name is None else remote_name
        delivery = Delivery(1, artifact, "there", remote_name, remote_name, DeliveryState.SENDING, attempt=1)
        return Consignment(delivery, replaces)


def prepare(
    destination: Destination,
    consignment: Consignment,
    *,
    progress: Callable[[int], None] = ignore,
    stop: Stop | None = None,
) -> Prepared:
    return destination.prepare(consignment, progress=progress, stop=stop or NeverStop())


def deliver(destination: Destination, consignment: Consignment) -> RemoteFile | DestinationError:
    return destination.publish([prepare(destination, consignment)])[0]


def delivered(destination: Destination, consignment: Consignment) -> RemoteFile:
    result = deliver(destination, consignment)
    assert isinstance(result, RemoteFile), result
    return result


@contextmanager
def only_whole_files(shelf: Shelf, *contents: bytes) -> Iterator[None]:
    """Look all the time; fail if a model's name is ever seen with other bytes than these."""
    allowed = {hashlib.sha256(content).digest() for content in contents}
    wrong: list[str] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            for name in shelf.names():
                is_model = os.path.splitext(name)[1].lower() in MODEL_EXTENSIONS
                content = shelf.read(name) if is_model else None
                if content is not None and hashlib.sha256(content).digest() not in allowed:
                    wrong.append(name)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    assert not wrong
