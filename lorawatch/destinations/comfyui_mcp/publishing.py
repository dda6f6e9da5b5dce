"""From bytes that were carried to a file that the server lists: finish, look, and start over where that does not fit.

Used by the comfyui-mcp destination on lane threads. Nothing that was said counts, only what the listing shows, and
that only where it differs from the listing taken just before (one released server says success and stores nothing).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from lorawatch.destinations.comfyui_mcp.errands import Errand, Upload
from lorawatch.destinations.comfyui_mcp.failures import destination_error
from lorawatch.destinations.comfyui_mcp.listing import remote_file
from lorawatch.domain.errors import DeliveryDelayedError, DeliveryRefusedError, NameTakenError, StoppedError
from lorawatch.domain.model import RemoteFile
from lorawatch.domain.ports import Memory
from lorawatch.transport.calls import CallError, Failure

MOST_RESTARTS = 2
# A server that lists a directory shows a new file at once; one with a cache deserves these further looks.
PATIENCE_SECONDS = (0.0, 0.3, 1.0)
_OPEN = "publishing "  # the key under which an open publication is remembered, before the name
_STARTS_AGAIN = frozenset({Failure.UPLOAD_LOST, Failure.INCOMPLETE})


@dataclass(frozen=True, slots=True)
class OpenPublication:
    """A publication whose end is not known: it was interrupted between asking for it and seeing the result."""

    sha256: str
    size_bytes: int
    before: str | None  # the fingerprint of what stood at the name; None: nothing

    def may_have_left(self, there: RemoteFile) -> bool:
        """Return whether it may be what stands there now."""
        return there.fingerprint != self.before

    def has_arrived(self, there: RemoteFile, *, sha256: str) -> bool:
        """Return whether what stands there now shows that it succeeded."""
        return self.sha256 == sha256 and self.size_bytes == there.size_bytes and self.may_have_left(there)


def open_publication(memory: Memory, remote_name: str) -> OpenPublication | None:
    """Return the open publication of a name, if there is one."""
    try:
        return OpenPublication(*json.loads(memory.recall(_OPEN + remote_name) or ""))
    except (ValueError, TypeError):
        return None


def close_publication(memory: Memory, remote_name: str) -> None:
    """Note that the end is known now."""
    memory.remember(_OPEN + remote_name, None)


class Publication:
    """Makes one upload visible and finds out whether it is. `find` and `digest` ask the server."""

    def __init__(
        self,
        errand: Errand,
        upload: Upload,
        *,
        memory: Memory,
        find: Callable[[str], RemoteFile | None],
        digest: Callable[[str], str | None],
    ) -> None:
        self._errand = errand
        self._upload = upload
        self._memory = memory
        self._find = find
        self._digest = digest

    def publish(self) -> RemoteFile:
        """Return what the server lists in the end. Raises DestinationError, SourceError, StoppedError."""
        before = self._find(self._errand.remote_name)
        self._refuse_foreign(before)
        for _ in range(MOST_RESTARTS):
            arrived = self._finish(before)
            if arrived is not None:
                return arrived
            self._upload.start_over()
            self._carry_again()
            before = self._find(self._errand.remote_name)
        arrived = self._finish(before)
        if arrived is not None:
            return arrived
        raise DeliveryDelayedError(
            f"what {self._errand.remote_name!r} became on the server is not what was sent, {MOST_RESTARTS + 1} times",
            code="size-mismatch",
            fix="set parallel_chunks = 1, and see the server's log",
        )

    def _carry_again(self) -> None:
        try:
            self._upload.carry()
        except CallError as error:
            raise destination_error(error) from error

    def _refuse_foreign(self, there: RemoteFile | None) -> None:
        """Look once more before anything can be overwritten: the protocol knows no exclusive way."""
        allowed = self._errand.consignment.replaces
        if there is not None and (allowed is None or allowed.fingerprint != there.fingerprint):
            raise NameTakenError(f"another file named {self._errand.remote_name!r} has appeared on the server")

    def _finish(self, before: RemoteFile | None) -> RemoteFile | None:
        """Finish once; return the file if it stands there, None if everything is to be done again."""
        errand = self._errand
        self._note(before)
        for is_last in (False, True):
            try:
                told = remote_file(self._upload.finish(), errand.remote_name)
                break
            except CallError as error:
                arrived = self._after_failure(error, before)
                # A connection that was closed meanwhile is no reason to send it all again: ask once more.
                if arrived is not None or is_last or not error.failure.may_have_happened:
                    return arrived
        else:
            return None
        if told.size_bytes not in {None, errand.size_bytes} or told.sha256 not in {None, errand.sha256}:
            return None
        there = self._look_patiently(before)
        if there is None:
            close_publication(self._memory, errand.remote_name)
            raise DeliveryRefusedError(
                f"the server said that {errand.remote_name!r} was stored, but does not list it",
                code="not-listed",
                fix="update the server; some versions store nothing",
            )
        return self._close(there) if there.size_bytes in {None, errand.size_bytes} else None

    def _note(self, before: RemoteFile | None) -> None:
        """Remember that the end is open. What an earlier try of ours has left is not what stood there before it."""
        fingerprint = before.fingerprint if before is not None else None
        if before is not None and before.is_leftover:
            earlier = open_publication(self._memory, self._errand.remote_name)
            fingerprint = earlier.before if earlier is not None else fingerprint
        note = [self._errand.sha256, self._errand.size_bytes, fingerprint]
        self._memory.remember(_OPEN + self._errand.remote_name, json.dumps(note))

    def _after_failure(self, error: CallError, before: RemoteFile | None) -> RemoteFile | None:
        """Ask the listing before anything is sent again: the answer may be all that was lost."""
        if error.failure is Failure.NAME_TAKEN and self._errand.consignment.replaces is not None:
            raise DeliveryRefusedError(
                f"the server does not replace files: {error.message}",
                code="name-taken",
                fix=f"remove {self._errand.remote_name!r} there, then: lorawatch retry",
            ) from error
        if not (error.failure.may_have_happened or error.failure in _STARTS_AGAIN):
            close_publication(self._memory, self._errand.remote_name)
            raise destination_error(error) from error
        there = self._find(self._errand.remote_name)
        if there is not None and self._is_what_was_sent(there, before):
            return self._close(there)
        if error.failure is Failure.TIMED_OUT:
            raise destination_error(error) from error  # it may still be at it: sending more would only delay it
        return None

    def _close(self, there: RemoteFile) -> RemoteFile:
        close_publication(self._memory, self._errand.remote_name)
        return replace(there, is_leftover=False)

    def _is_what_was_sent(self, there: RemoteFile, before: RemoteFile | None) -> bool:
        if there.size_bytes != self._errand.size_bytes:
            return False
        if before is None or before.fingerprint != there.fingerprint:
            return True
        return self._digest(self._errand.remote_name) == self._errand.sha256

    def _look_patiently(self, before: RemoteFile | None) -> RemoteFile | None:
        """Look until the listing shows a change, for a moment; then take what it shows."""
        there = None
        for seconds in PATIENCE_SECONDS:
            if self._errand.stop.wait(seconds):
                raise StoppedError(f"looking for {self._errand.remote_name!r} was interrupted")
            there = self._find(self._errand.remote_name)
            is_changed = there is not None and (before is None or before.fingerprint != there.fingerprint)
            if is_changed or (there is not None and not there.is_distinct):
                break
        return there
