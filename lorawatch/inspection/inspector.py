"""The inspector that the engine asks what a file is.

The intake thread and `check` call it. It reads headers only, and the few numbers that belong to them.
"""

import os
from dataclasses import replace

from lorawatch.domain.model import Facts
from lorawatch.inspection.alphas import alpha_in_tensors
from lorawatch.inspection.facts import facts_of
from lorawatch.inspection.header import Header, read_header


class SafetensorsInspector:
    """Says what safetensors files are, by their headers."""

    def __init__(self, *, max_header_bytes: int) -> None:
        self._max_header_bytes = max_header_bytes

    def header(self, descriptor: int, *, name: str) -> Facts:
        """Return what the header says. `name` is the file's name: some kinds can be told by nothing else.

        Raises FileRejectedError with a code, FileChangedError and FileUnreadableError.
        """
        return self.inspect(descriptor, name=name)[0]

    def inspect(self, descriptor: int, *, name: str) -> tuple[Facts, Header]:
        """Return the facts, and the header itself for a weights scan. Raises as `header`."""
        size_bytes = os.fstat(descriptor).st_size
        header = read_header(descriptor, size_bytes=size_bytes, max_header_bytes=self._max_header_bytes)
        facts = facts_of(header, name=name)
        if facts.rank is not None and facts.alpha is None:
            facts = replace(facts, alpha=alpha_in_tensors(descriptor, header))
        return facts, header
