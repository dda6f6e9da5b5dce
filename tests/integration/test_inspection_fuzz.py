"""Mutated headers: what we accept, the official parser accepts too, and nothing but a rejection is ever raised.

1,000 cases in all by default; CI sets LORAWATCH_FUZZ_CASES=20000. The official parser is asked another way than the
inspection asks it: on the whole bytes, not on a sparse file with the header alone.
"""

import json
import os
import struct
from collections.abc import Callable
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from lorawatch.domain.errors import FileRejectedError
from lorawatch.inspection.header import read_header
from lorawatch.inspection.wholeness import wholeness

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


NUMBERS = st.integers(-1, 40) | st.sampled_from([2**31, 2**32, 2**63, 2**64 - 1, 2**64, 1.0, True, None, "4"])
NAMES = st.sampled_from(["a", "b", "", "__metadata__", "a\0", "../a", "é", "a" * 300])
DTYPES = st.sampled_from(["F32", "BF16", "F16", "F8_E4M3", "F4", "F6_E2M3", "C64", "U8", "BOOL", "f32", "", None])
INFOS = st.fixed_dictionaries(
    {"dtype": DTYPES, "shape": st.lists(NUMBERS, max_size=3), "data_offsets": st.lists(NUMBERS, min_size=1, max_size=3)}
)


@st.composite
def invented_texts(draw: st.DrawFn) -> bytes:
    """JSON of the right outline and any contents, also with names that come twice."""
    values: st.SearchStrategy[object] = INFOS | st.sampled_from([A, B, {}, {"k": "v"}, None, 1, []])
    members: list[tuple[str, object]] = draw(st.lists(st.tuples(NAMES, values), max_size=4))
    return (
        b"{" + b",".join(json.dumps(name).encode() + b":" + json.dumps(info).encode() for name, info in members) + b"}"
    )


@fuzz(0.4)
@given(mutated_texts(), st.sampled_from([DATA, DATA[:-1], DATA + b"x", b"", DATA[:16]]))
def test_a_mutated_header_is_accepted_only_if_the_official_parser_accepts_it(text: bytes, data: bytes) -> None:
    assert_never_wider(file_of(text, data))


@fuzz(0.4)
@given(invented_texts(), st.integers(0, 40))
def test_an_invented_header_is_accepted_only_if_the_official_parser_accepts_it(text: bytes, data_bytes: int) -> None:
    assert_never_wider(file_of(text, bytes(range(1, data_bytes + 1))))


@fuzz(0.1)
@given(st.integers(0, len(TEXT) + 40) | st.integers(0, 2**64 - 1), st.integers(0, len(TEXT) + 32))
def test_a_wrong_length_is_accepted_only_if_the_official_parser_accepts_it(length: int, cut: int) -> None:
    assert_never_wider((struct.pack("<Q", length) + TEXT + DATA)[: 8 + cut])


@fuzz(0.1)
@given(st.binary(max_size=100))
def test_noise_is_accepted_only_if_the_official_parser_accepts_it(content: bytes) -> None:
    assert_never_wider(content)


def test_the_file_that_is_mutated_is_accepted_by_both() -> None:
    assert judge(file_of(TEXT)) == Verdicts(None, None)
