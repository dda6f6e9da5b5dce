"""A real daemon beside a ComfyUI that behaves like the real one: what it delivers can be chosen, and takes effect."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories import write_lora
from tests.fakes.comfyui_server import ComfyUIServer, comfyui_server
from tests.fakes.mcp_server import McpServer
from tests.process import JsonEvent, Lorawatch
from tests.scenes import Scene, eventually, save_in_place, small_lora


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ComfyUIServer]:
    with comfyui_server(tmp_path / "comfyui") as server:
        yield server


@pytest.fixture
def scene(tmp_path: Path, server: ComfyUIServer) -> Scene:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    return Scene(tmp_path, outputs, loras_of(server))


def loras_of(server: ComfyUIServer) -> Path:
    return Path(server.folders["loras"].paths[0])


def daemon_for(scene: Scene, server: ComfyUIServer, lines: str = "", tables: str = "") -> Lorawatch:
    return scene.daemon(destination=f'comfyui_url = "{server.url}"\n{lines}', tables=tables)


def comfyui_state(daemon: Lorawatch, name: str = "cat.safetensors") -> tuple[str | None, str | None]:
    found = [each for each in daemon.status()["deliveries"] if each["remote_name"] == name]
    return found[0]["comfyui"], found[0]["comfyui_code"]


def replace_loaded(scene: Scene, server: ComfyUIServer, daemon: Lorawatch) -> bytes:
    """Deliver a LoRA, have ComfyUI load it, deliver its next version; return the new bytes."""
    save_in_place(scene.outputs / "cat.safetensors", small_lora(1))
    daemon.wait_for("comfyui.listed")
    assert server.weights("cat.safetensors") == small_lora(1)
    save_in_place(scene.outputs / "cat.safetensors", small_lora(2))
    daemon.wait_for("delivery.delivered", replaced=True)
    return small_lora(2)


def test_what_was_delivered_is_listed_and_status_says_so(scene: Scene, server: ComfyUIServer) -> None:
    with daemon_for(scene, server) as daemon:
        save_in_place(scene.outputs / "cat.safetensors", small_lora())
        listed = daemon.wait_for("comfyui.listed")
        assert listed["destination"] == "comfyui"
        assert listed["remote_name"] == listed["listed_as"] == "cat.safetensors"
        assert listed["folder"] == "loras"
        assert comfyui_state(daemon) == ("listed", None)
        text = daemon.command("status")
        assert "listed in ComfyUI" in text.stdout
        assert text.exit_code == 0


def test_a_comfyui_that_starts_later_is_asked_then_also_after_a_restart(scene: Scene, server: ComfyUIServer) -> None:
    server.stop()
    daemon = daemon_for(scene, server)
    with daemon:
        save_in_place(scene.outputs / "cat.safetensors", small_lora())
        daemon.wait_for("delivery.delivered")
        down = daemon.wait_for("comfyui.down")
        assert (down["code"], down["url"]) == ("comfyui-unreachable", server.url)
        assert eventually(lambda: comfyui_state(daemon) == ("unknown", "comfyui-unreachable"))
        assert daemon.command("status").exit_code == 0
        assert daemon.stop() == 0
    with daemon:
        daemon.wait_for("comfyui.down")
        server.start()
        daemon.wait_for("comfyui.up")
        daemon.wait_for("comfyui.listed", remote_name="cat.safetensors")
        assert len(daemon.of("comfyui.down")) == 1


def test_a_comfyui_that_hangs_delays_no_delivery_and_no_stop(scene: Scene, server: ComfyUIServer) -> None:
    with daemon_for(scene, server) as daemon:
        server.hang()
        save_in_place(scene.outputs / "one.safetensors", small_lora(1))
        assert eventually(lambda: bool(server.calls))
        for number in range(2, 6):
            save_in_place(scene.outputs / f"{number}.safetensors", small_lora(number))
        daemon.wait_for("delivery.delivered", count=5)
        assert not daemon.of("comfyui.listed")
        assert daemon.stop(timeout=6) == 0


def test_a_list_that_is_old_because_a_directory_time_was_put_back_is_renewed(
    scene: Scene, server: ComfyUIServer
) -> None:
    before = os.stat(scene.loras)
    assert server.folders["loras"].names() == []  # ComfyUI has its list now
    with daemon_for(scene, server) as daemon:
        server.hang()
        save_in_place(scene.outputs / "cat.safetensors", small_lora())
        daemon.wait_for("delivery.delivered")
        os.utime(scene.loras, ns=(before.st_atime_ns, before.st_mtime_ns))
        server.released.set()
        daemon.wait_for("comfyui.listed", remote_name="cat.safetensors")
        assert os.stat(scene.loras).st_mtime_ns != before.st_mtime_ns
        assert not daemon.of("comfyui.not_listed")


def test_a_directory_that_is_up_to_date_is_not_touched(scene: Scene, server: ComfyUIServer) -> None:
    with daemon_for(scene, server) as daemon:
        save_in_place(scene.outputs / "cat.safetensors", small_lora())
        daemon.wait_for("delivery.delivered")
        after_delivery = os.stat(scene.loras).st_mtime_ns
        daemon.wait_for("comfyui.listed")
        daemon.stop()
    assert os.stat(scene.loras).st_mtime_ns == after_delivery


def test_a_comfyui_that_looks_elsewhere_is_told_and_mended(scene: Scene, server: ComfyUIServer) -> None:
    other = scene.tmp_path / "other-loras"
    other.mkdir()
    server.folders["loras"].paths[:] = [str(other)]
    with daemon_for(scene, server) as daemon:
        save_in_place(scene.outputs / "cat.safetensors", small_lora())
        missing = daemon.wait_for("comfyui.not_listed")
        assert missing["code"] == "comfyui-not-listed"
        assert "another directory" in missing["reason"]
        assert "extra_model_paths.yaml" in missing["fix"]
        assert server.count("GET", "/models/loras") > 3  # asked again before it was said
        assert comfyui_state(daemon) == ("not-listed", "comfyui-not-listed")
        status = daemon.command("status")
        assert status.exit_code == 3
        assert "not listed in ComfyUI" in status.stdout
        assert len(daemon.of("comfyui.not_listed")) == 1


def test_a_missing_models_directory_is_told_with_what_comfyui_says(tmp_path: Path, scene: Scene) -> None:
    with ComfyUIServer({"loras": tmp_path / "nowhere"}) as server, daemon_for(scene, server) as daemon:
        save_in_place(scene.outputs / "cat.safetensors", small_lora())
        missing = daemon.wait_for("comfyui.not_listed")
        assert missing["code"] == "comfyui-error"
        assert "HTTP 500" in missing["reason"]


@pytest.mark.parametrize(("status", "words"), [(401, "asks for a login"), (404, "comfyui_url leads to ComfyUI itself")])
def test_what_is_no_comfyui_or_asks_for_a_login_is_told_as_such(
    scene: Scene, server: ComfyUIServer, status: int, words: str
) -> None:
    server.failing = {"/": status}
    with daemon_for(scene, server) as daemon:
        save_in_place(scene.outputs / "cat.safetensors", small_lora())
        missing = daemon.wait_for("comfyui.not_listed")
        assert missing["code"] == "comfyui-error"
        assert words in missing["fix"]
        server.failing = {}
        assert daemon.command("status").exit_code == 3


def test_a_destination_that_a_link_of_comfyui_leads_to_is_known_by_that(scene: Scene, server: ComfyUIServer) -> None:
    trained = Scene(scene.tmp_path, scene.outputs, scene.tmp_path / "trained")
    trained.loras.mkdir()
    (scene.loras / "mine").symlink_to(trained.loras)
    with daemon_for(trained, server) as daemon:
        save_in_place(scene.outputs / "cat.safetensors", small_lora())
        assert daemon.wait_for("comfyui.listed")["listed_as"] == "mine/cat.safetensors"
        assert not daemon.of("comfyui.not_listed")


def test_a_destination_within_the_models_directory_is_known_by_its_relative_path(
    scene: Scene, server: ComfyUIServer
) -> None:
    inner = Scene(scene.tmp_path, scene.outputs, scene.loras / "mine")
    inner.loras.mkdir()
    with daemon_for(inner, server, 'name_template = "{family}/{file_name}"') as daemon:
        save_in_place(inner.outputs / "cat.safetensors", small_lora())
        listed = daemon.wait_for("comfyui.listed")
        assert listed["remote_name"] == "flux.1/cat.safetensors"
        assert listed["listed_as"] == "mine/flux.1/cat.safetensors"


def test_another_file_of_the_name_is_not_taken_for_the_delivered_one_nor_one_that_cannot_be_read(
    scene: Scene, server: ComfyUIServer
) -> None:
    first = scene.tmp_path / "first-path"
    first.mkdir()
    (first / "short.safetensors").write_bytes(small_lora()[:-8])
    (first / "old.safetensors").write_bytes(small_lora(9))
    os.utime(first / "old.safetensors", (1_700_000_000, 1_700_000_000))
    server.folders["loras"].paths.insert(0, str(first))
    server.failing["/view_metadata/loras?filename=locked"] = 500
    with daemon_for(scene, server) as daemon:
        for number, stem in enumerate(("short", "old", "locked", "fine")):
            save_in_place(scene.outputs / f"{stem}.safetensors", small_lora(number))
        daemon.wait_for("comfyui.listed", remote_name="fine.safetensors")
        short = daemon.wait_for("comfyui.not_listed", remote_name="short.safetensors")
        assert short["code"] == "comfyui-other-file"
        assert "bytes" in short["reason"]
        old = daemon.wait_for("comfyui.not_listed", remote_name="old.safetensors")
        assert old["code"] == "comfyui-other-file"
        assert "older file of the same size" in old["reason"]
        locked = daemon.wait_for("comfyui.not_listed", remote_name="locked.safetensors")
        assert locked["code"] == "comfyui-unreadable"
        assert len(daemon.of("comfyui.listed")) == 1


def test_without_the_experimental_list_the_probe_is_asked(scene: Scene, server: ComfyUIServer) -> None:
    server.has_experiment = False
    with daemon_for(scene, server) as daemon:
        save_in_place(scene.outputs / "cat.safetensors", small_lora())
        daemon.wait_for("comfyui.listed")
    assert server.count("POST", "/prompt") == 1
    assert not server.history


def test_a_burst_is_checked_with_few_lists(scene: Scene, server: ComfyUIServer) -> None:
    for number in range(40):
        save_in_place(scene.outputs / f"{number}.safetensors", small_lora(number))
    with daemon_for(scene, server) as daemon:
        daemon.wait_for("comfyui.listed", count=40)
    assert server.count("GET", "/models/loras") < 20


def test_embeddings_are_looked_for_in_their_own_folder(tmp_path: Path, server: ComfyUIServer) -> None:
    outputs, embeddings = tmp_path / "outputs", Path(server.folders["embeddings"].paths[0])
    outputs.mkdir()
    with daemon_for(Scene(tmp_path, outputs, embeddings), server, 'kinds = ["lora", "embedding"]') as daemon:
        save_in_place(outputs / "cat.safetensors", small_lora())
        missing = daemon.wait_for("comfyui.not_listed")
        assert "models/embeddings" in missing["reason"]  # where it is
        assert "models/loras" in missing["fix"]  # where it belongs


def test_a_replaced_file_takes_effect_without_an_overwrite_in_place(scene: Scene, server: ComfyUIServer) -> None:
    with daemon_for(scene, server) as daemon:
        save_in_place(scene.outputs / "cat.safetensors", small_lora(1))
        daemon.wait_for("comfyui.listed")
        inode = os.stat(scene.loras / "cat.safetensors").st_ino
        assert server.times_freed == 0
        new = replace_loaded(scene, server, daemon)
        refreshed = daemon.wait_for("comfyui.refreshed")
        assert (refreshed["destination"], refreshed["remote_names"]) == ("comfyui", ["cat.safetensors"])
        assert server.weights("cat.safetensors") == new
        assert os.stat(scene.loras / "cat.safetensors").st_ino != inode
        assert server.times_freed == 1


def test_a_busy_comfyui_is_left_alone_until_its_queue_is_empty(scene: Scene, server: ComfyUIServer) -> None:
    with daemon_for(scene, server) as daemon:
        server.be_busy(running=1, pending=1)
        new = replace_loaded(scene, server, daemon)
        assert eventually(lambda: server.count("GET", "/queue") >= 2)
        assert server.times_freed == 0
        server.be_idle()
        daemon.wait_for("comfyui.refreshed")
        assert server.weights("cat.safetensors") == new


@pytest.mark.parametrize("lines", ['refresh = "always"', "refresh_wait_seconds = 1.5"])
def test_a_comfyui_that_stays_busy_is_told_all_the_same_where_that_is_wanted(
    scene: Scene, server: ComfyUIServer, lines: str
) -> None:
    with daemon_for(scene, server, lines) as daemon:
        server.be_busy()
        replace_loaded(scene, server, daemon)
        daemon.wait_for("comfyui.refreshed")
        assert server.running


def test_a_user_who_refreshes_by_hand_is_left_alone(scene: Scene, server: ComfyUIServer) -> None:
    with daemon_for(scene, server, 'refresh = "never"') as daemon:
        replace_loaded(scene, server, daemon)
        daemon.wait_for("comfyui.listed", count=2)
        daemon.stop()
    assert server.times_freed == 0
    assert server.count("GET", "/queue") == 0


def test_a_burst_of_replacements_is_told_once(scene: Scene, server: ComfyUIServer) -> None:
    with daemon_for(scene, server) as daemon:
        for number in range(10):
            save_in_place(scene.outputs / f"{number}.safetensors", small_lora(number))
        daemon.wait_for("comfyui.listed", count=10)
        for number in range(10):
            save_in_place(scene.outputs / f"{number}.safetensors", small_lora(100 + number))
        daemon.wait_for("delivery.delivered", replaced=True, count=10)
        told = daemon.wait_for("comfyui.refreshed")
        assert len(told["remote_names"]) == 10
        assert server.times_freed == 1


def test_a_refresh_that_is_due_survives_kill_and_restart(scene: Scene, server: ComfyUIServer) -> None:
    daemon = daemon_for(scene, server)
    with daemon:
        server.be_busy()
        new = replace_loaded(scene, server, daemon)
        daemon.kill()
    server.be_idle()
    with daemon:
        daemon.wait_for("comfyui.refreshed")
        assert server.weights("cat.safetensors") == new


def test_a_comfyui_that_cannot_be_told_is_tried_again(scene: Scene, server: ComfyUIServer) -> None:
    server.failing["/free"] = 500
    with daemon_for(scene, server) as daemon:
        replace_loaded(scene, server, daemon)
        failed = daemon.wait_for("comfyui.not_refreshed")
        assert failed["code"] == "old-weights"
        server.failing.clear()
        daemon.wait_for("comfyui.refreshed")
        assert len(daemon.of("comfyui.not_refreshed")) == 1


def test_what_a_person_removed_is_not_asked_for_any_more(scene: Scene, server: ComfyUIServer) -> None:
    server.folders["loras"].paths[:] = [str(scene.tmp_path / "other")]
    (scene.tmp_path / "other").mkdir()
    with daemon_for(scene, server) as daemon:
        save_in_place(scene.outputs / "cat.safetensors", small_lora())
        daemon.wait_for("delivery.delivered")
        assert comfyui_state(daemon)[0] == "unknown"
        (scene.loras / "cat.safetensors").unlink()
        assert eventually(lambda: comfyui_state(daemon)[0] is None)
        assert not daemon.of("comfyui.not_listed")


def test_two_destinations_of_one_comfyui_share_its_answers(scene: Scene, server: ComfyUIServer) -> None:
    second = scene.second_destination(scene.loras / "copies", f'comfyui_url = "{server.url}"')
    apart = Scene(scene.tmp_path, scene.outputs, scene.loras / "own")
    apart.loras.mkdir()
    with daemon_for(apart, server, tables=second) as daemon:
        save_in_place(scene.outputs / "cat.safetensors", small_lora(1))
        assert daemon.wait_for("comfyui.listed", destination="comfyui")["listed_as"] == "own/cat.safetensors"
        assert daemon.wait_for("comfyui.listed", destination="other")["listed_as"] == "copies/cat.safetensors"
        save_in_place(scene.outputs / "cat.safetensors", small_lora(2))
        daemon.wait_for("comfyui.refreshed", destination="comfyui")
        daemon.wait_for("comfyui.refreshed", destination="other")
        assert server.times_freed == 1


def test_a_reload_that_adds_the_url_begins_to_check_and_one_that_takes_it_ends(
    scene: Scene, server: ComfyUIServer
) -> None:
    daemon = scene.daemon()
    with daemon:
        save_in_place(scene.outputs / "one.safetensors", small_lora(1))
        daemon.wait_for("delivery.delivered")
        daemon.config = scene.config(destination=f'comfyui_url = "{server.url}"')
        daemon._config_file()
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("daemon.reloaded")
        save_in_place(scene.outputs / "two.safetensors", small_lora(2))
        daemon.wait_for("comfyui.listed", remote_name="two.safetensors")
        daemon.config = scene.config()
        daemon._config_file()
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("daemon.reloaded", count=2)
        calls = len(server.calls)
        save_in_place(scene.outputs / "three.safetensors", small_lora(3))
        daemon.wait_for("delivery.delivered", remote_name="three.safetensors")
        daemon.stop()
    assert len(server.calls) == calls


def test_once_waits_for_the_first_answer(scene: Scene, server: ComfyUIServer) -> None:
    save_in_place(scene.outputs / "cat.safetensors", small_lora())
    finished = daemon_for(scene, server).run_once()
    assert finished.exit_code == 0
    assert events_of(finished.events, "comfyui.listed")


def test_once_does_not_wait_for_a_comfyui_that_is_down(scene: Scene, server: ComfyUIServer) -> None:
    server.stop()
    save_in_place(scene.outputs / "cat.safetensors", small_lora())
    finished = daemon_for(scene, server).run_once()
    assert finished.exit_code == 0
    assert events_of(finished.events, "comfyui.down")


def test_what_send_delivers_is_checked_by_the_daemon(scene: Scene, server: ComfyUIServer) -> None:
    file = scene.tmp_path / "style.safetensors"
    write_lora(file)
    with daemon_for(scene, server) as daemon:
        assert daemon.command("send", str(file), f"--config={scene.tmp_path / 'lorawatch.toml'}").exit_code == 0
        daemon.wait_for("comfyui.listed", remote_name="style.safetensors")


def test_what_goes_through_an_mcp_server_is_checked_too(tmp_path: Path, server: ComfyUIServer) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    with McpServer(loras_of(server), "direct") as mcp:
        daemon = Lorawatch(
            tmp_path,
            config=(
                f'[watch]\ndirectories = ["{outputs}"]\nquiet_seconds = 0.2\n[retry]\nfirst_seconds = 0.1\n'
                f'[[destinations]]\nname = "box"\nkind = "comfyui-mcp"\nurl = "{mcp.url}"\n'
                f'comfyui_url = "{server.url}"\n'
            ),
        )
        with daemon:
            save_in_place(outputs / "cat.safetensors", small_lora(1))
            assert daemon.wait_for("comfyui.listed")["folder"] == "loras"
            assert server.weights("cat.safetensors") == small_lora(1)
            save_in_place(outputs / "cat.safetensors", small_lora(2))
            daemon.wait_for("comfyui.refreshed", destination="box")
            assert server.weights("cat.safetensors") == small_lora(2)
            noted = daemon.wait_for("destination.note", code="overwrites-in-place")
            assert "{sha8}" in noted["reason"]


def events_of(events: list[JsonEvent], name: str) -> list[JsonEvent]:
    return [each for each in events if each["event"] == name]
