"""One HTTP call: a connection kept alive, time-outs, and bounded answers.

With http_failures.py and deadlines.py the only user of requests. Destinations, sources and ComfyUI's client call it,
on lane and helper threads, several at once. It follows no redirect to another host, logs nothing, keeps no cookie, and
never shows the token.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Protocol
from urllib.parse import urlsplit

import requests
import urllib3
from requests.auth import AuthBase

from lorawatch.domain.errors import StoppedError
from lorawatch.domain.ports import Stop
from lorawatch.transport.calls import CallError, Failure
from lorawatch.transport.deadlines import DeadlineAdapter
from lorawatch.transport.headers import retry_after_seconds, same_host
from lorawatch.transport.http_failures import foreign_errors
from lorawatch.transport.repeating import MOST_ATTEMPTS, NeverStop, repeated

# A listing of 50,000 LoRAs has about 10 MB; nothing that a server should say is longer.
MOST_ANSWER_BYTES = 32 << 20
MOST_REDIRECTS = 3
_READ_BYTES = 256 << 10
_REDIRECTS = frozenset({301, 302, 307, 308})


class Body(Protocol):
    """A request body in pieces, whose length is known and which can be produced again."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes | memoryview]: ...


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Where and how to call. `token` is sent as a bearer token unless it is empty."""

    url: str
    token: str = ""
    connect_timeout_seconds: float = 5
    read_timeout_seconds: float = 60
    verify_tls: bool = True
    connections: int = 8
    attempts: int = MOST_ATTEMPTS

    def __repr__(self) -> str:
        return f"HttpSettings({self.url!r})"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever it is."""

    called: str  # "POST http://host/route", for messages
    status: int
    body: bytes
    content_type: str
    retry_after_seconds: float | None = None
    secret: str = field(default="", repr=False)  # what must not be shown, should the answer repeat it


class HttpClient:
    """Calls one server. Thread-safe: the session's connection pool is, and nothing else in it changes."""

    def __init__(self, settings: HttpSettings) -> None:
        self.url = settings.url
        self._attempts = settings.attempts
        self._token = settings.token
        self._timeouts = (settings.connect_timeout_seconds, settings.read_timeout_seconds)
        self._session = requests.Session()
        self._session.auth = _Bearer(settings.token)
        self._session.headers.update({"User-Agent": "lorawatch", "Accept-Encoding": "identity"})
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._requests: dict[tuple[str, str], requests.PreparedRequest] = {}
        adapter = DeadlineAdapter(pool_maxsize=settings.connections)  # its max_retries is 0: the loop is below
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        # Proxies and certificates as the environment says; asked once, for it costs a tenth of sending a chunk.
        self._environment = self._session.merge_environment_settings(
            settings.url, proxies=_no_proxy_for(settings.url), stream=True, verify=settings.verify_tls, cert=None
        )
        if not settings.verify_tls:  # the user has said so: no warning at every call
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def get(self, route: str, *, is_repeatable: bool = True, stop: Stop | None = None) -> Answer:
        """Ask for a page. Raises CallError and StoppedError."""
        return repeated(
            lambda: self._call("GET", route, None),
            called=self.url,
            attempts=self._attempts,
            is_repeatable=is_repeatable,
            stop=stop,
        )

    def post(
        self,
        route: str,
        body: Body | bytes,
        *,
        is_repeatable: bool,
        stop: Stop | None = None,
        on_doubt: Callable[[], None] | None = None,
    ) -> Answer:
        """Send JSON. `is_repeatable` says that carrying it out twice does no harm. Raises CallError and StoppedError.

        What was surely not carried out (no connection, 429, 503) is repeated in any case; before anything else is,
        `on_doubt` is called.
        """
        return repeated(
            lambda: self._call("POST", route, body),
            called=self.url,
            attempts=self._attempts,
            is_repeatable=is_repeatable,
            stop=stop,
            on_doubt=on_doubt,
        )

    def download(
        self, route: str, body: Body | bytes | None, sink: Callable[[bytes], object], *, stop: Stop | None = None
    ) -> Answer:
        """Send JSON and hand the answer over piece by piece; the returned Answer is empty if `sink` took it.

        Without a body it asks for a page. An answer that is no success is returned whole, as from `post`. It is not
        repeated.
        """
        stop = stop or NeverStop()

        def pour(response: requests.Response) -> bytes:
            if response.status_code != 200:
                return _read(response)
            for piece in response.iter_content(_READ_BYTES):
                if stop.is_set():
                    raise StoppedError(f"the download from {self.url} was interrupted")
                sink(piece)
            return b""

        return self._call("GET" if body is None else "POST", route, body, read=pour)

    def _call(
        self,
        method: str,
        route: str,
        body: Body | bytes | None,
        *,
        read: Callable[[requests.Response], bytes] | None = None,
    ) -> Answer:
        url = self.url + route
        called = f"{method} {url}"  # also after a redirect, whose address is the server's to choose
        for number in range(MOST_REDIRECTS + 1):
            prepared = self._prepared(method, url) if not number else self._prepare(method, url)
            with foreign_errors(called), self._send(prepared, body) as response:
                answer = Answer(
                    called,
                    response.status_code,
                    (read or _read)(response),
                    response.headers.get("Content-Type", ""),
                    retry_after_seconds(response.headers.get("Retry-After"), now=time.time()),
                    self._token,
                )
                location = response.headers.get("Location", "")
            if answer.status == 413:
                self._session.close()  # it was answered before the body was read: the connection is of no more use
            if answer.status not in _REDIRECTS:
                return answer
            is_told = bool(self._token) and self._token in location  # an address that repeats it is not shown either
            url = same_host(url, "" if is_told else location, called)
        raise CallError(Failure.UNREADABLE, f"{called}: redirected more than {MOST_REDIRECTS} times")

    def _send(self, request: requests.PreparedRequest, body: Body | bytes | None) -> requests.Response:
        prepared = request.copy()
        if body is not None:
            prepared.headers["Content-Type"] = "application/json"
            prepared.headers["Content-Length"] = str(len(body))
            prepared.body = body  # type: ignore[assignment]  # what is iterable is sent piece by piece
        return self._session.send(prepared, timeout=self._timeouts, allow_redirects=False, **self._environment)

    def _prepared(self, method: str, url: str) -> requests.PreparedRequest:
        """Prepare a request once per route: for every chunk it would cost as much as encoding it."""
        known = self._requests.get((method, url))
        if known is None:
            known = self._requests[method, url] = self._prepare(method, url)
        return known

    def _prepare(self, method: str, url: str) -> requests.PreparedRequest:
        return self._session.prepare_request(requests.Request(method, url))


class _Bearer(AuthBase):
    """Sends the token. Also without one it keeps requests from sending what it finds in ~/.netrc."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _no_proxy_for(url: str) -> dict[str, str]:
    """Leave the environment's proxy out for this machine itself: what is here, a proxy cannot reach."""
    host = urlsplit(url).hostname or ""
    is_here = host in {"localhost", "::1"} or host.startswith("127.")
    return {"no_proxy": host} if is_here else {}


def _read(response: requests.Response) -> bytes:
    body = bytearray()
    for piece in response.iter_content(_READ_BYTES):
        body += piece
        if len(body) > MOST_ANSWER_BYTES:
            msg = f"{response.url}: the answer is longer than {MOST_ANSWER_BYTES >> 20} MiB"
            raise CallError(Failure.UNREADABLE, msg)
    return bytes(body)
