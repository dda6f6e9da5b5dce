"""What a person sees on a real terminal: the view of `status`, bars, Ctrl-C, and nothing left behind."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories import broken, write_lora
from tests.fakes.mcp_server import Fault, McpServer, mcp_server
from tests.fakes.raw_server import RawServer
from tests.process import PATIENCE_SECONDS, Lorawatch
from tests.pseudo_terminal import ENTER_SCREEN, LEAVE_SCREEN, SHOW_CURSOR, Terminal
from tests.scenes import Scene, eventually, names, save_in_place, scene, small_lora

__all__ = ["scene"]

NAME = "cat_000000250.safetensors"


@pytest.fixture
def slow_server(tmp_path: Path) -> Iterator[McpServer]:
    """A server that takes a quarter of a second for each chunk."""
    with mcp_server(tmp_path / "store") as server:
        server.faults.append(Fault("append", "slow", times=10_000, seconds=0.25))
        yield server


def slow_config(scene: Scene, server: McpServer) -> Path:
    file = scene.tmp_path / "lorawatch.toml"
    table = f'[[destinations]]\nname = "box"\nkind = "comfyui-mcp"\nurl = "{server.url}"\n'
    file.write_text(scene.config(tables=f"{table}chunk_bytes = 65536\ndirect_limit_bytes = 1000\n"))
    return file


def send(scene: Scene, server: McpServer, **options: object) -> Terminal:
    write_lora(scene.tmp_path / NAME, size_bytes=4_000_000)
    slow_config(scene, server)
    return Terminal(scene.tmp_path, "send", NAME, "--to", "box", **options)  # type: ignore[arg-type]  # by name


def test_status_watch_draws_on_a_screen_of_its_own_until_q_and_leaves_the_terminal_as_it_was(scene: Scene) -> None:
    with Terminal(scene.tmp_path, "status", "--watch") as terminal:
        before = terminal.settings()
        terminal.wait_for("Nothing has been delivered yet")
        assert ENTER_SCREEN in terminal.raw
        terminal.press("x")  # means nothing
        terminal.press("q")
        assert terminal.wait() == 0
        assert LEAVE_SCREEN in terminal.raw
        assert SHOW_CURSOR in terminal.raw
        assert terminal.settings() == before


def test_status_watch_follows_what_happens_and_ends_with_3_where_a_person_is_needed(scene: Scene) -> None:
    with scene.daemon() as daemon, Terminal(scene.tmp_path, "status", "--watch") as terminal:
        terminal.wait_for("lorawatch running")
        save_in_place(scene.outputs / NAME, small_lora())
        terminal.wait_for("cat_000000250")
        (scene.outputs / "bad.safetensors").write_bytes(broken("html"))
        daemon.wait_for("file.rejected")
        terminal.wait_for("html-page")
        terminal.press("\x03")
        assert terminal.wait() == 3
        assert "Traceback" not in terminal.text


def test_status_watch_takes_a_new_size_at_once(scene: Scene) -> None:
    with Terminal(scene.tmp_path, "status", "--watch", columns=100, rows=20) as terminal:
        terminal.wait_for("q or Ctrl-C ends")
        drawn = terminal.raw.count("Ctrl-C ends")
        terminal.resize(40, 8)
        terminal.signal(signal.SIGWINCH)
        terminal.wait_for("Ctrl-C ends", count=drawn + 2)
        last = terminal.text.rpartition("Begin with")[0].rpartition("Nothing")[2]
        assert max(map(len, last.split("\n"))) <= 40
        terminal.press("q")
        assert terminal.wait() == 0


@pytest.mark.parametrize("end", ["SIGTERM", "SIGHUP", "hang-up"])
def test_status_watch_ends_cleanly_with_its_terminal(scene: Scene, end: str) -> None:
    with Terminal(scene.tmp_path, "status", "--watch") as terminal:
        terminal.wait_for("q or Ctrl-C ends")
        if end == "hang-up":
            terminal.hang_up()
            assert terminal.process.wait(10) == 0
        else:
            terminal.signal(signal.Signals[end])
            assert terminal.wait() == 0
            assert LEAVE_SCREEN in terminal.raw


def test_status_watch_on_a_dumb_terminal_and_in_a_pipe_writes_no_control_sequence(scene: Scene) -> None:
    with Terminal(scene.tmp_path, "status", "--watch", environ={"TERM": "dumb"}) as terminal:
        terminal.wait_for("Nothing has been delivered yet")
        terminal.press("\x03")
        assert terminal.wait() == 0
        assert "\x1b" not in terminal.raw
    reader, writer = os.pipe()
    with Terminal(scene.tmp_path, "status", "--watch", stdout=writer) as terminal:
        os.close(writer)
        assert os.read(reader, 4096).startswith(b"Nothing has been delivered yet")
        os.close(reader)  # as `head` does when it has seen enough
        assert terminal.wait() == 0
        assert "Traceback" not in terminal.text


def test_status_once_is_coloured_on_a_terminal_and_plain_where_colours_are_not_wanted(scene: Scene) -> None:
    assert Lorawatch(scene.tmp_path, watch=scene.outputs, to=scene.loras).run_once().exit_code == 0
    for environ, is_coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        with Terminal(scene.tmp_path, "status", environ=environ) as terminal:
            assert terminal.wait() == 0
            assert "lorawatch not running" in terminal.text
            assert ("\x1b[" in terminal.raw) is is_coloured
            assert ENTER_SCREEN not in terminal.raw


def test_send_shows_a_bar_that_is_gone_afterwards(scene: Scene, slow_server: McpServer) -> None:
    slow_server.faults[0].seconds = 0.02
    with send(scene, slow_server) as terminal:
        terminal.wait_for("sending")
        assert terminal.wait() == 0
        assert "━" in terminal.text
        assert f"{NAME} → box:{NAME}: delivered" in terminal.text
        assert SHOW_CURSOR in terminal.raw


def test_a_bar_claims_nothing_before_the_size_is_known(scene: Scene, slow_server: McpServer) -> None:
    with send(scene, slow_server) as terminal:
        terminal.wait_for("sending")
        assert "of 0 B" not in terminal.text


def test_ctrl_c_stops_send_cleanly_and_says_what_happens_next(scene: Scene, slow_server: McpServer) -> None:
    with send(scene, slow_server) as terminal:
        assert eventually(lambda: slow_server.count("append") > 4)
        terminal.press("\x03")
        assert terminal.wait() == 130
        said = " ".join(terminal.text.split())
        assert "stopped after" in said
        assert "the next `lorawatch run` or `lorawatch once` goes on with it" in said
        assert "Traceback" not in said
        assert SHOW_CURSOR in terminal.raw
    status = Lorawatch(scene.tmp_path).status()
    assert [(each["state"], each["code"]) for each in status["deliveries"]] == [("waiting", "stopped")]
    slow_server.faults.clear()
    finished = Lorawatch(scene.tmp_path).command("once")
    assert finished.exit_code == 0, finished.stdout
    assert names(scene.tmp_path / "store") == [NAME]
    assert any(each["event"] == "delivery.resumed" for each in finished.events)


def test_ctrl_c_at_a_copy_leaves_nothing_behind(scene: Scene) -> None:
    write_lora(scene.tmp_path / NAME, size_bytes=300_000_000)
    (scene.tmp_path / "lorawatch.toml").write_text(scene.config())
    with Terminal(scene.tmp_path, "send", NAME) as terminal:
        terminal.wait_for("checking")
        terminal.press("\x03")
        assert terminal.wait() == 130
        assert "Stopped as asked" in terminal.text
    assert names(scene.loras) == []


def test_once_shows_bars_below_its_sentences_and_garbles_none(scene: Scene, slow_server: McpServer) -> None:
    slow_config(scene, slow_server)
    slow_server.faults[0].seconds = 0.02
    for number in range(2):
        write_lora(scene.outputs / f"n{number}.safetensors", size_bytes=4_000_000, seed=number)
    with Terminal(scene.tmp_path, "once", columns=200) as terminal:
        terminal.wait_for("━")
        assert terminal.wait() == 0
        assert SHOW_CURSOR in terminal.raw
        lines = terminal.text.split("\n")
        for number in range(2):
            assert sum(f"delivered   n{number}.safetensors → box" in line for line in lines) == 1
        assert "stopped" in terminal.text
    assert names(scene.tmp_path / "store") == ["n0.safetensors", "n1.safetensors"]


def test_once_writes_bare_events_to_a_pipe_while_the_bars_go_to_the_terminal(
    scene: Scene, slow_server: McpServer
) -> None:
    slow_config(scene, slow_server)
    slow_server.faults[0].seconds = 0.05
    write_lora(scene.outputs / NAME, size_bytes=4_000_000)
    reader, writer = os.pipe()
    pieces: list[bytes] = []

    def drain() -> None:
        while piece := os.read(reader, 65536):
            pieces.append(piece)

    with Terminal(scene.tmp_path, "once", stdout=writer) as terminal:
        os.close(writer)
        drainer = threading.Thread(target=drain)
        drainer.start()
        terminal.wait_for("━")
        assert terminal.wait() == 0
        drainer.join()
        os.close(reader)
    events = b"".join(pieces).decode()
    assert "\x1b" not in events
    assert all(line.startswith('{"timestamp"') for line in events.splitlines())
    assert "delivery.delivered" in events
    assert "delivery.delivered" not in terminal.text


def test_ctrl_c_stops_once_with_130_and_says_how_it_goes_on(scene: Scene, slow_server: McpServer) -> None:
    slow_config(scene, slow_server)
    write_lora(scene.outputs / NAME, size_bytes=4_000_000)
    with Terminal(scene.tmp_path, "once") as terminal:
        assert eventually(lambda: slow_server.count("append") > 4)
        terminal.press("\x03")
        assert terminal.wait() == 130
        said = " ".join(terminal.text.split())
        assert "Stopped by Ctrl-C with 1 left open" in said
        assert "goes on from here" in said
        assert "Traceback" not in said


def test_ctrl_c_ends_doctor_in_the_middle_with_130(scene: Scene) -> None:
    asked = threading.Event()

    def is_silent(connection: socket.socket) -> None:
        asked.set()
        connection.recv(1)
        server.is_over.wait()

    with RawServer(is_silent) as server:
        table = f'[[destinations]]\nname = "box"\nkind = "comfyui-mcp"\nurl = "{server.url}"\n'
        (scene.tmp_path / "lorawatch.toml").write_text(scene.config(tables=table))
        with Terminal(scene.tmp_path, "doctor") as terminal:
            assert asked.wait(PATIENCE_SECONDS)
            terminal.press("\x03")
            assert terminal.wait() == 130
            assert "Traceback" not in terminal.text


def test_ctrl_c_ends_the_daemon_with_0(scene: Scene) -> None:
    words = ("run", "--watch", str(scene.outputs), "--to", str(scene.loras))
    with Terminal(scene.tmp_path, *words) as terminal:
        terminal.wait_for("ready")
        terminal.press("\x03")
        assert terminal.wait() == 0
        assert "Traceback" not in terminal.text
