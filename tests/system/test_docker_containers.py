"""A whole daemon that delivers into a container: running, stopped, paused, removed, made anew, without a shell."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker_engine import LORAS, Engine
from tests.factories import lora_bytes
from tests.scenes import save_by_rename, small_lora
from tests.system.docker_scenes import DockerScene

pytestmark = pytest.mark.system

CAGE = "cage"


@pytest.fixture
def engine(docker_engine: Engine) -> Iterator[Engine]:
    yield docker_engine
    if CAGE in docker_engine.docker("ps", "--all", "--format", "{{.Names}}").split():
        docker_engine.docker("rm", "--force", CAGE)


@pytest.fixture
def scene(tmp_path: Path, engine: Engine) -> DockerScene:
    return DockerScene(tmp_path, engine, CAGE)


def test_one_pass_delivers_with_proof_owner_and_mode_and_a_second_one_carries_nothing(scene: DockerScene) -> None:
    scene.engine.run(CAGE)
    os.chown(scene.loras, 1000, 1001)
    content = lora_bytes(seed=1, size_bytes=12 << 20)
    save_by_rename(scene.outputs / "cat.safetensors", content)
    daemon = scene.daemon()
    finished = daemon.run_once()
    assert finished.exit_code == 0, finished.stdout
    (delivered,) = [each for each in finished.events if each["event"] == "delivery.delivered"]
    assert delivered["evidence"] == "sha256"
    assert scene.contents() == {"cat.safetensors": content}
    status = os.stat(scene.loras / "cat.safetensors")
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1000, 1001, 0o664)
    again = daemon.run_once()
    assert again.exit_code == 0
    assert not [each for each in again.events if each["event"].startswith("delivery.")]
    assert os.stat(scene.loras / "cat.safetensors").st_ino == status.st_ino


def test_an_owner_by_name_is_that_of_the_container_and_a_mode_is_set(scene: DockerScene) -> None:
    scene.engine.run(CAGE)
    scene.lines = 'owner = "artist:artists"\nfile_mode = "0640"\nname_template = "{family}/{file_name}"'
    save_by_rename(scene.outputs / "cat.safetensors", small_lora())
    assert scene.daemon().run_once().exit_code == 0
    (folder,) = scene.loras.iterdir()
    for path, mode in ((folder / "cat.safetensors", 0o640), (folder, 0o775)):
        status = os.stat(path)
        assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1234, 1235, mode)


def test_a_new_version_replaces_ours_and_a_foreign_file_is_kept(scene: DockerScene) -> None:
    scene.engine.run(CAGE)
    (scene.loras / "dog.safetensors").write_bytes(b"a person's")
    with scene.daemon() as daemon:
        save_by_rename(scene.outputs / "cat.safetensors", small_lora(1))
        daemon.wait_for("delivery.delivered")
        save_by_rename(scene.outputs / "cat.safetensors", small_lora(2))
        assert daemon.wait_for("delivery.delivered", count=2)["replaced"]
        save_by_rename(scene.outputs / "dog.safetensors", small_lora(3))
        beside = daemon.wait_for("delivery.delivered", count=3)["remote_name"]
        assert daemon.stop() == 0
    assert scene.contents() == {
        "cat.safetensors": small_lora(2),
        "dog.safetensors": b"a person's",
        beside: small_lora(3),
    }


def test_sidecars_and_retired_steps_work_there_too(scene: DockerScene) -> None:
    scene.engine.run(CAGE)
    scene.lines = 'sidecars = ["metadata"]'
    scene.watch = 'checkpoints = "latest:1"\nretire = true'
    with scene.daemon() as daemon:
        save_by_rename(scene.outputs / "cat_000000250.safetensors", small_lora(1))
        daemon.wait_for("sidecar.written")
        save_by_rename(scene.outputs / "cat_000000500.safetensors", small_lora(2))
        daemon.wait_for("delivery.retired")
        daemon.wait_for("sidecar.written", count=2)
        assert daemon.stop() == 0
    assert set(scene.contents()) == {"cat_000000500.safetensors", "cat_000000500.json"}


def test_a_stopped_container_is_waited_for_and_one_that_runs_again_gets_everything(scene: DockerScene) -> None:
    scene.engine.run(CAGE)
    scene.engine.docker("stop", "--time", "0", CAGE)
    with scene.daemon() as daemon:
        save_by_rename(scene.outputs / "cat.safetensors", small_lora())
        down = daemon.wait_for("destination.down")
        assert down["code"] == "container-stopped"
        assert f"docker start {CAGE}" in down["fix"]
        assert daemon.wait_for("delivery.waiting")["code"] == "container-stopped"
        scene.engine.docker("start", CAGE)
        daemon.wait_for("delivery.delivered")
        scene.engine.docker("pause", CAGE)
        save_by_rename(scene.outputs / "dog.safetensors", small_lora(1))
        daemon.wait_for("delivery.waiting", file=scene.outputs / "dog.safetensors", code="container-stopped")
        scene.engine.docker("unpause", CAGE)
        daemon.wait_for("delivery.delivered", count=2)
        assert daemon.stop() == 0
    assert scene.contents() == {"cat.safetensors": small_lora(), "dog.safetensors": small_lora(1)}


def test_a_removed_container_is_waited_for_and_the_one_made_anew_is_served(scene: DockerScene) -> None:
    with scene.daemon() as daemon:
        save_by_rename(scene.outputs / "cat.safetensors", small_lora())
        assert daemon.wait_for("destination.down")["code"] == "container-missing"
        scene.engine.run(CAGE)
        daemon.wait_for("delivery.delivered")
        scene.engine.docker("rm", "--force", CAGE)
        save_by_rename(scene.outputs / "dog.safetensors", small_lora(1))
        daemon.wait_for("delivery.waiting", file=scene.outputs / "dog.safetensors", code="container-missing")
        scene.engine.run(CAGE, "gnu")
        daemon.wait_for("delivery.delivered", count=2)
        assert daemon.stop() == 0
    assert scene.contents() == {"dog.safetensors": small_lora(1)}


def test_a_directory_that_is_not_there_is_never_made(scene: DockerScene) -> None:
    scene.engine.run(CAGE)
    scene.directory = "/not/mounted"
    save_by_rename(scene.outputs / "cat.safetensors", small_lora())
    finished = scene.daemon().run_once()
    assert finished.exit_code == 3
    assert {each.get("code") for each in finished.events} >= {"destination-missing"}
    assert not Path(f"{scene.engine.root(CAGE)}/not").exists()


@pytest.mark.parametrize("kind", ["busybox", "bare"])
def test_on_request_a_stopped_container_is_copied_into_and_nothing_partial_has_the_name(
    scene: DockerScene, kind: str
) -> None:
    scene.engine.run(CAGE, kind)
    scene.engine.docker("stop", "--time", "0", CAGE)
    scene.lines = 'copy_into_stopped = true\nowner = "1000:1001"\nname_template = "{family}/{file_name}"'
    content = lora_bytes(seed=1, size_bytes=12 << 20)
    save_by_rename(scene.outputs / "cat ü.safetensors", content)
    finished = scene.daemon().run_once()
    assert finished.exit_code == 0, finished.stdout
    (delivered,) = [each for each in finished.events if each["event"] == "delivery.delivered"]
    assert delivered["evidence"] == "sha256"
    assert [each["code"] for each in finished.events if each["event"] == "destination.note"] == [
        "container-without-shell"
    ]
    assert scene.read(delivered["remote_name"]) == content
    scene.engine.docker("start", CAGE)
    file = scene.loras / delivered["remote_name"]
    for path, mode in ((file, 0o664), (file.parent, 0o775)):
        status = os.stat(path)
        assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1000, 1001, mode)
    if kind == "busybox":  # the next start finds a shell, and tidies up
        save_by_rename(scene.outputs / "dog.safetensors", small_lora())
        assert scene.daemon().run_once().exit_code == 0
        names = [name for _, _, names in os.walk(scene.loras) for name in names]
        assert sorted(names) == ["cat ü.safetensors", "dog.safetensors"]


def test_a_container_without_a_shell_is_served_by_docker_cp(scene: DockerScene) -> None:
    scene.engine.run(CAGE, "bare")
    (scene.loras / "dog.safetensors").write_bytes(b"a person's")
    with scene.daemon() as daemon:
        for number, name in enumerate(["cat", "cat", "dog", "-rf 'x' \"y\"\n$(z)"]):
            save_by_rename(scene.outputs / f"{name}.safetensors", small_lora(number))
            daemon.wait_for("delivery.delivered", count=number + 1)
        beside = daemon.of("delivery.delivered")[2]["remote_name"]
        assert daemon.wait_for("destination.note")["code"] == "container-without-shell"
        assert daemon.stop() == 0
    contents = scene.contents()
    hidden = {name: contents.pop(name) for name in list(contents) if name.startswith(".")}
    assert contents == {
        "cat.safetensors": small_lora(1),
        "dog.safetensors": b"a person's",
        beside: small_lora(2),
        "-rf 'x' \"y\"\n$(z).safetensors": small_lora(3),
    }
    assert set(hidden.values()) == {b""}
    assert len(hidden) == 1


def test_without_a_shell_a_name_that_is_no_utf8_is_refused_and_an_owner_must_be_a_number(scene: DockerScene) -> None:
    scene.engine.run(CAGE, "bare")
    save_by_rename(scene.outputs / os.fsdecode(b"caf\xe9.safetensors"), small_lora())
    finished = scene.daemon().run_once()
    assert "name-refused" in {each.get("code") for each in finished.events}
    scene.lines = 'owner = "artist"'
    save_by_rename(scene.outputs / "cat.safetensors", small_lora(1))
    finished = scene.daemon().run_once()
    assert "owner-not-set" in {each.get("code") for each in finished.events}
    assert scene.contents() == {}


def test_a_full_file_system_in_the_container_is_waited_for_and_nothing_is_left(
    scene: DockerScene, tmp_path: Path
) -> None:
    from tests.system.test_full_disks import fill, small_disk

    with small_disk(tmp_path / "disk") as disk:
        scene.engine.run(CAGE, "busybox", "--volume", f"{disk}:{LORAS}")
        filler = fill(disk)
        with scene.daemon() as daemon:
            save_by_rename(scene.outputs / "cat.safetensors", lora_bytes(seed=1, size_bytes=1 << 20))
            waiting = daemon.wait_for("delivery.waiting")
            assert waiting["code"] in {"disk-full", "low-disk-space"}
            daemon.wait_for("delivery.waiting", count=2)
            assert [path.name for path in disk.iterdir()] == ["filler"]
            filler.unlink()
            daemon.wait_for("delivery.delivered")
            assert [path.name for path in disk.iterdir()] == ["cat.safetensors"]
            assert daemon.stop() == 0
        scene.engine.docker("rm", "--force", CAGE)


def test_a_disk_that_fills_up_in_the_middle_is_a_full_disk(scene: DockerScene, tmp_path: Path) -> None:
    """statvfs of a tmpfs with little room says so before; one whose quota is not shown there does not."""
    from lorawatch.destinations.docker.reach import error_from_words

    scene.engine.run(CAGE, "busybox", "--device", "/dev/full")
    words = scene.engine._try("exec", CAGE, "sh", "-c", "cat /bin/busybox > /dev/full").stderr
    assert error_from_words(words, doing="write", where="there").code == "disk-full"


def test_min_free_bytes_holds_in_the_container(scene: DockerScene) -> None:
    scene.engine.run(CAGE)
    scene.min_free_bytes = 1 << 60
    save_by_rename(scene.outputs / "cat.safetensors", small_lora())
    finished = scene.daemon().run_once()
    assert finished.exit_code == 3
    assert "low-disk-space" in {each.get("code") for each in finished.events}
    assert scene.contents() == {}


def test_a_read_only_container_is_waited_for(scene: DockerScene) -> None:
    scene.engine.run(CAGE, "busybox", "--read-only")
    save_by_rename(scene.outputs / "cat.safetensors", small_lora())
    finished = scene.daemon().run_once()
    assert finished.exit_code == 3
    assert "destination-read-only" in {each.get("code") for each in finished.events}
