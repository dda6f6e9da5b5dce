"""The rules that need more than one table: names that are unique, directories that do not swallow each other.

Called by config_validation.py, with tables that are valid by themselves. The only look at the disk is resolving
links, so that two names of one directory are seen as one; what does not exist yet is taken as it is written.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from lorawatch.config import ARRAYS, Config, DirectoryDestinationConfig, DockerDestinationConfig
from lorawatch.config_problems import Problem, Table


@dataclass(frozen=True, slots=True)
class _Directory:
    """A configured directory and where it really is."""

    path: str  # dotted: the key that names it
    directory: str
    real: str

    @classmethod
    def at(cls, path: str, directory: str) -> "_Directory":
        return cls(path, directory, os.path.realpath(directory))

    def is_within(self, other: "_Directory") -> bool:
        return self.real == other.real or self.real.startswith(other.real.rstrip("/") + "/")

    def __str__(self) -> str:
        return self.directory if self.directory == self.real else f"{self.directory} (in reality {self.real})"


def broken_rules(config: Config) -> Iterator[Problem]:
    """Yield what is wrong between tables that hold something."""
    watched = [_Directory.at("watch.directories", directory) for directory in config.watch.directories]
    places = [
        _Directory.at(f"destinations.{destination.name}.directory", destination.directory)
        for destination in config.destinations
        if isinstance(destination, DirectoryDestinationConfig) and destination.enabled
    ]
    yield from _nested(watched)
    yield from _entangled(places, watched)
    yield from _shared(places)
    yield from _shared_in_docker(config)
    own = [_Directory.at("state_directory", config.state_directory)]
    if config.log.file:
        own.append(_Directory.at("log.file", config.log.file))
    yield from _written_in_watched(own, watched)


def nothing_to_do(config: Config) -> Iterator[Problem]:
    """Yield what is missing altogether."""
    if not config.destinations:
        yield Problem("destinations", "there is none, so nothing could be delivered", "Add a [[destinations]] table")
    elif not any(destination.enabled for destination in config.destinations):
        yield Problem("destinations", "none is enabled, so nothing could be delivered", "Write enabled = true in one")
    if not config.watch.directories and not any(source.enabled for source in config.sources):
        wrong = "is empty and no source is enabled, so nothing could be found"
        yield Problem("watch.directories", wrong, 'Write for example ["/ai-toolkit/outputs"]')


def duplicate_names(written: Table) -> Iterator[Problem]:
    """Yield the names that two entries of one array share, whatever else is wrong with these."""
    for array in ARRAYS:
        seen: set[str] = set()
        entries = written.get(array)
        for entry in entries if isinstance(entries, list) else ():
            name = entry.get("name") if isinstance(entry, dict) else None
            if isinstance(name, str) and name in seen:
                yield Problem(f"{array}.{name}.name", f"is given to two {array}", "Give each its own name")
            elif isinstance(name, str):
                seen.add(name)


def _nested(watched: list[_Directory]) -> Iterator[Problem]:
    for one, other in combinations(watched, 2):
        if one.real == other.real:
            yield Problem(one.path, f"{one} and {other} are one directory", "Leave one of them out")
        elif one.is_within(other) or other.is_within(one):
            inner, outer = (one, other) if one.is_within(other) else (other, one)
            yield Problem(
                one.path, f"{inner} lies inside {outer}, which is watched with all below it", f"Leave out {inner}"
            )


def _entangled(places: list[_Directory], watched: list[_Directory]) -> Iterator[Problem]:
    for place in places:
        for root in watched:
            if place.real == root.real:
                wrong = f"{place} is itself a watched directory"
            elif place.is_within(root):
                wrong = f"{place} lies inside the watched directory {root}, so deliveries would be found as new files"
            elif root.is_within(place):
                wrong = f"{place} contains the watched directory {root}, which is never to be written to"
            else:
                continue
            yield Problem(place.path, wrong, "Choose directories that lie beside each other")


def _shared(places: list[_Directory]) -> Iterator[Problem]:
    for one, other in combinations(places, 2):
        if one.real == other.real:
            wrong = f"{other} is also {one.path}, and two destinations may not share a directory"
            yield Problem(other.path, wrong, "Merge the two, or disable one with enabled = false")


def _shared_in_docker(config: Config) -> Iterator[Problem]:
    owners: dict[tuple[str, ...], str] = {}
    for destination in config.destinations:
        if isinstance(destination, DockerDestinationConfig) and destination.enabled:
            place = (destination.docker_host, destination.container, destination.volume, destination.directory)
            path = f"destinations.{destination.name}.directory"
            first = owners.setdefault(place, path)
            if first != path:
                wrong = f"{destination.directory} is also {first}, and two destinations may not share a directory"
                yield Problem(path, wrong, "Merge the two, or disable one with enabled = false")


def _written_in_watched(own: list[_Directory], watched: list[_Directory]) -> Iterator[Problem]:
    for place in own:
        for root in watched:
            if place.is_within(root):
                wrong = f"{place} lies inside the watched directory {root}, which is never to be written to"
                yield Problem(place.path, wrong, "Choose a place outside of it")
