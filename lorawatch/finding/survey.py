"""Everything that can be found on this machine, in one answer. `init` calls it, on the main thread."""

import os
from dataclasses import dataclass, field

from lorawatch.finding import containers, directories, servers
from lorawatch.finding.processes import running
from lorawatch.finding.servers import Servers
from lorawatch.finding.usual import COMFYUI_NAMES, OUTPUT_NAMES, TOOLKIT_NAMES, Machine, Place, existing


@dataclass(frozen=True, slots=True)
class InContainer:
    """A LoRA directory that lies inside of a container, and nowhere on this machine."""

    container: str
    directory: str


@dataclass(frozen=True, slots=True)
class Found:
    """What is there, the likeliest first. Directories that would swallow one another are left out already."""

    outputs: tuple[Place, ...] = ()
    loras: tuple[Place, ...] = ()
    contained: tuple[InContainer, ...] = ()
    servers: Servers = field(default_factory=Servers)


def survey(machine: Machine) -> Found:
    """Look around. It takes a second or two, and changes nothing."""
    processes = running(machine.root)
    outputs, loras = directories.outputs(machine, processes), directories.loras(machine, processes)
    contained = []
    for each in containers.running() if machine.root == "/" else ():
        theirs, our_loras = directories.of_mounts(each.mounts, f"the container {each.name}")
        outputs, loras = existing([*outputs, *theirs]), existing([*loras, *our_loras])
        if each.lora_directory and not our_loras:
            contained.append(InContainer(each.name, each.lora_directory))
    kept = without_nested(outputs)
    apart = [place for place in loras if not any(_overlap(place.path, other.path) for other in kept)]
    return Found(tuple(kept), tuple(apart), tuple(contained), servers.ask() if machine.root == "/" else Servers())


def places_looked_at() -> list[str]:
    """Return in words where `survey` looks, for when it has found nothing."""
    toolkit, comfyui = " or ".join(TOOLKIT_NAMES[:2]), " or ".join(COMFYUI_NAMES)
    names = f"{toolkit} with {' or '.join(OUTPUT_NAMES)}, and {comfyui} with models/loras"
    return [
        f"{names}, in the home and current directories, /, /opt, /srv, /workspace, /app, /mnt and /data",
        "the programs that run now, and what is mounted into containers",
        "extra_model_paths.yaml of every ComfyUI",
        f"127.0.0.1, ports {', '.join(map(str, (servers.COMFYUI_PORT, *servers.MCP_PORTS)))}",
    ]


def without_nested(places: list[Place]) -> list[Place]:
    """Return the places without those that lie inside of another: all below a watched directory is watched."""
    real = [os.path.realpath(place.path) for place in places]
    return [
        place
        for place, here in zip(places, real, strict=True)
        if not any(here != there and here.startswith(os.path.join(there, "")) for there in real)
    ]


def _overlap(one: str, other: str) -> bool:
    here, there = os.path.join(os.path.realpath(one), ""), os.path.join(os.path.realpath(other), "")
    return here.startswith(there) or there.startswith(here)
