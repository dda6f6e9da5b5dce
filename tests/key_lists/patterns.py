"""The terse notation of the key lists: `blocks.{0-18}.attn.to_q` stands for nineteen names.

`make_key_lists.py` writes it, the tests and the confusion matrix read it.
"""

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_RANGE = re.compile(r"\{(\d+)-(\d+)\}")
_NUMBER = re.compile(r"(?<![0-9A-Za-z])\d+(?![0-9A-Za-z])")
KEY_LISTS = Path(__file__).parents[1] / "data" / "key_lists"


@dataclass(frozen=True, slots=True)
class KeyList:
    """The names and shapes of one LoRA file of a known family."""

    name: str
    family: str
    style: str
    targets: str
    made_by: str
    shapes: dict[str, tuple[int, ...]]


def read_key_lists(directory: Path = KEY_LISTS) -> list[KeyList]:
    """Return every committed list, expanded to the full names, in the order of their file names."""
    lists = []
    for path in sorted(directory.glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        shapes = {
            name: tuple(int(size) for size in shape.split("x") if size)
            for shape, stacks in data["tensors"].items()
            for stack, rests in stacks.items()
            for rest in rests.split()
            for name in expand(stack + rest)
        }
        lists.append(KeyList(path.stem, data["family"], data["style"], data["targets"], data["made_by"], shapes))
    return lists


def expand(pattern: str) -> Iterable[str]:
    """Yield the names that a pattern stands for."""
    parts = _RANGE.split(pattern)
    ranges = [range(int(parts[i]), int(parts[i + 1]) + 1) for i in range(1, len(parts), 3)]
    template = "{}".join(parts[::3])
    return (template.format(*numbers) for numbers in itertools.product(*ranges))


def compress(names: Iterable[str]) -> list[str]:
    """Return patterns that stand for exactly these names."""
    entries = {(_NUMBER.sub("{}", name), tuple((int(n), int(n)) for n in _NUMBER.findall(name))) for name in names}
    depth = max((len(ranges) for _, ranges in entries), default=0)
    for position in reversed(range(depth)):
        entries = _merge(entries, position)
    return sorted(
        template.format(*(str(low) if low == high else f"{{{low}-{high}}}" for low, high in ranges))
        for template, ranges in entries
    )


Entry = tuple[str, tuple[tuple[int, int], ...]]


def _merge(entries: Iterable[Entry], position: int) -> set[Entry]:
    groups: defaultdict[tuple[str, object, object], list[tuple[int, int]]] = defaultdict(list)
    untouched: set[Entry] = set()
    for template, ranges in entries:
        if position < len(ranges):
            groups[template, ranges[:position], ranges[position + 1 :]].append(ranges[position])
        else:
            untouched.add((template, ranges))
    for (template, before, after), runs in groups.items():
        for run in _joined(runs):
            untouched.add((template, (*before, run, *after)))  # type: ignore[misc]  # both are tuples of pairs
    return untouched


def _joined(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    result: list[tuple[int, int]] = []
    for low, high in sorted(runs):
        if result and low == result[-1][1] + 1:
            result[-1] = (result[-1][0], high)
        else:
            result.append((low, high))
    return result


def by_shape(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, dict[str, str]]:
    """Return patterns grouped under their shape, written `16x3072`, and under what they begin with."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    for name, shape in shapes.items():
        names["x".join(map(str, shape))].append(name)
    result: dict[str, dict[str, str]] = {}
    for shape_text in sorted(names):
        stacks: defaultdict[str, list[str]] = defaultdict(list)
        for pattern in compress(names[shape_text]):
            stack, brace, rest = pattern.rpartition("}")
            stacks[stack + brace].append(rest)
        result[shape_text] = {stack: " ".join(rests) for stack, rests in stacks.items()}
    return result
