"""A whole daemon that delivers into a named volume: at its mount point, or through a helper container."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorawatch.destinations.docker.client import Docker
from lorawatch.destinations.docker.containers import MOUNT, VolumePlace
from lorawatch.destinations.docker.destination import DockerDestination, Settings
from lorawatch.domain.errors import NameTakenError
from tests.contract.bench import ONE, TWO, Sender, deliver, delivered, prepare
from tests.docker_engine import Engine
from tests.factories import lora_bytes
from tests.scenes import save_by_rename, small_lora
from tests.system.docker_scenes import DockerScene

pytestmark = pytest.mark.system

VOLUME = "comfyui-models"
TRAINER = 12345


@pytest.fixture
def engine(docker_engine: Engine) -> Iterator[Engine]:
    yield docker_engine
    helpers = docker_engine.docker("ps", "--all", "--quiet", "--filter", f"volume={VOLUME}")
    if VOLUME in docker_engine.docker("volume", "ls", "--quiet").split():
        docker_engine.docker("volume", "rm", "--force", VOLUME)
    assert not helpers, "a helper was left"


@pytest.fixture
def scene(tmp_path: Path, engine: Engine) -> DockerScene:
    return DockerScene(tmp_path, engine, volume=VOLUME, directory="/loras")


def make_volume(engine: Engine, *options: str) -> Path:
    """Create the volume with a directory in it, which belongs to another user."""
    engine.docker("volume", "create", *options, VOLUME)
    mountpoint = Path(engine.docker("volume", "inspect", "--format", "{{.Mountpoint}}", VOLUME))
    (mountpoint / "loras").mkdir()
    os.chown(mountpoint / "loras", 1000, 1001)
    return mountpoint / "loras"


def test_root_uses_the_mount_point_and_the_files_get_the_directory_s_owner(scene: DockerScene) -> None:
    scene.lines = 'helper_image = "not-there"\nname_template = "{family}/{file_name}"'
    with scene.daemon() as daemon:
        save_by_rename(scene.outputs / "cat.safetensors", lora_bytes(seed=1, size_bytes=12 << 20))
        down = daemon.wait_for("destination.down")
        assert (down["code"], "docker volume create" in down["fix"]) == ("container-missing", True)
        loras = make_volume(scene.engine)
        daemon.wait_for("delivery.delivered", evidence="sha256")
        assert daemon.stop() == 0
    (folder,) = loras.iterdir()
    for path, mode in ((folder, 0o775), (folder / "cat.safetensors", 0o664)):
        status = os.stat(path)
        assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1000, 1001, mode)


def test_a_link_that_leads_out_of_the_volume_is_not_followed_on_this_machine(
    scene: DockerScene, tmp_path: Path
) -> None:
    loras = make_volume(scene.engine)
    loras.rmdir()
    private = tmp_path / "private"
    private.mkdir()
    loras.symlink_to(private)
    scene.lines = 'helper_image = "not-there"'
    save_by_rename(scene.outputs / "cat.safetensors", small_lora())
    finished = scene.daemon().run_once()
    assert finished.exit_code == 3
    assert not list(private.iterdir())


def test_a_mount_point_of_another_machine_is_not_taken_for_a_directory_of_this_one(tmp_path: Path) -> None:
    """Docker may run elsewhere, while this machine has a volume of the same name at the same place."""
    engine = Engine(host_name="elsewhere")
    engine.start()
    try:
        loras = make_volume(engine)
        scene = DockerScene(tmp_path, engine, volume=VOLUME, directory="/loras", lines='helper_image = "not-there"')
        save_by_rename(scene.outputs / "cat.safetensors", small_lora())
        finished = scene.daemon().run_once()
        assert finished.exit_code == 3
        assert "helper-image-missing" in {each.get("code") for each in finished.events}
        assert not list(loras.iterdir())
    finally:
        engine.remove()


def test_a_namesake_of_this_machine_is_told_by_what_docker_calls_itself(engine: Engine) -> None:
    assert Docker(engine.host).is_here()
    identity = engine.directory / "data" / "engine-id"
    own = identity.read_text() if identity.exists() else None  # older ones have none
    identity.write_text("another")
    try:
        assert not Docker(engine.host).is_here()
    finally:
        if own is None:
            identity.unlink()
        else:
            identity.write_text(own)


def test_a_volume_that_is_mounted_only_when_used_goes_through_the_helper(scene: DockerScene) -> None:
    """The mount point of such a volume is an empty directory of this machine while no container uses it."""
    engine = scene.engine
    disk = engine.directory / "disk"
    (disk / "loras").mkdir(parents=True, exist_ok=True)
    engine.docker("volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", f"device={disk}", VOLUME)
    scene.lines = f'helper_image = "{engine.image("busybox")}"'
    save_by_rename(scene.outputs / "cat.safetensors", small_lora())
    finished = scene.daemon().run_once()
    assert finished.exit_code == 0, finished.stdout
    assert {path.name: path.read_bytes() for path in (disk / "loras").iterdir()} == {"cat.safetensors": small_lora()}
    assert engine.docker("ps", "--all", "--quiet", "--filter", f"volume={VOLUME}") == "", "a helper was left"


def test_whoever_may_not_enter_the_mount_point_goes_through_the_helper(open_path: Path, engine: Engine) -> None:
    scene = DockerScene(open_path, engine, volume=VOLUME, directory="/loras")
    loras = make_volume(engine)
    os.chown(engine.socket, TRAINER, TRAINER)  # as the group docker would
    save_by_rename(scene.outputs / "cat.safetensors", small_lora())
    scene.lines = 'helper_image = "not-there"'
    finished = scene.daemon_of(TRAINER).run_once()
    assert finished.exit_code == 3
    assert "helper-image-missing" in {each.get("code") for each in finished.events}
    scene.lines = f'helper_image = "{engine.image("busybox")}"'
    finished = scene.daemon_of(TRAINER).run_once()
    assert finished.exit_code == 0, finished.stdout
    assert {path.name: path.read_bytes() for path in loras.iterdir()} == {"cat.safetensors": small_lora()}
    status = os.stat(loras / "cat.safetensors")
    assert (status.st_uid, status.st_gid) == (1000, 1001)


def test_through_the_helper_the_promises_hold(engine: Engine, tmp_path: Path) -> None:
    loras = make_volume(engine)
    place = VolumePlace(Docker(engine.host), VOLUME, image=engine.image("busybox"))
    settings = Settings(f"{MOUNT}/loras", owner="", file_mode=0o640, min_free_bytes=0)
    destination = DockerDestination(place, settings, name="there", instance="0123456789ab", key="there")
    sender = Sender(str(tmp_path))
    destination.probe(needed_bytes=1)
    odd = os.fsdecode(b"-a b'\"\n\xe9.safetensors")
    first = delivered(destination, sender.consignment(ONE, remote_name=odd))
    assert destination.find(odd) == first
    second = delivered(destination, sender.consignment(TWO, remote_name=odd, replaces=first))
    assert (loras / odd).read_bytes() == TWO
    (loras / "dog.safetensors").write_bytes(b"a person's")
    assert isinstance(deliver(destination, sender.consignment(name="dog.safetensors")), NameTakenError)
    assert destination.digest("dog.safetensors") is not None
    assert not destination.remove(first)
    assert destination.remove(second)
    left = [path.name for path in loras.iterdir() if path.name.endswith(".part")]
    destination.sweep()
    assert len(left) == 1, "the one that could not be published is in use until it is discarded"
    destination.discard(prepare(destination, sender.consignment()))
    assert not engine.docker("ps", "--all", "--quiet", "--filter", f"volume={VOLUME}")
