"""The weights scan on real bytes: every number type, every way a read can cut a value, and no false alarm."""

import math
import os
import random
import struct
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from lorawatch.domain.errors import FileChangedError, StoppedError
from lorawatch.domain.model import Finding
from lorawatch.inspection.hashing import sha256_of
from lorawatch.inspection.header import read_header
from lorawatch.inspection.weights import WeightsScan
from tests.factories import ITEM_BITS, Tensor, finite_bytes, lora_bytes, lora_tensors, write_lora

NEVER = threading.Event()
FLOATS = ("F64", "F32", "C64", "F16", "BF16", "F8_E5M2", "F8_E4M3", "F8_E5M2FNUZ", "F8_E4M3FNUZ", "F8_E8M0")


def scan(content: bytes, *, piece_bytes: int = 1_048_576) -> tuple[Finding, ...]:
    descriptor = os.memfd_create("test")
    try:
        os.truncate(descriptor, len(content))
        os.pwrite(descriptor, content, 0)
        header = read_header(descriptor, size_bytes=len(content), max_header_bytes=16_777_216)
    finally:
        os.close(descriptor)
    scanned = WeightsScan(header)
    view = memoryview(content)
    for start in range(0, len(content), piece_bytes):
        scanned.feed(view[start : start + piece_bytes])
    return scanned.result()


def one_tensor(dtype: str, data: bytes) -> bytes:
    count = len(data) * 8 // ITEM_BITS[dtype]
    return lora_bytes(tensors={"w": Tensor(dtype, (count,), data)})


def codes(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in findings]


def decoded(dtype: str, bits: int) -> float:
    """What a float of 8 or 16 bits is worth, by another way than the scan's: only nan, inf and finite matter."""
    match dtype:
        case "F16":
            return float(np.array([bits], dtype=np.uint16).view(np.float16)[0])
        case "BF16":
            return float(struct.unpack("<f", struct.pack("<I", bits << 16))[0])
        case "F8_E5M2":
            return decoded("F16", bits << 8)
        case "F8_E4M3":
            return math.nan if bits in (0x7F, 0xFF) else 1.0
        case "F8_E8M0":
            return math.nan if bits == 0xFF else 1.0
        case _:
            return math.nan if bits == 0x80 else 1.0


@pytest.mark.parametrize("dtype", [dtype for dtype in FLOATS if ITEM_BITS[dtype] <= 16])
def test_of_every_value_that_a_small_float_can_have_the_right_ones_are_found(dtype: str) -> None:
    width_bytes = ITEM_BITS[dtype] // 8
    every = range(1 << ITEM_BITS[dtype])
    data = b"".join(bits.to_bytes(width_bytes, "little") for bits in every)
    worth = [decoded(dtype, bits) for bits in every]
    nan, inf = sum(map(math.isnan, worth)), sum(map(math.isinf, worth))
    (finding,) = scan(one_tensor(dtype, data))
    assert finding.code == "nonfinite"
    assert f"w ({nan:,} NaN, {inf:,} Inf of {len(worth):,})" in finding.detail
    finite = b"".join(
        bits.to_bytes(width_bytes, "little") for bits, value in zip(every, worth, strict=True) if math.isfinite(value)
    )
    assert scan(one_tensor(dtype, finite)) == ()


@pytest.mark.parametrize(("dtype", "code"), [("F32", "f"), ("C64", "f"), ("F64", "d")])
def test_in_wide_floats_both_signs_of_nan_and_inf_are_found(dtype: str, code: str) -> None:
    for value in (math.nan, -math.nan, math.inf, -math.inf):
        values = [1.0, -0.0, value, -3.4e38]
        (finding,) = scan(one_tensor(dtype, struct.pack(f"<4{code}", *values)))
        expected = "0 NaN, 1 Inf" if math.isinf(value) else "1 NaN, 0 Inf"
        assert expected in finding.detail
    extremes = [3.4e38, -3.4e38, 1e-45, -0.0]
    assert scan(one_tensor(dtype, struct.pack(f"<4{code}", *extremes))) == ()


@pytest.mark.parametrize(
    "dtype", ["BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64", "F4", "F6_E2M3", "F6_E3M2"]
)
def test_types_without_nan_are_never_accused(dtype: str) -> None:
    assert scan(one_tensor(dtype, b"\xff" * 48)) == ()


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_nan_is_found_wherever_the_reads_cut(dtype: str) -> None:
    width_bytes = ITEM_BITS[dtype] // 8 // (2 if dtype == "C64" else 1)
    nan = {"F8_E5M2FNUZ": b"\x80", "F8_E4M3FNUZ": b"\x80"}.get(dtype, b"\xff" * width_bytes)
    good = finite_bytes(5 * width_bytes)
    content = one_tensor(dtype, good + nan + good + good + good + good[:width_bytes])
    for piece_bytes in (1, 2, 3, 5, 7, 11, len(content) - 1):
        (finding,) = scan(content, piece_bytes=piece_bytes)
        assert "1 NaN" in finding.detail


@pytest.mark.parametrize("seed", range(10))
def test_mixed_types_in_one_file_are_each_judged_by_their_own_rules(seed: int) -> None:
    dice = random.Random(seed)
    dtypes = [dice.choice(sorted(ITEM_BITS)) for _ in range(12)]
    tensors = {f"t{number}": Tensor(dtype, (8 * dice.randint(0, 40),)) for number, dtype in enumerate(dtypes)}
    assert scan(lora_bytes(tensors=tensors, seed=seed), piece_bytes=dice.randint(1, 300)) == ()
    victims = [name for name, tensor in tensors.items() if tensor.dtype in ("F32", "BF16", "F16") and tensor.shape[0]]
    if not victims:
        tensors["extra"], victims = Tensor("BF16", (8,)), ["extra"]
    victim = dice.choice(victims)
    broken = tensors | {
        victim: Tensor(tensors[victim].dtype, tensors[victim].shape, b"\xff" * tensors[victim].size_bytes)
    }
    (finding,) = scan(lora_bytes(tensors=broken, seed=seed), piece_bytes=dice.randint(1, 300))
    assert f"{victim} ({tensors[victim].shape[0]:,} NaN" in finding.detail


def test_an_odd_data_offset_is_no_obstacle() -> None:
    header = b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    header += b" " * (1 - len(header) % 2)  # an even length would hide what an odd one shows
    for nan_at in range(4):
        values = [1.0] * 4
        values[nan_at] = math.nan
        content = struct.pack("<Q", len(header)) + header + struct.pack("<4f", *values)
        assert codes(scan(content)) == ["nonfinite"]
        assert codes(scan(content, piece_bytes=3)) == ["nonfinite"]


def test_many_broken_tensors_are_counted_and_the_first_named() -> None:
    tensors = lora_tensors(rank=2, size_bytes=400_000)
    for name, tensor in tensors.items():
        if "lora_B" in name:
            tensors[name] = Tensor("BF16", tensor.shape, b"\xff\x7f" + finite_bytes(tensor.size_bytes - 2))
    broken_count = sum("lora_B" in name for name in tensors)
    (finding,) = scan(lora_bytes(tensors=tensors))
    assert finding.detail.startswith(f"{broken_count:,} tensors hold NaN or Inf: ")
    assert finding.detail.endswith(f"and {broken_count - 5:,} more")
    assert finding.detail.count("(1 NaN, 0 Inf of") == 5


def with_zeros(*ends: str, zero: bytes = b"\0\0") -> dict[str, Tensor]:
    return {
        name: Tensor("BF16", tensor.shape, zero * (tensor.size_bytes // 2)) if name.endswith(ends) else tensor
        for name, tensor in lora_tensors().items()
    }


@pytest.mark.parametrize(
    "ends",
    [
        ("lora_B.weight",),
        ("lora_A.weight",),
        ("k.lora_A.weight", "q.lora_B.weight", "v.lora_B.weight", "0.lora_B.weight"),
    ],
)
@pytest.mark.parametrize("zero", [b"\0\0", b"\0\x80"], ids=["zero", "minus-zero"])
def test_a_lora_whose_every_layer_is_multiplied_with_zero_has_no_effect(ends: tuple[str, ...], zero: bytes) -> None:
    assert codes(scan(lora_bytes(tensors=with_zeros(*ends, zero=zero)))) == ["zero-effect"]


def test_a_lora_with_one_working_layer_has_an_effect() -> None:
    assert scan(lora_bytes(tensors=with_zeros("k.lora_B.weight", "q.lora_B.weight", "v.lora_B.weight"))) == ()


def test_the_last_value_of_the_last_layer_is_enough_for_an_effect() -> None:
    tensors = with_zeros("lora_B.weight")
    last = max(tensors)
    tensors[last] = Tensor("BF16", tensors[last].shape, bytes(tensors[last].size_bytes - 2) + b"\x80\x3f")
    assert scan(lora_bytes(tensors=tensors), piece_bytes=1001) == ()


def lycoris(**data: bytes | None) -> Mapping[str, Tensor]:
    return {f"lycoris_blocks_0_q.{part}": Tensor("F16", (16, 8), value) for part, value in data.items()}


@pytest.mark.parametrize(
    ("tensors", "found"),
    [
        (lycoris(lokr_w1=None, lokr_w2_a=None, lokr_w2_b=bytes(256)), ["zero-effect"]),
        (lycoris(lokr_w1=None, lokr_w2_a=None, lokr_w2_b=None), []),
        (lycoris(hada_w1_a=None, hada_w1_b=None, hada_w2_a=bytes(256), hada_w2_b=None), ["zero-effect"]),
        (lycoris(diff=bytes(256)), ["zero-effect"]),
        (lycoris(diff=bytes(256), diff_b=None), []),
    ],
)
def test_other_algorithms_have_their_own_zeros(tensors: Mapping[str, Tensor], found: list[str]) -> None:
    assert codes(scan(lora_bytes(tensors=tensors))) == found


def test_zeros_in_what_is_no_lora_are_nobodys_business() -> None:
    assert (
        scan(lora_bytes(tensors={"a.weight": Tensor("F16", (64,), bytes(128)), "b.weight": Tensor("F16", (64,))})) == ()
    )


@pytest.mark.parametrize("piece_bytes", [1000, 4096, 1_048_576])
def test_zeros_where_the_end_should_be_are_found(piece_bytes: int) -> None:
    content = lora_bytes()
    for zero_bytes in (4096, 30_000, 100_000):
        cut = content[:-zero_bytes] + bytes(zero_bytes)
        assert codes(scan(cut, piece_bytes=piece_bytes)) == ["zero-tail"]
    assert scan(content[:-4095] + bytes(4095), piece_bytes=piece_bytes) == ()


def test_an_untrained_last_matrix_is_no_missing_end() -> None:
    tensors = lora_tensors()
    last = max(tensors)
    tensors[last] = Tensor("BF16", tensors[last].shape, bytes(tensors[last].size_bytes))
    assert scan(lora_bytes(tensors=tensors)) == ()


def test_untrained_up_matrices_of_a_narrower_type_are_no_missing_end() -> None:
    tensors = {
        name: Tensor("F32", tensor.shape) if "lora_A" in name else tensor
        for name, tensor in with_zeros("lora_B.weight").items()
    }
    content = lora_bytes(tensors=tensors)  # wide types come first: all of lora_B lies at the end
    assert codes(scan(content)) == ["zero-effect"]
    up_bytes = sum(tensor.size_bytes for name, tensor in tensors.items() if "lora_B" in name)
    cut_bytes = up_bytes + 4096
    assert codes(scan(content[:-cut_bytes] + bytes(cut_bytes))) == ["zero-effect", "zero-tail"]


def test_a_result_before_the_end_is_refused() -> None:
    content = lora_bytes()
    descriptor = os.memfd_create("test")
    try:
        os.pwrite(descriptor, content, 0)
        scanned = WeightsScan(read_header(descriptor, size_bytes=len(content), max_header_bytes=1 << 24))
    finally:
        os.close(descriptor)
    scanned.feed(memoryview(content)[:-1])
    with pytest.raises(FileChangedError, match="were read"):
        scanned.result()


class TestHash:
    """The read that everything rides on."""

    def test_it_is_the_sha256_and_every_sink_sees_every_byte_in_order(self, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        expected = write_lora(path, size_bytes=5_000_000)
        seen, told = bytearray(), list[int]()
        with path.open("rb") as file:
            file.seek(77)
            size_bytes = os.fstat(file.fileno()).st_size
            found = sha256_of(
                file.fileno(), size_bytes=size_bytes, stop=NEVER, progress=told.append, sinks=[seen.extend]
            )
        assert found == expected
        assert seen == path.read_bytes()
        assert told == sorted(told)
        assert told[-1] == size_bytes

    def test_an_empty_file_has_a_hash(self) -> None:
        with open(os.devnull, "rb") as file:
            assert sha256_of(file.fileno(), size_bytes=0, stop=NEVER).startswith("e3b0c442")

    def test_a_file_that_is_cut_while_it_is_read_has_changed(self, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        write_lora(path, size_bytes=5_000_000)
        with path.open("r+b") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            with pytest.raises(FileChangedError, match="it was cut"):
                sha256_of(
                    file.fileno(),
                    size_bytes=size_bytes,
                    stop=NEVER,
                    progress=lambda _: os.ftruncate(file.fileno(), 2_000_000),
                )

    def test_it_ends_within_one_piece_of_the_stop(self, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        write_lora(path, size_bytes=5_000_000)
        stop, told = threading.Event(), list[int]()

        def stop_after_the_first(done_bytes: int) -> None:
            told.append(done_bytes)
            stop.set()

        with path.open("rb") as file, pytest.raises(StoppedError):
            sha256_of(file.fileno(), size_bytes=5_000_000, stop=stop, progress=stop_after_the_first)
        assert len(told) == 1
