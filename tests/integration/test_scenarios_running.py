"""What happens to a running daemon: its folder goes and comes, its configuration and its outputs change."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.process import Lorawatch
from tests.scenes import Scene, contents, eventually, names, save_in_place, scene, small_lora

__all__ = ["scene"]


def test_a_watched_folder_that_is_deleted_and_made_again_is_watched_again(scene: Scene) -> None:
    with scene.daemon() as daemon:
        for number in range(3):
            path = scene.outputs / f"n{number}.safetensors"
            save_in_place(path, small_lora(number))
            daemon.wait_for("delivery.delivered", timeout=5, file=path)
            shutil.rmtree(scene.outputs)
            if number == 0:
                daemon.wait_for("watch.lost", timeout=5)  # the second time it is back before anybody looks
            scene.outputs.mkdir()
            if number == 0:
                daemon.wait_for("watch.reestablished", timeout=5)
        assert len(daemon.of("watch.lost")) <= 2
        assert daemon.stop() == 0
    assert len(names(scene.loras)) == 3


def test_a_watched_folder_that_is_missing_at_the_start_is_waited_for(scene: Scene) -> None:
    scene.outputs.rmdir()
    with scene.daemon() as daemon:
        assert daemon.of("watch.lost")[0]["code"] == "root-missing"
        save_in_place(scene.outputs / "deep" / "a.safetensors", small_lora())
        daemon.wait_for("delivery.delivered", timeout=5)
        assert len(daemon.of("watch.reestablished")) == 1
        assert daemon.stop() == 0
    assert names(scene.loras) == ["a.safetensors"]


def test_what_is_owed_survives_a_watched_folder_that_is_out_of_sight_for_a_while(scene: Scene) -> None:
    aside = scene.tmp_path / "aside"
    scene.loras.rmdir()
    with scene.daemon() as daemon:
        save_in_place(scene.outputs / "a.safetensors", small_lora())
        daemon.wait_for("delivery.planned")
        scene.outputs.rename(aside)
        daemon.wait_for("watch.lost")
        scene.loras.mkdir()
        daemon.wait_for("destination.up")
        aside.rename(scene.outputs)
        daemon.wait_for("delivery.delivered", timeout=10)
        assert not daemon.of("delivery.cancelled")
    assert names(scene.loras) == ["a.safetensors"]


def test_sighup_takes_a_good_configuration_and_refuses_a_bad_one(scene: Scene) -> None:
    other = scene.tmp_path / "other"
    file = scene.tmp_path / "lorawatch.toml"
    with scene.daemon() as daemon:
        file.write_text(scene.config(watch='nonsense = "yes"'))
        daemon.signal(signal.SIGHUP)
        refused = daemon.wait_for("daemon.degraded")
        assert refused["code"] == "configuration-invalid"
        assert "watch.nonsense" in refused["reason"]
        save_in_place(scene.outputs / "a.safetensors", small_lora(1))
        daemon.wait_for("delivery.delivered")
        assert len(daemon.of("daemon.ready")) == 1  # nothing has begun anew

        file.write_text(scene.config(tables=scene.second_destination(other)))
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("daemon.reloaded")
        daemon.wait_for("delivery.delivered", destination="other", remote_name="a.safetensors")
        save_in_place(scene.outputs / "b.safetensors", small_lora(2))
        daemon.wait_for("delivery.delivered", destination="other", remote_name="b.safetensors")

        assert daemon.stop() == 0
    assert contents(other) == contents(scene.loras)


def test_a_reload_leaves_no_descriptor_of_the_threads_before_it_open(scene: Scene) -> None:
    with scene.daemon() as daemon:

        def open_after_reload(number: int) -> int:
            daemon.signal(signal.SIGHUP)
            daemon.wait_for("daemon.ready", count=1 + number)
            save_in_place(scene.outputs / f"n{number}.safetensors", small_lora(number))  # all threads have worked
            daemon.wait_for("delivery.delivered", count=number)
            return len(os.listdir(f"/proc/{daemon.pid}/fd"))

        first, *_, last = [open_after_reload(number) for number in range(1, 7)]
        assert last < first + 6  # one reload's worth
        assert daemon.stop() == 0


def test_a_reload_that_waits_for_a_hung_destination_feeds_the_watchdog_and_gives_way_to_a_stop(scene: Scene) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,  # takes connections, and never answers
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
    ):
        systemd.bind(str(scene.tmp_path / "notify"))
        systemd.settimeout(10)
        environ = {"NOTIFY_SOCKET": str(scene.tmp_path / "notify"), "WATCHDOG_USEC": "60000000"}
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        config = scene.config(tables=f'[[destinations]]\nname = "box"\nkind = "comfyui-mcp"\nurl = "{url}"')

        def said(word: bytes) -> None:
            while word not in systemd.recv(4096):
                pass

        with Lorawatch(scene.tmp_path, config=config, environ=environ) as daemon:
            silent.settimeout(10)
            with silent.accept()[0]:
                daemon.signal(signal.SIGHUP)
                said(b"RELOADING=1")
                said(b"WATCHDOG=1")
                assert daemon.stop(timeout=6) == 0
            assert not daemon.of("daemon.reloaded")
            assert not daemon.stderr


def test_a_stop_while_the_configuration_is_read_ends_it_in_order(scene: Scene) -> None:
    file = scene.tmp_path / "lorawatch.toml"
    os.mkfifo(file)
    daemon = Lorawatch(scene.tmp_path)
    process = daemon._popen("run", f"--config={file}")
    try:
        with file.open("w") as stream:  # waits until it is being read
            process.send_signal(signal.SIGTERM)
            stream.write(scene.config())
        stdout, stderr = process.communicate(timeout=10)
        assert (process.returncode, stderr) == (0, "")
        assert [json.loads(line)["event"] for line in stdout.splitlines()][-1] == "daemon.stopped"
    finally:
        process.kill()
        process.wait()


def test_a_reload_in_the_middle_of_a_burst_loses_nothing_and_carries_nothing_twice(scene: Scene) -> None:
    with scene.daemon() as daemon:
        for number in range(60):
            save_in_place(scene.outputs / f"n{number}.safetensors", small_lora(number))
            if number % 20 == 10:
                daemon.signal(signal.SIGHUP)
        assert eventually(lambda: len(list(scene.loras.glob("*.safetensors"))) == 60)
        daemon.wait_for("daemon.reloaded")
        assert eventually(lambda: daemon.status()["counts"]["delivered"] == 60)
        assert daemon.stop() == 0
        assert sum(1 for each in daemon.of("delivery.delivered") if each["carried_bytes"]) == 60
    assert contents(scene.loras) == contents(scene.outputs)


def test_the_log_file_survives_logrotate(scene: Scene) -> None:
    log, rotated = scene.tmp_path / "log" / "lorawatch.log", scene.tmp_path / "log" / "lorawatch.log.1"
    log.parent.mkdir()
    with scene.daemon(tables=f'[log]\nfile = "{log}"') as daemon:
        save_in_place(scene.outputs / "a.safetensors", small_lora(1))
        assert eventually(lambda: "delivery.delivered" in log.read_text())  # the file is written after stdout
        log.rename(rotated)
        save_in_place(scene.outputs / "b.safetensors", small_lora(2))
        daemon.wait_for("delivery.delivered", count=2)
        assert daemon.stop() == 0

        def delivered(file: Path) -> list[str]:
            events = [json.loads(line) for line in file.read_text().splitlines()]
            return [each["remote_name"] for each in events if each["event"] == "delivery.delivered"]

        assert (delivered(rotated), delivered(log)) == (["a.safetensors"], ["b.safetensors"])
        assert len(log.read_text().splitlines()) + len(rotated.read_text().splitlines()) == len(daemon.events)


def test_on_a_console_events_are_sentences(scene: Scene) -> None:
    save_in_place(scene.outputs / "a.safetensors", small_lora())
    arguments = ["once", f"--config={_config(scene)}", "--log-format", "console"]
    finished = Lorawatch(scene.tmp_path).command(*arguments)
    assert finished.exit_code == 0
    assert "a.safetensors" in finished.stdout
    assert "{" not in finished.stdout
    assert "\x1b" not in finished.stdout


def test_a_reader_of_the_events_that_goes_away_does_not_end_the_daemon(scene: Scene) -> None:
    daemon = Lorawatch(scene.tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "lorawatch", "run", f"--config={_config(scene)}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=daemon._environment(),
        cwd=scene.tmp_path,
    )
    try:
        assert process.stdout is not None
        while b"daemon.ready" not in process.stdout.readline():
            assert process.poll() is None
        process.stdout.close()
        for number in range(5):
            save_in_place(scene.outputs / f"n{number}.safetensors", small_lora(number))
        assert eventually(lambda: len(names(scene.loras)) == 5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def test_it_stops_within_five_seconds_in_the_middle_of_work(scene: Scene) -> None:
    with scene.daemon() as daemon:
        for number in range(300):
            save_in_place(scene.outputs / f"n{number}.safetensors", small_lora(number % 7))
        assert daemon.stop(timeout=5) == 0
        stopped = daemon.of("daemon.stopped")
        assert len(stopped) == 1
    for name, content in contents(scene.loras).items():
        assert content == (scene.outputs / name).read_bytes()
        assert os.path.splitext(name)[1] == ".safetensors"


def _config(scene: Scene) -> Path:
    file = scene.tmp_path / "lorawatch.toml"
    file.write_text(scene.config())
    return file
