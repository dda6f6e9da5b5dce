"""What every upload has: the consignment, who is told about it, and the contract that publishing.py relies on.

Used on lane threads. While a helper thread waits for a server, the lane keeps saying that it is alive.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from typing import Protocol, TypeVar

from lorawatch.destinations.comfyui_mcp.encoding import SourceReader
from lorawatch.destinations.comfyui_mcp.listing import SENDER, SENDER_KEY
from lorawatch.domain.ports import Consignment, Stop
from lorawatch.transport.answers import Payload
from lorawatch.transport.files import open_source

T = TypeVar("T")

# How often the engine hears that a call is still under way: it takes a minute of silence for a call that hangs.
TICK_SECONDS = 1.0


class Doubt(IntEnum):
    """What may be wrong with bytes of which the server says that all is well."""

    NONE = 0
    SIZE = 1  # a part may be stored twice: the size shows it
    ORDER = 2  # parts may be stored in another order: only the bytes, or their hash, show it


class Order(Enum):
    """What came out about the order of parts that were sent side by side."""

    LOST = auto()
    UNPROVEN = auto()


class Upload(Protocol):
    """One way of carrying one consignment."""

    @property
    def doubt(self) -> Doubt:
        """What may be wrong with what was carried."""

    def carry(self) -> None:
        """Carry what can be carried unseen. Raises CallError, SourceError, StoppedError."""

    def finish(self) -> Payload:
        """Make it visible, and return what the server says to that. Raises as `carry`."""

    def start_over(self, *, in_order: bool = False) -> None:
        """Forget what was carried; the next `carry` begins with nothing, `in_order` one part after the other."""


@dataclass(frozen=True, slots=True)
class Errand:
    """What is uploaded, and who is told about it."""

    consignment: Consignment
    progress: Callable[[int], None]
    stop: Stop

    @property
    def remote_name(self) -> str:
        """The name it is to have."""
        return self.consignment.delivery.remote_name

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return self.consignment.source_version.size_bytes

    @property
    def sha256(self) -> str:
        """The hash of the bytes that were inspected."""
        return self.consignment.delivery.artifact.sha256

    @property
    def metadata(self) -> dict[str, str]:
        """What the server is told about it. A hash that comes back beside our name is only an echo."""
        return {"sha256": self.sha256, SENDER_KEY: SENDER}

    @contextmanager
    def reader(self) -> Iterator[SourceReader]:
        """Open the accepted version."""
        path, version = self.consignment.source_path, self.consignment.source_version
        descriptor = open_source(path, version)
        try:
            yield SourceReader(descriptor, path, version, self.sha256)
        finally:
            os.close(descriptor)

    def result_of(self, future: "Future[T]", sent_bytes: Callable[[], int]) -> T:
        """Wait for a call, and say from time to time that it is still under way."""
        while True:
            try:
                return future.result(timeout=TICK_SECONDS)
            except FutureTimeoutError:
                if future.done():  # it is the call itself that raised it
                    raise
                self.progress(sent_bytes())

    def call(self, function: Callable[[], T], sent_bytes: Callable[[], int]) -> T:
        """Make a call on a helper thread, and wait for it in this way."""
        with ThreadPoolExecutor(1) as pool:
            return self.result_of(pool.submit(function), sent_bytes)
