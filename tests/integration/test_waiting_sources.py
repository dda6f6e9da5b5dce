"""What becomes of a delivery that waits, or failed, while its source file goes, comes back or is replaced."""

from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tests.process import Lorawatch
from tests.scenes import Scene, contents, eventually, names, save_in_place, scene, small_lora

__all__ = ["scene"]


def save_waiting(daemon: Lorawatch, scene: Scene) -> Path:
    """Save a file while the destination is missing, and return it once its delivery waits."""
    path = scene.outputs / "a.safetensors"
    save_in_place(path, small_lora())
    daemon.wait_for("delivery.waiting", file=path)
    return path


def test_a_file_that_was_away_for_a_while_is_delivered_once_under_its_name(scene: Scene) -> None:
    scene.loras.rmdir()
    with scene.daemon() as daemon:
        path = save_waiting(daemon, scene)
        away = path.rename(scene.tmp_path / "away")
        daemon.wait_for("delivery.cancelled", file=path, code="source-vanished")
        away.rename(path)
        daemon.wait_for("delivery.planned", file=path, count=2)
        scene.loras.mkdir()
        daemon.wait_for("delivery.delivered", file=path)
    assert contents(scene.loras) == {"a.safetensors": small_lora()}


def test_a_file_that_came_back_while_the_daemon_was_down_is_delivered(scene: Scene) -> None:
    scene.loras.rmdir()
    daemon = scene.daemon()
    with daemon:
        path = save_waiting(daemon, scene)
        away = path.rename(scene.tmp_path / "away")
        daemon.wait_for("delivery.cancelled", file=path)
        assert daemon.stop() == 0
    away.rename(path)
    scene.loras.mkdir()
    with daemon:
        daemon.wait_for("delivery.delivered", file=path)
    assert names(scene.loras) == ["a.safetensors"]


def test_a_file_that_comes_back_after_it_was_delivered_everywhere_is_not_sent_again(scene: Scene) -> None:
    with scene.daemon() as daemon:
        path = scene.outputs / "a.safetensors"
        save_in_place(path, small_lora())
        daemon.wait_for("delivery.delivered")
        path.rename(scene.tmp_path / "away").rename(path)
        assert not eventually(lambda: len(daemon.of("delivery.planned")) > 1, timeout=1.5)


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_failed_delivery_is_cancelled_once_it_has_become_pointless(scene: Scene, is_replaced: bool) -> None:
    (scene.loras / "sub").write_bytes(b"a file where a directory is needed")
    with scene.daemon(destination='name_template = "sub/{file_name}"') as daemon:
        path = scene.outputs / "a.safetensors"
        save_in_place(path, small_lora())
        daemon.wait_for("delivery.failed", file=path)
        if is_replaced:
            save_in_place(path, small_lora(1))
        else:
            path.unlink()
        code = "source-changed" if is_replaced else "source-vanished"
        assert daemon.wait_for("delivery.cancelled", timeout=5)["code"] == code


@pytest.mark.parametrize("checkpoints", ["all", "final"])
def test_many_files_that_are_refused_unread_are_refused_at_once(scene: Scene, checkpoints: str) -> None:
    for number in range(500):
        content = b"<html>" * 20 if checkpoints == "all" else small_lora()[:20_000]
        (scene.outputs / f"cat_{number:09}.safetensors").write_bytes(content)
    finished = scene.daemon(watch=f'checkpoints = "{checkpoints}"').run_once()
    refused = [each for each in finished.events if each["event"] in {"file.rejected", "file.skipped"}]
    assert len(refused) == 500
    moments = [datetime.fromisoformat(each["timestamp"]) for each in refused]
    pauses = [later - earlier for earlier, later in pairwise(moments) if later - earlier > timedelta(seconds=0.5)]
    assert len(pauses) < 4, "64 a second would be seven pauses of a second"
