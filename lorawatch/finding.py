"""Find AI Toolkit's outputs and ComfyUI's LoRA directories on this machine. It only looks.

`service install` calls it where there is no configuration. It asks the usual places and the programs that run now,
never walks a tree, and returns what is there, the likeliest first.
"""

import glob
import os
from collections.abc import Iterable, Iterator

# Where people and images put them; {home} is each home directory. AI Toolkit writes below `output` by default.
_BASES = ("{home}", "{home}/ai", "/", "/opt", "/srv", "/workspace", "/app", "/mnt", "/data")
_TOOLKIT_NAMES = ("ai-toolkit", "AI-Toolkit", "aitoolkit")
_OUTPUT_NAMES = ("output", "outputs")
_COMFYUI_NAMES = ("ComfyUI", "comfyui")
_LORAS = "models/loras"


def output_directories(*, root: str = "/") -> list[str]:
    """Return the directories that AI Toolkit writes to. `root` is another root of the file system, for tests."""
    running = (place for place in _working_directories(root) if os.path.isfile(os.path.join(place, "run.py")))
    roots = [*running, *_usual(_TOOLKIT_NAMES, root)]
    return _existing(os.path.join(place, name) for place in roots for name in _OUTPUT_NAMES)


def lora_directories(*, root: str = "/") -> list[str]:
    """Return the directories that ComfyUI reads LoRAs from."""
    running = (place for place in _working_directories(root) if os.path.isfile(os.path.join(place, "main.py")))
    return _existing(os.path.join(place, _LORAS) for place in [*running, *_usual(_COMFYUI_NAMES, root)])


def _usual(names: tuple[str, ...], root: str) -> Iterator[str]:
    homes = [*glob.glob(os.path.join(glob.escape(root), "home/*")), os.path.join(root, "root")]
    for base in _BASES:
        places = [base.format(home=home) for home in homes] if "{home}" in base else [os.path.join(root, base[1:])]
        yield from (os.path.join(place, name) for place in places for name in names)


def _working_directories(root: str) -> Iterator[str]:
    """Yield where the processes of this machine stand, as far as we may know."""
    for link in glob.glob(os.path.join(glob.escape(root), "proc/[0-9]*/cwd")):
        try:
            yield os.readlink(link)
        except OSError:
            continue  # it has ended, or belongs to somebody else


def _existing(paths: Iterable[str]) -> list[str]:
    """Return those that are directories, each once, however many links lead there."""
    found = {os.path.realpath(path): path for path in reversed(list(paths)) if os.path.isdir(path)}
    return list(reversed(found.values()))
