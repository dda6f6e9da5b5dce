"""Which of the files that ComfyUI has is the one that a workflow needs. Pure; composing.py asks, on the main thread.

It never takes a file that only might fit: where no name speaks for itself, the official one is named, and it is told
that ComfyUI does not have it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file that ComfyUI's own workflows use, and where they have it from."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one model file: its folder below ComfyUI's models, and what files for it are called.

    `like` and `unlike` are regular expressions for names in lower case, without extension, with "-" for each run of
    other characters than letters and digits.
    """

    folder: str
    official: tuple[ModelFile, ...]  # the first is the default
    like: str
    unlike: str = r"$^"

    @property
    def default(self) -> ModelFile:
        """The file to take where nobody knows what ComfyUI has."""
        return self.official[0]


@dataclass(frozen=True, slots=True)
class Choice:
    """The file for a slot, as ComfyUI lists it."""

    slot: Slot
    name: str
    is_missing: bool  # ComfyUI was asked, and has nothing that fits

    @property
    def lack(self) -> str:
        """What to say where ComfyUI does not have it."""
        return f"ComfyUI has no {self.name} in models/{self.slot.folder}"

    @property
    def cure(self) -> str:
        """What to do about that, if it is an official file; else ""."""
        address = next((model.url for model in self.slot.official if model.name == self.name), "")
        return f"download {address} into models/{self.slot.folder}" if address else ""


def choose(slot: Slot, listed: Sequence[str] | None) -> Choice:
    """Return the file of this list that fits best; without a list (None), or where none fits, the official one.

    An official name comes first, then the shortest of those that are like it: additions to a name are variants.
    """
    by_name = {_file_name(name).lower(): name for name in reversed(listed or ())}
    for model in slot.official:
        if model.name.lower() in by_name:
            return Choice(slot, by_name[model.name.lower()], is_missing=False)
    alike = [name for name in listed or () if fits(slot, name)]
    if alike:
        return Choice(slot, min(alike, key=lambda name: (len(_file_name(name)), name)), is_missing=False)
    return Choice(slot, slot.default.name, is_missing=listed is not None)


def same_name(name: str, listed: Sequence[str]) -> str | None:
    """Return the listed name that stands for `name`: the same, or the same below further directories.

    ComfyUI lists names relative to its folder, and with backslashes on Windows. Of two below directories neither is
    taken.
    """
    wanted = name.replace("\\", "/")
    exact = [each for each in listed if each.replace("\\", "/") == wanted]
    below = [each for each in listed if each.replace("\\", "/").endswith("/" + wanted)]
    found = exact or below
    return found[0] if len(found) == 1 or exact else None


def fits(slot: Slot, name: str) -> bool:
    """Return whether a file's name says that it is one for this slot."""
    stem = re.sub(r"[^a-z0-9]+", "-", _file_name(name).lower().rpartition(".")[0])
    return re.search(slot.like, stem) is not None and re.search(slot.unlike, stem) is None


def _file_name(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]
