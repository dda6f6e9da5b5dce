"""Docker's containers on this machine, as far as this user may ask: what is mounted into them, and which are ComfyUI.

`init` calls it. It asks the socket of this machine only, whatever $DOCKER_HOST says, starts nothing, and gives up after
seconds. A container is entered for one question: which of the usual directories it has.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lorawatch.finding.usual import COMFYUI_NAMES, LORAS
from lorawatch.transport.process import run

SOCKET = "/var/run/docker.sock"
_SECONDS = 3.0
_USUAL = tuple(
    f"{base}{name}/{LORAS}" for base in ("/", "/app/", "/opt/", "/root/", "/workspace/") for name in COMFYUI_NAMES
)
_WHICH = 'for each; do [ -d "$each" ] && echo "$each"; done; true'


@dataclass(frozen=True, slots=True)
class Container:
    """One running container. `mounts`: pairs of where it is here, and where it is seen there."""

    name: str
    mounts: tuple[tuple[str, str], ...]
    lora_directory: str = ""  # inside of it, for a ComfyUI; "": none was found


def running(socket: str = SOCKET) -> list[Container]:
    """Return the running containers; none where there is no Docker, or it may not be asked."""
    if not os.access(socket, os.R_OK | os.W_OK):
        return []
    listed = _docker(socket, "ps", "--quiet", "--no-trunc").split()
    if not listed:
        return []
    try:
        described = json.loads(_docker(socket, "inspect", *listed) or "[]")
    except ValueError:
        return []
    return [_container(each, socket) for each in described if isinstance(each, dict)]


def _container(described: Mapping[str, Any], socket: str) -> Container:
    name = str(described.get("Name", "")).removeprefix("/")
    settings = described.get("Config") or {}
    mounts = tuple(
        (str(each["Source"]), str(each["Destination"]))
        for each in described.get("Mounts") or ()
        if isinstance(each, dict) and each.get("Source") and each.get("Destination")
    )
    is_comfyui = "comfy" in f"{name} {settings.get('Image', '')} {settings.get('WorkingDir', '')}".lower()
    places = [os.path.join(str(settings.get("WorkingDir") or "/"), LORAS), *_USUAL]
    inside = _first_there(socket, name, places) if is_comfyui else ""
    return Container(name, mounts, inside)


def _first_there(socket: str, name: str, places: Sequence[str]) -> str:
    found = _docker(socket, "exec", name, "sh", "-c", _WHICH, "sh", *places).splitlines()
    return found[0] if found else ""


def _docker(socket: str, *words: str) -> str:
    done = run(["docker", "--host", f"unix://{socket}", *words], timeout_seconds=_SECONDS)
    return done.stdout if done.is_fine else ""
