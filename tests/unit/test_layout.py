"""Headers that share a layout: understood once, and judged as strictly as the first one."""

import os
from collections.abc import Mapping

import pytest

from lorawatch.domain.errors import FileRejectedError
from lorawatch.inspection import layout
from lorawatch.inspection.header import Header, read_header
from tests.factories import broken, header_bytes, lora_bytes

DATA = bytes(range(1, 17))
INFO = b'"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}'


def read(content: bytes) -> Header:
    descriptor = os.memfd_create("test")
    try:
        os.pwrite(descriptor, content, 0)
        return read_header(descriptor, size_bytes=len(content), max_header_bytes=16_777_216)
    finally:
        os.close(descriptor)


def code_of(content: bytes) -> str | None:
    try:
        read(content)
    except FileRejectedError as error:
        return error.code
    return None


def with_metadata(metadata: bytes, *, tensors: bytes = INFO, data: bytes = DATA) -> bytes:
    return header_bytes(b'{"__metadata__":' + metadata + b"," + tensors + b"}") + data


def test_the_checkpoints_of_one_training_share_one_layout_and_keep_their_own_metadata() -> None:
    def checkpoint(metadata: Mapping[str, str], seed: int) -> Header:
        return read(lora_bytes(metadata=metadata, seed=seed))

    first = checkpoint({"step": "250"}, 1)
    second = checkpoint({"step": "100000", "more": "\u00e9"}, 2)  # of another length: the padding differs
    assert second.layout is first.layout
    assert (first.metadata, second.metadata) == ({"step": "250"}, {"step": "100000", "more": "\u00e9"})
    assert second.data_offset == second.total_bytes - second.layout.data_bytes


def test_another_layout_is_another_object() -> None:
    first = read(with_metadata(b"{}"))
    assert read(with_metadata(b"{}", tensors=INFO.replace(b"a", b"b", 1))).layout is not first.layout
    assert list(read(with_metadata(b"{}", tensors=INFO.replace(b"a", b"b", 1))).tensors) == ["b"]


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        (b'{"k":"1","k":"2"}', "duplicate-keys"),
        (b'{"k":1}', "header-invalid"),
        (b"[]", "header-invalid"),
        (b'{"k":"\\ud800"}', "header-invalid"),  # JSON to Python, but not to the official parser
        (b'{"k":"\xff"}', "header-invalid"),
        (b'{"k":NaN}', "header-invalid"),
        (b'{"k":"1"} ', None),
        (b"null", None),
    ],
)
def test_metadata_on_a_known_layout_are_judged_as_on_a_new_one(
    monkeypatch: pytest.MonkeyPatch, metadata: bytes, code: str | None
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(layout, "_LONGEST_TEXT", 0)  # nothing is remembered
        layout._by_text.clear()
        assert code_of(with_metadata(metadata)) == code
    read(with_metadata(b'{"format":"pt"}'))
    assert layout._by_text
    assert code_of(with_metadata(metadata)) == code


@pytest.mark.parametrize(("data", "code"), [(DATA[:-1], "truncated"), (DATA + b"x", "trailing-bytes")])
def test_a_known_layout_does_not_vouch_for_the_length(data: bytes, code: str) -> None:
    read(with_metadata(b'{"format":"pt"}'))
    assert code_of(with_metadata(b'{"format":"pt"}', data=data)) == code


def test_nothing_that_was_refused_is_remembered() -> None:
    layout._by_text.clear()
    for kind in ("duplicate-tensor", "hole", "no-tensors", "data-cut", "name-with-nul"):
        assert code_of(broken(kind)) is not None
    assert not layout._by_text


def test_few_layouts_are_kept_and_no_large_ones() -> None:
    layout._by_text.clear()
    for number in range(20):
        read(with_metadata(b"{}", tensors=INFO.replace(b"a", b"n%d" % number, 1)))
    assert len(layout._by_text) == 4
    layout._by_text.clear()
    read(with_metadata(b"{}", tensors=INFO.replace(b"a", b"a" * 600_000, 1)))
    assert not layout._by_text


def test_what_is_derived_from_a_layout_is_computed_once_and_goes_with_it() -> None:
    calls = []

    @layout.derived
    def tensor_count(one: layout.Layout) -> int:
        calls.append(one)
        return len(one.tensors)

    first = read(lora_bytes()).layout
    assert (tensor_count(first), tensor_count(first), len(calls)) == (8, 8, 1)
