"""From bytes that were carried to a file that the server lists: finish, look, and start over where that does not fit.

Used by the comfyui-mcp destination on lane threads. Nothing that was said counts, only what the listing shows, and
that only where it differs from the listing taken just before (one released server says success and stores nothing).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from lorawatch.destinations.comfyui_mcp.errands import Doubt, Errand, Order, Upload
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
    """Makes one upload visible and finds out whether it is. `find` and `digest` ask the server.

    `is_read_back` has the hash asked for whatever happens; `on_order` is told when a hash shows that chunks which were
    sent side by side are in another order, or when no hash can show it.
    """

    def __init__(
        self,
        errand: Errand,
        upload: Upload,
        *,
        memory: Memory,
        find: Callable[[str], RemoteFile | None],
        digest: Callable[[str], str | None],
        is_read_back: bool,
        on_order: Callable[[Order], None],
    ) -> None:
        self._errand = errand
        self._upload = upload
        self._memory = memory
        self._find = find
        self._digest = digest
        self._is_read_back = is_read_back
        self._on_order = on_order
        self._is_in_order = False  # what is sent again is sent one part after the other
        self._is_unseen = False  # the listing shows what it showed before

    def publish(self) -> RemoteFile:
        """Return what the server lists in the end. Raises DestinationError, SourceError, StoppedError."""
        before = self._find(self._errand.remote_name)
        self._refuse_foreign(before)
        for _ in range(MOST_RESTARTS):
            arrived = self._finish(before)
            if arrived is not None:
                return arrived
            self._upload.start_over(in_order=self._is_in_order)
            self._carry_again()
            before = self._find(self._errand.remote_name)
        arrived = self._finish(before)
        if arrived is not None:
            return arrived
        if self._is_unseen:
            raise self._not_listed()
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
            raise self._not_listed()
        return self._vouched_for(there, before, told)

    def _not_listed(self) -> DeliveryRefusedError:
        close_publication(self._memory, self._errand.remote_name)
        return DeliveryRefusedError(
            f"the server said that {self._errand.remote_name!r} was stored, but does not list it",
            code="not-listed",
            fix="update the server; some versions store nothing",
        )

    def _vouched_for(
        self, there: RemoteFile, before: RemoteFile | None, told: RemoteFile | None = None
    ) -> RemoteFile | None:
        """Return what stands there if nothing is left in doubt about it; None if it is to be sent again."""
        errand, doubt = self._errand, self._upload.doubt
        if there.size_bytes not in {None, errand.size_bytes}:
            return None
        is_changed = before is None or before.fingerprint != there.fingerprint
        # An unchanged time or hash shows that nothing was stored; an unchanged size shows nothing.
        self._is_unseen = not is_changed and there.is_distinct
        is_size_told = there.size_bytes is not None or (told is not None and told.size_bytes is not None)
        is_plain = not self._is_unseen and (is_size_told or doubt is Doubt.NONE)
        if is_plain and doubt is not Doubt.ORDER and not self._is_read_back:
            return self._close(there)
        sha256 = there.sha256 or self._read_back()
        if sha256 == errand.sha256:
            self._is_unseen = False
            return self._close(replace(there, sha256=sha256))
        self._is_in_order = self._is_in_order or doubt is Doubt.ORDER
        if sha256 is not None or not is_plain:
            if sha256 is not None and doubt is Doubt.ORDER:
                self._on_order(Order.LOST)
            return None
        if doubt is Doubt.ORDER:
            self._on_order(Order.UNPROVEN)
            return self._close(replace(there, is_proven=False))
        return self._close(there)

    def _read_back(self) -> str | None:
        """Ask for the hash on a helper thread: it may take as long as the upload."""
        errand = self._errand
        return errand.call(lambda: self._digest(errand.remote_name), lambda: errand.size_bytes)

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
        arrived = None if there is None else self._found_after_failure(there, before)
        if arrived is not None:
            return arrived
        if error.failure is Failure.TIMED_OUT:
            raise destination_error(error) from error  # it may still be at it: sending more would only delay it
        return None

    def _close(self, there: RemoteFile) -> RemoteFile:
        close_publication(self._memory, self._errand.remote_name)
        return replace(there, is_leftover=False)

    def _found_after_failure(self, there: RemoteFile, before: RemoteFile | None) -> RemoteFile | None:
        """Return what stands there if it is what was sent: of the right size, and it was not there before."""
        if there.size_bytes != self._errand.size_bytes:
            return None
        if before is None or before.fingerprint != there.fingerprint:
            return self._vouched_for(there, before)
        sha256 = there.sha256 or self._read_back()
        return self._close(replace(there, sha256=sha256)) if sha256 == self._errand.sha256 else None

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
