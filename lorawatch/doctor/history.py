"""What ComfyUI's own history tells about LoRAs: graphs that failed for an empty input, LoRAs that could do nothing.

Pure. comfyui.py calls it with the document of /history. What has another form is passed over.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_WEAK = 0.05  # below this strength nobody sees a difference
_STRENGTHS = ("strength_model", "strength_clip", "strength")


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of trouble, with the latest example."""

    code: str
    detail: str


def troubles_of(history: Mapping[str, object]) -> list[Trouble]:
    """Return what went wrong lately, each kind once; the latest graph counts."""
    found: dict[str, Trouble] = {}
    for entry in reversed(list(history.values())):
        graph = _graph_of(entry)
        for trouble in (*_failures(entry, graph), *_idle_loras(graph)):
            found.setdefault(trouble.code, trouble)
    return list(found.values())


def _failures(entry: object, graph: Mapping[str, Any]) -> Iterator[Trouble]:
    messages = _table(_table(entry).get("status")).get("messages")
    for message in messages if isinstance(messages, list) else ():
        told = _table(message[1]) if isinstance(message, list) and len(message) > 1 else {}
        words = str(told.get("exception_message", "")).strip()
        if "NoneType" in words and "itera" in words:  # "not iterable", "is not iterable", "iteration over"
            node = told.get("node_type") or "a node"
            empty = [f"{_class_of(graph, number)}.{name}" for number, name in _empty_inputs(graph)]
            inputs = f"; these inputs are null: {', '.join(empty[:5])}" if empty else ""
            yield Trouble("none-type-not-iterable", f'a workflow failed at {node} with "{words}"{inputs}')


def _idle_loras(graph: Mapping[str, Any]) -> Iterator[Trouble]:
    """Yield the LoRAs in a graph that cannot have an effect: too weak, or behind nothing."""
    used = {str(value[0]) for node in graph.values() for value in _links(node)}
    for number, node in graph.items():
        inputs = _table(_table(node).get("inputs"))
        name = inputs.get("lora_name")
        if not isinstance(name, str):
            continue
        strengths = [abs(inputs[key]) for key in _STRENGTHS if isinstance(inputs.get(key), int | float)]
        if str(number) not in used:
            yield Trouble("no-lora-effect", f"in a workflow nothing is connected to the node that loads {name}")
        elif strengths and max(strengths) < _WEAK:
            yield Trouble("no-lora-effect", f"in a workflow {name} has the strength {max(strengths):g}")


def _graph_of(entry: object) -> Mapping[str, Any]:
    """Return the graph of an entry: number, id, graph, further data, outputs."""
    prompt = _table(entry).get("prompt")
    return _table(prompt[2]) if isinstance(prompt, list) and len(prompt) > 2 else {}


def _links(node: object) -> Iterator[list[Any]]:
    for value in _table(_table(node).get("inputs")).values():
        if isinstance(value, list) and len(value) == 2:
            yield value


def _empty_inputs(graph: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for number, node in graph.items():
        for name, value in _table(_table(node).get("inputs")).items():
            if value is None:
                yield number, name


def _class_of(graph: Mapping[str, Any], number: str) -> str:
    return str(_table(graph.get(number)).get("class_type", number))


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
