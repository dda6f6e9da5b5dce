"""A destination behind something else, such as Docker: the destination's own probe says whether it can be used."""

import os
import re
from collections.abc import Iterator

from lorawatch.config import DockerDestinationConfig
from lorawatch.destinations.registry import build
from lorawatch.doctor.findings import Finding, Level, error, fine, of_error
from lorawatch.doctor.worker import Worker, may
from lorawatch.domain.errors import DestinationError
from lorawatch.finding.containers import SOCKET

CHECK = "docker"
_INSTANCE = "d0c7" + "0" * 8  # marks what a probe may leave behind if it is killed


class _Forgetful:
    """A memory that nothing is kept in: a doctor changes nothing."""

    def recall(self, key: str) -> str | None:  # noqa: ARG002
        return None

    def remember(self, key: str, value: str | None) -> None:
        pass


def look(config: DockerDestinationConfig, worker: Worker) -> Iterator[Finding]:
    """Look at one destination in a container or a volume."""
    yield from _socket(config, worker)
    place = f"container {config.container}" if config.container else f"volume {config.volume}"
    destination = build(config, instance=_INSTANCE, memory=_Forgetful())
    try:
        destination.probe(needed_bytes=0)
    except DestinationError as raised:
        words = {"CONTAINER": config.container or config.volume, "DIRECTORY": config.directory}
        level = Level.ERROR if worker.can_be_tried else Level.WARNING  # the service's user may be permitted more
        yield of_error(CHECK, raised, subject=config.name, words=words, level=level)
    else:
        yield fine(CHECK, f"{place}: {config.directory} can be written", subject=config.name)
    for note in destination.notes:
        yield fine(CHECK, re.sub(r"\s+", " ", note.detail), subject=config.name)


def _socket(config: DockerDestinationConfig, worker: Worker) -> Iterator[Finding]:
    """Say whether lorawatch's user may use Docker, where that is another one than asks."""
    scheme, _, path = (config.docker_host or f"unix://{SOCKET}").partition("://")
    if worker.is_me or scheme != "unix" or not os.path.exists(path):
        return
    if not may(os.stat(path), worker.identity, 6):
        detail = f"{worker.name}, as whom lorawatch works, may not use {path}"
        own = f"sudo usermod -aG docker {worker.name} (this equals root access), then restart lorawatch"
        fix = "sudo lorawatch service install" if worker.is_service else own
        yield error(CHECK, detail, fix=fix, subject=config.name, code="docker-unavailable")
