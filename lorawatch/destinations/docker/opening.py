"""From a part of the configuration to the destination: a container, or a volume by one of its two ways.

registry.py calls `from_config`. A volume is a directory of this machine where Docker runs here and its mount point may
be used, which takes root or a rootless Docker; the directory destination then keeps all its promises there. Otherwise
a short-lived container reaches it. Which of them it is, is found out at the first use and stays until a restart.
"""

import os
import threading
from collections.abc import Callable, Sequence

from lorawatch.config import DockerDestinationConfig
from lorawatch.destinations.directory import DirectoryDestination
from lorawatch.destinations.docker.client import Docker
from lorawatch.destinations.docker.containers import MOUNT, ContainerPlace, VolumePlace
from lorawatch.destinations.docker.destination import DockerDestination, Settings
from lorawatch.domain.errors import DestinationError
from lorawatch.domain.model import Finding, RemoteFile
from lorawatch.domain.ports import Consignment, Prepared, Stop

_Way = DirectoryDestination | DockerDestination


class VolumeDestination:
    """A named volume."""

    kind = "docker"
    group_size = 1

    def __init__(
        self,
        docker: Docker,
        volume: str,
        *,
        name: str,
        directory: str,
        at_mountpoint: Callable[[str], DirectoryDestination],
        by_helper: Callable[[], DockerDestination],
    ) -> None:
        self.name = name
        self.was_mount_point: bool | None = None
        self.notes: list[Finding] = []
        self._docker = docker
        self._volume = volume
        self._directory = directory
        self._at_mountpoint = at_mountpoint
        self._by_helper = by_helper
        self._lock = threading.Lock()
        self._chosen: _Way | None = None

    def probe(self, *, needed_bytes: int) -> None:
        """Return if the volume is there and a file of this size could be written now."""
        self._docker.volume(self._volume)
        self._way().probe(needed_bytes=needed_bytes)

    def find(self, remote_name: str) -> RemoteFile | None:
        """Return what stands at the name now."""
        return self._way().find(remote_name)

    def digest(self, remote_name: str) -> str | None:
        """Return the sha256 of the bytes at the name."""
        return self._way().digest(remote_name)

    def prepare(self, consignment: Consignment, *, progress: Callable[[int], None], stop: Stop) -> Prepared:
        """Carry the bytes to a temporary name."""
        return self._way().prepare(consignment, progress=progress, stop=stop)

    def publish(self, prepared: Sequence[Prepared]) -> list[RemoteFile | DestinationError]:
        """Give each its name."""
        return self._way().publish(prepared)

    def discard(self, prepared: Prepared) -> None:
        """Remove what `prepare` left. Never raises."""
        self._way().discard(prepared)

    def write_beside(self, name: str, content: bytes, *, replaces: RemoteFile | None) -> RemoteFile:
        """Write a small file the way a model is delivered."""
        return self._way().write_beside(name, content, replaces=replaces)

    def touch(self, remote_names: Sequence[str]) -> None:
        """Give the directories that lead to these names the present time."""
        self._way().touch(remote_names)

    def remove(self, remote: RemoteFile) -> bool:
        """Remove the file if nobody has changed it since."""
        return self._way().remove(remote)

    def sweep(self) -> None:
        """Remove leftovers of earlier processes."""
        self._way().sweep()

    def _way(self) -> _Way:
        with self._lock:
            if self._chosen is None:
                directory = self._reachable_directory(self._docker.volume(self._volume).mountpoint)
                self._chosen = self._by_helper() if directory is None else self._at_mountpoint(directory)
                self.notes = self._chosen.notes
            return self._chosen

    def _reachable_directory(self, mountpoint: str | None) -> str | None:
        """Return the directory if the volume is ours to use, and no link in it leads out of it."""
        if mountpoint is None:
            return None
        top = os.path.realpath(mountpoint)
        directory = os.path.realpath(os.path.join(top, self._directory.lstrip("/")))
        is_inside = directory == top or directory.startswith(f"{top}/")
        checked = directory if os.path.isdir(directory) else top  # one that is missing is for the destination to say
        is_ours = is_inside and os.access(checked, os.R_OK | os.W_OK | os.X_OK)
        return directory if is_ours and self._docker.is_here() else None


def from_config(config: DockerDestinationConfig, *, instance: str) -> DockerDestination | VolumeDestination:
    """Return the destination of this part of the configuration."""
    docker = Docker(config.docker_host)
    file_mode = int(config.file_mode, 8)

    def reached_at(directory: str, place: ContainerPlace | VolumePlace) -> DockerDestination:
        settings = Settings(directory, config.owner, file_mode, config.min_free_bytes)
        key = f"{config.docker_host} {place.words} {directory}"
        return DockerDestination(place, settings, name=config.name, instance=instance, key=key)

    if config.container:
        place = ContainerPlace(
            docker, config.container, owner=config.owner, copies_into_stopped=config.copy_into_stopped
        )
        return reached_at(config.directory, place)
    return VolumeDestination(
        docker,
        config.volume,
        name=config.name,
        directory=config.directory,
        at_mountpoint=lambda directory: DirectoryDestination(
            name=config.name,
            directory=directory,
            file_mode=file_mode,
            min_free_bytes=config.min_free_bytes,
            instance=instance,
            owner=config.owner,
        ),
        by_helper=lambda: reached_at(
            os.path.normpath(f"{MOUNT}/{config.directory}"),
            VolumePlace(docker, config.volume, image=config.helper_image),
        ),
    )
