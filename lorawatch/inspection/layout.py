"""How the tensors of a file are called and lie, understood once for all files that share it.

The checkpoints of one training differ in their metadata and in their weights, and in nothing else: `header` and
`wholeness` remember the last layouts by their text and hand out the same object again, and whatever is derived from
one is kept as long as it lives. Any thread; it never reads.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from lorawatch.domain.errors import FileRejectedError
from lorawatch.inspection.document import METADATA_KEY, TensorInfo, parse_metadata
from lorawatch.inspection.keys import Key, split_key

_Derived = TypeVar("_Derived")
# A LoRA on every layer of SDXL has 2,200 tensors and 280 kB of text; the most that is kept is some 10 MB.
_MOST_LAYOUTS = 4
_LONGEST_TEXT = 524_288
_BEGINNING = '{"' + METADATA_KEY + '":'


@dataclass(frozen=True, eq=False)  # one object for one text; no slots, because what is derived is kept in it
class Layout:
    """The tensors of a file without its metadata."""

    tensors: Mapping[str, TensorInfo]

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each tensor."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    @cached_property
    def keys(self) -> Mapping[str, Key]:
        """What each name stands for, of those that belong to a LoRA."""
        return {name: key for name in self.tensors if (key := split_key(name))}

    @cached_property
    def data_bytes(self) -> int:
        """How many bytes of data the tensors need."""
        return max((tensor.end for tensor in self.tensors.values()), default=0)


class Known(NamedTuple):
    """A header of which only the metadata is new."""

    layout: Layout
    metadata: Mapping[str, str]
    metadata_text: bytes  # a header of the metadata alone


_lock = threading.Lock()
_by_text: OrderedDict[str, Layout] = OrderedDict()


def find_known(text: bytes) -> Known | None:
    """Return what is known of a header's text; None for a new layout, another form, or metadata that is not right."""
    parts = _split(text)
    with _lock:
        layout = _by_text.get(parts.rest) if parts else None
        if parts is None or layout is None:
            return None
        _by_text.move_to_end(parts.rest)
    return Known(layout, parts.metadata, parts.metadata_text)


def remember(text: bytes, layout: Layout) -> None:
    """Keep the layout of a header that the official parser has accepted as a whole."""
    parts = _split(text)
    if parts and len(parts.rest) <= _LONGEST_TEXT:
        with _lock:
            _by_text[parts.rest] = layout
            while len(_by_text) > _MOST_LAYOUTS:
                _by_text.popitem(last=False)


def derived(compute: Callable[[Layout], _Derived]) -> Callable[[Layout], _Derived]:
    """Let a function of a layout be computed once for each; its answer must not be changed by anybody."""
    answers: WeakKeyDictionary[Layout, _Derived] = WeakKeyDictionary()

    def remembered(layout: Layout) -> _Derived:
        if layout not in answers:
            answers[layout] = compute(layout)
        return answers[layout]

    return remembered


class _Parts(NamedTuple):
    metadata: Mapping[str, str]
    metadata_text: bytes
    rest: str


def _split(text: bytes) -> _Parts | None:
    """Split a header that is written as all libraries write it into the metadata and the tensors; else None.

    The padding after the last brace depends on the length of the metadata and says nothing.
    """
    if not text.startswith(_BEGINNING.encode()):
        return None
    try:
        decoded = text.decode()
        metadata, end = parse_metadata(decoded, len(_BEGINNING))
    except (UnicodeDecodeError, FileRejectedError):
        return None
    if decoded[end : end + 2] != ',"':
        return None
    return _Parts(metadata, f"{decoded[:end]}}}".encode(), decoded[end:].rstrip(" "))
