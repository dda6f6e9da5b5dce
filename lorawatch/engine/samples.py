"""The sample pictures that a trainer draws beside its checkpoints, and which of them shows a given one best.

Lane threads call it for previews. It only reads, leaves access times alone where it may, and never follows a link.
"""

import os
import re
import stat
from dataclasses import dataclass

from lorawatch.domain.errors import SourceError
from lorawatch.domain.model import Artifact, Version
from lorawatch.transport.files import open_source, require_version, version_of

DIRECTORY = "samples"  # AI Toolkit: outputs/<job>/samples/<time>__<step>_<number>.jpg
# What ComfyUI-Lora-Manager reads as a preview.
_SAMPLE = re.compile(
    r"[^.].*_(?P<step>[0-9]{1,18})_[0-9]+\.(?P<extension>webp|png|jpeg|jpg|mp4)", re.IGNORECASE | re.DOTALL
)
_MOST_BYTES = 32 << 20  # it is held in memory; a sample picture has 2 MB at most, a short video 10
_QUIET_SECONDS = 2.0  # the trainer may still be writing one that is younger


@dataclass(frozen=True, slots=True)
class Sample:
    """A finished sample picture."""

    path: str
    step: int
    extension: str  # lower case, without the dot
    version: Version


def best_sample(artifact: Artifact, *, now: float) -> Sample | None:
    """Return the newest sample that this version of the LoRA can have drawn; None if there is none.

    One of its own step if there is one, else of the last step before it: what a later one draws, it cannot.
    """
    step = artifact.facts.step
    fitting = [
        sample
        for sample in _samples(os.path.join(os.path.dirname(artifact.path), DIRECTORY))
        if (step is None or sample.step <= step) and now - sample.version.mtime_ns / 1e9 >= _QUIET_SECONDS
    ]
    return max(
        fitting,
        key=lambda each: (0 if step is None else each.step, each.version.mtime_ns, each.path),
        default=None,
    )


def read_sample(sample: Sample) -> bytes | None:
    """Return the bytes of a sample; None if it has changed, is gone or may not be read."""
    try:
        descriptor = open_source(sample.path, sample.version)
        try:
            content = os.pread(descriptor, sample.version.size_bytes, 0)
            require_version(descriptor, sample.path, sample.version)
        finally:
            os.close(descriptor)
    except (SourceError, OSError):
        return None  # the next look finds what is there then
    return content if len(content) == sample.version.size_bytes else None


def _samples(directory: str) -> list[Sample]:
    found = []
    try:
        if not stat.S_ISDIR(os.lstat(directory).st_mode):
            return []
        with os.scandir(directory) as entries:
            for entry in entries:
                match = _SAMPLE.fullmatch(entry.name)
                if match is None or not entry.is_file(follow_symlinks=False):
                    continue
                status = entry.stat(follow_symlinks=False)
                if 0 < status.st_size <= _MOST_BYTES:
                    extension = match["extension"].lower()
                    found.append(Sample(entry.path, int(match["step"]), extension, version_of(status)))
    except OSError:
        return []  # there are none, or none that we may see
    return found
