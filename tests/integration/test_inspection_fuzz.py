"""Mutated headers: what we accept, the official parser accepts too, and nothing but a rejection is ever raised.

1,000 cases in all by default; CI sets LORAWATCH_FUZZ_CASES=20000. The official parser is asked another way than the
inspection asks it: on the whole bytes, not on a sparse file with the header alone.
"""

import json
import math
import os
import struct
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from lorawatch.domain.errors import FileRejectedError
from lorawatch.inspection.header import read_header
from lorawatch.inspection.wholeness import wholeness
from tests.factories import ITEM_BITS

# 8,000 cases of one test take half a minute on a quiet machine, and several on a busy one.
pytestmark = pytest.mark.timeout(900)
CASES = int(os.environ.get("LORAWATCH_FUZZ_CASES", "1000"))
CAP_BYTES = 4096


def fuzz(share: float) -> settings:
    """The settings of a test that has this share of all cases."""
    return settings(
        max_examples=round(share * CASES),
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
        print_blob=True,
    )


A, B = (
    {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    {"dtype": "BF16", "shape": [4], "data_offsets": [16, 24]},
)
DATA = bytes(range(1, 25))
TEXT = json.dumps({"__metadata__": {"format": "pt", "step": "1"}, "a": A, "b": B}, separators=(",", ":")).encode()


class Verdicts(NamedTuple):
    """What either side says about one file; None is acceptance."""

    ours: str | None
    official: str | None


def judge(content: bytes) -> Verdicts:
    descriptor = os.memfd_create("fuzz")
    try:
        os.write(descriptor, content)
        ours = _code_of(lambda: read_header(descriptor, size_bytes=len(content), max_header_bytes=CAP_BYTES))
        look = _code_of(lambda: wholeness(descriptor, size_bytes=len(content), max_header_bytes=CAP_BYTES))
        if ours is None:
            assert look is None, f"accepted when whole, but rejected while growing: {look}"
            seen = wholeness(descriptor, size_bytes=len(content), max_header_bytes=CAP_BYTES)
            assert seen.expected_bytes == len(content)
    finally:
        os.close(descriptor)
    try:
        deserialize(content)  # type: ignore[no-untyped-call]  # the library's only untyped function
    except SafetensorError as error:
        return Verdicts(ours, str(error))
    return Verdicts(ours, None)


def _code_of(look: Callable[[], object]) -> str | None:
    try:
        look()
    except FileRejectedError as error:
        return error.code
    return None


def assert_never_wider(content: bytes) -> None:
    verdicts = judge(content)
    assert verdicts.ours is not None or verdicts.official is None, f"we accept what is refused: {verdicts.official}"


def file_of(text: bytes, data: bytes = DATA) -> bytes:
    return struct.pack("<Q", len(text)) + text + data


# Everything that some JSON parser, or some arithmetic, has been known to trip over.
PIECES = st.sampled_from(
    [
        *(b"{", b"}", b"[", b"]", b",", b":", b'"', b" ", b"\n", b"\0", b"\\u0000", b"\\ud800", b"../", b"/*x*/"),
        *(b"-", b"-0", b"1e0", b"0.0", b"4", b"16", b"null", b"true", b"NaN", b"Infinity"),
        *(b"18446744073709551615", b"9223372036854775808", b"99999999999999999999"),
        *(b"\xff", b"\xef\xbb\xbf", b"\xc3\xa9", b'"a":1,', b'"a":', b'"dtype":"F64",', b'"__metadata__":null,'),
    ]
)


@st.composite
def mutated_texts(draw: st.DrawFn) -> bytes:
    """The text of a good header with a few places replaced, removed or filled in."""
    text = TEXT
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.integers(0, 6)))
        text = text[:begin] + draw(PIECES | st.just(b"")) + text[end:]
    return text


ODD_NUMBERS = st.integers(-1, 40) | st.sampled_from([2**31, 2**32, 2**63, 2**64 - 1, 2**64, 1.0, True, None, "4"])
NAMES = st.sampled_from(["a", "b", "c", "", "a\0", "../a", "é", "a" * 300, "__metadata__"])
ODD_VALUES: st.SearchStrategy[object] = st.sampled_from([A, {}, {"k": "v"}, {"k": 1}, None, 1, []])


@st.composite
def invented_files(draw: st.DrawFn) -> bytes:
    """Any tensors, each where the last one ends; at times a number is odd, a name comes twice, a value is no tensor."""
    members: list[tuple[str, object]] = []
    end = 0
    for name in draw(st.lists(NAMES, max_size=5)):
        dtype = draw(st.sampled_from(sorted(ITEM_BITS)))
        lengths = draw(st.lists(st.integers(0, 4), max_size=3))
        begin, end = end, end + math.prod(lengths) * ITEM_BITS[dtype] // 8
        shape, offsets = list[object](lengths), list[object]([begin, end])
        if draw(st.integers(0, 9)) == 0:
            victim = draw(st.sampled_from([shape, offsets]))
            victim.insert(draw(st.integers(0, len(victim))), draw(ODD_NUMBERS))
            del victim[draw(st.integers(0, len(victim))) :][:1]
        info = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        members.append((name, info if name != "__metadata__" and draw(st.integers(0, 19)) else draw(ODD_VALUES)))
    members = draw(st.permutations(members))
    text = b",".join(json.dumps(name).encode() + b":" + json.dumps(info).encode() for name, info in members)
    return file_of(b"{" + text + b"}", b"\x01" * (end + draw(st.sampled_from([0, 0, 0, 0, -1, 1, 8]))))


@fuzz(0.4)
@given(mutated_texts(), st.sampled_from([DATA, DATA[:-1], DATA + b"x", b"", DATA[:16]]))
def test_a_mutated_header_is_accepted_only_if_the_official_parser_accepts_it(text: bytes, data: bytes) -> None:
    assert_never_wider(file_of(text, data))


@fuzz(0.4)
@given(invented_files())
def test_an_invented_file_is_accepted_only_if_the_official_parser_accepts_it(content: bytes) -> None:
    assert_never_wider(content)


@fuzz(0.05)
@given(st.integers(0, len(TEXT) + 40) | st.integers(0, 2**64 - 1), st.integers(0, len(TEXT) + 32))
def test_a_wrong_length_is_accepted_only_if_the_official_parser_accepts_it(length: int, cut: int) -> None:
    assert_never_wider((struct.pack("<Q", length) + TEXT + DATA)[: 8 + cut])


METADATA_AT = TEXT.index(b'{"format"'), TEXT.index(b'},"a"') + 1


@fuzz(0.1)
@given(st.lists(PIECES | st.binary(max_size=3), max_size=4), st.integers(0, 26), st.integers(0, 3))
def test_metadata_on_a_layout_that_is_known_are_accepted_only_if_the_official_parser_accepts_them(
    pieces: list[bytes], begin: int, removed: int
) -> None:
    assert judge(file_of(TEXT)) == Verdicts(None, None)
    metadata = TEXT[METADATA_AT[0] : METADATA_AT[1]]
    mutated = metadata[:begin] + b"".join(pieces) + metadata[begin + removed :]
    assert_never_wider(file_of(TEXT[: METADATA_AT[0]] + mutated + TEXT[METADATA_AT[1] :]))


@fuzz(0.05)
@given(st.binary(max_size=100))
def test_noise_is_accepted_only_if_the_official_parser_accepts_it(content: bytes) -> None:
    assert_never_wider(content)


def test_the_file_that_is_mutated_is_accepted_by_both() -> None:
    assert judge(file_of(TEXT)) == Verdicts(None, None)
