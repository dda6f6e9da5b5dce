"""The alpha that only tensors tell, read from a few bytes of the file."""

import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lorawatch.domain.errors import FileChangedError
from lorawatch.domain.model import Facts
from lorawatch.inspection.alphas import alpha_in_tensors
from lorawatch.inspection.header import Header
from lorawatch.inspection.inspector import inspect as read
from tests.factories import Tensor, lora_bytes


def number(dtype: str, value: float) -> Tensor:
    """Return a scalar; bf16 is the upper half of an f32."""
    if dtype == "BF16":
        return Tensor(dtype, (), struct.pack("<f", value)[2:])
    return Tensor(dtype, (), struct.pack({"F16": "<e", "F32": "<f", "F64": "<d"}[dtype], value))


def kohya(alphas: list[Tensor]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for layer, alpha in enumerate(alphas):
        name = f"lora_unet_blocks_{layer}_q"
        tensors |= {
            f"{name}.lora_down.weight": Tensor("F16", (8, 64)),
            f"{name}.lora_up.weight": Tensor("F16", (64, 8)),
            f"{name}.alpha": alpha,
        }
    return tensors


@contextmanager
def inspected(content: bytes) -> Iterator[tuple[Facts, Header, int]]:
    descriptor = os.memfd_create("test")
    try:
        os.pwrite(descriptor, content, 0)
        size_bytes, name = len(content), "x.safetensors"
        yield (*read(descriptor, name=name, size_bytes=size_bytes, max_header_bytes=1 << 24), descriptor)
    finally:
        os.close(descriptor)


def inspect(content: bytes) -> Facts:
    with inspected(content) as (facts, _, _):
        return facts


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32", "F64"])
@pytest.mark.parametrize("value", [1.0, 0.5, 16.0, 96.0])
def test_an_alpha_in_tensors_is_read_in_every_type(dtype: str, value: float) -> None:
    assert inspect(lora_bytes(tensors=kohya([number(dtype, value)] * 3), metadata={})).alpha == value


def test_of_several_alphas_the_most_common_one_counts() -> None:
    alphas = [number("F32", value) for value in (4.0, 8.0, 8.0, 1.0)]
    assert inspect(lora_bytes(tensors=kohya(alphas), metadata={})).alpha == 8.0


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_an_alpha_that_cannot_be_one_is_none(value: float) -> None:
    assert inspect(lora_bytes(tensors=kohya([number("F32", value)]), metadata={})).alpha is None


def test_what_the_metadata_say_comes_first() -> None:
    content = lora_bytes(tensors=kohya([number("F32", 4.0)]), metadata={"ss_network_alpha": "2.0"})
    assert inspect(content).alpha == 2.0


@pytest.mark.parametrize("alpha", [Tensor("F32", (4,)), Tensor("I64", ()), Tensor("F32", (0,), b"")])
def test_an_alpha_of_another_form_is_left_alone(alpha: Tensor) -> None:
    assert inspect(lora_bytes(tensors=kohya([alpha]), metadata={})).alpha is None


def test_files_of_one_layout_have_each_their_own_alpha() -> None:
    for value in (1.0, 2.0):
        assert inspect(lora_bytes(tensors=kohya([number("F32", value)]), metadata={"format": "pt"})).alpha == value


def test_a_file_that_is_cut_meanwhile_has_changed() -> None:
    content = lora_bytes(tensors=kohya([number("F32", 1.0)] * 3), metadata={})
    with inspected(content) as (_, header, descriptor):
        os.ftruncate(descriptor, header.data_offset + 1)
        with pytest.raises(FileChangedError):
            alpha_in_tensors(descriptor, header)


def test_whole_matrices_of_lokr_have_no_rank_and_their_alpha_means_nothing() -> None:
    tensors = {
        "lycoris_q.lokr_w1": Tensor("F32", (8, 8)),
        "lycoris_q.lokr_w2": Tensor("F32", (8, 8)),
        "lycoris_q.alpha": number("F32", 9_999_999_999.0),
    }
    found = inspect(lora_bytes(tensors=tensors, metadata={}))
    assert (found.algorithm, found.rank, found.alpha) == ("lokr", None, None)
