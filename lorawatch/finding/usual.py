"""The usual places of AI Toolkit and ComfyUI, and what makes a directory one of the two. Used within this room."""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

# Where people and images put them; {home} is each home directory. comfy-cli installs to ~/comfy/ComfyUI.
_BASES = (
    *("{home}", "{home}/ai", "{home}/AI", "{home}/comfy", "{home}/Documents", "{home}/git", "{home}/src"),
    *("/", "/opt", "/srv", "/workspace", "/app", "/mnt", "/data"),
)
TOOLKIT_NAMES = ("ai-toolkit", "AI-Toolkit", "aitoolkit")
OUTPUT_NAMES = ("output", "outputs")  # AI Toolkit writes below `output` by default
COMFYUI_NAMES = ("ComfyUI", "comfyui")
LORAS = "models/loras"


@dataclass(frozen=True, slots=True)
class Place:
    """A directory, and how it was found, in words."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Machine:
    """Where to look. `root` is another root of the file system, for tests; `homes` come before the usual ones."""

    root: str = "/"
    homes: tuple[str, ...] = ()

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Machine":
        """Return this machine, as this user sees it: the own home and the current directory come first."""
        return cls(homes=tuple(filter(None, (environ.get("HOME", ""), _current_directory()))))

    def usual(self, names: tuple[str, ...]) -> Iterator[str]:
        """Yield the places where something of such a name usually lies, whether it is there or not."""
        others = [*glob.glob(os.path.join(glob.escape(self.root), "home/*")), os.path.join(self.root, "root")]
        homes = list(dict.fromkeys([*self.homes, *others]))
        for base in _BASES:
            is_home = "{home}" in base
            places = [base.format(home=home) for home in homes] if is_home else [os.path.join(self.root, base[1:])]
            yield from (os.path.join(place, name) for place in places for name in names)


def existing(places: Iterable[Place]) -> list[Place]:
    """Return those that are directories, each once, however many links lead there; the first reason stays."""
    found: dict[str, Place] = {}
    for place in places:
        if _is_writable_in_toml(place.path) and os.path.isdir(place.path):
            found.setdefault(os.path.realpath(place.path), place)
    return list(found.values())


def _is_writable_in_toml(path: str) -> bool:
    """Return whether a path is UTF-8, as every TOML file has to be."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _current_directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""  # it has been removed
