"""The `docker` command: which daemon it talks to, what containers and volumes there are, and what its failures mean.

Lane threads call it, several at once. It keeps nothing but words; each call is a program that is run to its end.
"""

import getpass
import json
import os
from dataclasses import dataclass

from lorawatch.destinations.docker.reach import last_line
from lorawatch.domain.errors import DestinationDownError
from lorawatch.transport.process import NOT_FOUND, TIMED_OUT, Finished, run

ASK_SECONDS = 30.0  # a daemon that has not said what it has by then is in trouble
_MISSING = ("no such container", "no such volume", "no such image", "no such object")


@dataclass(frozen=True, slots=True)
class Container:
    """A container as it is now. `status` is Docker's word: running, exited, paused, …."""

    container_id: str
    status: str

    @property
    def is_at_rest(self) -> bool:
        """Return whether no program runs in it, and none is about to."""
        return self.status in {"created", "exited"}


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume. `mountpoint` is None where its files are not simply there: a driver, or one that is mounted on use."""

    mountpoint: str | None


class Docker:
    """One daemon. `host` is as in $DOCKER_HOST; "" leaves that to the environment and to Docker's contexts."""

    def __init__(self, host: str = "") -> None:
        self._host = host

    def words(self, *arguments: str) -> list[str]:
        """Return the command line of a docker command."""
        return ["docker", *(["--host", self._host] if self._host else []), *arguments]

    def container(self, name: str) -> Container:
        """Return the container of this name. Raises DestinationDownError."""
        shown = self._inspect("container", name, "[{{json .Id}},{{json .State.Status}}]")
        if shown is None:
            raise DestinationDownError(
                f"there is no container named {name}",
                code="container-missing",
                fix="start it, or correct `container`: docker ps -a shows the names",
            )
        return Container(*json.loads(shown))

    def volume(self, name: str) -> Volume:
        """Return the volume of this name. Raises DestinationDownError."""
        shown = self._inspect("volume", name, "[{{json .Driver}},{{json .Options}},{{json .Mountpoint}}]")
        if shown is None:
            raise DestinationDownError(
                f"there is no volume named {name}",
                code="container-missing",
                fix=f"create it: docker volume create {name}; or correct `volume`: docker volume ls shows the names",
            )
        driver, options, mountpoint = json.loads(shown)
        return Volume(mountpoint if driver == "local" and not options else None)

    def is_here(self) -> bool:
        """Return whether the daemon runs on this machine, so that its paths mean the same here. Raises as `volume`.

        Its address does not tell: a socket may lead to another machine through ssh, or into Docker Desktop's own.
        """
        finished = run(self.words("info", "--format", "{{json .}}"), timeout_seconds=ASK_SECONDS)
        if not finished.is_fine:
            raise unavailable(finished)
        told = json.loads(finished.stdout)
        host_name = told.get("Name") or told.get("host", {}).get("hostname")  # the latter is Podman's
        return host_name == os.uname().nodename and _identity_in(told.get("DockerRootDir")) in {None, told.get("ID")}

    def require_image(self, name: str) -> None:
        """Raise DestinationDownError if the image is not there; it is never pulled."""
        if self._inspect("image", name, "{{.Id}}") is None:
            raise DestinationDownError(
                f"there is no image {name}, with which the volume could be reached",
                code="helper-image-missing",
                fix=f"docker pull {name}; or set helper_image to one that is there: docker image ls",
            )

    def _inspect(self, kind: str, name: str, template: str) -> str | None:
        """Return what Docker tells about something; None if there is no such thing."""
        finished = run(self.words(kind, "inspect", "--format", template, name), timeout_seconds=ASK_SECONDS)
        if finished.is_fine:
            return finished.stdout
        if any(words in finished.stderr.lower() for words in _MISSING):
            return None
        raise unavailable(finished)


def _identity_in(root: str | None) -> str | None:
    """Return which daemon keeps its data in this directory of this machine; None if that is not told."""
    try:
        with open(os.path.join(root or "", "engine-id"), encoding="utf-8") as file:
            return file.read().strip() or None
    except (OSError, ValueError):
        return None


def unavailable(finished: Finished) -> DestinationDownError:
    """Return the error for a call to which Docker itself did not answer as it should."""
    said = finished.stderr.lower()
    if finished.exit_code == NOT_FOUND:
        words, fix = "the docker command is not installed", "apt install docker.io (or docker-cli), or use a bind mount"
    elif "permission denied" in said:
        words = f"{_user()} may not use Docker's socket: {last_line(finished)}"
        fix = (
            f"sudo usermod -aG docker {_user()}, then restart lorawatch (this equals root access); a service gets it by"
            " `sudo lorawatch service install`"
        )
    elif finished.exit_code == TIMED_OUT:
        words, fix = f"Docker does not answer: {last_line(finished)}", "see `journalctl -u docker`"
    else:
        words = f"Docker does not answer: {last_line(finished)}"
        fix = "sudo systemctl start docker; if its socket is elsewhere, set docker_host"
    return DestinationDownError(words, code="docker-unavailable", fix=f"{fix}; deliveries go on by themselves")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.geteuid()}"
