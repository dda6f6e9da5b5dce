"""One normaliser for what MCP servers answer: a clear success becomes its payload, everything else a CallError.

Used wherever an MCP server is called, on any thread. Servers in the field report errors in a dozen shapes, most of
them with HTTP 200: this is the only module that knows these shapes. Pure; it never shows a body.
"""

import json
import re
from typing import Any

from lorawatch.transport.calls import CallError, Failure
from lorawatch.transport.http import Answer

Payload = dict[str, Any]
ITEMS = "items"  # where the payload holds an answer that was a bare list

_MOST_NESTING = 6  # a bridge's double envelope inside JSON inside JSON-RPC has four
_MOST_DEPTH = 12  # of what words are looked for in
_MOST_WORDS = 300
_MOST_HELD = 4000  # of what is looked at to find them
_SUCCESSES = frozenset({200, 201})
_STATUS: dict[int, Failure] = {
    400: Failure.WRONG_PARAMETERS,
    401: Failure.NOT_AUTHORIZED,
    403: Failure.NOT_AUTHORIZED,
    404: Failure.NO_ROUTE,
    405: Failure.NO_ROUTE,
    406: Failure.NO_ROUTE,
    408: Failure.BROKEN,
    409: Failure.NAME_TAKEN,
    411: Failure.WRONG_PARAMETERS,
    413: Failure.TOO_LARGE,
    415: Failure.WRONG_PARAMETERS,
    422: Failure.WRONG_PARAMETERS,
    425: Failure.BUSY,
    429: Failure.BUSY,
    503: Failure.BUSY,
    507: Failure.DISK_FULL,
}
# What servers say, in the order in which it is tried: the first that matches decides.
_WORDS: tuple[tuple[re.Pattern[str], Failure], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), failure)
    for pattern, failure in (
        (r"(unknown|no such|unsupported|unrecognized) (tool|method)", Failure.TOOL_MISSING),
        (r"(tool|method)\b.{0,80}(not found|unknown|not available|does not exist|not supported)", Failure.TOOL_MISSING),
        (r"\bupload(\s*id|_id|\s*session)?\b['\": \w-]{0,60}(not found|unknown|expired|does not exist)",
         Failure.UPLOAD_LOST),
        (r"(unknown|invalid|no such|expired|no active) upload", Failure.UPLOAD_LOST),
        (r"duplicate chunk|chunk\b.{0,40}already (received|stored|uploaded|exists)", Failure.CHUNK_STORED),
        (r"(size|checksum|hash|sha256|length) mismatch|mismatch\w* (size|checksum|hash)", Failure.INCOMPLETE),
        (r"missing chunk|incomplete upload|upload (is )?incomplete|chunks? (is|are) missing", Failure.INCOMPLETE),
        (r"missing required|(field|parameter|argument|property) (is )?required|required (field|param|arg)",
         Failure.WRONG_PARAMETERS),
        (r"unexpected (keyword )?(argument|parameter)|validation error|invalid (argument|parameter)s?",
         Failure.WRONG_PARAMETERS),
        (r"already exists|file exists", Failure.NAME_TAKEN),
        (r"entity too large|payload too large|too large", Failure.TOO_LARGE),
        (r"no space left|disk (is )?full|quota exceeded", Failure.DISK_FULL),
        (r"unauthorized|unauthorised|forbidden|invalid (api[ _-]?key|token|credentials)", Failure.NOT_AUTHORIZED),
        (r"too many requests|rate limit|server (is )?busy|try again later", Failure.BUSY),
        (r"not found|does not exist|no such file", Failure.NOT_FOUND),
    )
)  # fmt: skip
_YES = (True, None, "true", "True")  # None beside a result: it says neither, and the result does
_FAILED_STATES = frozenset({"error", "failed", "failure"})


def payload_of(answer: Answer) -> Payload:
    """Return what a call gave. Raises CallError for everything that is not a clear success."""
    document = _document_of(answer)
    if answer.status not in _SUCCESSES:
        raise _status_error(answer, document)
    return _unwrapped(document, answer, depth=0)


def failure_of(words: str) -> Failure:
    """Return what an error message means; REPORTED if it means nothing known."""
    return next((failure for pattern, failure in _WORDS if pattern.search(words)), Failure.REPORTED)


def _document_of(answer: Answer) -> object:
    """Return the JSON of an answer, None if there is none; CallError if there should be."""
    text = answer.body.strip()
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass  # what it is instead decides
    if answer.status not in _SUCCESSES:
        return None
    if not text:
        what = "an empty answer"
    elif text[:1] == b"<" or "html" in answer.content_type:
        what = "a web page instead of JSON, as from a proxy"
    elif text[:1] in b"{[":
        what = "JSON that ends too early"
    else:
        what = "something that is no JSON"
    fix = "check that url leads to the MCP server itself"
    raise CallError(Failure.UNREADABLE, f"{answer.called}: {what}", fix=fix)


def _status_error(answer: Answer, document: object) -> CallError:
    words = _shown(document, answer)
    by_status = _STATUS.get(answer.status, Failure.BROKEN if answer.status >= 500 else Failure.REPORTED)
    failure = by_status
    # The status says how bad it is; the words, where they are known, say what it is.
    if words and by_status in {Failure.WRONG_PARAMETERS, Failure.NO_ROUTE, Failure.BROKEN, Failure.REPORTED}:
        said = failure_of(words)
        is_bare_404 = words.strip(". ").lower() == "not found"  # Starlette's words for an unknown address
        if said is not Failure.REPORTED and not is_bare_404:
            failure = said
    message = f"{answer.called}: HTTP {answer.status}" + (f", {words}" if words else "")
    return CallError(failure, message, retry_after_seconds=answer.retry_after_seconds)


def _unwrapped(document: object, answer: Answer, *, depth: int) -> Payload:
    """Take off one envelope after the other; each may report an error."""
    if isinstance(document, list):
        return {ITEMS: document}
    if not isinstance(document, dict) or _says_nothing(document) or depth > _MOST_NESTING:
        raise CallError(Failure.UNREADABLE, f"{answer.called}: an answer that says neither success nor error")
    if _is_error(document):
        words = _shown(document, answer)
        raise CallError(
            failure_of(words),
            f"{answer.called}: {words or 'an error without words'}",
            retry_after_seconds=answer.retry_after_seconds,
        )
    inner = _inner(document)
    if inner is None:
        return document
    return _unwrapped(inner, answer, depth=depth + 1)


def _is_error(document: Payload) -> bool:
    state = document.get("status")
    return bool(
        document.get("success", True) not in _YES
        or document.get("ok", True) not in _YES
        or document.get("isError")
        or document.get("error")
        or document.get("errors")
        or (isinstance(state, str) and state.lower() in _FAILED_STATES)
        or (set(document) == {"detail"})
    )


def _says_nothing(document: Payload) -> bool:
    return not any(value is not None for key, value in document.items() if key not in {"jsonrpc", "id"})


def _inner(document: Payload) -> object:
    """Return what is inside an envelope, None if this is the payload itself."""
    if isinstance(content := document.get("content"), list) and content:
        return _content_of(content)
    result = document.get("result")
    if isinstance(result, dict | list) and result:
        return result
    if isinstance(result, str):
        return _parsed(result)
    return None


def _content_of(content: list[object]) -> object:
    """Return the JSON inside the text of a JSON-RPC result, or the text as what it says."""
    first = content[0]
    text = first.get("text") if isinstance(first, dict) else None
    if not isinstance(text, str):
        return None
    parsed = _parsed(text)
    if parsed is not None:
        return parsed
    if failure_of(text) is not Failure.REPORTED or text.lower().startswith(("error", "failed")):
        return {"error": text}
    return {"text": text}


def _parsed(text: str) -> object:
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError):
        return None  # plain words: the envelope around them is the payload
    return parsed if isinstance(parsed, dict | list) else None


def _shown(document: object, answer: Answer) -> str:
    """Return the server's own words for an error as they may be shown: one short printable line, without the token."""
    words = _words(document)
    if answer.secret:
        words = words.replace(answer.secret, "…")
    return " ".join("".join(each if each.isprintable() else " " for each in words[:_MOST_HELD]).split())[:_MOST_WORDS]


def _words(document: object, depth: int = 0) -> str:
    """Return the server's own words for an error, wherever it has put them."""
    if isinstance(document, str):
        return document
    if depth > _MOST_DEPTH:
        return ""
    if isinstance(document, list):
        return "; ".join(filter(None, (_words(each, depth + 1) for each in document[:3])))
    if not isinstance(document, dict):
        return ""
    if isinstance(document.get("msg"), str):  # FastAPI's detail: [{"loc": ["body", "tool"], "msg": "field required"}]
        where = document.get("loc")
        place = ".".join(map(str, where)) + ": " if isinstance(where, list) else ""
        return f"{place}{document['msg']}"
    for key in ("data", "error", "errors", "detail", "message", "reason", "content", "text", "result"):
        words = _words(document.get(key), depth + 1)
        if words:
            return words
    return ""
