"""The directories that matter: those that AI Toolkit writes to, and those that ComfyUI reads LoRAs from.

`init`, `doctor` and `service install` call it. It asks the usual places, the programs that run now and the mounts of
containers, never walks a tree, and returns what is there, the likeliest first.
"""

import os
from collections.abc import Iterator, Sequence

from lorawatch.finding.comfyui import installations
from lorawatch.finding.processes import Process, running
from lorawatch.finding.usual import COMFYUI_NAMES, LORAS, OUTPUT_NAMES, TOOLKIT_NAMES, Machine, Place, existing

_SCRIPT = "run.py"
# What AI Toolkit writes into the folder of a job, beside its LoRAs: the outputs are one above.
_JOB_MARKS = ("config.yaml", ".job_config.json")


def outputs(machine: Machine, processes: Sequence[Process] | None = None) -> list[Place]:
    """Return the directories that AI Toolkit writes to."""
    processes = running(machine.root) if processes is None else processes
    return existing(
        [
            *(place for process in processes for place in _outputs_of(process)),
            *(place for process in processes for place in _mounted_outputs(process.mounts_translated())),
            *(
                Place(os.path.join(root, name), "a usual place")
                for root in machine.usual(TOOLKIT_NAMES)
                for name in OUTPUT_NAMES
            ),
        ]
    )


def loras(machine: Machine, processes: Sequence[Process] | None = None) -> list[Place]:
    """Return the directories that ComfyUI reads LoRAs from."""
    processes = running(machine.root) if processes is None else processes
    found = list(installations(machine, processes))
    return existing(
        [
            *(place for each in found if each.process for place in each.places()),
            *(place for process in processes for place in _mounted_loras(process.mounts_translated())),
            *(place for each in found if not each.process for place in each.places()),
        ]
    )


def of_mounts(mounts: Sequence[tuple[str, str]], owner: str) -> tuple[list[Place], list[Place]]:
    """Return the outputs and the LoRA directories among what is mounted into a container.

    `mounts`: pairs of where it is here, and where it is seen there.
    """
    named = [(here, there, owner) for here, there in mounts]
    return existing(_mounted_outputs(named)), existing(_mounted_loras(named))


def _outputs_of(process: Process) -> Iterator[Place]:
    why = f"where AI Toolkit runs ({process.title})"
    script = next((word for word in process.words if os.path.basename(word) == _SCRIPT), None)
    roots = [process.directory]
    if script:
        roots.append(os.path.dirname(os.path.normpath(os.path.join(process.directory, script))))
    for root in map(process.translate, roots):
        if root and (os.path.isfile(os.path.join(root, _SCRIPT)) or (script and process.is_contained)):
            yield from (Place(os.path.join(root, name), why) for name in OUTPUT_NAMES)
    for file in map(process.translate, process.open_files):
        job = os.path.dirname(file or "")
        if file and any(os.path.isfile(os.path.join(job, mark)) for mark in _JOB_MARKS):
            yield Place(os.path.dirname(job), f"where a job writes {os.path.basename(job)} ({process.title})")


def _mounted_outputs(mounts: Sequence[tuple[str, str, str]]) -> Iterator[Place]:
    for here, there, owner in mounts:
        folder, name = os.path.split(there)
        if name in OUTPUT_NAMES and os.path.basename(folder).lower() in {each.lower() for each in TOOLKIT_NAMES}:
            yield Place(here, f"mounted as {there} into {owner}")
        elif name in TOOLKIT_NAMES:
            yield from (
                Place(os.path.join(here, each), f"mounted as {there}/{each} into {owner}") for each in OUTPUT_NAMES
            )


def _mounted_loras(mounts: Sequence[tuple[str, str, str]]) -> Iterator[Place]:
    for here, there, owner in mounts:
        name = os.path.basename(there)
        is_in_comfyui = any(each in there.split("/") for each in COMFYUI_NAMES)
        if there.endswith(f"/{LORAS}"):
            yield Place(here, f"mounted as {there} into {owner}")
        elif name == "models" and is_in_comfyui:
            yield Place(os.path.join(here, "loras"), f"mounted as {there}/loras into {owner}")
        elif name in COMFYUI_NAMES:
            yield Place(os.path.join(here, LORAS), f"mounted as {there}/{LORAS} into {owner}")
