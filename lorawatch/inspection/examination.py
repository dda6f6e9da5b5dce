"""One file from its header to the verdict on its weights, with the bytes read once in between.

Whoever reads a file, a reader thread or intake itself, begins an examination with the header; the bytes then pass by
on whatever read is made of them (the copy to a local destination, or our own hash), and the same thread asks for the
conclusion. It opens and closes nothing, and records nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lorawatch.domain.errors import FileRejectedError
from lorawatch.domain.model import Facts
from lorawatch.domain.ports import Stop
from lorawatch.inspection.hashing import Sink, sha256_of
from lorawatch.inspection.rules import rules_version
from lorawatch.inspection.wholeness import has_hole

if TYPE_CHECKING:
    from lorawatch.inspection.header import Header
    from lorawatch.inspection.weights import WeightsScan

_FIXES = {
    "nonfinite": "use an earlier checkpoint, or set inspect.on_nonfinite to warn to have it all the same",
    "zero-tail": "the file was not written to its end: save or copy it again",
}


class Examiner:
    """Begins examinations with the settings of `[inspect]`."""

    def __init__(self, *, max_header_bytes: int, scan_weights: bool, on_nonfinite: str) -> None:
        self._max_header_bytes = max_header_bytes
        self._scan_weights = scan_weights
        self.sees_gaps = scan_weights  # whether a file with a gap is always rejected
        self._rejected = frozenset({"zero-tail"} | ({"nonfinite"} if on_nonfinite == "reject" else set()))
        rules = rules_version(max_header_bytes=max_header_bytes)
        self.version = f"{rules}/scan:{scan_weights}/nonfinite:{on_nonfinite}"

    def warm_up(self) -> None:
        """Load what the first file would wait for: numpy and the table of families take a tenth of a second.

        A daemon starts without them, and is ready that much earlier.
        """
        import lorawatch.inspection.inspector
        from lorawatch.inspection.families_table import family_table

        family_table()
        if self._scan_weights:
            import lorawatch.inspection.weights  # noqa: F401 for its effect: the module is loaded then

    def begin(self, descriptor: int, *, name: str, size_bytes: int) -> "Examination":
        """Read the header of an open file with this name and size. Raises as `inspect`.

        A file with a part that was never written is rejected (`unwritten-data`): its zeros are nobody's weights.
        """
        if has_hole(descriptor, size_bytes):
            raise FileRejectedError("a part of it was never written", code="unwritten-data")
        from lorawatch.inspection.inspector import inspect  # see warm_up

        facts, header = inspect(descriptor, name=name, size_bytes=size_bytes, max_header_bytes=self._max_header_bytes)
        return Examination(facts, header if self._scan_weights else None, rejected=self._rejected)


class Examination:
    """One file under examination: `facts` are known, its weights are looked at while they are read."""

    def __init__(self, facts: Facts, header: "Header | None", *, rejected: frozenset[str]) -> None:
        self.facts = facts
        self._header = header
        self._rejected = rejected
        self._scan: WeightsScan | None = None
        self.restart()

    @property
    def sinks(self) -> Sequence[Sink]:
        """What wants to see every byte of the file, once and in order."""
        return () if self._scan is None else (self._scan.feed,)

    def restart(self) -> None:
        """Forget the bytes seen so far: the read that carried them broke off."""
        if self._header is not None:
            from lorawatch.inspection.weights import WeightsScan  # see Examiner.warm_up

            self._scan = WeightsScan(self._header)

    def hash(
        self, descriptor: int, *, size_bytes: int, stop: Stop, progress: Callable[[int], None] | None = None
    ) -> str:
        """Read the file and return its sha256. Raises as `sha256_of`."""
        return sha256_of(descriptor, size_bytes=size_bytes, stop=stop, sinks=self.sinks, progress=progress)

    def conclude(self) -> Facts:
        """Return the facts with what the scan found, after all bytes were seen.

        Raises FileRejectedError `zero-tail`, and `nonfinite` unless the settings only warn of it; `facts` then tell
        everything that was found all the same.
        """
        findings = self._scan.result() if self._scan else ()
        if findings:
            self.facts = replace(self.facts, findings=self.facts.findings + findings)
        for finding in findings:
            if finding.code in self._rejected:
                raise FileRejectedError(finding.detail, code=finding.code, fix=_FIXES[finding.code])
        return self.facts
