"""Docker goes away in the middle: the daemon of Docker, the container, ours. Nothing is lost, nothing is left."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker_engine import Engine
from tests.factories import lora_bytes
from tests.process import Lorawatch
from tests.scenes import eventually, save_by_rename, small_lora
from tests.system.docker_scenes import DockerScene

pytestmark = pytest.mark.system

CAGE = "cage"
LARGE_BYTES = 300 << 20  # a second or more through `docker exec`
NOBODY = 65534


@pytest.fixture(scope="module")
def large() -> bytes:
    return lora_bytes(seed=7, size_bytes=LARGE_BYTES)


@pytest.fixture
def engine() -> Iterator[Engine]:
    """A Docker of the test's own, to be ended as it likes."""
    engine = Engine()
    try:
        engine.start()
        yield engine
    finally:
        engine.remove()


@pytest.fixture
def scene(tmp_path: Path, engine: Engine) -> DockerScene:
    return DockerScene(tmp_path, engine, CAGE)


@pytest.mark.parametrize("ending", ["kill", "stop"])
def test_docker_is_restarted_in_the_middle_of_a_copy_and_it_goes_on_by_itself(
    scene: DockerScene, large: bytes, ending: str
) -> None:
    engine = scene.engine
    engine.run(CAGE)
    with scene.daemon() as daemon:
        save_by_rename(scene.outputs / "large.safetensors", large)
        scene.wait_until_half_written(LARGE_BYTES)
        engine.kill() if ending == "kill" else engine.stop()
        down = daemon.wait_for("destination.down")
        assert down["code"] in {"docker-unavailable", "container-stopped"}
        assert down["fix"]
        daemon.wait_for("destination.down", code="docker-unavailable")
        engine.start()
        daemon.wait_for("destination.down", code="container-stopped")
        engine.docker("start", CAGE)
        daemon.wait_for("delivery.delivered", evidence="sha256")
        assert not daemon.of("delivery.failed")
        assert daemon.stop() == 0
    assert scene.contents() == {"large.safetensors": large}


@pytest.mark.parametrize("act", [("stop", "--time", "0"), ("kill",)])
def test_the_container_ends_in_the_middle_of_a_copy(scene: DockerScene, large: bytes, act: tuple[str, ...]) -> None:
    scene.engine.run(CAGE)
    with scene.daemon() as daemon:
        save_by_rename(scene.outputs / "large.safetensors", large)
        scene.wait_until_half_written(LARGE_BYTES)
        scene.engine.docker(*act, CAGE)
        assert daemon.wait_for("delivery.waiting")["code"] == "container-stopped"
        scene.engine.docker("start", CAGE)
        daemon.wait_for("delivery.delivered", evidence="sha256")
        assert daemon.stop() == 0
    assert scene.contents() == {"large.safetensors": large}


def test_the_container_is_removed_in_the_middle_of_a_copy(scene: DockerScene, large: bytes) -> None:
    scene.engine.run(CAGE)
    with scene.daemon() as daemon:
        save_by_rename(scene.outputs / "large.safetensors", large)
        scene.wait_until_half_written(LARGE_BYTES)
        scene.engine.docker("rm", "--force", CAGE)
        assert daemon.wait_for("delivery.waiting")["code"] in {"container-missing", "container-stopped"}
        scene.engine.run(CAGE)
        daemon.wait_for("delivery.delivered", evidence="sha256")
        assert daemon.stop() == 0
    assert scene.contents() == {"large.safetensors": large}


def test_a_stop_in_the_middle_is_quick_leaves_nothing_and_the_next_start_goes_on(
    scene: DockerScene, large: bytes
) -> None:
    scene.engine.run(CAGE)
    with scene.daemon() as daemon:
        save_by_rename(scene.outputs / "large.safetensors", large)
        scene.wait_until_half_written(LARGE_BYTES)
        assert daemon.stop() == 0
    assert eventually(lambda: scene.contents() == {})
    assert scene.daemon().run_once().exit_code == 0
    assert scene.contents() == {"large.safetensors": large}


def test_after_a_kill_in_the_middle_the_next_start_sweeps_and_carries_again(scene: DockerScene, large: bytes) -> None:
    scene.engine.run(CAGE)
    with scene.daemon() as daemon:
        save_by_rename(scene.outputs / "large.safetensors", large)
        scene.wait_until_half_written(LARGE_BYTES)
        daemon.kill()
    (scene.loras / ".lorawatch-ffffffffffff-0123456789abcdef.part").write_bytes(b"another installation's")
    assert scene.daemon().run_once().exit_code == 0
    assert scene.contents() == {
        "large.safetensors": large,
        ".lorawatch-ffffffffffff-0123456789abcdef.part": b"another installation's",
    }


def test_a_large_file_does_not_hold_up_a_small_one(scene: DockerScene, large: bytes) -> None:
    scene.engine.run(CAGE)
    with scene.daemon() as daemon:
        save_by_rename(scene.outputs / "large.safetensors", large)
        scene.wait_until_half_written(LARGE_BYTES)
        save_by_rename(scene.outputs / "small.safetensors", small_lora())
        daemon.wait_for("delivery.delivered", count=2)
        assert daemon.of("delivery.delivered")[0]["remote_name"] == "small.safetensors"
        assert daemon.stop() == 0


def test_memory_does_not_grow_with_the_file(scene: DockerScene, large: bytes) -> None:
    scene.engine.run(CAGE)
    with scene.daemon() as daemon:
        save_by_rename(scene.outputs / "small.safetensors", small_lora())
        daemon.wait_for("delivery.delivered")
        before = peak_bytes(daemon)
        save_by_rename(scene.outputs / "large.safetensors", large)
        daemon.wait_for("delivery.delivered", count=2)
        assert peak_bytes(daemon) - before < LARGE_BYTES / 5
        assert daemon.stop() == 0


def test_a_socket_that_is_missing_says_what_to_do_and_is_waited_for(scene: DockerScene) -> None:
    scene.engine.stop()
    save_by_rename(scene.outputs / "cat.safetensors", small_lora())
    with scene.daemon() as daemon:
        down = daemon.wait_for("destination.down")
        assert down["code"] == "docker-unavailable"
        assert "systemctl start docker" in down["fix"]
        scene.engine.start()
        daemon.wait_for("destination.down", code="container-missing")
        scene.engine.run(CAGE)
        daemon.wait_for("delivery.delivered")
        assert daemon.stop() == 0


def test_a_socket_that_is_forbidden_names_the_user_and_the_group(open_path: Path, engine: Engine) -> None:
    scene = DockerScene(open_path, engine, CAGE)
    scene.engine.run(CAGE)
    os.chmod(scene.engine.socket, 0o660)
    save_by_rename(scene.outputs / "cat.safetensors", small_lora())
    finished = scene.daemon_of(NOBODY).run_once()
    assert finished.exit_code == 3
    (down,) = [each for each in finished.events if each["event"] == "destination.down"]
    assert down["code"] == "docker-unavailable"
    assert "usermod -aG docker" in down["fix"]
    assert "root" in down["fix"]
    assert scene.contents() == {}


def test_without_the_docker_command_it_says_what_to_install(scene: DockerScene) -> None:
    save_by_rename(scene.outputs / "cat.safetensors", small_lora())
    daemon = scene.daemon()
    daemon.environ = {"PATH": "/nonexistent"}
    finished = daemon.run_once()
    assert finished.exit_code == 3
    (down,) = [each for each in finished.events if each["event"] == "destination.down"]
    assert down["code"] == "docker-unavailable"
    assert "docker.io" in down["fix"]


def peak_bytes(daemon: Lorawatch) -> int:
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def test_a_burst_arrives(scene: DockerScene) -> None:
    scene.engine.run(CAGE, "gnu")
    with scene.daemon() as daemon:
        for number in range(20):
            save_by_rename(scene.outputs / f"{number}.safetensors", small_lora(number))
        daemon.wait_for("delivery.delivered", 100, count=20)
        assert daemon.stop() == 0
    assert scene.contents() == {f"{number}.safetensors": small_lora(number) for number in range(20)}
