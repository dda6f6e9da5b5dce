"""The alpha of a LoRA whose trainer wrote it down in tensors only: a number beside the matrices of each layer.

The inspector calls it on whatever thread reads the header. It reads a few bytes at known places of the open file, as
the header is read, and nothing else.
"""

import math
import struct
from collections import Counter

from lorawatch.inspection.header import Header
from lorawatch.inspection.keys import Role
from lorawatch.inspection.layout import Layout, derived
from lorawatch.inspection.reading import pread_exactly

_FORMATS = {"F64": "<d", "F32": "<f", "F16": "<e"}
_WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


def alpha_in_tensors(descriptor: int, header: Header) -> float | None:
    """Return the alpha that most layers have, None if no layer has a usable one. 1,000 layers take about 1 ms.

    Raises FileChangedError if the file has become shorter, FileUnreadableError.
    """
    values = (
        _value(pread_exactly(descriptor, _WIDTHS[dtype], header.data_offset + begin), dtype)
        for begin, dtype in _places(header.layout)
    )
    counts = Counter(value for value in values if 0 < value < math.inf)
    return max(counts, key=lambda value: (counts[value], value), default=None)


@derived
def _places(layout: Layout) -> list[tuple[int, str]]:
    tensors = (layout.tensors[name] for name, key in layout.keys.items() if key.role is Role.ALPHA)
    return [
        (tensor.begin, tensor.dtype)
        for tensor in tensors
        if tensor.dtype in _WIDTHS and tensor.end - tensor.begin == _WIDTHS[tensor.dtype]
    ]


def _value(data: bytes, dtype: str) -> float:
    """Return a number; bf16 is the upper half of an f32."""
    (value,) = struct.unpack(_FORMATS.get(dtype, "<f"), b"\0\0" + data if dtype == "BF16" else data)
    return float(value)
