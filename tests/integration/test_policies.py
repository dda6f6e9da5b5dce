"""Which files are delivered at all: `checkpoints`, `retire`, `existing`, and sources that vanish before their turn."""

import time
from pathlib import Path

import pytest

from tests.process import Lorawatch
from tests.scenes import Scene, contents, eventually, names, save_in_place, scene, small_lora

__all__ = ["scene"]


def save_step(scene: Scene, step: int, *, seed: int | None = None, job: str = "cat") -> Path:
    path = scene.outputs / job / f"{job}_{step:09}.safetensors"
    save_in_place(path, small_lora(step if seed is None else seed))
    return path


def deliver_step(daemon: Lorawatch, scene: Scene, step: int, *, seed: int | None = None) -> None:
    daemon.wait_for("delivery.delivered", file=save_step(scene, step, seed=seed))


def step_names(*steps: int) -> list[str]:
    return [f"cat_{step:09}.safetensors" for step in steps]


def test_with_checkpoints_final_only_the_finished_lora_is_delivered(scene: Scene) -> None:
    save_step(scene, 250)
    with scene.daemon(watch='checkpoints = "final"') as daemon:
        skipped = daemon.wait_for("file.skipped")
        assert skipped["code"] == "checkpoint-not-wanted"
        path = save_step(scene, 500)
        daemon.wait_for("file.skipped", file=path)
        save_in_place(scene.outputs / "cat" / "cat.safetensors", small_lora(1))
        daemon.wait_for("delivery.delivered")
        assert [each["state"] for each in daemon.status()["files"]] == ["skipped", "skipped"]
        assert daemon.stop() == 0
    assert names(scene.loras) == ["cat.safetensors"]


def test_with_latest_only_the_newest_steps_of_a_backlog_are_delivered_and_final_files_always(scene: Scene) -> None:
    for step in (250, 500, 750, 1000):
        save_step(scene, step)
    save_in_place(scene.outputs / "cat" / "cat.safetensors", small_lora(1))
    save_step(scene, 250, job="dog")
    with scene.daemon(watch='checkpoints = "latest:2"') as daemon:
        daemon.wait_for("delivery.delivered", count=4)
        daemon.wait_for("file.skipped", count=2)
        assert daemon.stop() == 0
    assert names(scene.loras) == ["cat.safetensors", *step_names(750, 1000), "dog_000000250.safetensors"]


def test_with_latest_an_older_step_that_still_waits_is_superseded(scene: Scene) -> None:
    scene.loras.rmdir()
    with scene.daemon(watch='checkpoints = "latest:1"') as daemon:
        old = save_step(scene, 250)
        daemon.wait_for("delivery.waiting", file=old)
        save_step(scene, 500)
        cancelled = daemon.wait_for("delivery.cancelled")
        assert (cancelled["file"], cancelled["code"]) == (str(old), "superseded")
        scene.loras.mkdir()
        daemon.wait_for("delivery.delivered")
        status = daemon.status()
        assert (status["counts"]["cancelled"], status["counts"]["failed"]) == (1, 0)
    assert names(scene.loras) == step_names(500)


def test_a_second_run_of_the_same_job_is_not_measured_by_the_steps_of_the_first(scene: Scene) -> None:
    with scene.daemon(watch='checkpoints = "latest:1"\nretire = true') as daemon:
        deliver_step(daemon, scene, 1000)
        (scene.outputs / "cat" / step_names(1000)[0]).unlink()
        deliver_step(daemon, scene, 250)
        assert names(scene.loras) == step_names(250, 1000)
        deliver_step(daemon, scene, 500)
        daemon.wait_for("delivery.retired")
        assert names(scene.loras) == step_names(500, 1000)


def test_retire_removes_older_steps_that_lorawatch_put_there(scene: Scene) -> None:
    daemon = scene.daemon(watch='checkpoints = "latest:2"\nretire = true')
    with daemon:
        for step in (250, 500, 750):
            deliver_step(daemon, scene, step)
        retired = daemon.wait_for("delivery.retired")
        assert retired["remote_name"] == step_names(250)[0]
        assert names(scene.loras) == step_names(500, 750)
        assert daemon.stop() == 0
        assert retired in daemon.events
        assert daemon.events.index(retired) > daemon.events.index(daemon.of("delivery.delivered")[2])
    with daemon:
        deliver_step(daemon, scene, 1000)
        save_in_place(scene.outputs / "cat" / "cat.safetensors", small_lora(1))
        daemon.wait_for("delivery.delivered", count=2)
        daemon.wait_for("delivery.retired")
        assert daemon.stop() == 0
        assert len(daemon.of("delivery.retired")) == 1
    assert names(scene.loras) == ["cat.safetensors", *step_names(750, 1000)]
    assert len(names(scene.outputs)) == 5


def test_retire_leaves_what_a_person_put_there_or_changed(scene: Scene) -> None:
    by_hand, changed = (scene.loras / name for name in step_names(100, 250))
    with scene.daemon(watch='checkpoints = "latest:1"\nretire = true') as daemon:
        save_in_place(by_hand, small_lora(100))
        deliver_step(daemon, scene, 100)  # its bytes are there already: nothing is carried, it is not ours
        deliver_step(daemon, scene, 250)
        changed.write_bytes(small_lora(77))
        deliver_step(daemon, scene, 500)
        deliver_step(daemon, scene, 750)
        daemon.wait_for("delivery.retired", remote_name=step_names(500)[0])
        assert daemon.stop() == 0
        assert len(daemon.of("delivery.retired")) == 1
    assert names(scene.loras) == step_names(100, 250, 750)
    assert changed.read_bytes() == small_lora(77)


def test_without_retire_nothing_is_ever_removed(scene: Scene) -> None:
    with scene.daemon(watch='checkpoints = "latest:1"') as daemon:
        for step in (250, 500):
            deliver_step(daemon, scene, step)
        (scene.outputs / "cat" / step_names(250)[0]).unlink()
        assert not eventually(lambda: len(names(scene.loras)) < 2, timeout=1.5)


def test_what_a_pruned_source_still_owed_is_cancelled_and_needs_nobody(scene: Scene) -> None:
    scene.loras.rmdir()
    with scene.daemon() as daemon:
        path = save_step(scene, 250)
        daemon.wait_for("delivery.waiting")
        path.unlink()
        cancelled = daemon.wait_for("delivery.cancelled", timeout=3)
        assert cancelled["code"] == "source-vanished"
        scene.loras.mkdir()
        deliver_step(daemon, scene, 500)
        assert daemon.command("status").exit_code == 0
    assert names(scene.loras) == step_names(500)


def test_a_source_pruned_while_the_daemon_was_down_is_cancelled_too(scene: Scene) -> None:
    scene.loras.rmdir()
    daemon = scene.daemon()
    with daemon:
        paths = [save_step(scene, 250), save_step(scene, 500)]
        daemon.wait_for("delivery.planned", count=2)
        assert daemon.stop() == 0
    paths[0].unlink()
    with daemon:
        assert daemon.wait_for("delivery.cancelled")["code"] == "source-vanished"
        scene.loras.mkdir()
        daemon.wait_for("delivery.delivered", file=paths[1])
    assert names(scene.loras) == step_names(500)


def test_a_source_that_disappears_removes_nothing(scene: Scene) -> None:
    with scene.daemon() as daemon:
        path = save_step(scene, 250)
        daemon.wait_for("delivery.delivered")
        path.unlink()
        deliver_step(daemon, scene, 500)
    assert names(scene.loras) == step_names(250, 500)


@pytest.mark.parametrize("existing", ["deliver", "ignore"])
def test_what_was_there_at_the_first_start_is_delivered_or_ignored(scene: Scene, existing: str) -> None:
    old = save_step(scene, 250)
    daemon = scene.daemon(watch=f'existing = "{existing}"')
    with daemon:
        first = daemon.wait_for("scan.finished")
        assert (first["files"], first["backlog_files"], first["backlog_bytes"]) == (1, 1, old.stat().st_size)
        deliver_step(daemon, scene, 500)
        if existing == "deliver":
            daemon.wait_for("delivery.delivered", file=old)
        assert daemon.stop() == 0
    expected = step_names(250, 500) if existing == "deliver" else step_names(500)
    assert names(scene.loras) == expected
    path = save_step(scene, 750)  # while it is down: this was not there at the first start
    with daemon:
        daemon.wait_for("delivery.delivered", file=path)
        assert daemon.stop() == 0
    assert names(scene.loras) == [*expected, *step_names(750)]
    save_step(scene, 250, seed=9)
    with daemon:
        daemon.wait_for("delivery.delivered", file=old)  # a new version of an ignored path is new
    assert (scene.loras / old.name).read_bytes() == small_lora(9)


@pytest.mark.parametrize("existing", ["deliver", "ignore"])
def test_a_destination_that_is_added_later_gets_what_is_there_or_not(scene: Scene, existing: str) -> None:
    other = scene.tmp_path / "other"
    watch = f'existing = "{existing}"'
    with scene.daemon(watch=watch) as daemon:
        deliver_step(daemon, scene, 250)
        assert daemon.stop() == 0
    with scene.daemon(watch=watch, tables=scene.second_destination(other)) as daemon:
        path = save_step(scene, 500)
        daemon.wait_for("delivery.delivered", file=path, destination="other")
        daemon.wait_for("delivery.delivered", file=path, destination="comfyui")
        if existing == "deliver":
            daemon.wait_for("delivery.delivered", destination="other", count=2)
        assert daemon.stop() == 0
    assert names(other) == (step_names(250, 500) if existing == "deliver" else step_names(500))
    assert names(scene.loras) == step_names(250, 500)


def test_ignore_in_an_empty_folder_ignores_nothing_that_comes_later(scene: Scene) -> None:
    with scene.daemon(watch='existing = "ignore"\nreconcile_seconds = 0.2') as daemon:
        for step in range(250, 2500, 250):
            save_step(scene, step, job=f"job{step}")  # new directories: found by a scan as often as by an event
        daemon.wait_for("delivery.delivered", count=9)
        assert not daemon.of("file.skipped")


def test_ignore_for_a_watched_directory_that_appears_later_ignores_what_it_brings(scene: Scene) -> None:
    aside = scene.tmp_path / "aside"
    save_step(scene, 250)
    time.sleep(0.05)  # the clock that file systems use ticks every few milliseconds
    scene.outputs.rename(aside)
    with scene.daemon(watch='existing = "ignore"') as daemon:
        daemon.wait_for("watch.lost")
        aside.rename(scene.outputs)
        daemon.wait_for("watch.reestablished")
        deliver_step(daemon, scene, 500)
        assert daemon.stop() == 0
    with scene.daemon(watch='existing = "ignore"') as daemon:
        deliver_step(daemon, scene, 750)
    assert names(scene.loras) == step_names(500, 750)


def test_a_watched_directory_that_a_trainer_makes_later_misses_nothing_under_ignore(scene: Scene) -> None:
    scene.outputs.rmdir()
    with scene.daemon(watch='existing = "ignore"') as daemon:
        daemon.wait_for("watch.lost")
        save_step(scene, 250)
        daemon.wait_for("delivery.delivered")
    assert contents(scene.loras) == {step_names(250)[0]: small_lora(250)}


def test_a_stem_that_ends_in_a_number_too_long_for_a_step_is_a_final_file(scene: Scene) -> None:
    path = scene.outputs / f"cat_{'9' * 30}.safetensors"
    with scene.daemon(watch='checkpoints = "final"') as daemon:
        save_in_place(path, small_lora())
        daemon.wait_for("delivery.delivered", file=path)
        assert not daemon.of("intake.crashed")
