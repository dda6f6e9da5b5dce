"""The two halves of a Wan 2.2 LoRA: which half a file is, and what ties it to the other one. Pure.

Inspection asks for the half; the engine and the events ask for the pair.
"""

import hashlib
import os
import re

from lorawatch.domain.model import Artifact

# AI Toolkit writes Wan 2.2 as <job>_<step>_high_noise and _low_noise; others write wan2.2_HighNoise_….
_HALF = re.compile(r"(?:^|[_\W])(?P<half>high|low)[_\W]?noise(?=$|[_\W])", re.IGNORECASE)
_OTHER = {"high": "low", "low": "high"}


def half_of(stem: str) -> str | None:
    """Return "high" or "low" for the stem of a half's name, None for any other."""
    found = _HALF.search(stem)
    return found["half"].lower() if found else None


def without_half(stem: str) -> str:
    """Return the stem as it would be without the words for the half."""
    return _HALF.sub("", stem)


def other_half_of(path: str) -> str | None:
    """Return the path that the other half would have beside this one; None if the name is not a half's."""
    folder, name = os.path.split(path)
    found = _HALF.search(os.path.splitext(name)[0])
    if found is None:
        return None
    half = found["half"]
    other = _OTHER[half.lower()]
    other = other.upper() if half.isupper() else other.title() if half.istitle() else other
    return os.path.join(folder, name[: found.start("half")] + other + name[found.end("half") :])


def pair_id_at(path: str) -> str | None:
    """Return what the halves of one pair share and nothing else has; None if the name is not a half's.

    It is made of the path without "high" or "low" alone, so it is the same in every process, for every version of
    the files, and another one for every step.
    """
    folder, name = os.path.split(path)
    found = _HALF.search(os.path.splitext(name)[0])
    if found is None:
        return None
    rest = os.path.join(folder, name[: found.start("half")] + name[found.end("half") :])
    return hashlib.sha256(os.fsencode(rest)).hexdigest()[:16]


def pair_id_of(artifact: Artifact) -> str | None:
    """Return the pair that an artifact is one half of, None for what is no half."""
    return pair_id_at(artifact.path) if artifact.facts.pair else None
