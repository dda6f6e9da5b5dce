"""What the plan depends on: the machine as it is, and what the person wants. Pure data.

survey.py fills it, planning.py and rendering.py read it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from lorawatch.config import Config
from lorawatch.service_unit import places


@dataclass(frozen=True, slots=True)
class Site:
    """One machine. Paths are absolute; `command` is what starts the program."""

    config: Config
    config_text: str  # of the file, as it is to be
    user: str
    group: str
    is_user_there: bool
    is_group_there: bool
    groups: tuple[str, ...]  # further groups, whose directories the service reads or writes
    credentials: tuple[str, ...]  # destinations and sources whose token lies in a file
    command: str
    is_program_copied: bool  # the service's user cannot run it where it is
    is_home_needed: bool  # a directory lies where ProtectHome= hides it
    is_tmp_needed: bool  # or where PrivateTmp= does
    reads_private_files: bool
    knows_backoff: bool

    @property
    def read_directories(self) -> tuple[str, ...]:
        """Return the directories that the service reads."""
        return self.config.watch.directories

    @property
    def destination_directories(self) -> tuple[str, ...]:
        """Return the destinations of this machine."""
        return tuple(each.directory for each in self.config.destinations if each.enabled and each.kind == "directory")

    @property
    def written_directories(self) -> tuple[str, ...]:
        """Return the directories that the service writes to, apart from those that the unit gives it."""
        return tuple(_written(self.config, self.destination_directories))


def is_below(path: str, *roots: str) -> bool:
    """Return whether a path is one of these directories or lies below one."""
    return any(path == root or path.startswith(f"{root}/") for root in roots)


def _written(config: Config, destinations: tuple[str, ...]) -> Iterator[str]:
    yield from destinations
    if not is_below(config.state_directory, places.STATE):
        yield config.state_directory
    if config.log.file and not is_below(config.log.file, places.LOGS):
        yield os.path.dirname(config.log.file)
