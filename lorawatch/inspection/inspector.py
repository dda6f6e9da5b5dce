"""The inspector that the engine asks what a file is.

The intake thread and `check` call it. It reads headers only, and the few numbers that belong to them.
"""

from dataclasses import replace

from lorawatch.domain.model import Facts
from lorawatch.inspection.alphas import alpha_in_tensors
from lorawatch.inspection.facts import facts_of
from lorawatch.inspection.header import Header, read_header


def inspect(descriptor: int, *, name: str, size_bytes: int, max_header_bytes: int) -> tuple[Facts, Header]:
    """Return what the header of an open file says, and the header itself for a weights scan.

    `name` is the file's name: some kinds can be told by nothing else. Raises FileRejectedError with a code,
    FileChangedError if the file is shorter than told, and FileUnreadableError.
    """
    header = read_header(descriptor, size_bytes=size_bytes, max_header_bytes=max_header_bytes)
    facts = facts_of(header, name=name)
    if facts.rank is not None and facts.alpha is None and (alpha := alpha_in_tensors(descriptor, header)) is not None:
        facts = replace(facts, alpha=alpha)
    return facts, header
