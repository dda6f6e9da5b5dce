"""What is a safetensors file and what is not: every bad input has its own code, and none is taken for another."""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lorawatch.domain.errors import FileChangedError, FileRejectedError, FileUnreadableError
from lorawatch.inspection.header import Header, read_header
from tests.factories import BROKEN_CODES, broken, header_bytes, lora_bytes, lora_tensors

CAP_BYTES = 16_777_216


@contextmanager
def open_file(content: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("test")
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield descriptor
    finally:
        os.close(descriptor)


def read(content: bytes, *, max_header_bytes: int = CAP_BYTES) -> Header:
    with open_file(content) as descriptor:
        return read_header(descriptor, size_bytes=len(content), max_header_bytes=max_header_bytes)


@pytest.mark.parametrize(("kind", "code"), BROKEN_CODES.items())
def test_each_bad_input_is_rejected_with_its_own_code(kind: str, code: str) -> None:
    with pytest.raises(FileRejectedError) as caught:
        read(broken(kind))
    assert caught.value.code == code
    assert caught.value.message
    assert caught.value.fix


def test_a_whole_file_yields_its_tensors_and_metadata() -> None:
    content = lora_bytes()
    header = read(content)
    assert {name: info.shape for name, info in header.tensors.items()} == {
        name: tensor.shape for name, tensor in lora_tensors().items()
    }
    assert {info.dtype for info in header.tensors.values()} == {"BF16"}
    assert header.metadata["ss_base_model_version"] == "flux.1"
    assert header.total_bytes == len(content)
    assert header.data_offset + max(info.end for info in header.tensors.values()) == len(content)


def test_a_header_longer_than_the_first_read_is_read_whole() -> None:
    header = read(lora_bytes(metadata={"long": "x" * 200_000}))
    assert len(header.metadata["long"]) == 200_000


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_header_whose_length_looks_like_a_pickle_is_still_a_header(protocol: int) -> None:
    info = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    length = 0x80 + 256 * protocol
    padding = length - len(header_bytes({"__metadata__": {"p": ""}, "a": info})) + 8
    document = {"__metadata__": {"p": "x" * padding}, "a": info}
    content = header_bytes(document) + b"\x01\x02\x03\x04"
    assert content[:2] == bytes((0x80, protocol))
    assert list(read(content).tensors) == ["a"]


def test_the_words_of_the_official_parser_are_passed_on() -> None:
    with pytest.raises(FileRejectedError, match="unknown variant `F31`"):
        read(broken("unknown-dtype"))


def test_a_header_above_the_cap_is_refused_before_it_is_read() -> None:
    content = lora_bytes(metadata={"long": "x" * 10_000})
    assert read(content, max_header_bytes=20_000).tensors
    with pytest.raises(FileRejectedError) as caught:
        read(content, max_header_bytes=10_000)
    assert caught.value.code == "header-too-large"
    assert "inspect.max_header_bytes" in caught.value.fix


def test_truncation_names_both_lengths() -> None:
    content = lora_bytes()
    with pytest.raises(FileRejectedError, match=rf"{len(content) - 1:,} of the {len(content):,} bytes"):
        read(content[:-1])


def test_a_tensor_with_two_lengths_too_many_is_no_matter_of_length() -> None:
    content = header_bytes({"a": {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 1 << 62]}})
    with pytest.raises(FileRejectedError) as caught:
        read(content + b"\0" * 16)
    assert caught.value.code == "header-invalid"


def test_null_metadata_counts_as_none() -> None:
    document = {"__metadata__": None, "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}
    assert read(header_bytes(document) + b"\x01").metadata == {}


def test_a_deeply_nested_header_is_refused_and_not_a_crash() -> None:
    with pytest.raises(FileRejectedError) as caught:
        read(header_bytes(b'{"a":' + b"[" * 100_000))
    assert caught.value.code == "header-invalid"


def test_a_file_that_shrank_since_it_was_measured_has_changed() -> None:
    with open_file(b"") as descriptor, pytest.raises(FileChangedError):
        read_header(descriptor, size_bytes=100, max_header_bytes=CAP_BYTES)


def test_a_descriptor_that_cannot_be_read_is_unreadable_and_not_rejected(tmp_path: object) -> None:
    descriptor = os.open(str(tmp_path), os.O_RDONLY)  # a directory: EISDIR
    try:
        with pytest.raises(FileUnreadableError):
            read_header(descriptor, size_bytes=100, max_header_bytes=CAP_BYTES)
    finally:
        os.close(descriptor)


def test_the_offset_of_the_descriptor_does_not_matter() -> None:
    content = lora_bytes()
    with open_file(content) as descriptor:
        os.lseek(descriptor, 5, os.SEEK_SET)
        assert read_header(descriptor, size_bytes=len(content), max_header_bytes=CAP_BYTES).tensors


def test_no_descriptor_is_left_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    read(lora_bytes())
    for kind in BROKEN_CODES:
        with pytest.raises(FileRejectedError):
            read(broken(kind))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_length_of_zero_is_told_apart_from_a_short_one() -> None:
    with pytest.raises(FileRejectedError) as caught:
        read(struct.pack("<Q", 0))
    assert caught.value.code == "not-safetensors"
