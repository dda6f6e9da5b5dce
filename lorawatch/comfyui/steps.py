"""How far ComfyUI is with a graph: the node that it computes, and that node's steps. Used by `workflow --run`.

It listens on a thread of its own. It is a comfort: where ComfyUI, or a proxy before it, grants no WebSocket, nothing is
known, and nothing else depends on it.
"""

import json
import threading
import uuid
from dataclasses import dataclass
from typing import Self

from lorawatch.transport.calls import CallError
from lorawatch.transport.websocket import WebSocket

TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """Where the computing stands. `total` is 0 for a node that tells nothing of its steps."""

    node_id: str
    done: int = 0
    total: int = 0


class StepListener:
    """Keeps the latest step of what was sent with its `client_id`. A context manager."""

    def __init__(self, url: str) -> None:
        self.client_id = uuid.uuid4().hex
        self.latest: Step | None = None
        self._address = f"{url}/ws?clientId={self.client_id}"
        self._socket: WebSocket | None = None
        self._thread = threading.Thread(target=self._listen, name="comfyui-steps", daemon=True)

    def __enter__(self) -> Self:
        """Connect, so that nothing is missed of what is sent from now on."""
        try:
            self._socket = WebSocket(self._address, timeout_seconds=TIMEOUT_SECONDS)
        except CallError:
            return self  # the queue and the history tell the rest
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()
            self._thread.join(TIMEOUT_SECONDS)

    def _listen(self) -> None:
        if self._socket is None:
            return
        try:
            for text in self._socket.texts():
                self.latest = step_in(text) or self.latest
        except CallError:
            pass  # as if it had been refused from the start


def step_in(text: str) -> Step | None:
    """Return the step that a message tells of; None if it tells of something else."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    told = message.get("data") if isinstance(message, dict) else None
    node_id = told.get("node") if isinstance(told, dict) else None
    if not isinstance(told, dict) or not isinstance(node_id, str):
        return None
    done, total = told.get("value"), told.get("max")
    match message.get("type"):
        case "executing":
            return Step(node_id)
        case "progress" if isinstance(done, int | float) and isinstance(total, int | float):
            return Step(node_id, int(done), int(total))
    return None
