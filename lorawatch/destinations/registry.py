"""From a kind to the destination that speaks it: a new destination adds one line here.

Called by app.py when the daemon starts or reloads, and by every command that needs a destination. A destination's
module is imported when it is first needed: a daemon that only copies files never loads HTTP. It opens nothing.
"""

import os
from importlib import import_module
from typing import NamedTuple

from lorawatch.config import DestinationConfig
from lorawatch.domain.ports import Destination, Memory


class _Kind(NamedTuple):
    module: str  # its `from_config` makes the destination
    location: str  # which keys say where it is: with another location it is another destination
    wants: str = "instance"  # what `from_config` is given besides: the instance, or a memory


_KINDS = {
    "directory": _Kind("lorawatch.destinations.directory", "{0.directory}"),
    "comfyui-mcp": _Kind("lorawatch.destinations.comfyui_mcp.destination", "{0.url}", wants="memory"),
    "docker": _Kind(
        "lorawatch.destinations.docker.opening",
        "{0.docker_host} container={0.container} volume={0.volume} {0.directory}",
    ),
}


def build(config: DestinationConfig, *, instance: str, memory: Memory) -> Destination:
    """Return the destination that this part of the configuration describes.

    `instance` (12 hex digits, from the state directory) marks what this installation leaves at a destination.
    """
    kind = _KINDS[config.kind]
    given = {"instance": instance, "memory": memory}[kind.wants]
    destination: Destination = import_module(kind.module).from_config(config, **{kind.wants: given})
    return destination


def location_of(config: DestinationConfig) -> str:
    """Return where the destination is, as the journal tells destinations apart: bytes that are no UTF-8 escaped."""
    location = _KINDS[config.kind].location.format(config)
    return os.fsencode(location).decode("utf-8", "backslashreplace")
