"""Which way to the files of a container there is right now, and what a call that was cut off means.

The docker destination asks before every act, on lane threads. A container that was made anew is another one: what is
known of its tools goes by its id.
"""

import re
import threading
import time

from lorawatch.destinations.docker.archive import ArchiveReach
from lorawatch.destinations.docker.client import Container, Docker, unavailable
from lorawatch.destinations.docker.reach import BrokenOffError, NoToolsError, Reach
from lorawatch.destinations.docker.shell import ShellReach
from lorawatch.domain.errors import DeliveryDelayedError, DestinationDownError, DestinationError

# A burst need not ask before every call: what has changed meanwhile is met by the call, and asked about then.
FRESH_SECONDS = 1.0
_NUMBERS = re.compile(r"[0-9]+(:[0-9]+)?")


class ContainerPlace:
    """A container by its name. `why_archive` tells, once one was met, why there is no shell in it."""

    def __init__(self, docker: Docker, name: str, *, owner: str, copies_into_stopped: bool) -> None:
        self.words = f"the container {name}"
        self.why_archive: str | None = None
        self._docker = docker
        self._name = name
        self._owner = owner
        self._copies_into_stopped = copies_into_stopped
        self._lock = threading.Lock()
        self._found: tuple[float, Reach | None] = (0.0, None)
        self._tools: tuple[str, str | None] = ("", None)  # of the last container seen: its id, why it has no tools

    def reach(self) -> Reach:
        """Return the way to the files. Raises DestinationDownError."""
        with self._lock:
            found_at, reach = self._found
        if reach is None or time.monotonic() - found_at > FRESH_SECONDS:
            reach = self._find()
            with self._lock:
                self._found = (time.monotonic(), reach)
        return reach

    def _find(self) -> Reach:
        container = self._docker.container(self._name)
        if container.status == "running":
            reach = self._shell(container)
            lacking = self._lacking(container, reach)
            if lacking is None:
                return reach
            self.why_archive = lacking
            return self._archive(container)
        if self._copies_into_stopped and container.is_at_rest:
            return self._archive(container)
        raise self._stopped(container)

    def explain(self, error: BrokenOffError) -> DestinationError:
        """Return why a call was cut off, by asking what the container is now."""
        self._found = (0.0, None)
        try:
            container = self._docker.container(self._name)
        except DestinationDownError as down:
            return down
        if container.status != "running" and not (self._copies_into_stopped and container.is_at_rest):
            return self._stopped(container)
        return DeliveryDelayedError(error.message, code="connection-lost", fix="it is tried again")

    def _shell(self, container: Container) -> ShellReach:
        rest = ("--user", "0:0", container.container_id, "sh")
        return ShellReach(
            self._docker.words("exec", *rest), feeding=self._docker.words("exec", "-i", *rest), where=self.words
        )

    def _archive(self, container: Container) -> ArchiveReach:
        if self._owner and not _NUMBERS.fullmatch(self._owner):
            raise DestinationDownError(
                f"nothing in {self.words} can tell which number {self._owner} has",
                code="owner-not-set",
                fix='write `owner` in numbers, such as "1000:1000"',
            )
        return ArchiveReach(self._docker, container.container_id, where=self.words)

    def _lacking(self, container: Container, reach: ShellReach) -> str | None:
        """Return what keeps a shell from being used; asked once for each container."""
        with self._lock:
            if self._tools[0] != container.container_id:
                try:
                    reach.require_tools()
                except NoToolsError as error:
                    self._tools = (container.container_id, error.message)
                except BrokenOffError as error:
                    raise self.explain(error) from error
                else:
                    self._tools = (container.container_id, None)
            return self._tools[1]

    def _stopped(self, container: Container) -> DestinationDownError:
        fix = {"paused": f"docker unpause {self._name}", "restarting": f"docker logs {self._name}"}
        return DestinationDownError(
            f"{self.words} is not running, but {container.status}",
            code="container-stopped",
            fix=f"{fix.get(container.status, f'docker start {self._name}')}; deliveries go on by themselves",
        )


class VolumePlace:
    """A volume, through a short-lived container of an image that is there already. It is given no network."""

    why_archive: str | None = None

    def __init__(self, docker: Docker, name: str, *, image: str) -> None:
        self.words = f"the volume {name}"
        self._docker = docker
        self._name = name
        self._image = image

    def reach(self) -> Reach:
        """Return the way to the files. Raises DestinationDownError."""
        self._docker.volume(self._name)  # `docker run` would make one that is missing
        self._docker.require_image(self._image)
        # Without a log driver of its own Docker would keep every byte that is read back.
        quiet = ("--rm", "--pull", "never", "--network", "none", "--log-driver", "none", "--user", "0:0")
        mount = ("--mount", f"type=volume,source={self._name},target={MOUNT}", "--entrypoint", "sh", self._image)
        return ShellReach(
            self._docker.words("run", *quiet, *mount),
            feeding=self._docker.words("run", "-i", *quiet, *mount),
            where=self.words,
        )

    def explain(self, error: BrokenOffError) -> DestinationError:
        """Return why a call was cut off."""
        try:
            self.reach()
        except DestinationDownError as down:
            return down
        if error.finished.exit_code in {125, 126, 127}:  # `docker run`: it did not come to our program
            return unavailable(error.finished)
        return DeliveryDelayedError(error.message, code="connection-lost", fix="it is tried again")


MOUNT = "/volume"  # where the helper sees it
