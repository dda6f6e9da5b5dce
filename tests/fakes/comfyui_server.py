"""A real HTTP server that behaves like ComfyUI 0.3.64, as far as models, queue and pictures are concerned.

It lists real directories, with its cache by their modification times; a graph that it computes loads the bytes of its
LoRAs, and goes on with them until /free. It can be down, slow, hang, answer 500, or lack /experiment.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes.comfyui_nodes import FOLDERS, NODES, Listing, described, refusal
from tests.fakes.port import Port
from tests.fakes.websocket import BINARY, PING, TEXT, accepted, frame

Json = dict[str, Any]
EXTENSIONS = frozenset({".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".bin", ".pth", ".pkl"})
# The smallest PNG: one transparent pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360000000020001e221bc330000000049454e44ae426082"
)


class Folder:
    """One folder of models: its directories, and their list, read anew when the time of one of them changes."""

    def __init__(self, *paths: str | os.PathLike[str]) -> None:
        self.paths = [os.fspath(path) for path in paths]
        self._names: list[str] | None = None
        self._files: list[Json] = []
        self._times: dict[str, float] = {}

    def names(self) -> list[str]:
        self._refresh()
        return sorted(self._names or [])

    def files(self) -> list[Json]:
        self._refresh()
        return self._files

    def path_of(self, name: str) -> str | None:
        places = [os.path.join(path, name) for path in self.paths]
        return next((place for place in places if os.path.isfile(place)), None)

    def _refresh(self) -> None:
        if self._names is not None and all(
            os.path.isdir(path) and os.path.getmtime(path) == at for path, at in self._times.items()
        ):
            return
        names: set[str] = set()
        self._files, self._times = [], {}
        for index, path in enumerate(self.paths):
            self._times[path] = os.path.getmtime(path)  # a directory that is missing is a failure of the server
            for directory, _, found in os.walk(path, followlinks=True):
                self._times[directory] = os.path.getmtime(directory)
                for name in found:
                    if os.path.splitext(name)[1].lower() in EXTENSIONS:
                        whole = os.path.join(directory, name)
                        names.add(os.path.relpath(whole, path))
                        self._files += _described_file(whole, os.path.relpath(whole, path), index)
        self._names = sorted(names)


def _described_file(path: str, name: str, index: int) -> list[Json]:
    if name.startswith(".") or not os.path.exists(path):  # the experimental list leaves these out
        return []
    status = os.stat(path)
    return [{"name": name, "pathIndex": index, "modified": status.st_mtime, "created": status.st_ctime,
             "size": status.st_size}]  # fmt: skip


class ComfyUIServer:
    """A ComfyUI. `folders` maps "loras" and the like to directories; a context manager; `start` keeps the port."""

    def __init__(
        self,
        folders: dict[str, str | os.PathLike[str]],
        *,
        has_experiment: bool = True,
        version: str = "0.3.64",
        output: str | os.PathLike[str] | None = None,
        lacks_nodes: tuple[str, ...] = (),
    ) -> None:
        self.folders = {name: Folder(path) for name, path in folders.items()}
        self.has_experiment = has_experiment
        self.version = version
        self.lacks_nodes = lacks_nodes
        self.has_websocket = True
        self.listeners: dict[str, socket.socket] = {}  # client id → its connection
        self.output = Path(output) if output is not None else None  # where pictures go
        self.delay_seconds = 0.0  # before every answer
        self.failing: dict[str, int] = {}  # beginning of a route → the status it is answered with
        self.is_holding = False  # graphs stay in the queue until `compute`
        self.failure: str | None = None  # what the next graph fails with
        self.calls: list[tuple[str, str]] = []  # method, path with its query
        self.pending: list[tuple[str, Json]] = []
        self.running: list[tuple[str, Json]] = []
        self.history: dict[str, Json] = {}
        self.loaded: dict[str, bytes] = {}  # LoRA → the bytes it computes with
        self.times_freed = 0
        self.lock = threading.RLock()
        self.released = threading.Event()  # cleared by `hang`: no call is answered until it is set
        self.released.set()
        self._http: _HttpServer | None = None
        self._port = Port()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._port.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port.number}"

    def reserve(self) -> Self:
        """Take a port without answering there: a ComfyUI that has not been started yet."""
        self.start()
        self.stop()
        return self

    def start(self) -> None:
        self._http = _HttpServer(self._port.address, self)
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        self.released.set()
        if self._http is not None:
            self._http.shutdown()
            self._http.close_all()
            self._http.server_close()
            self._http = None

    def hang(self) -> None:
        self.released.clear()

    def count(self, method: str, path: str) -> int:
        return sum(each == method and called.partition("?")[0] == path for each, called in self.calls)

    def listing(self) -> Listing:
        return {name: self.folders[name].names() if name in self.folders else [] for name in FOLDERS}

    # Computing.

    def be_busy(self, *, running: int = 1, pending: int = 0) -> None:
        """Have something to do that ends with `be_idle`."""
        with self.lock:
            self.running = [(f"other-{number}", {}) for number in range(running)]
            self.pending = [(f"later-{number}", {}) for number in range(pending)]

    def be_idle(self) -> None:
        with self.lock:
            self.running, self.pending = [], []

    def weights(self, name: str) -> bytes:
        """The bytes it computes with when a graph names this LoRA: those that it has loaded before, if any."""
        with self.lock:
            if name not in self.loaded:
                path = self.folders["loras"].path_of(name)
                if path is None:
                    raise FileNotFoundError(name)
                self.loaded[name] = Path(path).read_bytes()
            return self.loaded[name]

    def compute(self) -> None:
        """Compute every graph in the queue."""
        with self.lock:
            while self.running or self.pending:
                prompt_id, graph = (self.running or self.pending).pop(0)
                self.history[prompt_id] = {"prompt": [0, prompt_id, graph, {}, []], **self._ended(graph)}

    def tell(self, kind: str, **data: object) -> None:
        """Tell every listener something, after what it has no use for: a ping and a preview picture."""
        text = json.dumps({"type": kind, "data": data}).encode()
        for connection in self.listeners.values():
            connection.sendall(frame(PING, b"?") + frame(BINARY, PNG * 2000) + frame(TEXT, text))

    def queue(self, graph: Json) -> str:
        with self.lock:
            prompt_id = str(uuid.uuid4())
            (self.pending if self.running else self.running).append((prompt_id, graph))
            if not self.is_holding:
                self.compute()
        return prompt_id

    def _ended(self, graph: Json) -> Json:
        if self.failure is not None:
            told = {"node_type": "KSampler", "exception_message": self.failure, "exception_type": "RuntimeError"}
            status = {"status_str": "error", "completed": False, "messages": [["execution_error", told]]}
            return {"outputs": {}, "status": status}
        outputs: Json = {}
        for node_id, node in graph.items():
            if "lora_name" in node["inputs"]:
                self.weights(node["inputs"]["lora_name"])
            if node["class_type"].startswith("Save"):
                outputs[node_id] = {"images": [self._picture(node["inputs"]["filename_prefix"])]}
        return {"outputs": outputs, "status": {"status_str": "success", "completed": True, "messages": []}}

    def _picture(self, prefix: str) -> Json:
        subfolder, _, stem = prefix.rpartition("/")
        name = f"{stem}_{len(self.history) + 1:05}_.png"
        if self.output is not None:
            (self.output / subfolder).mkdir(parents=True, exist_ok=True)
            (self.output / subfolder / name).write_bytes(PNG)
        return {"filename": name, "subfolder": subfolder, "type": "output"}


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], owner: ComfyUIServer) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def close_all(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # connections that break are what these tests are about


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _HttpServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:
        if self.path.startswith("/ws?") and self.server.owner.has_websocket:
            self._listen()
        else:
            self._answer("GET", b"")

    def _listen(self) -> None:
        """Take a listener to the steps, until it goes."""
        owner = self.server.owner
        self.wfile.write(accepted(self.headers["Sec-WebSocket-Key"]))
        client_id = parse_qs(urlsplit(self.path).query)["clientId"][0]
        owner.listeners[client_id] = self.connection
        self.close_connection = True
        while self.rfile.read(1):
            pass

    def do_POST(self) -> None:
        self._answer("POST", self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _answer(self, method: str, body: bytes) -> None:
        owner = self.server.owner
        with owner.lock:
            owner.calls.append((method, self.path))
        owner.released.wait()
        time.sleep(owner.delay_seconds)
        for beginning, status in owner.failing.items():
            if self.path.startswith(beginning):
                self._send(status, b"500 Internal Server Error", "text/plain")
                return
        route, parts = self._route(method)
        try:
            with owner.lock:
                route(parts, body)
        except OSError as error:
            self._send(500, f"500 Internal Server Error\n\n{error}".encode(), "text/plain")

    def _route(self, method: str) -> tuple[Callable[[list[str], bytes], None], list[str]]:
        first, *rest = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        known = {
            ("GET", "models"): self._models,
            ("GET", "experiment"): self._experiment,
            ("GET", "object_info"): self._object_info,
            ("GET", "view_metadata"): self._view_metadata,
            ("GET", "system_stats"): self._system_stats,
            ("GET", "queue"): self._queue,
            ("GET", "prompt"): self._remaining,
            ("GET", "history"): self._history,
            ("GET", "view"): self._view,
            ("POST", "prompt"): self._prompt,
            ("POST", "free"): self._free,
        }
        return known.get((method, first), self._missing), rest

    def _models(self, parts: list[str], _: bytes) -> None:
        owner = self.server.owner
        if not parts:
            self._json(list(owner.folders))
        elif parts[0] in owner.folders:
            self._json(owner.folders[parts[0]].names())
        else:
            self._missing(parts, b"")

    def _experiment(self, parts: list[str], _: bytes) -> None:
        owner = self.server.owner
        if owner.has_experiment and len(parts) == 1:
            self._json([{"name": name, "folders": folder.paths} for name, folder in owner.folders.items()])
        elif owner.has_experiment and len(parts) == 2 and parts[1] in owner.folders:
            self._json(owner.folders[parts[1]].files())
        else:
            self._missing(parts, b"")

    def _object_info(self, parts: list[str], _: bytes) -> None:
        owner = self.server.owner
        listing = owner.listing()
        wanted = [name for name in NODES if not parts or name == parts[0]]
        self._json({name: described(name, listing) for name in wanted if name not in owner.lacks_nodes})

    def _view_metadata(self, parts: list[str], _: bytes) -> None:
        folder = self.server.owner.folders.get(parts[0])
        name = parse_qs(urlsplit(self.path).query).get("filename", [""])[0]
        path = folder.path_of(name) if folder is not None else None
        if path is None:
            self._send(404, b"", "text/plain")
            return
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            try:
                header = json.loads(file.read(length))
            except ValueError as error:
                raise OSError("broken header") from error
        metadata = header.get("__metadata__")
        if metadata is None:
            self._send(404, b"", "text/plain")
        else:
            self._json(metadata)

    def _system_stats(self, _: list[str], __: bytes) -> None:
        system = {"os": "posix", "comfyui_version": self.server.owner.version, "python_version": "3.12"}
        self._json({"system": system, "devices": [{"name": "cpu", "type": "cpu"}]})

    def _queue(self, _: list[str], __: bytes) -> None:
        owner = self.server.owner
        shown = [[[number, prompt_id, graph, {}, []] for number, (prompt_id, graph) in enumerate(each)]
                 for each in (owner.running, owner.pending)]  # fmt: skip
        self._json({"queue_running": shown[0], "queue_pending": shown[1]})

    def _remaining(self, _: list[str], __: bytes) -> None:
        owner = self.server.owner
        self._json({"exec_info": {"queue_remaining": len(owner.running) + len(owner.pending)}})

    def _history(self, parts: list[str], _: bytes) -> None:
        history = self.server.owner.history
        self._json({key: value for key, value in history.items() if not parts or key == parts[0]})

    def _view(self, _: list[str], __: bytes) -> None:
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        output = self.server.owner.output
        path = output / query.get("subfolder", "") / query["filename"] if output is not None else None
        if path is not None and path.is_file():
            self._send(200, path.read_bytes(), "image/png")
        else:
            self._send(404, b"", "text/plain")

    def _prompt(self, _: list[str], body: bytes) -> None:
        owner = self.server.owner
        graph = json.loads(body)["prompt"]
        refused = refusal(graph, owner.listing(), lacks=owner.lacks_nodes)
        if refused is not None:
            self._json(refused, status=400)
        else:
            self._json({"prompt_id": owner.queue(graph), "number": len(owner.history), "node_errors": {}})

    def _free(self, _: list[str], body: bytes) -> None:
        owner = self.server.owner
        wanted = json.loads(body)
        if wanted.get("unload_models") and wanted.get("free_memory"):
            owner.loaded.clear()
        owner.times_freed += 1
        self._send(200, b"", "text/plain")

    def _missing(self, _: list[str], __: bytes) -> None:
        self._send(404, b"404: Not Found", "text/plain")

    def _json(self, document: object, *, status: int = 200) -> None:
        self._send(status, json.dumps(document).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def comfyui_server(directory: str | os.PathLike[str], **options: Any) -> Iterator[ComfyUIServer]:
    """A ComfyUI whose models lie below a directory, as in its own tree: models/loras and so on, output."""
    root = Path(directory)
    folders: dict[str, str | os.PathLike[str]] = {}
    for name in FOLDERS:
        (root / "models" / name).mkdir(parents=True, exist_ok=True)
        folders[name] = root / "models" / name
    (root / "output").mkdir(exist_ok=True)
    with ComfyUIServer(folders, output=root / "output", **options) as server:
        yield server
