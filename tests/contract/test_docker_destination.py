"""The docker destination keeps every promise of the suite: in containers of two kinds, and in a volume."""

import itertools
import os
from collections.abc import Callable

import pytest

from lorawatch.config import DockerDestinationConfig
from lorawatch.destinations.docker.opening import from_config
from lorawatch.domain.ports import Destination
from lorawatch.transport import holding
from tests.contract.bench import ONE, Sender, Shelf, delivered, prepare
from tests.contract.destination_suite import DestinationSuite
from tests.contract.touching import DirectoryShelf, TouchingSuite
from tests.docker_engine import LORAS, Engine

pytestmark = pytest.mark.system

INSTANCE = "0123456789ab"
_numbers = itertools.count()


def open_docker(engine: Engine, **keys: object) -> Destination:
    settings = {"name": "there", "kind": "docker", "docker_host": engine.host, "min_free_bytes": 0, **keys}
    return from_config(DockerDestinationConfig.model_validate(settings), instance=INSTANCE)


class DockerSuite(TouchingSuite, DestinationSuite):
    """A container of some kind, and in it a directory for each test."""

    image = "busybox"

    @pytest.fixture
    def container(self, docker_engine: Engine) -> str:
        name = f"suite-{self.image}"
        if name not in docker_engine.docker("ps", "--format", "{{.Names}}").split():
            docker_engine.run(name, self.image)
        return name

    @pytest.fixture
    def directory(self, docker_engine: Engine, container: str) -> str:
        directory = f"{LORAS}/{next(_numbers)}"
        os.mkdir(f"{docker_engine.root(container)}{directory}")
        return directory

    @pytest.fixture
    def reopen(self, docker_engine: Engine, container: str, directory: str) -> Callable[[], Destination]:
        return lambda: open_docker(docker_engine, container=container, directory=directory)

    @pytest.fixture
    def shelf(self, docker_engine: Engine, container: str, directory: str) -> Shelf:
        return DirectoryShelf(f"{docker_engine.root(container)}{directory}")

    def crash(self, destination: Destination) -> None:
        for name in list(holding._held):
            holding.release(name)

    def test_a_crash_leaves_one_hidden_file_that_no_program_takes_for_a_model(
        self, destination: Destination, shelf: Shelf, sender: Sender
    ) -> None:
        prepare(destination, sender.consignment())
        (name,) = shelf.names()
        assert name.startswith(f".lorawatch-{INSTANCE}-")
        assert name.endswith(".part")
        self.crash(destination)
        destination.sweep()
        assert not shelf.names()

    def test_a_name_with_a_line_break_arrives_unchanged(
        self, destination: Destination, shelf: Shelf, sender: Sender
    ) -> None:
        for name in ("a\nb\n.safetensors", "%s \\0101 `id` $(id) *.safetensors", " .safetensors"):
            delivered(destination, sender.consignment(name=name))
            assert shelf.read(name) == ONE
            assert destination.find(name) is not None

    def test_the_hash_is_computed_where_the_bytes_are(self, destination: Destination, sender: Sender) -> None:
        consignment = sender.consignment()
        assert prepare(destination, consignment).sha256 == consignment.delivery.artifact.sha256


class TestContainerWithBusybox(DockerSuite):
    """As in Alpine."""


class TestContainerWithCoreutils(DockerSuite):
    """As in Debian."""

    image = "gnu"


class TestVolumeAtItsMountPoint(DockerSuite):
    """Root may use it as a directory of this machine."""

    @pytest.fixture
    def volume(self, docker_engine: Engine) -> str:
        return docker_engine.docker("volume", "create", f"suite-{next(_numbers)}")

    @pytest.fixture
    def reopen(self, docker_engine: Engine, volume: str) -> Callable[[], Destination]:
        return lambda: open_docker(docker_engine, volume=volume, directory="/")

    @pytest.fixture
    def shelf(self, docker_engine: Engine, volume: str) -> Shelf:
        return DirectoryShelf(docker_engine.docker("volume", "inspect", "--format", "{{.Mountpoint}}", volume))

    def crash(self, destination: Destination) -> None:
        from lorawatch.destinations import staging

        for descriptor in staging._descriptors.values():
            os.close(descriptor)
        staging._descriptors.clear()
