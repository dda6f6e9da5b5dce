"""What one code is made of. Imported by the tables beside it; pure."""

from typing import NamedTuple


class Code(NamedTuple):
    """A reason by its name, in words for somebody who trains LoRAs, and with what helps."""

    code: str  # kebab-case; scripts and alerts match on it, so it never changes
    cause: str
    cure: str
