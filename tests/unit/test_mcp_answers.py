"""The normaliser: a clear success becomes its payload, everything else an error with a class and a code."""

import json

import pytest

from lorawatch.transport.answers import failure_of, payload_of
from lorawatch.transport.calls import CallError, Failure
from lorawatch.transport.http import Answer


def answer(body: object, *, status: int = 200, content_type: str = "application/json") -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer("POST http://box/mcp/tool", status, raw, content_type, None)


def jsonrpc(text: str) -> object:
    return {"jsonrpc": "2.0", "result": {"content": [{"type": "text", "text": text}]}, "id": 3}


LISTING = {"loras": [{"name": "t3", "filename": "t3.safetensors", "size": 11}]}


@pytest.mark.parametrize(
    "body",
    [
        LISTING,
        {"success": True, "result": LISTING, "error": None},
        {"result": LISTING},
        {"success": True, "result": {"success": True, "result": LISTING, "error": None}, "error": None},
        {"success": True, "result": json.dumps(LISTING)},
        jsonrpc(json.dumps(LISTING, indent=1)),
        jsonrpc(json.dumps({"success": True, "result": LISTING})),
    ],
)
def test_a_payload_is_found_in_every_envelope(body: object) -> None:
    assert payload_of(answer(body)) == LISTING


def test_a_bare_list_is_a_payload() -> None:
    assert payload_of(answer(["a.safetensors"])) == {"items": ["a.safetensors"]}


def test_a_success_that_says_nothing_more_is_one() -> None:
    assert payload_of(answer({"success": True, "result": None, "error": None}))["success"] is True
    assert payload_of(answer({"success": True, "result": {}, "error": None}))["success"] is True


# Recorded from real servers, or what a proxy puts in the place of an answer.
@pytest.mark.parametrize(
    ("body", "failure"),
    [
        ({"success": True, "result": {"error": "Missing required fields: filename and data"}, "error": None},
         Failure.WRONG_PARAMETERS),
        ({"success": False, "result": None, "error": "404: Tool 'nosuch' not found"}, Failure.TOOL_MISSING),
        ({"success": True, "result": {"success": False, "result": None, "error": "Upload ID not found"}, "error": None},
         Failure.UPLOAD_LOST),
        ({"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "Internal error",
                                               "data": "Tool 'nosuch' not found"}}, Failure.TOOL_MISSING),
        (jsonrpc('{\n "error": "LoRA not found"\n}'), Failure.NOT_FOUND),
        (jsonrpc("Error: no space left on device"), Failure.DISK_FULL),
        ({"isError": True, "content": [{"type": "text", "text": "broken"}]}, Failure.REPORTED),
        ({"status": "error", "message": "Size mismatch: expected 5, got 4"}, Failure.INCOMPLETE),
        ({"ok": False}, Failure.REPORTED),
        ({"success": "false", "result": {"loras": []}}, Failure.REPORTED),
        ({"success": 0, "result": {"loras": []}}, Failure.REPORTED),
        ({"errors": [{"message": "out of luck"}]}, Failure.REPORTED),
        ({"detail": "out of luck"}, Failure.REPORTED),
        ({}, Failure.UNREADABLE),
        ({"result": None}, Failure.UNREADABLE),
        (None, Failure.UNREADABLE),
        (True, Failure.UNREADABLE),
        (b"", Failure.UNREADABLE),
        (b"<html><body>Sign in</body></html>", Failure.UNREADABLE),
        (b'{"success": true, "result": {"sta', Failure.UNREADABLE),
        (b"OK", Failure.UNREADABLE),
        (b"\xff\xfe", Failure.UNREADABLE),
        (b"[" * 100_000, Failure.UNREADABLE),
    ],
)  # fmt: skip
def test_200_without_a_clear_success_is_an_error(body: object, failure: Failure) -> None:
    with pytest.raises(CallError) as error:
        payload_of(answer(body))
    assert error.value.failure is failure


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        (400, {"detail": "bad"}, Failure.WRONG_PARAMETERS),
        (400, {"error": "Upload ID not found"}, Failure.UPLOAD_LOST),
        (401, {"detail": "Invalid token"}, Failure.NOT_AUTHORIZED),
        (403, b"", Failure.NOT_AUTHORIZED),
        (404, {"detail": "Not Found"}, Failure.NO_ROUTE),
        (404, {"detail": "Tool 'x' not found"}, Failure.TOOL_MISSING),
        (405, {"detail": "Method Not Allowed"}, Failure.NO_ROUTE),
        (408, b"", Failure.BROKEN),
        (413, b"<html>413 Request Entity Too Large</html>", Failure.TOO_LARGE),
        (422, {"detail": [{"loc": ["body", "tool"], "msg": "field required"}]}, Failure.WRONG_PARAMETERS),
        (429, b"", Failure.BUSY),
        (500, b"Internal Server Error", Failure.BROKEN),
        (500, {"detail": "Upload session expired"}, Failure.UPLOAD_LOST),
        (502, b"<html>Bad Gateway</html>", Failure.BROKEN),
        (503, b"", Failure.BUSY),
        (504, b"", Failure.BROKEN),
        (302, b"", Failure.REPORTED),
    ],
)
def test_every_status_has_a_class(status: int, body: object, failure: Failure) -> None:
    with pytest.raises(CallError) as error:
        payload_of(answer(body, status=status))
    assert error.value.failure is failure
    assert f"HTTP {status}" in error.value.message


@pytest.mark.parametrize(
    ("words", "failure"),
    [
        ("Tool 'upload-lora-chunked-append' not found", Failure.TOOL_MISSING),
        ("Unknown tool: upload_lora_chunk", Failure.TOOL_MISSING),
        ("Upload ID not found", Failure.UPLOAD_LOST),
        ("Unknown upload_id: 1234", Failure.UPLOAD_LOST),
        ("No such upload", Failure.UPLOAD_LOST),
        ("chunk 7 already received", Failure.CHUNK_STORED),
        ("Checksum mismatch", Failure.INCOMPLETE),
        ("Missing chunks: 3, 4", Failure.INCOMPLETE),
        ("File already exists", Failure.NAME_TAKEN),
        ("upload_lora() got an unexpected keyword argument 'content'", Failure.WRONG_PARAMETERS),
        ("Request Entity Too Large", Failure.TOO_LARGE),
        ("Rate limit exceeded", Failure.BUSY),
        ("the cat sat on the keyboard", Failure.REPORTED),
    ],
)
def test_what_servers_say_is_understood(words: str, failure: Failure) -> None:
    assert failure_of(words) is failure


def test_a_message_never_holds_a_long_body() -> None:
    with pytest.raises(CallError) as error:
        payload_of(answer({"error": "x" * 100_000}))
    assert len(error.value.message) < 400


@pytest.mark.parametrize("depth", [20, 300, 600])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"error":', "}"), ('{"result":', "}")])
def test_words_are_not_looked_for_without_end(opening: str, closing: str, depth: int) -> None:
    body = '{"error":' + opening * depth + '"deep"' + closing * depth + "}"
    with pytest.raises(CallError):
        payload_of(answer(body.encode()))
