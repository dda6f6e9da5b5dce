"""`doctor` as a person calls it: on files, disks and journals that are sound, or wrong in one known way."""

import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.factories import Tensor, broken, lora_bytes, lora_tensors
from tests.process import Finished, Lorawatch
from tests.scenes import Scene, contents, save_in_place, scene, small_lora

__all__ = ["scene"]


def doctor(scene: Scene, *words: str, **tables: str) -> Finished:
    return Lorawatch(scene.tmp_path).command("doctor", f"--config={written(scene, **tables)}", *words)


def written(scene: Scene, **tables: str) -> Path:
    file = scene.tmp_path / "lorawatch.toml"
    file.write_text(scene.config(**tables))
    return file


def findings(done: Finished) -> list[dict[str, Any]]:
    """Return the findings of a document; whatever is wrong, there is one, and the exit code fits."""
    found: list[dict[str, Any]] = done.json()["findings"]
    assert done.exit_code == (0 if all(each["level"] == "ok" for each in found) else 3), done.stderr
    for each in found:
        assert {"check", "level", "detail", "fix"} <= each.keys()
        assert each["level"] in {"ok", "warning", "error"}
        assert each["level"] == "ok" or each["fix"], f"nothing to do about {each}"
    return found


def wrong(done: Finished) -> list[dict[str, Any]]:
    return [each for each in findings(done) if each["level"] != "ok"]


def only_wrong(done: Finished) -> dict[str, Any]:
    (found,) = wrong(done)
    return found


def test_where_all_is_well_every_check_is_fine_and_nothing_is_left_behind(scene: Scene) -> None:
    save_in_place(scene.outputs / "job/cat.safetensors", small_lora())
    written(scene)
    before = contents(scene.tmp_path)
    done = doctor(scene, "--json")
    assert wrong(done) == []
    checks = {each["check"] for each in findings(done)}
    assert checks >= {
        *("configuration", "python", "clock", "state-directory", "journal", "daemon", "systemd", "inotify", "mounts"),
        *("watched-directory", "source-permissions", "destination-directory", "destination-permissions"),
        *("disk-room", "file-system", "comfyui-permissions"),
    }
    assert contents(scene.tmp_path) == before
    assert not (scene.tmp_path / "state").exists()


def test_for_people_every_finding_is_a_line_and_the_last_one_sums_up(scene: Scene) -> None:
    done = doctor(scene)
    assert done.exit_code == 0
    assert "All is well" in done.stdout.splitlines()[-1]
    assert "\x1b" not in done.stdout
    scene.loras.rmdir()
    done = doctor(scene)
    assert done.exit_code == 3
    assert f"→ Mount the disk, or create the directory once: `mkdir -p {scene.loras}`" in done.stdout


def test_the_file_that_init_writes_passes(scene: Scene) -> None:
    lorawatch = Lorawatch(scene.tmp_path)
    words = ("--watch", str(scene.outputs), "--to", str(scene.loras))
    assert lorawatch.command("init", "--output", "made.toml", *words).exit_code == 0
    done = lorawatch.command("doctor", "--config", "made.toml", "--json")
    assert wrong(done) == []


def test_every_problem_of_a_configuration_is_a_finding_and_the_machine_is_looked_at_all_the_same(scene: Scene) -> None:
    done = doctor(scene, "--json", watch='mode = "magic"\npol_seconds = 3', destination='file_mode = "9"')
    problems = [each for each in findings(done) if each["check"] == "configuration"]
    assert {each["subject"] for each in problems} == {
        "watch.mode",
        "watch.pol_seconds",
        "destinations.comfyui.file_mode",
    }
    assert {each["code"] for each in problems} == {"configuration-invalid"}
    assert any("poll_seconds" in each["fix"] for each in problems)
    assert {"python", "clock", "systemd"} <= {each["check"] for each in findings(done)}


def test_a_file_that_is_not_there_or_no_toml_is_a_finding(scene: Scene) -> None:
    lorawatch = Lorawatch(scene.tmp_path)
    missing = lorawatch.command("doctor", "--config", "none.toml", "--json")
    assert [each["fix"] for each in wrong(missing)] == ["lorawatch init"]
    (scene.tmp_path / "odd.toml").write_text("= what\n")
    assert "is no TOML" in only_wrong(lorawatch.command("doctor", "--config", "odd.toml", "--json"))["detail"]


def test_a_watched_directory_that_is_missing_is_found_with_what_to_do(scene: Scene) -> None:
    scene.outputs.rmdir()
    found = only_wrong(doctor(scene, "--json"))
    assert (found["check"], found["code"]) == ("watched-directory", "root-missing")
    assert f"mkdir -p {scene.outputs}" in found["fix"]


def test_a_destination_that_is_missing_is_found_with_what_to_do(scene: Scene) -> None:
    scene.loras.rmdir()
    found = only_wrong(doctor(scene, "--json"))
    assert (found["check"], found["code"]) == ("destination-directory", "destination-missing")


def test_too_little_room_is_an_error_before_anything_waits(scene: Scene) -> None:
    scene.loras.joinpath("x").touch()
    tables = scene.config().replace("min_free_bytes = 0", "min_free_bytes = 1000000000000000")
    (scene.tmp_path / "full.toml").write_text(tables)
    found = only_wrong(Lorawatch(scene.tmp_path).command("doctor", "--config", "full.toml", "--json"))
    assert (found["check"], found["code"]) == ("disk-room", "low-disk-space")


def test_patterns_that_match_none_of_the_files_are_noticed(scene: Scene) -> None:
    save_in_place(scene.outputs / "cat.safetensors", small_lora())
    found = only_wrong(doctor(scene, "--json", watch='exclude = ["**/*.safetensors"]'))
    assert (found["check"], found["level"]) == ("watched-directory", "warning")


def test_a_mode_that_only_lorawatch_can_read_is_noticed(scene: Scene) -> None:
    found = only_wrong(doctor(scene, "--json", destination='file_mode = "0600"'))
    assert (found["check"], found["code"]) == ("comfyui-permissions", "value-not-in-list")


def test_a_token_in_a_file_for_everybody_is_a_warning_and_never_shown(scene: Scene) -> None:
    server = '[[destinations]]\nname = "box"\nkind = "comfyui-mcp"\nurl = "http://127.0.0.1:9"\nenabled = false\n'
    file = written(scene, tables=f'{server}token = "S3CRET"')
    file.chmod(0o644)
    done = Lorawatch(scene.tmp_path).command("doctor", "--config", str(file), "--json")
    assert "chmod 640" in only_wrong(done)["fix"]
    assert "S3CRET" not in done.stdout + done.stderr
    file.chmod(0o640)
    assert wrong(Lorawatch(scene.tmp_path).command("doctor", "--config", str(file), "--json")) == []


def test_beside_the_running_daemon_it_says_so_and_disturbs_nothing(scene: Scene) -> None:
    with scene.daemon() as daemon:
        save_in_place(scene.outputs / "cat.safetensors", small_lora())
        daemon.wait_for("delivery.delivered")
        done = daemon.command("doctor", f"--config={scene.tmp_path / 'lorawatch.toml'}", "--json")
        assert wrong(done) == []
        (found,) = [each for each in findings(done) if each["check"] == "daemon"]
        assert f"process {daemon.pid}" in found["detail"]
        (effect,) = [each for each in findings(done) if each["check"] == "lora-effect"]
        assert "by base model" in effect["detail"]
        assert daemon.stop() == 0
        assert not [event for event in daemon.events if event["level"] in {"warning", "error"}]


def test_what_went_wrong_already_is_told_once_for_each_reason_with_its_cure(scene: Scene) -> None:
    for name in ("one", "two"):
        save_in_place(scene.outputs / f"{name}.safetensors", broken("data-cut"))
    idle = {
        name: Tensor(each.dtype, each.shape, bytes(each.size_bytes)) if "lora_B" in name else each
        for name, each in lora_tensors(family="flux.1", size_bytes=200_000).items()
    }
    save_in_place(scene.outputs / "zero.safetensors", lora_bytes(tensors=idle))
    scene.daemon().run_once()
    rejected, *rest = wrong(doctor(scene, "--json"))
    assert (rejected["check"], rejected["code"], rejected["level"]) == ("deliveries", "truncated", "warning")
    assert "and 1 more" in rejected["detail"]
    assert [(each["check"], each["code"]) for each in rest] == [("lora-effect", "zero-effect")]
    assert "lorawatch check" in rest[0]["fix"]


def test_a_failed_delivery_is_an_error_that_says_how_to_repeat_it(scene: Scene) -> None:
    scene.loras.rmdir()
    daemon = scene.daemon()
    daemon.environ = {"LORAWATCH_RETRY__GIVE_UP_AFTER_SECONDS": "0.3"}
    with daemon:
        save_in_place(scene.outputs / "cat.safetensors", small_lora())
        daemon.wait_for("delivery.failed")
        daemon.stop()
    scene.loras.mkdir()
    found = only_wrong(doctor(scene, "--json"))
    assert (found["check"], found["code"], found["level"]) == ("deliveries", "gave-up", "error")
    assert str(scene.outputs / "cat.safetensors") in found["detail"]
    assert "lorawatch retry --all" in found["fix"]


def test_a_journal_that_is_damaged_or_of_a_newer_program_is_found(scene: Scene) -> None:
    save_in_place(scene.outputs / "cat.safetensors", small_lora())
    scene.daemon().run_once()
    journal = scene.tmp_path / "state/journal.sqlite3"
    with sqlite3.connect(journal) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    found = only_wrong(doctor(scene, "--json"))
    assert (found["check"], found["code"]) == ("journal", "journal-newer")
    journal.write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    assert "journal-unusable" in {each["code"] for each in wrong(doctor(scene, "--json"))}


def test_a_disk_that_was_mounted_at_the_last_delivery_is_missed(scene: Scene) -> None:
    save_in_place(scene.outputs / "cat.safetensors", small_lora())
    scene.daemon().run_once()
    with sqlite3.connect(scene.tmp_path / "state/journal.sqlite3") as connection:
        connection.execute("UPDATE destination SET is_mount_point = 1")
    connection.close()
    found = only_wrong(doctor(scene, "--json"))
    assert (found["check"], found["code"]) == ("destination-directory", "destination-unmounted")


def test_the_pipe_may_close_and_an_interruption_ends_it(scene: Scene) -> None:
    import subprocess
    import sys

    words = [sys.executable, "-m", "lorawatch", "doctor", "--config", str(written(scene))]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=scene.tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    _, stderr = process.communicate(timeout=30)
    assert stderr == b""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=scene.tmp_path)
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert b"Traceback" not in stderr or process.returncode == -signal.SIGINT  # it came before anything was loaded


@pytest.mark.parametrize("word", ["--jsn", "--nothing"])
def test_a_wrong_option_is_wrong_usage(scene: Scene, word: str) -> None:
    assert doctor(scene, word).exit_code == 2
