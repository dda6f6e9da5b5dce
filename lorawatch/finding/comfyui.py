"""The installations of ComfyUI on this machine, and the directories that each reads LoRAs from.

directories.py calls it; `doctor` asks it for the user as whom ComfyUI runs. What runs comes first.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lorawatch.finding.extra_paths import lora_directories
from lorawatch.finding.processes import Process
from lorawatch.finding.usual import COMFYUI_NAMES, LORAS, Machine, Place

_SCRIPT = "main.py"
_EXTRA_PATHS = "extra_model_paths.yaml"
_DESKTOP = ".config/ComfyUI/extra_models_config.yaml"  # where the desktop application keeps its own


@dataclass(frozen=True, slots=True)
class Installation:
    """One ComfyUI. `base` holds its models; `extra_files` name further directories. All paths are ours."""

    root: str
    base: str
    extra_files: tuple[str, ...]
    process: Process | None = None  # None: it does not run, as far as can be seen

    def places(self) -> Iterator[Place]:
        """Yield the directories that it reads LoRAs from, the default ones first; they need not be there."""
        runs = f", where ComfyUI runs ({self.process.title})" if self.process else ""
        further = [(file, each) for file in self.extra_files for each in lora_directories(file)]
        yield from (Place(each.path, f"named in {file}, as default") for file, each in further if each.is_default)
        yield Place(os.path.join(self.base, LORAS), f"of the ComfyUI in {self.root}{runs}")
        yield from (Place(each.path, f"named in {file}") for file, each in further if not each.is_default)


def installations(machine: Machine, processes: Sequence[Process]) -> Iterator[Installation]:
    """Yield what runs, and then what lies in the usual places, whether it is there or not."""
    for process in processes:
        found = _of_process(process)
        if found is not None:
            yield found
    for root in machine.usual(COMFYUI_NAMES):
        yield Installation(root, root, (os.path.join(root, _EXTRA_PATHS),))
    for home in machine.homes:
        yield Installation(home, home, (os.path.join(home, _DESKTOP),))


def _of_process(process: Process) -> Installation | None:
    """Return the ComfyUI that a process is: it was started as main.py, or stands where one lies."""
    theirs = _root_of(process)
    root = process.translate(theirs) if theirs else None
    if theirs is None or root is None:
        return None
    wanted = option(process.words, "--base-directory")
    base = process.translate(os.path.normpath(os.path.join(process.directory, wanted))) if wanted else root
    named = options(process.words, "--extra-model-paths-config")
    files = [process.translate(os.path.normpath(os.path.join(process.directory, file))) for file in named]
    extra = tuple(file for file in files if file is not None)
    return Installation(root, base or root, (*extra, os.path.join(root, _EXTRA_PATHS)), process)


def _root_of(process: Process) -> str | None:
    script = next((word for word in process.words if os.path.basename(word) == _SCRIPT), None)
    place = os.path.dirname(os.path.normpath(os.path.join(process.directory, script))) if script else process.directory
    if process.is_contained:
        return place if script else None
    is_comfyui = os.path.isfile(os.path.join(place, _SCRIPT)) and os.path.isdir(os.path.join(place, "models"))
    return place if is_comfyui else None


def option(words: Sequence[str], name: str) -> str | None:
    """Return the value of an option of a command line, in either form; the last one counts."""
    found = options(words, name)
    return found[-1] if found else None


def options(words: Sequence[str], name: str) -> list[str]:
    """Return all values of an option that may be given several times, with several values each."""
    values: list[str] = []
    is_open = False
    for word in words:
        if word.startswith("--"):
            is_open = word == name
            if word.startswith(f"{name}="):
                values.append(word.removeprefix(f"{name}="))
        elif is_open:
            values.append(word)
    return values
