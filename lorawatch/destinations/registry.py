"""From a kind to the destination that speaks it: a new destination adds one line here.

Called by app.py when the daemon starts or reloads, and by every command that needs a destination. A destination's
module is imported when it is first needed: a daemon that only copies files never loads HTTP. It opens nothing.
"""

from importlib import import_module
from typing import NamedTuple

from lorawatch.config import DestinationConfig
from lorawatch.domain.ports import Destination


class _Kind(NamedTuple):
    module: str  # its `from_config(config, *, instance)` makes the destination
    location: str  # which keys say where it is: with another location it is another destination


_KINDS = {
    "directory": _Kind("lorawatch.destinations.directory", "{0.directory}"),
}


def build(config: DestinationConfig, *, instance: str) -> Destination:
    """Return the destination that this part of the configuration describes.

    `instance` (12 hex digits, from the state directory) marks what this installation leaves at a destination.
    """
    module = import_module(_KINDS[config.kind].module)
    destination: Destination = module.from_config(config, instance=instance)
    return destination


def location_of(config: DestinationConfig) -> str:
    """Return where the destination is, as the journal tells destinations apart."""
    return _KINDS[config.kind].location.format(config)
