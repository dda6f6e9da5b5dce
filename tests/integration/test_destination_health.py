"""A destination that goes and comes: probed on its schedule, said once, given up if the user wants that."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.process import Lorawatch
from tests.scenes import Scene, contents, eventually, names, save_in_place, scene, sha256, small_lora

__all__ = ["scene"]

NAME = "cat.safetensors"
A, B = small_lora(1), small_lora(2)


def giving_up(scene: Scene, seconds: float) -> Lorawatch:
    config = scene.config().replace("[retry]\n", f"[retry]\ngive_up_after_seconds = {seconds}\n")
    return Lorawatch(scene.tmp_path, config=config)


def send(scene: Scene, file: Path) -> tuple[int, str]:
    config = scene.tmp_path / "send.toml"
    config.write_text(scene.config())
    finished = Lorawatch(scene.tmp_path).command("send", "--config", str(config), str(file))
    return finished.exit_code, finished.stderr


def test_a_destination_that_stays_down_is_given_up_after_the_users_time_and_retry_heals_it(scene: Scene) -> None:
    scene.loras.rmdir()
    with giving_up(scene, 1.5) as daemon:
        save_in_place(scene.outputs / NAME, A)
        waiting = daemon.wait_for("delivery.waiting")
        failed = daemon.wait_for("delivery.failed", timeout=10)
        assert (failed["delivery_id"], failed["code"]) == (waiting["delivery_id"], "gave-up")
        assert str(scene.loras) in failed["reason"]
        scene.loras.mkdir()
        assert not eventually(lambda: any(scene.loras.glob("*.safetensors")), timeout=1.0)
        assert daemon.command("retry", "--all").exit_code == 0
        daemon.wait_for("delivery.delivered")
        assert len(daemon.of("delivery.failed")) == 1


def test_a_destination_that_comes_back_is_noticed_with_nothing_to_do(scene: Scene) -> None:
    scene.loras.rmdir()
    with scene.daemon() as daemon:
        daemon.wait_for("destination.down")
        scene.loras.mkdir()
        daemon.wait_for("destination.up", timeout=5)
        assert daemon.status()["destinations"][0]["state"] == "up"


def test_a_destination_that_is_a_link_to_itself_is_down_and_no_lane_crashes(scene: Scene) -> None:
    scene.loras.rmdir()
    scene.loras.symlink_to(scene.loras)
    with scene.daemon() as daemon:
        daemon.wait_for("destination.down")
        save_in_place(scene.outputs / NAME, A)
        daemon.wait_for("delivery.waiting")
        assert not daemon.of("lane.crashed")
        scene.loras.unlink()
        scene.loras.mkdir()
        daemon.wait_for("delivery.delivered")


def test_what_the_user_copied_by_hand_after_a_failed_attempt_stays_the_users(scene: Scene) -> None:
    config = scene.config().replace("min_free_bytes = 0", f"min_free_bytes = {1 << 60}")
    with Lorawatch(scene.tmp_path, config=config) as daemon:
        save_in_place(scene.outputs / NAME, A)
        assert daemon.wait_for("delivery.waiting")["code"] == "low-disk-space"
        assert daemon.stop() == 0
    with closing(sqlite3.connect(scene.tmp_path / "state" / "journal.sqlite3")) as journal, journal:
        journal.execute("UPDATE delivery SET attempt = 1")  # as after an attempt that met the full disk by itself
    (scene.loras / NAME).write_bytes(A)
    kept = f"cat-{sha256(B)[:8]}.safetensors"
    with scene.daemon() as daemon:
        assert daemon.wait_for("delivery.delivered")["carried_bytes"] == 0
        save_in_place(scene.outputs / NAME, B)
        assert daemon.wait_for("delivery.delivered", count=2)["remote_name"] == kept
    assert contents(scene.loras) == {NAME: A, kept: B}


def test_what_send_recorded_of_a_destination_is_put_right_by_the_daemon_that_knows_better(scene: Scene) -> None:
    with scene.daemon() as daemon:
        save_in_place(scene.outputs / NAME, A)
        daemon.wait_for("delivery.delivered")
        with closing(sqlite3.connect(scene.tmp_path / "state" / "journal.sqlite3")) as journal, journal:
            journal.execute("UPDATE destination SET state = 'down', code = 'destination-missing'")
        assert eventually(lambda: daemon.status()["destinations"][0]["state"] == "up", timeout=5)


def test_send_probes_first_and_spares_the_empty_mount_point_of_a_disk_that_is_gone(scene: Scene) -> None:
    file = scene.tmp_path / "elsewhere" / NAME
    save_in_place(file, A)
    assert send(scene, file)[0] == 0
    (scene.loras / NAME).unlink()
    with closing(sqlite3.connect(scene.tmp_path / "state" / "journal.sqlite3")) as journal, journal:
        journal.execute("UPDATE destination SET is_mount_point = 1")  # as if a disk had been mounted there
    exit_code, words = send(scene, file)
    assert exit_code == 3
    assert "destination-unmounted" in words
    assert names(scene.loras) == []
    status = Lorawatch(scene.tmp_path).command("status", "--json")
    assert [each["state"] for each in json.loads(status.stdout)["deliveries"]][:1] == ["waiting"]
