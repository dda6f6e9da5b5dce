"""AI Toolkit's MCP server, as far as models are concerned: list them, and download one to a file.

Used by fetching.py on its thread. Tools and parameters are data, as they differ between the documented server and the
current one. A download streams: memory holds neither the file nor its base64.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lorawatch.domain.errors import DeliveryRefusedError
from lorawatch.domain.planning import MODEL_EXTENSION, MODEL_EXTENSIONS, PART_BYTES, refuse_unsafe_name
from lorawatch.domain.ports import Stop
from lorawatch.transport.answers import Payload, payload_of
from lorawatch.transport.calls import CallError, Failure
from lorawatch.transport.embedded import EmbeddedContent
from lorawatch.transport.http import HttpClient


@dataclass(frozen=True, slots=True)
class _Api:
    """One way of speaking. `model_key` is the parameter that names a model, `extra` what else it takes."""

    routes: tuple[str, ...]
    arguments_keys: tuple[str, ...]
    listing: str
    download: str
    model_key: str
    has_extension: bool  # whether a model is named with it
    extra: Mapping[str, object]


_DOCUMENTED = _Api(
    routes=("/mcp/tool",),
    arguments_keys=("arguments", "parameters"),
    listing="list-exported-models",
    download="download-model",
    model_key="model_path",
    has_extension=True,
    extra={"include_metadata": True, "format": "base64"},
)
_CURRENT = _Api(
    routes=("/mcp/execute", "/tools/execute", "/mcp/tool"),
    arguments_keys=("arguments", "parameters"),
    listing="list_exported_models",
    download="download_model",
    model_key="model_name",
    has_extension=False,
    extra={},
)
_APIS = (_CURRENT, _DOCUMENTED)
_MOST_PATH = 1000  # characters; the spool's own path comes before it
_LISTS = ("models", "exported_models", "files", "items")
_NAMES = ("model_path", "relative_path", "filename", "name")
_MARKS = ("size", "size_bytes", "modified", "modified_at", "mtime", "created", "sha256", "hash", "checksum")
# These say something about the server, not about one way of speaking to it.
_FINAL = frozenset(
    {Failure.NOT_CONNECTED, Failure.TIMED_OUT, Failure.LOST, Failure.BUSY, Failure.NOT_AUTHORIZED, Failure.REDIRECTED}
)


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the server offers. `mark` changes with it, as far as the server lets that be seen."""

    relative_path: str  # with extension
    size_bytes: int | None
    mark: str


class AIToolkitApi:
    """One server. Not thread-safe. Its methods raise CallError and StoppedError."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._found: tuple[_Api, str, str] | None = None  # api, route, arguments key

    def models(self, stop: Stop) -> list[Model]:
        """Return what the server offers now; names that lead astray are left out."""
        found: dict[str, Model] = {}
        for model in _models_of(self._listing(stop), self._http.url):
            found.setdefault(model.relative_path, model)  # two names of one file would be fetched in turns for ever
        return list(found.values())

    def download(self, model: Model, write: Callable[[bytes], object], stop: Stop) -> int:
        """Hand the model's bytes over as they come; return their number, which is what the server said.

        Raises CallError (INCOMPLETE) as soon as they are more than the listing says.
        """
        api, route, arguments_key = self._speech(stop)
        path = model.relative_path
        name = path if api.has_extension else path.removesuffix(MODEL_EXTENSION)
        call = {"tool": api.download, arguments_key: {api.model_key: name, **api.extra}}
        content = EmbeddedContent()

        def take(piece: bytes) -> None:
            data = content.feed(piece)
            if model.size_bytes is not None and content.size_bytes > model.size_bytes:
                msg = f"{self._http.url} gives more of {path} than the {model.size_bytes} bytes that it lists"
                raise CallError(Failure.INCOMPLETE, msg)
            write(data)

        raw = self._http.download(route, json.dumps(call).encode(), take, stop=stop)
        told = payload_of(content.answer(raw)).get("size")
        if not content.is_found:
            raise CallError(Failure.UNREADABLE, f"{raw.called}: a download of {path} without content")
        sizes = {content.size_bytes, told if isinstance(told, int) else content.size_bytes}
        sizes.add(content.size_bytes if model.size_bytes is None else model.size_bytes)
        if len(sizes) > 1:
            msg = f"{raw.called}: {path} came with {content.size_bytes} bytes, announced were {sorted(sizes)}"
            raise CallError(Failure.INCOMPLETE, msg)
        return content.size_bytes

    def _listing(self, stop: Stop) -> Payload:
        api, route, arguments_key = self._speech(stop)
        try:
            return self._call(route, arguments_key, api.listing, stop)
        except CallError as error:
            if error.failure in {Failure.TOOL_MISSING, Failure.NO_ROUTE}:
                self._found = None  # another version of the server: found out anew at the next poll
            raise

    def _speech(self, stop: Stop) -> tuple[_Api, str, str]:
        if self._found is None:
            self._found = self._detect(stop)
        return self._found

    def _detect(self, stop: Stop) -> tuple[_Api, str, str]:
        for api in _APIS:
            for route in api.routes:
                for arguments_key in api.arguments_keys:
                    try:
                        self._call(route, arguments_key, api.listing, stop)
                    except CallError as error:
                        if error.failure in _FINAL:
                            raise
                    else:
                        return api, route, arguments_key
        msg = f"{self._http.url} knows no tool that lists exported models"
        raise CallError(Failure.TOOL_MISSING, msg, fix="check url, and the server's version")

    def _call(self, route: str, arguments_key: str, tool: str, stop: Stop) -> Payload:
        body = json.dumps({"tool": tool, arguments_key: {}}).encode()
        return payload_of(self._http.post(route, body, is_repeatable=True, stop=stop))


def _models_of(payload: Payload, url: str) -> Iterator[Model]:
    listed: list[object] | None = next((payload[key] for key in _LISTS if isinstance(payload.get(key), list)), None)
    if listed is None:
        msg = f"{url}: an answer in which no list of models is found"
        raise CallError(Failure.UNREADABLE, msg, fix="check that url leads to AI Toolkit's MCP server")
    for entry in listed:
        told: dict[str, Any] = entry if isinstance(entry, dict) else {"name": entry}
        name = next((told[key] for key in _NAMES if isinstance(told.get(key), str)), None)
        if name is None:
            continue
        extension = name[name.rfind(".") :].lower() if "." in name else ""
        path = name if extension in MODEL_EXTENSIONS else name + MODEL_EXTENSION
        if not _is_plain(path):
            continue  # "../": what a server calls so is not asked for
        size = next((told[key] for key in ("size", "size_bytes") if type(told.get(key)) is int), None)
        marks = {key: told[key] for key in _MARKS if isinstance(told.get(key), str | int | float)}
        yield Model(path, size, json.dumps(marks, sort_keys=True))


def _is_plain(path: str) -> bool:
    """Return whether a path stays below the spool, and every disk and terminal can bear it."""
    try:
        refuse_unsafe_name(path)
        parts = path.encode().split(b"/")
    except (DeliveryRefusedError, UnicodeEncodeError):
        return False
    is_short = all(len(part) <= PART_BYTES for part in parts) and len(path) <= _MOST_PATH
    return is_short and path.isprintable() and not any(part.startswith(b".") for part in parts)
