"""ComfyUI's own HTTP API: what it lists, whether a LoRA can be chosen, its queue, its memory, and graphs to compute.

Used by the daemon's ComfyUI threads and by commands; thread-safe. Every method raises ComfyUIDownError when it does
not answer now, and ComfyUIError when what answers is no success. Nothing here waits for longer than the time-outs.
"""

import json
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import quote, urlencode

from lorawatch.comfyui import answers
from lorawatch.comfyui.failures import comfyui_errors, status_error, unreadable
from lorawatch.domain.comfyui import History, Image, ListedFile, Prompted, Queue, System
from lorawatch.domain.errors import ComfyUIError
from lorawatch.domain.ports import Stop
from lorawatch.transport.http import Answer, HttpClient, HttpSettings

T = TypeVar("T")

CONNECT_TIMEOUT_SECONDS = 5.0
# It answers in milliseconds, except while it loads a model: then its one interpreter lock may be held for seconds.
READ_TIMEOUT_SECONDS = 10.0
# A connection that it has closed meanwhile is worth a second try; longer waits are the caller's.
ATTEMPTS = 2
_MISSING = frozenset({404, 405})
# No graph of these can ever run: it lacks the model. ComfyUI checks the names all the same, and queues nothing.
_PROBE_LOADER = "LoraLoaderModelOnly"
_NO_VERDICT = frozenset({"invalid_prompt", "prompt_no_outputs"})  # it has not got as far as the names


class ComfyUI:
    """One ComfyUI, at its base URL such as http://127.0.0.1:8188."""

    def __init__(self, url: str, *, read_timeout_seconds: float = READ_TIMEOUT_SECONDS) -> None:
        self.url = url
        self._http = HttpClient(
            HttpSettings(
                url=url,
                connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS,
                read_timeout_seconds=read_timeout_seconds,
                attempts=ATTEMPTS,
            )
        )

    def listing(self, folder: str, *, stop: Stop | None = None) -> list[str] | None:
        """Return the names in a models folder such as "loras"; None if it knows no such folder."""
        return self._page(f"/models/{quote(folder)}", answers.names_of, stop)

    def files(self, folder: str, *, stop: Stop | None = None) -> list[ListedFile] | None:
        """Return the files in a models folder with size and time; None if it cannot tell, or knows no such folder."""
        return self._page(f"/experiment/models/{quote(folder)}", answers.files_of, stop)

    def folders(self, folder: str, *, stop: Stop | None = None) -> list[str]:
        """Return the directories behind a models folder, as ComfyUI sees them; none if it does not tell."""
        return self._page("/experiment/models", lambda document: answers.folders_of(document, folder), stop) or []

    def can_choose_lora(self, name: str, *, stop: Stop | None = None) -> bool | None:
        """Return whether a graph may name this LoRA. It is asked by a graph that is always refused, so nothing runs.

        None if this ComfyUI cannot tell, for it lacks the nodes that the question is made of.
        """
        can_choose = self._can_choose_lora(name, stop)
        if can_choose is False and "/" in name:  # `names_of` has made these of the backslashes of Windows
            can_choose = self._can_choose_lora(name.replace("/", "\\"), stop)
        return can_choose

    def _can_choose_lora(self, name: str, stop: Stop | None) -> bool | None:
        prompted = self.queue_prompt(
            {
                "1": {"class_type": _PROBE_LOADER, "inputs": {"lora_name": name, "strength_model": 1.0}},
                "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
            },
            stop=stop,
        )
        if prompted.prompt_id is not None or prompted.type in _NO_VERDICT:
            return None
        return not any(
            error.type == "value_not_in_list" and error.input_name == "lora_name" for error in prompted.node_errors
        )

    def can_read(self, folder: str, name: str, *, stop: Stop | None = None) -> bool:
        """Return False if it surely fails to read a file that it lists: a broken header, or no permission."""
        query = urlencode({"filename": name}, errors="surrogateescape")
        with comfyui_errors():
            answer = self._http.get(f"/view_metadata/{quote(folder)}?{query}", stop=stop)
        return answer.status != 500  # 404: no metadata in the file, which is fine

    def free(self, *, stop: Stop | None = None) -> None:
        """Have it forget every loaded model, so that replaced files are read anew. Repeating it does no harm."""
        body = b'{"unload_models": true, "free_memory": true}'
        with comfyui_errors():
            answer = self._http.post("/free", body, is_repeatable=True, stop=stop)
        if answer.status != 200:
            raise status_error(answer)

    def queue(self, *, stop: Stop | None = None) -> Queue:
        """Return how much it has to do."""
        queue = self._page("/queue", answers.queue_of, stop)
        if queue is None:
            queue = self._page("/prompt", answers.queue_of, stop)
        if queue is None:
            raise ComfyUIError(f"{self.url} tells nothing of its queue", fix="check that comfyui_url leads to ComfyUI")
        return queue

    def choices(self, node: str, input_name: str, *, stop: Stop | None = None) -> list[str] | None:
        """Return what an input of a node may be, such as ("CheckpointLoaderSimple", "ckpt_name"); None: no such."""
        route = f"/object_info/{quote(node)}"
        return self._page(route, lambda document: answers.choices_of(document, node, input_name), stop)

    def queue_prompt(self, graph: Mapping[str, object], *, client_id: str = "", stop: Stop | None = None) -> Prompted:
        """Send a graph in API format to be computed; return its id, or why it was refused.

        Not repeated once it was sent: it might be computed twice. `client_id` is who is told of its steps.
        """
        body = json.dumps({"prompt": graph, **({"client_id": client_id} if client_id else {})}).encode()
        with comfyui_errors():
            answer = self._http.post("/prompt", body, is_repeatable=False, stop=stop)
        if answer.status not in {200, 400}:
            raise status_error(answer)
        return self._parsed(answer, answers.prompted_of)

    def history(self, prompt_id: str, *, stop: Stop | None = None) -> History | None:
        """Return how a graph ended; None while it waits or runs."""
        route = f"/history/{quote(prompt_id)}"
        return self._page(route, lambda document: answers.history_of(document, prompt_id), stop)

    def recent(self, most: int, *, stop: Stop | None = None) -> dict[str, object]:
        """Return the latest graphs that have ended, the oldest first, as ComfyUI keeps them."""
        return self._page(f"/history?max_items={most}", answers.entries_of, stop) or {}

    def view(self, image: Image, sink: Callable[[bytes], object], *, stop: Stop | None = None) -> None:
        """Hand a picture over piece by piece; memory never holds it."""
        parts = {"filename": image.filename, "subfolder": image.subfolder, "type": image.folder}
        query = urlencode(parts, errors="surrogateescape")
        with comfyui_errors():
            answer = self._http.download(f"/view?{query}", None, sink, stop=stop)
        if answer.status != 200:
            raise status_error(answer)

    def system(self, *, stop: Stop | None = None) -> System:
        """Return its version and what it computes on."""
        system = self._page("/system_stats", answers.system_of, stop)
        if system is None:
            msg = f"{self.url} answers, but not as ComfyUI does: it has no /system_stats"
            raise ComfyUIError(msg, fix="check that comfyui_url leads to ComfyUI itself")
        return system

    def _page(self, route: str, parse: Callable[[object], T], stop: Stop | None) -> T | None:
        """Return a page as `parse` reads it; None if there is no such page."""
        with comfyui_errors():
            answer = self._http.get(route, stop=stop)
        if answer.status in _MISSING:
            return None
        if answer.status != 200:
            raise status_error(answer)
        return self._parsed(answer, parse)

    @staticmethod
    def _parsed(answer: Answer, parse: Callable[[object], T]) -> T:
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise unreadable(answer, "JSON") from error
        try:
            return parse(document)
        except answers.WrongAnswerError as error:
            raise unreadable(answer, str(error)) from error
