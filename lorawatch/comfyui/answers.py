"""ComfyUI's JSON, parsed at once into the house's words. Used by client.py; pure.

What is missing or of another type is passed over where the rest makes sense, for ComfyUI's API has no versions;
WrongAnswerError where nothing makes sense.
"""

from collections.abc import Iterator
from typing import Any

from lorawatch.domain.comfyui import History, Image, ListedFile, NodeError, Prompted, Queue, System

_MOST_WORDS = 300


class WrongAnswerError(Exception):
    """It is no such thing as was asked for; the text says what that was."""


def names_of(document: object) -> list[str]:
    """Return the names of a list of models. A ComfyUI on Windows separates directories by backslashes."""
    if not isinstance(document, list):
        raise WrongAnswerError("list of names")
    return [name.replace("\\", "/") for name in document if isinstance(name, str)]


def files_of(document: object) -> list[ListedFile]:
    """Return the files of /experiment/models/<folder>."""
    if not isinstance(document, list):
        raise WrongAnswerError("list of files")
    return [
        ListedFile(entry["name"].replace("\\", "/"), _whole(entry.get("size")), _number(entry.get("modified")))
        for entry in document
        if isinstance(entry, dict) and isinstance(entry.get("name"), str)
    ]


def folders_of(document: object, folder: str) -> list[str]:
    """Return the directories of a models folder, from /experiment/models."""
    return [
        path
        for entry in (document if isinstance(document, list) else [])
        if isinstance(entry, dict) and entry.get("name") == folder
        for path in (entry.get("folders") or [])
        if isinstance(path, str)
    ]


def entries_of(document: object) -> dict[str, object]:
    """Return the entries of /history as they are."""
    return {key: value for key, value in document.items() if isinstance(key, str)} if isinstance(document, dict) else {}


def queue_of(document: object) -> Queue:
    """Return the state of /queue, or of /prompt, which tells the sum alone."""
    if isinstance(document, dict):
        running, pending = document.get("queue_running"), document.get("queue_pending")
        if isinstance(running, list) and isinstance(pending, list):
            return Queue(len(running), len(pending))
        remaining = _whole(_table(document.get("exec_info")).get("queue_remaining"))
        if remaining is not None:
            return Queue(min(remaining, 1), max(remaining - 1, 0))
    raise WrongAnswerError("queue")


def choices_of(document: object, node: str, input_name: str) -> list[str] | None:
    """Return what an input of a node may be, from /object_info/<node>; None if there is no such choice."""
    inputs = _table(_table(_table(document).get(node)).get("input"))
    for group in ("required", "optional"):
        described = _table(inputs.get(group)).get(input_name)
        if not isinstance(described, list) or not described:
            continue
        choices = described[0]
        if not isinstance(choices, list) and len(described) > 1:  # ["COMBO", {"options": […]}], the later form
            choices = _table(described[1]).get("options")
        if isinstance(choices, list):
            return [choice for choice in choices if isinstance(choice, str)]
    return None


def prompted_of(document: object) -> Prompted:
    """Return what became of a graph, from the answer of POST /prompt."""
    if not isinstance(document, dict):
        raise WrongAnswerError("answer to a graph")
    prompt_id = document.get("prompt_id")
    if isinstance(prompt_id, str) and prompt_id:
        return Prompted(prompt_id)
    error = document.get("error")
    if not isinstance(error, dict):  # older ones give words alone
        return Prompted(None, message=_words(error), node_errors=tuple(_node_errors(document)))
    message, details = _words(error.get("message")), _words(error.get("details"))
    return Prompted(
        None,
        type=_words(error.get("type")),
        message=f"{message}: {details}" if details else message,
        node_errors=tuple(_node_errors(document)),
    )


def history_of(document: object, prompt_id: str) -> History | None:
    """Return how a graph ended, from /history/<id>; None if it has not yet."""
    entry = _table(document).get(prompt_id)
    if not isinstance(entry, dict):
        return None
    status = _table(entry.get("status"))
    if status and status.get("completed") is not True and status.get("status_str") != "error":
        return None
    images = tuple(
        Image(image["filename"], _words(image.get("subfolder")), _words(image.get("type")) or "output")
        for output in _table(entry.get("outputs")).values()
        for made in _table(output).values()
        for image in (made if isinstance(made, list) else [])
        if isinstance(image, dict) and isinstance(image.get("filename"), str)
    )
    return History(status.get("status_str") != "error", images, _failure_of(status))


def system_of(document: object) -> System:
    """Return what /system_stats tells."""
    system = document.get("system") if isinstance(document, dict) else None
    if not isinstance(system, dict):
        raise WrongAnswerError("description of the system")
    devices = _table(document).get("devices")
    names = [_words(_table(device).get("name")) for device in (devices if isinstance(devices, list) else [])]
    return System(_words(system.get("comfyui_version")), tuple(filter(None, names)))


def _node_errors(document: dict[str, Any]) -> Iterator[NodeError]:
    for node_id, node in _table(document.get("node_errors")).items():
        errors = _table(node).get("errors")
        for error in errors if isinstance(errors, list) else []:
            told = _table(error)
            extra = _table(told.get("extra_info"))
            message, details = _words(told.get("message")), _words(told.get("details"))
            yield NodeError(
                str(node_id),
                _words(_table(node).get("class_type")),
                _words(told.get("type")),
                f"{message}: {details}" if details else message,
                input_name=_words(extra.get("input_name")),
                received=_words(extra.get("received_value")),
            )


def _failure_of(status: dict[str, Any]) -> str:
    """Return ComfyUI's words for why a graph failed: those of its last message of that kind."""
    messages = status.get("messages")
    for message in reversed(messages if isinstance(messages, list) else []):
        if not isinstance(message, list) or len(message) < 2:
            continue
        kind, told = message[0], _table(message[1])
        if kind == "execution_error":
            node = _words(told.get("node_type"))
            return f"{node}: {_words(told.get('exception_message'))}" if node else _words(told.get("exception_message"))
        if kind == "execution_interrupted":
            return "it was interrupted"
    return ""


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _words(value: object) -> str:
    return " ".join(value.split())[:_MOST_WORDS] if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
