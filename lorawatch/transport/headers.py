"""What two headers of an answer mean: Location and Retry-After. Used by http.py. Pure."""

import email.utils
import re
from datetime import UTC
from urllib.parse import SplitResult, urljoin, urlsplit

from lorawatch.transport.calls import CallError, Failure

_PORTS = {"http": 80, "https": 443}
_SECONDS = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,12})?")  # with a fraction too: some servers send one


def same_host(url: str, location: str, called: str) -> str:
    """Return where a redirect leads, if the same server is meant: token and file are for no other.

    The same host and port; or from port 80 to TLS on port 443, as web servers do.
    """
    there = urlsplit("")
    try:
        here, there = urlsplit(url), urlsplit(urljoin(url, location))
        ends = (_end_of(here), _end_of(there))
        is_upgrade = (here.scheme, there.scheme) == ("http", "https") and (ends[0][1], ends[1][1]) == (80, 443)
        is_same = here.scheme == there.scheme and ends[0] == ends[1]
        if location and "@" not in there.netloc and here.hostname == there.hostname and (is_same or is_upgrade):
            return there.geturl()
    except ValueError:
        pass  # no address at all: refused like any other
    where = f"{there.scheme}://{there.netloc}" if there.netloc and "@" not in there.netloc else "nowhere"
    raise CallError(
        Failure.REDIRECTED, f"{called}: redirected to {where}", fix="if that is the right server, write it as url"
    )


def retry_after_seconds(value: str | None, *, now: float) -> float | None:
    """Read a Retry-After header: seconds, or a date (RFC 9110, 10.2.3); None for anything else."""
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return max(0.0, float(text))
    try:
        date = email.utils.parsedate_to_datetime(text)
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None


def _end_of(address: SplitResult) -> tuple[str | None, int | None]:
    return address.hostname, address.port or _PORTS.get(address.scheme)
