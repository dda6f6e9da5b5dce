"""The accept and reject table: how a file can be wrong, what the official parser says of it, and what we say.

Where the official parser refuses, so do we, always; where it accepts what nobody should load, we refuse more.
"""

import os
import struct
import threading

import numpy as np
import pytest
from safetensors import SafetensorError, deserialize

from lorawatch.domain.errors import FileRejectedError
from lorawatch.inspection.examination import Examiner
from tests.factories import BROKEN_CODES, Tensor, broken, header_bytes, lora_bytes

FOUR_BYTES = b"\x01\x02\x03\x04"


def one_tensor(**changes: object) -> bytes:
    return header_bytes({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}}) + FOUR_BYTES


def weights(down: bytes, up: bytes) -> bytes:
    layer = "transformer.transformer_blocks.0.attn.to_q"
    tensors = {
        f"{layer}.lora_A.weight": Tensor("F16", (4, 64), down * (256 * 2 // len(down))),
        f"{layer}.lora_B.weight": Tensor("F16", (64, 4), up * (256 * 2 // len(up))),
    }
    return lora_bytes(tensors=tensors)


ONE, NAN, INF = (np.float16(value).tobytes() for value in (1, "nan", "inf"))
REFUSED_BY_BOTH: dict[str, tuple[bytes, str]] = {
    "truncated": (broken("data-cut"), "truncated"),
    "truncated in the header": (broken("header-cut"), "truncated"),
    "trailing bytes": (broken("trailing-byte"), "trailing-bytes"),
    "trailing NUL padding": (broken("nul-padding"), "trailing-bytes"),
    "a hole": (broken("hole"), "header-invalid"),
    "an overlap": (broken("overlap"), "header-invalid"),
    "a shape that its bytes do not fill": (broken("wrong-shape"), "header-invalid"),
    "an overflow": (one_tensor(shape=[1 << 62, 1 << 62]), "header-invalid"),
    "a negative offset": (broken("negative-offset"), "header-invalid"),
    "a float offset": (one_tensor(data_offsets=[0.0, 4.0]), "header-invalid"),
    "offsets backwards": (one_tensor(data_offsets=[4, 0]), "header-invalid"),
    "an unknown dtype": (broken("unknown-dtype"), "header-invalid"),
    "metadata that is no string": (broken("metadata-number"), "header-invalid"),
    "invalid UTF-8": (broken("not-utf8"), "header-invalid"),
    "a header over 100,000,000 bytes": (struct.pack("<Q", 100_000_001) + b"{" + bytes(4096), "header-too-large"),
}
REFUSED_BY_US_ALONE: dict[str, tuple[bytes, str]] = {
    "a tensor name twice": (broken("duplicate-tensor"), "duplicate-keys"),
    "a metadata key twice": (broken("duplicate-metadata"), "duplicate-keys"),
    "zero tensors": (broken("only-metadata"), "no-tensors"),
    "an empty document": (broken("no-tensors"), "no-tensors"),
    "NUL in a tensor name": (broken("name-with-nul"), "unsafe-tensor-name"),
    "../ in a tensor name": (broken("name-with-parent"), "unsafe-tensor-name"),
    "whitespace before the document": (broken("leading-space"), "header-invalid"),
    "NaN": (weights(ONE * 127 + NAN, ONE), "nonfinite"),
    "Inf": (weights(ONE, INF + ONE * 127), "nonfinite"),
    "a header that takes the parser 20 seconds": (lora_bytes(metadata={"k": "x" * 20_000_000}), "header-too-large"),
}
ACCEPTED_BY_BOTH: dict[str, tuple[bytes, list[str]]] = {
    "a LoRA": (lora_bytes(), []),
    "a LoRA without effect": (weights(ONE, b"\0\0"), ["zero-effect"]),
}


def official(content: bytes) -> bool:
    try:
        deserialize(content)  # type: ignore[no-untyped-call]  # the library's only untyped function
    except SafetensorError:
        return False
    return True


def ours(content: bytes) -> tuple[str | None, list[str]]:
    """Return the code of our rejection, or None and what is worth a warning."""
    examiner = Examiner(max_header_bytes=16_777_216, scan_weights=True, on_nonfinite="reject")
    descriptor = os.memfd_create("table")
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        examination = examiner.begin(descriptor, name="cat.safetensors", size_bytes=len(content))
        examination.hash(descriptor, size_bytes=len(content), stop=threading.Event())
        return None, [finding.code for finding in examination.conclude().findings]
    except FileRejectedError as error:
        return error.code, []
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("row", REFUSED_BY_BOTH)
def test_what_the_official_parser_refuses_is_rejected(row: str) -> None:
    content, code = REFUSED_BY_BOTH[row]
    assert not official(content)
    assert ours(content) == (code, [])


@pytest.mark.parametrize("row", REFUSED_BY_US_ALONE)
def test_what_it_accepts_and_nobody_should_load_is_rejected_too(row: str) -> None:
    content, code = REFUSED_BY_US_ALONE[row]
    assert official(content)
    assert ours(content) == (code, [])


@pytest.mark.parametrize("row", ACCEPTED_BY_BOTH)
def test_what_both_accept_is_accepted(row: str) -> None:
    content, findings = ACCEPTED_BY_BOTH[row]
    assert official(content)
    assert ours(content) == (None, findings)


@pytest.mark.parametrize("kind", BROKEN_CODES)
def test_no_broken_file_of_the_other_tests_is_ever_accepted(kind: str) -> None:
    assert ours(broken(kind))[0] == BROKEN_CODES[kind]
