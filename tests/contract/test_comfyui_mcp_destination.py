"""The comfyui-mcp destination keeps the promises of the suite that its protocol can keep: in chunks and in one call."""

import os
from collections.abc import Callable, Iterator, Sequence

import pytest

from lorawatch.destinations.comfyui_mcp.destination import ComfyUIMcpDestination
from lorawatch.destinations.comfyui_mcp.server import Server
from lorawatch.domain.errors import DeliveryDelayedError, DeliveryRefusedError, FileChangedError
from lorawatch.domain.ports import Destination
from lorawatch.transport.http import HttpClient, HttpSettings
from tests.contract.bench import LARGE, ONE, TWO, Sender, Shelf, StopAfter, deliver, delivered, prepare
from tests.contract.destination_suite import DestinationSuite
from tests.fakes.mcp_server import McpServer
from tests.mcp_scenes import DictionaryMemory


class ServerShelf:
    """Looks into the directory that the server writes to. Replaced in place, so a reader may meet it half-way."""

    def __init__(self, server: McpServer) -> None:
        self.server = server

    def names(self) -> Sequence[str]:
        return os.listdir(self.server.directory)

    def read(self, name: str) -> bytes | None:
        try:
            return (self.server.directory / name).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, name: str, content: bytes) -> None:
        with (self.server.directory / name).open("xb") as file:
            file.write(content)

    def put_link(self, name: str, target: str) -> None:
        raise NotImplementedError

    def take(self, name: str) -> None:
        (self.server.directory / name).unlink()


class McpSuite(DestinationSuite):
    """What all dialects share."""

    keeps_odd_bytes = False
    has_links = False
    has_folders = False
    dialect = "documented"
    direct_limit_bytes = 0
    parallel_chunks = 1
    listing: tuple[str, ...] = ("size", "modified")
    gives_hash = True

    @pytest.fixture
    def server(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpServer]:
        keys = (*self.listing, "sha256") if self.dialect == "documented" and self.reads_back else self.listing
        with McpServer(tmp_path_factory.mktemp("server") / "loras", self.dialect, listing=keys) as server:
            yield server

    @pytest.fixture
    def reopen(self, server: McpServer) -> Callable[[], Destination]:
        memory = DictionaryMemory()

        def open_it() -> ComfyUIMcpDestination:
            http = HttpClient(HttpSettings(server.url, connect_timeout_seconds=2, read_timeout_seconds=5))
            return ComfyUIMcpDestination(
                name="there",
                server=Server(http, api="auto", memory=memory),
                direct_limit_bytes=self.direct_limit_bytes,
                chunk_bytes=0,
                parallel_chunks=self.parallel_chunks,
                memory=memory,
            )

        return open_it

    @pytest.fixture
    def shelf(self, server: McpServer) -> Shelf:
        return ServerShelf(server)

    def test_a_name_that_is_no_utf8_arrives_unchanged(
        self, destination: Destination, shelf: Shelf, sender: Sender
    ) -> None:
        with pytest.raises(DeliveryRefusedError):  # JSON cannot carry it
            deliver(destination, sender.consignment(name=os.fsdecode(b"caf\xe9.safetensors")))
        assert not shelf.names()

    @pytest.mark.parametrize("name", ["a/b.st", "a\\b.st"])
    def test_a_name_with_a_separator_is_refused(self, destination: Destination, sender: Sender, name: str) -> None:
        with pytest.raises(DeliveryRefusedError):
            prepare(destination, sender.consignment(remote_name=name))

    def test_remove_takes_only_what_is_unchanged(self, destination: Destination, shelf: Shelf, sender: Sender) -> None:
        assert not destination.remove(delivered(destination, sender.consignment()))  # there is no tool for it
        assert shelf.read("cat.safetensors") == ONE


class TestDocumentedInChunks(McpSuite):
    """Dialect A."""


class TestDocumentedInChunksSideBySide(McpSuite):
    """Dialect A, four chunks in flight."""

    parallel_chunks = 4


class TestChunked(McpSuite):
    """Dialect B."""

    dialect = "chunked"


class OneCallSuite(McpSuite):
    """Everything happens in the one call, so `prepare` has carried nothing yet."""

    direct_limit_bytes = 1 << 40

    def test_a_new_file_arrives_whole_and_is_never_seen_otherwise(
        self, destination: Destination, shelf: Shelf, sender: Sender
    ) -> None:
        """Whole it arrives; that it is never seen otherwise is up to the server, which writes in place."""
        delivered(destination, sender.consignment(ONE))
        delivered(destination, sender.consignment(LARGE, name="large.safetensors"))
        assert shelf.read("cat.safetensors") == ONE
        assert shelf.read("large.safetensors") == LARGE

    def test_our_own_file_is_replaced_and_its_fingerprint_changes(
        self, destination: Destination, shelf: Shelf, sender: Sender
    ) -> None:
        first = delivered(destination, sender.consignment(ONE))
        second = delivered(destination, sender.consignment(TWO, replaces=first))
        assert shelf.read("cat.safetensors") == TWO
        assert first.fingerprint != second.fingerprint

    def test_progress_grows_up_to_the_size(self, destination: Destination, sender: Sender) -> None:
        seen: list[int] = []
        destination.publish([prepare(destination, sender.consignment(), progress=seen.append)])
        assert seen == sorted(seen)
        assert seen[-1] == len(ONE)

    def test_a_stop_in_the_middle_leaves_no_model(self, destination: Destination, shelf: Shelf, sender: Sender) -> None:
        prepared = prepare(destination, sender.consignment(LARGE), stop=StopAfter(3))
        result = destination.publish([prepared])[0]
        assert isinstance(result, DeliveryDelayedError)
        assert result.code == "stopped"
        assert not shelf.names()

    @pytest.mark.parametrize("content", [TWO, b"short"], ids=["other-bytes", "shorter"])
    def test_a_source_that_changes_under_way_is_not_delivered(
        self, destination: Destination, shelf: Shelf, sender: Sender, content: bytes
    ) -> None:
        consignment = sender.consignment(ONE)
        prepared = prepare(destination, consignment)
        sender.rewrite(content)
        result = destination.publish([prepared])[0]
        assert isinstance(result, DeliveryDelayedError)
        assert result.code == "source-changed"
        assert not shelf.names()
        with pytest.raises(FileChangedError):
            prepare(destination, consignment)

    def test_a_source_that_shrinks_under_way_is_not_delivered(self, destination: Destination, sender: Sender) -> None:
        consignment = sender.consignment(ONE)
        prepared = prepare(destination, consignment)
        os.truncate(consignment.source_path, 10)
        assert isinstance(destination.publish([prepared])[0], DeliveryDelayedError)
        assert destination.find("cat.safetensors") is None


class TestDocumentedInOneCall(OneCallSuite):
    """Dialect A up to `direct_limit_bytes`."""


class TestDirect(OneCallSuite):
    """Dialect C."""

    dialect = "direct"


class TestJsonRpc(OneCallSuite):
    """Dialect D."""

    dialect = "jsonrpc"


class TestChunkedWithoutAnyHash(McpSuite):
    """Dialect A as documented: nothing gives the bytes or a hash back."""

    reads_back = False


def test_a_listing_of_names_and_sizes_never_takes_an_equal_file_for_the_same(tmp_path: os.PathLike[str]) -> None:
    with McpServer(os.path.join(tmp_path, "loras"), listing=("size",)) as server:
        memory = DictionaryMemory()
        destination = ComfyUIMcpDestination(
            name="there",
            server=Server(HttpClient(HttpSettings(server.url)), api="auto", memory=memory),
            direct_limit_bytes=0,
            chunk_bytes=0,
            parallel_chunks=1,
            memory=memory,
        )
        (server.directory / "cat.safetensors").write_bytes(ONE)
        there = destination.find("cat.safetensors")
        assert there is not None
        assert not there.is_distinct
        assert destination.digest("cat.safetensors") is None
