"""What a failed call means for whoever asks ComfyUI: the one place where CallErrors become the house's errors.

Used by client.py. Down is what may be up in a minute; all else says that something else than a ComfyUI answers, or
one that cannot do what was asked.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from lorawatch.domain.errors import ComfyUIDownError, ComfyUIError
from lorawatch.transport.calls import CallError, Failure
from lorawatch.transport.http import Answer

_START = "start ComfyUI, or correct comfyui_url"
_DOWN = frozenset({Failure.NOT_CONNECTED, Failure.TIMED_OUT, Failure.LOST, Failure.BUSY})
# A proxy says these for a ComfyUI that is starting or stopped.
_DOWN_STATUSES = frozenset({429, 502, 503, 504})


@contextmanager
def comfyui_errors() -> Iterator[None]:
    """Raise what a failed call in the body means."""
    try:
        yield
    except CallError as error:
        if error.failure in _DOWN:
            raise ComfyUIDownError(error.message, fix=error.fix or _START) from error
        raise ComfyUIError(error.message, fix=error.fix or "check that comfyui_url leads to ComfyUI itself") from error


def status_error(answer: Answer) -> ComfyUIError:
    """Return what an answer means that is no success."""
    message = f"{answer.called}: HTTP {answer.status}"
    if answer.status in _DOWN_STATUSES:
        return ComfyUIDownError(message, fix=_START)
    if answer.status in {401, 403}:
        return ComfyUIError(message, fix="something before ComfyUI asks for a login: let this machine pass without")
    if answer.status == 500:
        return ComfyUIError(message, fix="see ComfyUI's log; a missing models directory is the usual cause")
    return ComfyUIError(message, fix="check that comfyui_url leads to ComfyUI itself")


def unreadable(answer: Answer, what: str) -> ComfyUIError:
    """Return the error for an answer that is no such thing as was asked for."""
    fix = "check that comfyui_url leads to ComfyUI itself"
    return ComfyUIError(f"{answer.called}: the answer is no {what}", fix=fix)
