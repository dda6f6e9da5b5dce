"""From what was found on this machine to a first configuration: what is certain is taken, what is in doubt is asked.

`init` calls it, on the main thread. Without somebody to ask, the likeliest is enabled, and the rest stands beside it,
disabled, with its reason. It asks disks for their free space and writes nothing.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from lorawatch.config import DirectoryDestinationConfig
from lorawatch.finding.survey import Found
from lorawatch.finding.usual import Place
from lorawatch.first_configuration import Destination, First, Source, directory
from lorawatch.transport.files import free_bytes

_OUTPUTS, _LORAS = "/ai-toolkit/outputs", "/comfyui/models/loras"  # what stands there until a person knows better
_USUAL_MIN_FREE_BYTES = DirectoryDestinationConfig.model_fields["min_free_bytes"].default
# On a disk that has less than the usual reserve, deliveries would wait for ever: a tenth of what is left is kept.
_KEPT_PART = 10
_ROUND_BYTES = 10_000_000


class Asker(Protocol):
    """Somebody who can answer."""

    def choose(self, question: str, places: Sequence[Place], *, is_several: bool) -> list[str]:
        """Return the directories that were chosen among these, or named instead; none if it is left open."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line says already."""

    watch: Sequence[str] = ()
    to: str | None = None


def choose(found: Found, wish: Wish, *, asker: Asker | None, state_line: str = "", is_service: bool = False) -> First:
    """Return the first configuration."""
    watch = _watched(found, wish, asker)
    loras = _delivered_to(found, wish, asker)
    destinations = list(_destinations(found, loras))
    has_source_servers = bool(found.servers.models)
    is_watch_guess = not watch and not has_source_servers
    is_destination_guess = not destinations
    if is_destination_guess:
        destinations = [directory("comfyui", _LORAS, comfyui_url=found.servers.comfyui)]
    if is_watch_guess:
        watch = [Place(_OUTPUTS, "")]
    sources = [
        Source(_numbered("ai-toolkit-mcp", number), url, is_enabled=not watch)
        for number, url in enumerate(found.servers.models)
    ]
    return First(
        [place.path for place in watch],
        destinations,
        sources,
        state_line=state_line,
        reasons=[f"{place.path}: {place.why}" for place in watch if place.why],
        is_watch_guess=is_watch_guess,
        is_destination_guess=is_destination_guess,
        is_service=is_service,
    )


def _watched(found: Found, wish: Wish, asker: Asker | None) -> list[Place]:
    if wish.watch:
        return [Place(os.path.abspath(path), "") for path in wish.watch]
    places = list(found.outputs)
    if asker is not None and len(places) != 1:
        return _named(asker.choose("Where does AI Toolkit write its LoRAs?", places, is_several=True), places)
    return places


def _delivered_to(found: Found, wish: Wish, asker: Asker | None) -> list[Place]:
    """Return the directories of ComfyUI, the one to deliver to first."""
    places = list(found.loras)
    if wish.to is not None:
        return [Place(os.path.abspath(wish.to), "")]
    is_elsewhere = found.contained or found.servers.uploads
    if asker is None or len(places) == 1 or (not places and is_elsewhere):
        return places
    chosen = _named(asker.choose("Which directory does ComfyUI read LoRAs from?", places, is_several=False), places)
    return [*chosen, *(place for place in places if place not in chosen)] if chosen else places


def _named(paths: Sequence[str], places: Sequence[Place]) -> list[Place]:
    known = {place.path: place for place in places}
    return [known.get(path, Place(path, "")) for path in paths]


def _destinations(found: Found, loras: Sequence[Place]) -> Iterator[Destination]:
    """Yield every way to ComfyUI; only the first is enabled."""
    for number, destination in enumerate(_ways(found, loras)):
        yield replace(destination, is_enabled=number == 0)


def _ways(found: Found, loras: Sequence[Place]) -> Iterator[Destination]:
    for number, place in enumerate(loras):
        made = directory(_numbered("comfyui", number), place.path, comfyui_url=found.servers.comfyui, why=place.why)
        yield replace(made, keys=(*made.keys, *_room(place.path)))
    for number, each in enumerate(found.contained):
        inside = (("container", each.container), ("directory", each.directory), ("comfyui_url", found.servers.comfyui))
        yield Destination(
            _numbered("comfyui-docker", number), "docker", inside, f"inside of the container {each.container}"
        )
    for number, url in enumerate(found.servers.uploads):
        keys = (("url", url), ("comfyui_url", found.servers.comfyui))
        yield Destination(_numbered("comfyui-mcp", number), "comfyui-mcp", keys, "an MCP server that answers here")


def _room(path: str) -> Iterator[tuple[str, str | int]]:
    """Yield `min_free_bytes` where the usual reserve is more than the disk has."""
    try:
        free = free_bytes(path)
    except OSError:
        return
    if free < _USUAL_MIN_FREE_BYTES:
        yield "min_free_bytes", free // _KEPT_PART // _ROUND_BYTES * _ROUND_BYTES


def _numbered(name: str, number: int) -> str:
    return name if number == 0 else f"{name}-{number + 1}"
