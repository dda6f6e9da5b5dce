"""An upload in one call whose body streams from the file: for small files, and for servers without chunks.

Used by publishing.py on lane threads; a helper thread sends. Memory holds one block at a time.
"""

from collections.abc import Callable, Iterator

from lorawatch.destinations.comfyui_mcp.encoding import BLOCK_BYTES, PIECE_BYTES, encoded_bytes
from lorawatch.destinations.comfyui_mcp.errands import Doubt, Errand
from lorawatch.destinations.comfyui_mcp.server import Server
from lorawatch.domain.errors import StoppedError
from lorawatch.transport.answers import Payload


class DirectUpload:
    """One call. Nothing can be carried before, so nothing is seen before `finish` either."""

    def __init__(self, server: Server, errand: Errand) -> None:
        self._server = server
        self._errand = errand
        self._sent_bytes = 0
        self.doubt = Doubt.NONE

    def carry(self) -> None:
        """Make sure that the source is still what was accepted."""
        with self._errand.reader():
            pass

    def finish(self) -> Payload:
        """Send everything."""
        errand, tool = self._errand, self._server.speech().dialect.direct
        words: dict[str, object] = {
            "filename": errand.remote_name,
            "overwrite": errand.consignment.replaces is not None,
            "metadata": errand.metadata,
        }
        payload = errand.call(
            lambda: self._server.send(
                tool,
                words,
                lambda around: _StreamedBody(around, errand, self._note),
                is_repeatable=False,
                stop=errand.stop,
            ),
            lambda: self._sent_bytes,
        )
        errand.progress(errand.size_bytes)
        return payload

    def start_over(self, *, in_order: bool = False) -> None:
        """Nothing was kept."""

    def _note(self, sent_bytes: int) -> None:
        self._sent_bytes = sent_bytes


class _StreamedBody:
    """A request body that is read from the file while it is sent. The last bytes leave only if all were right."""

    def __init__(self, around: tuple[bytes, bytes], errand: Errand, note: Callable[[int], None]) -> None:
        self._around = around
        self._errand = errand
        self._note = note

    def __len__(self) -> int:
        return len(self._around[0]) + encoded_bytes(self._errand.size_bytes) + len(self._around[1])

    def __iter__(self) -> Iterator[bytes | memoryview]:
        yield self._around[0]
        with self._errand.reader() as reader:
            for chunk in reader.chunks(first=0, chunk_bytes=BLOCK_BYTES):
                if self._errand.stop.is_set():
                    raise StoppedError(f"the upload of {self._errand.remote_name} was interrupted")
                content = memoryview(chunk.content)
                for start in range(0, len(content), PIECE_BYTES):
                    yield content[start : start + PIECE_BYTES]
                self._note(chunk.end)
        yield self._around[1]
