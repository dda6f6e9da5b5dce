"""Deliver to a ComfyUI on another machine through its MCP server. Implements `domain.ports.Destination`.

Lane threads call it, several at once. It believes listings, never answers; it sends plain names only, and it cannot
remove: these servers have no tool for that. Whether a name is free is checked immediately before, as the protocol has
no exclusive way.
"""

import os
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from lorawatch.config import ComfyUIMcpDestinationConfig
from lorawatch.config_environment import token_for
from lorawatch.destinations.comfyui_mcp.chunked import ChunkedUpload
from lorawatch.destinations.comfyui_mcp.direct import DirectUpload
from lorawatch.destinations.comfyui_mcp.errands import Errand, Order, Upload
from lorawatch.destinations.comfyui_mcp.failures import destination_error, destination_errors, down_error
from lorawatch.destinations.comfyui_mcp.listing import Entry, entry_named, remote_file
from lorawatch.destinations.comfyui_mcp.publishing import Publication, close_publication, open_publication
from lorawatch.destinations.comfyui_mcp.server import Server
from lorawatch.destinations.comfyui_mcp.sizing import ChunkSizer
from lorawatch.domain.errors import (
    DeliveryDelayedError,
    DeliveryRefusedError,
    DestinationError,
    JournalError,
    LorawatchError,
)
from lorawatch.domain.model import Finding, RemoteFile
from lorawatch.domain.planning import refuse_unsafe_name
from lorawatch.domain.ports import Consignment, Memory, Prepared, Stop
from lorawatch.transport.calls import CallError, Failure
from lorawatch.transport.http import HttpClient, HttpSettings

OVERWRITES_IN_PLACE = Finding(
    "overwrites-in-place",
    "this server writes a new version into the file that ComfyUI may be using, and a shorter one can end ComfyUI;"
    ' name_template = "{stem}-{sha8}" gives every version a file of its own',
)
# What a name must not hold that goes to a machine of which nothing is known.
_IMPOSSIBLE = (
    (re.compile(r"[/\\]"), "holds a / or \\, and these servers know no directories"),
    (re.compile(r"\A.:"), "begins like a drive of Windows"),
    (re.compile(r"[\x00-\x1f\x7f]"), "holds a control character"),
)
_NOTES = {
    Order.LOST: Finding(
        "chunks-not-side-by-side",
        "this server puts chunks that are sent side by side into another order: they go one after the other now",
    ),
    Order.UNPROVEN: Finding(
        "chunk-order-unproven",
        "this server gives no hash back that shows the order of chunks sent side by side: such deliveries count as"
        " answered, never more",
    ),
}
_IN_ORDER = "chunks in order"  # remembered: the server for which they are sent one after the other
_MOST_DOWNLOAD_BYTES = 1 << 40  # read back from a server that tells no size


class ComfyUIMcpDestination:
    """One server. Thread-safe."""

    kind = "comfyui-mcp"
    group_size = 1  # every delivery is at least one call of its own

    def __init__(
        self, *, name: str, server: Server, direct_limit_bytes: int, chunk_bytes: int, parallel_chunks: int,
        memory: Memory, is_read_back: bool = False,
    ) -> None:  # fmt: skip
        self.name = name
        self.was_mount_point: bool | None = None  # servers are not mounted
        self.notes: list[Finding] = []
        self._server = server
        self._direct_limit_bytes = direct_limit_bytes
        self._parallel_chunks = parallel_chunks
        self._sizer = ChunkSizer(chunk_bytes)
        self._memory = memory
        self._is_read_back = is_read_back
        self._names_are_free = threading.Condition()
        self._busy_names: set[str] = set()
        self._carried: dict[str, tuple[Errand, Upload | None]] = {}

    def probe(self, *, needed_bytes: int) -> None:  # noqa: ARG002  no server tells how much room it has
        """Return if the server lists its LoRAs; DestinationDownError with the reason if not."""
        self._listing()

    def find(self, remote_name: str) -> RemoteFile | None:
        """Return what the server lists at the name now, and what else it tells about it."""
        refuse_impossible_name(remote_name)
        entry = entry_named(self._listing(), remote_name)
        if entry is None:
            return None
        with destination_errors():
            found = remote_file(entry, remote_name)
            if found.size_bytes is None:
                found = remote_file({**(self._server.details(remote_name) or {}), **entry}, remote_name)
        unfinished = open_publication(self._memory, remote_name)
        return replace(found, is_leftover=unfinished is not None and unfinished.may_have_left(found))

    def digest(self, remote_name: str) -> str | None:
        """Return the sha256 that the server tells, or that of the bytes it gives back; None where it does neither."""
        refuse_impossible_name(remote_name)
        with destination_errors():
            details = self._server.details(remote_name)
            told = remote_file(details, remote_name).sha256 if details else None
            if told is not None or self._server.speech().dialect.download is None:
                return told
            entry = entry_named(self._server.listing(), remote_name)
            if entry is None:
                return None
            most_bytes = remote_file(entry, remote_name).size_bytes
            return self._server.sha256_of_download(remote_name, most_bytes=most_bytes or _MOST_DOWNLOAD_BYTES)

    def prepare(self, consignment: Consignment, *, progress: Callable[[int], None], stop: Stop) -> Prepared:
        """Carry the chunks. What goes in one call is only looked at: it would be seen at once."""
        errand = Errand(consignment, progress, stop)
        refuse_impossible_name(errand.remote_name)
        token = uuid.uuid4().hex
        with destination_errors():
            upload = None if self._has_arrived(consignment) else self._upload_for(errand)
            if upload is not None:
                upload.carry()
        if upload is not None and consignment.replaces is not None:
            self._note_overwriting()
        self._carried[token] = (errand, upload)
        return Prepared(consignment, token=token)

    def publish(self, prepared: Sequence[Prepared]) -> list[RemoteFile | DestinationError]:
        """Finish each upload, and return what the server lists then."""
        return [self._outcome(one) for one in prepared]

    def discard(self, prepared: Prepared) -> None:
        """Forget the upload; where it can be resumed, it can still be."""
        self._carried.pop(prepared.token, None)

    def remove(self, remote: RemoteFile) -> bool:  # noqa: ARG002  there is no tool for it
        """Return False: these servers remove nothing."""
        return False

    def sweep(self) -> None:
        """Do nothing: half-done uploads are not visible, and servers drop them by themselves."""

    def _outcome(self, prepared: Prepared) -> RemoteFile | DestinationError:
        try:
            with self._alone_with(prepared.consignment.delivery.remote_name):
                return self._publish(prepared)
        except DestinationError as error:
            return error
        except CallError as error:
            return destination_error(error)
        except JournalError:
            raise  # it says nothing about this delivery
        except LorawatchError as error:
            # The source changed, or the daemon stops, in the middle of the one call: the next attempt finds out.
            return DeliveryDelayedError(error.message, code=error.code, fix=error.fix, retry_after_seconds=0)

    @contextmanager
    def _alone_with(self, remote_name: str) -> Iterator[None]:
        """Let no other lane publish under this name meanwhile: each would miss what the other puts there."""
        with self._names_are_free:
            self._names_are_free.wait_for(lambda: remote_name not in self._busy_names)
            self._busy_names.add(remote_name)
        try:
            yield
        finally:
            with self._names_are_free:
                self._busy_names.discard(remote_name)
                self._names_are_free.notify_all()

    def _publish(self, prepared: Prepared) -> RemoteFile:
        errand, upload = self._carried.pop(prepared.token)
        if upload is None:
            there = self.find(errand.remote_name)
            if there is None:
                raise DeliveryDelayedError(f"{errand.remote_name!r} is not on the server any more", code="not-listed")
            close_publication(self._memory, errand.remote_name)
            return replace(there, is_leftover=False)
        try:
            return self._publication(errand, upload).publish()
        except DeliveryRefusedError as error:
            chunks = self._server.speech()
            if error.code != Failure.TOO_LARGE.value or not isinstance(upload, DirectUpload) or not chunks.has_chunks:
                raise
        self._direct_limit_bytes = min(self._direct_limit_bytes, errand.size_bytes - 1)
        upload = self._upload_for(errand)
        with destination_errors():
            upload.carry()
        return self._publication(errand, upload).publish()

    def _publication(self, errand: Errand, upload: Upload) -> Publication:
        return Publication(
            errand,
            upload,
            memory=self._memory,
            find=self.find,
            digest=self.digest,
            is_read_back=self._is_read_back,
            on_order=self._note_order,
        )

    def _listing(self) -> list[Entry]:
        """Return the listing. Where there is none, nothing can be delivered: that is no single delivery's trouble."""
        try:
            return self._server.listing()
        except CallError as error:
            raise down_error(error) from error

    def _note_order(self, order: Order) -> None:
        """Say once what came out about chunks side by side; send them one after the other where order was lost."""
        if order is Order.LOST:
            self._memory.remember(_IN_ORDER, self._server.identity)
        with self._names_are_free:
            if all(note.code != _NOTES[order].code for note in self.notes):
                self.notes.append(_NOTES[order])

    def _upload_for(self, errand: Errand) -> Upload:
        speech = self._server.speech()
        if not speech.has_chunks or speech.dialect.chunks is None or errand.size_bytes <= self._direct_limit_bytes:
            return DirectUpload(self._server, errand)
        parallel = self._parallel_chunks
        if parallel > 1 and self._memory.recall(_IN_ORDER) == self._server.identity:
            parallel = 1
        return ChunkedUpload(self._server, speech.dialect.chunks, self._sizer, errand, parallel=parallel)

    def _note_overwriting(self) -> None:
        """Say once that this server does not replace files, but writes into them."""
        if not self._server.speech().dialect.overwrites_in_place:
            return
        with self._names_are_free:
            if all(note.code != OVERWRITES_IN_PLACE.code for note in self.notes):
                self.notes.append(OVERWRITES_IN_PLACE)

    def _has_arrived(self, consignment: Consignment) -> bool:
        """Return whether an interrupted publication of these bytes is what stands at the name."""
        there, delivery = consignment.replaces, consignment.delivery
        if there is None or not there.is_leftover:
            return False
        unfinished = open_publication(self._memory, delivery.remote_name)
        return unfinished is not None and unfinished.has_arrived(there, sha256=delivery.artifact.sha256)


def refuse_impossible_name(name: str) -> None:
    """Raise DeliveryRefusedError (name-refused) for what is no plain name that JSON can carry."""
    refuse_unsafe_name(name)
    try:
        name.encode()
    except UnicodeEncodeError:
        wrong = "is not UTF-8, and JSON cannot carry it"
    else:
        wrong = next((words for pattern, words in _IMPOSSIBLE if pattern.search(name)), "")
        if not wrong:
            return
    msg = f"the name {name!r} {wrong}"
    raise DeliveryRefusedError(msg, code="name-refused", fix="change name_template, or give a name with --as")


def from_config(config: ComfyUIMcpDestinationConfig, *, memory: Memory) -> ComfyUIMcpDestination:
    """Return the destination of this part of the configuration."""
    http = HttpClient(
        HttpSettings(
            url=config.url,
            token=token_for(config, os.environ).get_secret_value(),
            connect_timeout_seconds=config.connect_timeout_seconds,
            read_timeout_seconds=config.read_timeout_seconds,
            verify_tls=config.verify_tls,
            connections=config.connections + config.parallel_chunks + 2,
        )
    )
    return ComfyUIMcpDestination(
        name=config.name,
        server=Server(http, api=config.api, memory=memory),
        direct_limit_bytes=config.direct_limit_bytes,
        chunk_bytes=config.chunk_bytes,
        parallel_chunks=config.parallel_chunks,
        memory=memory,
        is_read_back=config.verify == "download",
    )
