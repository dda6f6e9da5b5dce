"""The JSON of a safetensors header, parsed into types.

`header` calls it after the official parser has agreed, `wholeness` before, on a file that may still be growing.
It never reads: it is given the text. It is narrower than the official parser, which keeps the last of two
tensors with one name.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeGuard

from lorawatch.domain.errors import FileRejectedError

METADATA_KEY = "__metadata__"
_FIX = "save the model again"
_MOST_BYTES = 2**63 - 1  # of a file on Linux (off_t)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor; begin and end are bytes from the start of the data, as in the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Document:
    """What a header says, whether or not it is true."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]

    @property
    def data_bytes(self) -> int:
        """How many bytes of data the tensors need."""
        return max((tensor.end for tensor in self.tensors.values()), default=0)


class _DuplicateKeyError(ValueError):
    pass


def parse_document(text: bytes) -> Document:
    """Return the document. Raises FileRejectedError: `header-invalid`, or `duplicate-keys` at any depth."""
    with _told():
        parsed = _DECODER.decode(text.decode())
    if not isinstance(parsed, dict):
        raise invalid("the header is JSON, but no object")
    metadata = _strings(parsed.pop(METADATA_KEY, None) or {})
    return Document(tensors={name: _tensor(name, info) for name, info in parsed.items()}, metadata=metadata)


def parse_metadata(text: str, begin: int) -> tuple[Mapping[str, str], int]:
    """Return the metadata that begin there, and where they end. Raises as `parse_document`."""
    with _told():
        parsed, end = _DECODER.raw_decode(text, begin)
    return _strings(parsed), end


def invalid(message: str) -> FileRejectedError:
    """Return the error to raise for a header that breaks the format."""
    return FileRejectedError(message, code="header-invalid", fix=_FIX)


@contextmanager
def _told() -> Iterator[None]:
    """Raise what the JSON decoder has to say as rejections."""
    try:
        yield
    except _DuplicateKeyError as error:
        raise FileRejectedError(
            f"the header names {str(error)!r} twice: readers would disagree on which one counts",
            code="duplicate-keys",
            fix=_FIX,
        ) from error
    except (ValueError, RecursionError) as error:
        raise invalid(f"the header is not JSON: {error}") from error


def _strings(metadata: object) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise invalid("the header's metadata holds something other than strings")
    return metadata


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise _DuplicateKeyError(name)
    return unique


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _tensor(name: str, info: object) -> TensorInfo:
    # Plain tests instead of a match statement: a header has a thousand of these, and it is three times as fast.
    if isinstance(info, dict):
        dtype, shape, offsets = info.get("dtype"), info.get("shape"), info.get("data_offsets")
        if isinstance(dtype, str) and _are_integers(shape) and _are_integers(offsets) and len(offsets) == 2:
            if not 0 <= offsets[0] <= offsets[1] <= _MOST_BYTES:
                raise invalid(f"the tensor {name!r} lies where no file has bytes: see its data_offsets")
            return TensorInfo(dtype, tuple(shape), *offsets)
    raise invalid(f"the header describes the tensor {name!r} in a form that the format does not know")


def _are_integers(values: object) -> TypeGuard[list[int]]:
    return type(values) is list and all([type(value) is int for value in values])  # noqa: C419 - a list is faster here
