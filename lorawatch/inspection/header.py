"""The header of a safetensors file, checked by the official parser and by what it leaves out.

The inspector calls it on the intake thread, `check` on the main thread. It reads 8 + N bytes with pread and
never maps the live file: the official parser sees a sparse memfd of the same length instead, so that a trainer
which truncates its file in the middle of our look costs an error, not the process.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from safetensors import SafetensorError, deserialize, safe_open

from lorawatch.domain.errors import FileRejectedError, FileUnreadableError
from lorawatch.inspection.document import TensorInfo, invalid, parse_document
from lorawatch.inspection.layout import Known, Layout, find_known, remember
from lorawatch.inspection.prefix import LENGTH_BYTES, PREFIX_BYTES, header_length, reject_foreign
from lorawatch.inspection.reading import pread_exactly

_FIX_COPY = "the writer or the copy was interrupted: save or copy it again"


@dataclass(frozen=True, slots=True)
class Header:
    """What a valid header says. `data_offset` is where the data starts in the file."""

    layout: Layout
    metadata: Mapping[str, str]
    data_offset: int
    total_bytes: int

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """The tensors by name."""
        return self.layout.tensors


def read_header(descriptor: int, *, size_bytes: int, max_header_bytes: int) -> Header:
    """Return the header of an open file of `size_bytes` bytes.

    Raises FileRejectedError with a code for what is not a whole and valid safetensors file, FileChangedError
    if the file is shorter than told, FileUnreadableError if the system refuses to read.
    """
    raw = _read_raw(descriptor, size_bytes=size_bytes, max_header_bytes=max_header_bytes)
    known = _known(raw, size_bytes=size_bytes)
    if known is not None:
        return Header(known.layout, known.metadata, data_offset=len(raw), total_bytes=size_bytes)
    complaint = _official_complaint(raw, size_bytes=size_bytes)
    if complaint is not None:
        raise _explained(complaint, raw, size_bytes=size_bytes)
    if raw[LENGTH_BYTES] != ord("{"):
        raise invalid("the header starts with white space instead of a brace, which the format forbids")
    document = parse_document(raw[LENGTH_BYTES:])
    if not document.tensors:
        raise FileRejectedError("the header is valid but names no tensors", code="no-tensors", fix="save it again")
    for name in document.tensors:
        if "\0" in name or "../" in name:
            raise FileRejectedError(
                f"the tensor name {name!r} could be taken for a path", code="unsafe-tensor-name", fix="do not use it"
            )
    layout = Layout(document.tensors)
    remember(raw[LENGTH_BYTES:], layout)
    return Header(layout, document.metadata, data_offset=len(raw), total_bytes=size_bytes)


def _known(raw: bytes, *, size_bytes: int) -> Known | None:
    """Return a header of which the official parser has seen all but the metadata, after it has seen these.

    Whatever is not as good as the last time, it is shown as a whole.
    """
    known = find_known(raw[LENGTH_BYTES:])
    if known is None or len(raw) + known.layout.data_bytes != size_bytes:
        return None
    try:
        deserialize(len(known.metadata_text).to_bytes(LENGTH_BYTES, "little") + known.metadata_text)  # type: ignore[no-untyped-call]
    except SafetensorError:
        return None
    return known


def _read_raw(descriptor: int, *, size_bytes: int, max_header_bytes: int) -> bytes:
    """Return the 8 + N bytes, after the checks that need no parser: the cap must come before parsing."""
    if size_bytes == 0:
        raise FileRejectedError("the file is empty", code="empty-file", fix=_FIX_COPY)
    prefix = pread_exactly(descriptor, min(size_bytes, PREFIX_BYTES), 0)
    reject_foreign(prefix, max_header_bytes=max_header_bytes)
    length = header_length(prefix)
    if length == 0:
        raise FileRejectedError(
            "it begins with zeros where a safetensors file has the length of its header",
            code="not-safetensors",
            fix=_FIX_COPY,
        )
    if length is None or LENGTH_BYTES + length > size_bytes:
        raise _truncated(f"it ends inside its header, after {size_bytes:,} bytes")
    end = LENGTH_BYTES + length
    return prefix[:end] + pread_exactly(descriptor, max(0, end - len(prefix)), len(prefix))


def _official_complaint(raw: bytes, *, size_bytes: int) -> str | None:
    """Return what the safetensors library says against a file of this length with this header, or None."""
    descriptor = os.memfd_create("lorawatch-header", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as memory:
            memory.write(raw)
        os.ftruncate(descriptor, size_bytes)  # sparse: costs nothing
        with safe_open(f"/proc/self/fd/{descriptor}", framework="numpy"):
            return None
    except SafetensorError as error:
        return str(error)
    except (OSError, MemoryError) as error:  # no descriptor or no address space left: not the file's fault
        raise FileUnreadableError(
            f"the header could not be given to the safetensors library: {error}",
            fix="look at the limits on open files and memory; it is tried again by itself",
        ) from error
    finally:
        os.close(descriptor)


def _explained(complaint: str, raw: bytes, *, size_bytes: int) -> FileRejectedError:
    """Turn a complaint into a rejection: a header that would be fine with another length is a matter of length."""
    try:
        expected_bytes = len(raw) + parse_document(raw[LENGTH_BYTES:]).data_bytes
        is_right_otherwise = (
            expected_bytes != size_bytes and _official_complaint(raw, size_bytes=expected_bytes) is None
        )
    except (FileRejectedError, FileUnreadableError, OverflowError):  # not JSON, or a length that no file can have
        is_right_otherwise, expected_bytes = False, 0
    if not is_right_otherwise:
        return invalid(f"the safetensors library refuses it: {complaint}")
    if size_bytes < expected_bytes:
        return _truncated(f"it has {size_bytes:,} of the {expected_bytes:,} bytes that its header announces")
    return FileRejectedError(
        f"{size_bytes - expected_bytes:,} bytes follow after the last tensor", code="trailing-bytes", fix=_FIX_COPY
    )


def _truncated(message: str) -> FileRejectedError:
    return FileRejectedError(message, code="truncated", fix=_FIX_COPY)
