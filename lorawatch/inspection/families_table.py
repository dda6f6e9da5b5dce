"""The family table in the form that answers which models have a layer of this name and these sizes.

`families.py` asks it, on any thread; it is built once, at the first question, and never changes. The data stands in
families.toml. Names are compared with "_" for ".", because kohya's names have lost the difference.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

from lorawatch.inspection.rules import table_text

# The repeated blocks of a transformer. A UNet's differ from each other; fewer than five are refiners and the like,
# which trainers often leave out.
_STACK = re.compile(r"^(?!down_|up_|input_|output_)(\w*(?:blocks|layers))\.(\d+)-(\d+)\.", re.MULTILINE)
_STACK_SIZE = 5
_NUMBER = re.compile(r"(?<![^_])\d+(?![^_])")
_RANGE = re.compile(r"(?<![^_])(\d+)(?:-(\d+))?(?![^_])")


class Layer(NamedTuple):
    """The layers of one pattern that have the same sizes in the rows of a mask."""

    ranges: tuple[tuple[int, int], ...]  # of the numbers in the name, in order
    outputs: int
    inputs: int
    kernel: int  # elements of a convolution's kernel, else 1
    rows: int  # one bit for each row that has it


@dataclass(frozen=True, slots=True)
class Row:
    """One model under one naming."""

    family: str
    stacks: dict[str, frozenset[int]]  # name of each long stack of blocks → the numbers of its blocks


class FamilyTable:
    """All rows, by layer name."""

    def __init__(self, text: str) -> None:
        data = tomllib.loads(text)
        self.aliases: dict[str, tuple[str, ...]] = {
            value: (family,) if isinstance(family, str) else tuple(family) for value, family in data["metadata"].items()
        }
        self.variants: dict[str, str] = data["variants"]
        self.rows: list[Row] = []
        sized: dict[str, dict[tuple[tuple[tuple[int, int], ...], int, int, int], int]] = {}
        split = cache(_pattern)  # every other name is that of another row too
        for number, row in enumerate(data["row"]):
            for name, shape in _layers(row["layers"]):
                pattern, ranges = split(name)
                entries = sized.setdefault(pattern, {})
                entries[ranges, *shape] = entries.get((ranges, *shape), 0) | 1 << number
            self.rows.append(Row(row["family"], _stacks(row["layers"])))
        self._layers = {
            pattern: tuple(Layer(*key, rows) for key, rows in entries.items()) for pattern, entries in sized.items()
        }
        self.families = frozenset(row.family for row in self.rows)
        # LoRAs of one family repeat the same names file after file; this bounds what is kept of them (some 2 MB).
        self._named = lru_cache(maxsize=8192)(self._look_up)

    def rows_with(self, name: str, outputs: int | None, inputs: int | None) -> int:
        """Return the rows that have this layer, as a bit mask; None for a size that the file does not tell."""
        mask = 0
        for layer in self._named(name):
            if (outputs is None or outputs == layer.outputs) and (
                inputs is None or inputs == layer.inputs or inputs == layer.inputs * layer.kernel
            ):
                mask |= layer.rows
        return mask

    def rows_of(self, mask: int) -> Iterator[Row]:
        """Yield the rows of a bit mask."""
        return (row for number, row in enumerate(self.rows) if mask >> number & 1)

    def families_of(self, mask: int) -> frozenset[str]:
        """Return the families of a bit mask of rows."""
        return frozenset(row.family for row in self.rows_of(mask))

    def complete_families(self, mask: int, names: Iterable[str]) -> frozenset[str]:
        """Return the families of which these layers touch every block of every long stack, if there are any.

        A larger family of which they leave blocks out in one stack only comes with them: 28 blocks may be all of
        CogView4 or the first 28 of GLM-Image's 30, but 19 and 38 are hardly the first of HunyuanVideo's 20 and 40.
        """
        touched: dict[str, set[int]] = {}
        for name in names:
            if match := _NUMBER.search(name):
                touched.setdefault(name[: match.start() - 1], set()).add(int(match[0]))
        incomplete = [
            (sum(not touched.get(stack, set()) >= numbers for stack, numbers in row.stacks.items()), row.family)
            for row in self.rows_of(mask)
            if row.stacks
        ]
        if all(count for count, _ in incomplete):
            return frozenset()
        return frozenset(family for count, family in incomplete if count <= 1)

    def _look_up(self, name: str) -> tuple[Layer, ...]:
        numbers = [int(number) for number in _NUMBER.findall(name)]
        return tuple(
            layer
            for layer in self._layers.get(_NUMBER.sub("#", name), ())
            if all(low <= number <= high for number, (low, high) in zip(numbers, layer.ranges, strict=True))
        )


def _layers(text: str) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Yield each name of a row's lines (ranges unexpanded, "_" for ".") with outputs, inputs, kernel."""
    for line in text.replace(".", "_").split("\n"):
        words = line.split()
        if not words:
            continue
        sizes = [int(size) for size in words[-1].split("x")]
        stack = words.pop(0) if words[0].endswith("_") else ""
        shape = (sizes[0], sizes[1], sizes[2] if sizes[2:] else 1)
        for name in words[:-1]:
            yield stack + name, shape


def _stacks(text: str) -> dict[str, frozenset[int]]:
    stacks: dict[str, set[int]] = {}
    for name, low, high in _STACK.findall(text):
        stacks.setdefault(name, set()).update(range(int(low), int(high) + 1))
    return {name: frozenset(numbers) for name, numbers in stacks.items() if len(numbers) >= _STACK_SIZE}


def _pattern(name: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Split a name into its pattern ("#" for each number) and the ranges of its numbers."""
    ranges: list[tuple[int, int]] = []

    def take(match: re.Match[str]) -> str:
        low = int(match[1])
        high = int(match[2] or low)
        if high < low:  # a name of its own such as Z-Image's all_final_layer.2-1
            return match[0]
        ranges.append((low, high))
        return "#"

    return _RANGE.sub(take, name), tuple(ranges)


@cache
def family_table() -> FamilyTable:
    """Return the table of this package; built once per process, in about 25 ms."""
    return FamilyTable(table_text())
