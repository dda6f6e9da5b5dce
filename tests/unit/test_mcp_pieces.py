"""The small parts of an upload: chunk sizes, entries of listings, request bodies, and base64 that streams by."""

import base64
import json
import time

import pytest

from lorawatch.destinations.comfyui_mcp.detection import Speech
from lorawatch.destinations.comfyui_mcp.dialects import DIALECTS, DOCUMENTED, JSONRPC, Route
from lorawatch.destinations.comfyui_mcp.encoding import PIECE_BYTES, PiecewiseBody, chunk_count, encoded_bytes, frame
from lorawatch.destinations.comfyui_mcp.listing import entries_of, entry_named, remote_file
from lorawatch.destinations.comfyui_mcp.sizing import LARGEST_BYTES, SMALLEST_BYTES, ChunkSizer
from lorawatch.transport.calls import CallError
from lorawatch.transport.embedded import EmbeddedContent
from lorawatch.transport.headers import retry_after_seconds, same_host
from lorawatch.transport.http import Answer, HttpSettings


def test_a_refused_size_is_halved_down_to_the_smallest_and_never_tried_again() -> None:
    sizer = ChunkSizer(0)
    assert sizer.size_bytes == LARGEST_BYTES
    while sizer.refused(sizer.size_bytes):
        pass
    assert sizer.size_bytes == SMALLEST_BYTES
    sizer.went_well(SMALLEST_BYTES)
    assert sizer.size_bytes == SMALLEST_BYTES


def test_a_late_size_is_halved_and_comes_back_after_success() -> None:
    sizer = ChunkSizer(0)
    sizer.was_late(LARGEST_BYTES)
    sizer.was_late(LARGEST_BYTES // 2)
    assert sizer.size_bytes == LARGEST_BYTES // 4
    sizer.went_well(LARGEST_BYTES // 4)
    assert sizer.size_bytes == LARGEST_BYTES // 2
    sizer.went_well(LARGEST_BYTES // 2)
    sizer.went_well(LARGEST_BYTES)
    assert sizer.size_bytes == LARGEST_BYTES


def test_a_configured_size_is_never_exceeded() -> None:
    sizer = ChunkSizer(65536)
    sizer.went_well(65536)
    assert sizer.size_bytes == 65536


@pytest.mark.parametrize(
    ("payload", "is_found"),
    [
        ({"loras": ["cat.safetensors"]}, True),
        ({"loras": [{"name": "cat", "filename": "cat.safetensors"}]}, True),
        ({"loras": [{"name": "cat"}]}, True),
        ({"models": [{"lora_name": "cat.safetensors"}]}, True),
        ({"files": [{"path": "/loras/cat.safetensors"}]}, True),
        ({"files": [{"file": "/loras/cat.safetensors"}]}, True),
        ({"files": [{"path": "C:\\loras\\cat.safetensors"}]}, True),
        ({"data": {"loras": ["cat.safetensors"]}}, True),
        ({"result": ["cat.safetensors"]}, True),
        ({"loras": [{"filename": "people/cat.safetensors"}]}, False),
        ({"loras": {"cat.safetensors": {"size": 3}}}, True),
        ({"loras": [{"name": "cat", "filename": "cat.part"}]}, False),
        ({"loras": [{"name": "people/cat.safetensors"}]}, False),
        ({"loras": [{"name": "cat2"}, 5, None]}, False),
        ({"loras": []}, False),
        ({"status": "ok"}, False),
    ],
)
def test_a_name_is_found_in_every_form_of_a_listing(payload: dict[str, object], is_found: bool) -> None:
    assert (entry_named(entries_of(payload) or (), "cat.safetensors") is not None) == is_found


def test_an_entry_tells_no_more_than_it_says() -> None:
    found = remote_file({"size_mb": 143.2}, "cat.safetensors")
    assert (found.size_bytes, found.sha256, found.is_distinct) == (None, None, False)
    found = remote_file({"file_size": "11", "sha256": "AB" * 32}, "cat.safetensors")
    assert (found.size_bytes, found.sha256, found.is_distinct) == (11, "ab" * 32, True)
    assert remote_file({"size": 11, "hash": "crc:123"}, "cat.safetensors").sha256 is None


def test_only_what_a_listing_tells_makes_a_fingerprint() -> None:
    fingerprints = {
        remote_file(entry, "cat.safetensors").fingerprint
        for entry in ({"size": 1}, {"size": 2}, {"size": 1, "modified": 5}, {"size": 1, "modified": 6})
    }
    assert len(fingerprints) == 4
    used = remote_file({"size": 1, "last_used": 7}, "cat.safetensors")
    assert used.fingerprint == remote_file({"size": 1, "last_used": 8}, "cat.safetensors").fingerprint


@pytest.mark.parametrize("route", [Route("/mcp/tool"), JSONRPC.routes[0]])
@pytest.mark.parametrize("size_bytes", [0, 1, PIECE_BYTES, 3 * PIECE_BYTES + 1])
def test_a_body_in_pieces_is_the_json_of_the_call(route: Route, size_bytes: int) -> None:
    text = b"A" * size_bytes
    body = PiecewiseBody(frame(route, 'to"ol', {"filename": "ü\n.st", "index": 3}, content_key="chunk"), text)
    whole = b"".join(bytes(piece) for piece in body)
    assert len(whole) == len(body)
    document = json.loads(whole)
    arguments = document["params"]["arguments"] if route.is_jsonrpc else document["arguments"]
    assert arguments == {"filename": "ü\n.st", "index": 3, "chunk": text.decode()}
    assert b"".join(bytes(piece) for piece in body) == whole  # it can be sent again


@pytest.mark.parametrize(("size", "chunk", "count"), [(0, 4, 1), (1, 4, 1), (4, 4, 1), (5, 4, 2)])
def test_chunks_are_counted_and_an_empty_file_has_one(size: int, chunk: int, count: int) -> None:
    assert chunk_count(size, chunk) == count
    assert encoded_bytes(size) == len(base64.b64encode(bytes(size)))


@pytest.mark.parametrize("step", [1, 2, 7, 64, 10_000])
@pytest.mark.parametrize("is_nested", [False, True])
@pytest.mark.parametrize("data", [b"", b"a", bytes(range(256)) * 9])
def test_base64_is_taken_out_of_an_answer_that_comes_in_pieces(data: bytes, is_nested: bool, step: int) -> None:
    inner = {"status": "success", "filename": 'c"at', "data": base64.b64encode(data).decode(), "size": len(data)}
    document: object = {"success": True, "result": inner, "error": None}
    if is_nested:
        document = {"result": {"content": [{"type": "text", "text": json.dumps(inner, indent=1)}]}}
    raw = json.dumps(document).replace("/", r"\/" if not is_nested else "/").encode()
    content = EmbeddedContent()
    taken = b"".join(content.feed(raw[start : start + step]) for start in range(0, len(raw), step))
    assert taken == data
    assert content.is_found
    rest = json.loads(content.answer(Answer("", 200, b"", "")).body)
    rest = json.loads(rest["result"]["content"][0]["text"]) if is_nested else rest["result"]
    assert rest == {**inner, "data": ""}


@pytest.mark.parametrize("step", [1, 3, 77, 10_000])
@pytest.mark.parametrize("is_nested", [False, True])
def test_base64_in_lines_is_taken_out_too(step: int, *, is_nested: bool) -> None:
    data = bytes(range(256)) * 9
    inner = {"data": base64.encodebytes(data).decode(), "size": len(data)}
    document = {"result": {"content": [{"type": "text", "text": json.dumps(inner)}]}} if is_nested else inner
    raw = json.dumps(document).encode()
    content = EmbeddedContent()
    taken = b"".join(content.feed(raw[start : start + step]) for start in range(0, len(raw), step))
    assert taken == data
    assert json.loads(content.answer(Answer("", 200, b"", "")).body)


def test_the_words_of_an_error_are_no_content() -> None:
    raw = b'{"jsonrpc":"2.0","error":{"code":-32603,"message":"Internal error","data":"Tool not found"},"id":1}'
    content = EmbeddedContent()
    assert content.feed(raw) == b""
    assert content.answer(Answer("", 200, b"", "")).body == raw


@pytest.mark.parametrize("text", [b"abc$efgh", b"A" * 4 + b"\\" * 5])
def test_what_is_no_base64_is_an_error_and_not_dropped(text: bytes) -> None:
    with pytest.raises(CallError):
        EmbeddedContent().feed(b'{"data":"' + text + b'"}')


def test_a_download_that_ends_in_the_content_is_an_error() -> None:
    content = EmbeddedContent()
    content.feed(b'{"data":"QUJD')
    with pytest.raises(CallError):
        content.answer(Answer("", 200, b"", ""))


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: str(dialect.api))
def test_how_to_speak_survives_being_remembered(dialect: object) -> None:
    assert isinstance(dialect, type(DOCUMENTED))
    speech = Speech(dialect, dialect.routes[-1], has_chunks=dialect.chunks is not None, version="1.2")
    assert Speech.from_text(speech.to_text()) == speech


@pytest.mark.parametrize("text", ["", "nonsense", '["unknown", 0, true, ""]', '["documented", 99, true, ""]', "{}"])
def test_what_is_not_known_any_more_is_found_out_anew(text: str) -> None:
    assert Speech.from_text(text) is None


def test_retry_after_is_seconds_or_a_date() -> None:
    now = 1_800_000_000.0
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now + 90))
    assert retry_after_seconds("7", now=now) == 7
    assert retry_after_seconds("-7", now=now) == 0
    assert retry_after_seconds(date, now=now) == 90
    assert retry_after_seconds(date, now=now + 1000) == 0
    assert retry_after_seconds("soon", now=now) is None
    assert retry_after_seconds(None, now=now) is None
    assert retry_after_seconds(date.replace("GMT", "-0000"), now=now) == 90


@pytest.mark.parametrize(
    "value", ["nan", "inf", "1e999", "1_0", "", "--1", "Wed, 21 Oct 2015 07:28:00 +99999999999999", "9" * 5000]
)
def test_a_retry_after_that_means_nothing_harms_nothing(value: str) -> None:
    assert retry_after_seconds(value, now=1_800_000_000.0) is None


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/mcp/execute/", "http://box:1/mcp/execute/"),
        ("http://box:1/other", "http://box:1/other"),
        ("http://BOX:1/x", "http://BOX:1/x"),
        ("https://box/x", None),
        ("https://box:1/x", None),
        ("http://box:2/x", None),
        ("http://box/x", None),
        ("http://somebody@box:1/x", None),
        ("http://[box:1/x", None),
        ("http://box:notaport/x", None),
        ("file:///etc/passwd", None),
        ("http://evil:1/x", None),
        ("//evil:1/x", None),
        ("", None),
    ],
)
def test_a_redirect_never_leaves_the_host(location: str, target: str | None) -> None:
    if target is None:
        with pytest.raises(CallError):
            same_host("http://box:1/mcp/execute", location, "POST")
    else:
        assert same_host("http://box:1/mcp/execute", location, "POST") == target


def test_a_redirect_to_tls_is_followed_between_the_usual_ports() -> None:
    assert same_host("http://box/mcp", "https://box/mcp", "POST") == "https://box/mcp"
    assert same_host("http://box:80/mcp", "https://box:443/mcp", "POST") == "https://box:443/mcp"
    with pytest.raises(CallError):
        same_host("http://box/mcp", "https://box:8443/mcp", "POST")


def test_a_redirect_never_leaves_tls() -> None:
    with pytest.raises(CallError):
        same_host("https://box/mcp", "http://box/mcp", "POST")


def test_settings_do_not_show_the_token() -> None:
    assert "s3cret" not in repr(HttpSettings("http://box", token="s3cret"))
