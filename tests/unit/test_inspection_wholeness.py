"""How whole a growing file is: what its header announces, and where zeros stand for bytes that are still missing."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from lorawatch.domain.errors import FileRejectedError
from lorawatch.inspection.wholeness import ZERO_TAIL_BYTES, Wholeness, wholeness
from tests.factories import BROKEN_CODES, Tensor, broken, lora_bytes

CAP_BYTES = 16_777_216
Look = Callable[[bytes], Wholeness]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    def look_at(content: bytes) -> Wholeness:
        path = tmp_path / "growing.safetensors"
        path.write_bytes(content)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return wholeness(descriptor, size_bytes=len(content), max_header_bytes=CAP_BYTES)
        finally:
            os.close(descriptor)

    return look_at


def header_end(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


def test_every_prefix_of_a_file_tells_its_full_length_as_soon_as_the_header_is_there(look: Look) -> None:
    content = lora_bytes()
    for length in (0, 1, 7, 8, 100, header_end(content) - 1):
        assert look(content[:length]) == Wholeness(None, has_gap=False)
    for length in (header_end(content), header_end(content) + 1, len(content) - 1, len(content)):
        assert look(content[:length]) == Wholeness(len(content), has_gap=False)


@pytest.mark.parametrize(
    "kind", ["html", "html-bare", "lfs-pointer", "zip", "pickle", "gguf", "text", "huge-header", "not-json"]
)
def test_what_can_never_become_a_model_is_rejected_at_once(look: Look, kind: str) -> None:
    with pytest.raises(FileRejectedError) as caught:
        look(broken(kind))
    assert caught.value.code == BROKEN_CODES[kind]


@pytest.mark.parametrize("kind", ["empty", "seven-bytes", "header-cut", "preallocated"])
def test_what_may_still_become_a_model_is_not(look: Look, kind: str) -> None:
    assert look(broken(kind)).expected_bytes is None


def test_a_header_of_zeros_behind_its_length_is_not_there_yet(look: Look) -> None:
    content = lora_bytes()
    half = header_end(content) // 2
    for written in (8, 9, half):
        seen = look(content[:written] + bytes(len(content) - written))
        assert seen.expected_bytes is None


def test_a_hole_is_a_gap(tmp_path: Path) -> None:
    content = lora_bytes(size_bytes=1_000_000)
    path = tmp_path / "sparse.safetensors"
    path.write_bytes(content[:400_000])
    with path.open("r+b") as file:
        file.truncate(800_000)
        file.seek(800_000)
        file.write(content[800_000:])
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if os.lseek(descriptor, 0, os.SEEK_HOLE) == len(content):
            pytest.skip("this file system does not tell its holes")
        seen = wholeness(descriptor, size_bytes=len(content), max_header_bytes=CAP_BYTES)
    finally:
        os.close(descriptor)
    assert seen == Wholeness(len(content), has_gap=True)


def test_preallocated_and_unwritten_space_is_a_gap(tmp_path: Path) -> None:
    content = lora_bytes(size_bytes=1_000_000)
    path = tmp_path / "preallocated.safetensors"
    path.write_bytes(content[:400_000])
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.posix_fallocate(descriptor, 0, len(content))
        seen = wholeness(descriptor, size_bytes=len(content), max_header_bytes=CAP_BYTES)
    finally:
        os.close(descriptor)
    assert seen == Wholeness(len(content), has_gap=True)


def test_zeros_written_where_data_belongs_are_a_gap(look: Look) -> None:
    content = lora_bytes(size_bytes=1_000_000)
    for missing_bytes in (ZERO_TAIL_BYTES, 70_000, 500_000, len(content) - header_end(content)):
        assert look(content[:-missing_bytes] + bytes(missing_bytes)).has_gap


def test_fewer_zeros_than_a_block_are_no_gap(look: Look) -> None:
    content = lora_bytes()
    missing_bytes = ZERO_TAIL_BYTES - 1
    assert not look(content[:-missing_bytes] + bytes(missing_bytes)).has_gap


def test_one_last_tensor_of_zeros_is_an_untrained_matrix_and_no_gap(look: Look) -> None:
    tensors = {
        "a.lora_A.weight": Tensor("BF16", (16, 4096)),
        "a.lora_B.weight": Tensor("BF16", (4096, 16), bytes(131_072)),
    }
    assert not look(lora_bytes(tensors=tensors)).has_gap


def test_two_last_tensors_of_zeros_are_a_gap(look: Look) -> None:
    zeros = {f"{layer}.weight": Tensor("BF16", (4096, 16), bytes(131_072)) for layer in "yz"}
    assert look(lora_bytes(tensors={"a.weight": Tensor("BF16", (16, 4096)), **zeros})).has_gap


def untrained(down_dtype: str = "F32", up_dtype: str = "BF16") -> dict[str, Tensor]:
    """A LoRA whose up matrices are all zero; of the wider type, the down matrices come first in the file."""
    return {
        f"blocks.{number}.{part}.weight": tensor
        for number in range(8)
        for part, tensor in {
            "lora_A": Tensor(down_dtype, (16, 512)),
            "lora_B": Tensor(up_dtype, (512, 16), bytes(512 * 16 * 2)),
        }.items()
    }


def test_up_matrices_of_zeros_that_all_lie_at_the_end_are_untrained_and_no_gap(look: Look) -> None:
    assert not look(lora_bytes(tensors=untrained())).has_gap


def test_up_matrices_of_zeros_do_not_hide_that_the_file_was_cut_before_them(look: Look) -> None:
    content = lora_bytes(tensors=untrained())
    data_bytes = len(content) - header_end(content)
    for missing_bytes in (data_bytes // 3 + 4096, data_bytes // 2, data_bytes):
        assert look(content[:-missing_bytes] + bytes(missing_bytes)).has_gap


def test_differences_and_biases_of_zeros_at_the_end_are_layers_that_did_not_change(look: Look) -> None:
    zeros = {
        f"blocks.{number}.q.{part}": Tensor("BF16", (8192,), bytes(16_384))
        for number in (1, 2)
        for part in ("diff", "diff_b")
    }
    assert not look(lora_bytes(tensors={"blocks.0.q.diff": Tensor("BF16", (64, 64)), **zeros})).has_gap


def test_two_tiny_last_tensors_of_zeros_are_no_gap(look: Look) -> None:
    zeros = {f"{layer}.bias": Tensor("BF16", (16,), bytes(32)) for layer in "yz"}
    assert not look(lora_bytes(tensors={"a.weight": Tensor("BF16", (16, 4096)), **zeros})).has_gap


def test_a_file_that_is_longer_than_announced_says_so_by_its_numbers(look: Look) -> None:
    content = lora_bytes()
    assert look(content + b"more").expected_bytes == len(content)


def test_a_duplicate_name_is_rejected_before_anybody_waits_for_the_file(look: Look) -> None:
    with pytest.raises(FileRejectedError) as caught:
        look(broken("duplicate-tensor"))
    assert caught.value.code == "duplicate-keys"


@pytest.mark.parametrize(
    "offsets", [[(-10, 100_000), (-20, 50)], [(0, 100_000), (60, 50)], [(0, 100_000), (0, 10**4299)]]
)
def test_offsets_that_no_file_can_have_are_rejected_at_once(look: Look, offsets: list[tuple[int, int]]) -> None:
    header = json.dumps({f"t{n}": {"dtype": "U8", "shape": [1], "data_offsets": at} for n, at in enumerate(offsets)})
    with pytest.raises(FileRejectedError) as caught:
        look(struct.pack("<Q", len(header)) + header.encode() + bytes(100_000))
    assert caught.value.code == "header-invalid"


def test_tensors_that_overlap_end_the_look_all_the_same(look: Look) -> None:
    tensor = {"dtype": "U8", "shape": [600, 500], "data_offsets": [0, 300_000]}
    header = json.dumps({"a": tensor, "b": tensor}).encode()
    assert look(struct.pack("<Q", len(header)) + header + bytes(300_000)).has_gap


def test_one_name_twice_among_very_many_is_found_in_linear_time(look: Look) -> None:
    names = [str(number) for number in range(150_000)]  # minutes if each were counted for itself
    header = json.dumps(dict.fromkeys(names, 0))[:-1].encode() + b',"149999":0}'
    with pytest.raises(FileRejectedError, match="'149999' twice"):
        look(struct.pack("<Q", len(header)) + header)


def test_a_header_of_length_zero_waits(look: Look) -> None:
    assert look(struct.pack("<Q", 0) + b"{}") == Wholeness(None, has_gap=False)
