"""A cheap look at a file that may still be growing: how long it will be, and whether all of it is there.

The folder source calls it on the intake thread before a file is settled, perhaps many times for one file. It
never maps the file, never reads more than the header and a few blocks at the end, and moves the descriptor's
offset (everything in lorawatch reads by position).
"""

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass

from lorawatch.inspection.document import TensorInfo, parse_document
from lorawatch.inspection.keys import is_never_zero
from lorawatch.inspection.layout import Layout, find_known
from lorawatch.inspection.prefix import LENGTH_BYTES, PREFIX_BYTES, header_length, reject_foreign
from lorawatch.inspection.reading import pread_exactly, unreadable

# What counts as a tail of zeros. A block of a file system, and more than trained weights ever show.
ZERO_TAIL_BYTES = 4096
_STEP_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Wholeness:
    """How much of a file is there. `expected_bytes` is None while its header is not complete."""

    expected_bytes: int | None
    has_gap: bool


def wholeness(descriptor: int, *, size_bytes: int, max_header_bytes: int) -> Wholeness:
    """Return how whole an open file of `size_bytes` bytes is.

    Raises FileRejectedError at once for what can never become a safetensors file, and FileChangedError or
    FileUnreadableError as `read_header` does.
    """
    prefix = pread_exactly(descriptor, min(size_bytes, PREFIX_BYTES), 0)
    reject_foreign(prefix, max_header_bytes=max_header_bytes)
    length = header_length(prefix)
    if not length or LENGTH_BYTES + length > size_bytes:
        return Wholeness(None, has_gap=False)
    data_offset = LENGTH_BYTES + length
    raw = prefix[:data_offset] + pread_exactly(descriptor, max(0, data_offset - len(prefix)), len(prefix))
    if b"\0" in raw[LENGTH_BYTES:]:  # JSON holds no NUL: the space is allocated, the header is not written yet
        return Wholeness(None, has_gap=True)
    known = find_known(raw[LENGTH_BYTES:])
    layout = known.layout if known else Layout(parse_document(raw[LENGTH_BYTES:]).tensors)
    expected_bytes = data_offset + layout.data_bytes
    has_gap = has_hole(descriptor, size_bytes) or (
        size_bytes == expected_bytes
        and _has_zero_tail(descriptor, layout.tensors, data_offset=data_offset, size_bytes=size_bytes)
    )
    return Wholeness(expected_bytes, has_gap)


def zero_tail(tensors: Mapping[str, TensorInfo], *, last_byte: int) -> str | None:
    """Return how zeros at the end of the data cut its tensors, in words; None if they do not.

    `last_byte` is the position in the data of the last byte that is not zero, or -1 if there is none. One last
    tensor of nothing but zeros is well, and so are many, if a training may have left them so: of an untrained LoRA
    with lora_A in F32 and lora_B in BF16, every lora_B lies behind every lora_A.
    """
    filled = {name: tensor for name, tensor in tensors.items() if tensor.end > tensor.begin}
    data_bytes = max((tensor.end for tensor in filled.values()), default=0)
    zero_bytes = data_bytes - 1 - last_byte
    cut_bytes = max((tensor.end for tensor in filled.values() if tensor.begin <= last_byte), default=0) - 1 - last_byte
    empty = [name for name, tensor in filled.items() if tensor.begin > last_byte]
    is_cut_before = len(empty) >= 2 and zero_bytes >= ZERO_TAIL_BYTES and any(_vouches(name, filled) for name in empty)
    if cut_bytes >= ZERO_TAIL_BYTES or is_cut_before:
        return f"the last {zero_bytes:,} of {data_bytes:,} bytes of data are zeros"
    return None


def has_hole(descriptor: int, size_bytes: int) -> bool:
    """Return whether a part of the file was never written: a hole, or preallocated and still unwritten."""
    try:
        return os.lseek(descriptor, 0, os.SEEK_HOLE) < size_bytes
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOTSUP, errno.ENXIO):  # not known here; or shorter by now
            return False
        raise unreadable(error) from error


def _vouches(name: str, tensors: Mapping[str, TensorInfo]) -> bool:
    return is_never_zero(name, tensors[name].shape)


def _has_zero_tail(descriptor: int, tensors: Mapping[str, TensorInfo], *, data_offset: int, size_bytes: int) -> bool:
    """Read backwards to the last byte that is not zero, but not past where the answer is certain."""
    filled = {name: tensor for name, tensor in tensors.items() if tensor.end > tensor.begin}
    begins = sorted((tensor.begin for tensor in filled.values()), reverse=True)
    vouching = max((tensor.begin for name, tensor in filled.items() if _vouches(name, filled)), default=0)
    certain_from = data_offset + min(begins[1] if len(begins) > 1 else 0, vouching)
    filled_end = size_bytes
    for end in range(size_bytes, certain_from, -_STEP_BYTES):  # ends whatever the header says: it may be hostile
        begin = max(data_offset, end - _STEP_BYTES)
        filled_end = begin + len(pread_exactly(descriptor, end - begin, begin).rstrip(b"\0"))
        if filled_end > begin:
            break
    return zero_tail(tensors, last_byte=filled_end - data_offset - 1) is not None
