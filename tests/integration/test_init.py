"""`init`: a first configuration, as a person on a fresh machine gets it."""

import os
import pty
import socket
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lorawatch import first_choice
from lorawatch.config_loading import load
from lorawatch.domain.errors import ConfigurationError
from lorawatch.finding import servers
from lorawatch.finding.servers import Servers
from lorawatch.finding.survey import Found, InContainer, survey
from lorawatch.finding.usual import Machine, Place
from lorawatch.first_choice import Wish
from lorawatch.first_configuration import text_of
from lorawatch.first_file import checked_text, default_file
from tests.fakes.aitoolkit_server import AIToolkitServer
from tests.fakes.comfyui_server import ComfyUIServer
from tests.fakes.mcp_server import McpServer
from tests.process import PATIENCE_SECONDS, Finished, Lorawatch

ALONE = (sys.executable, "-m", "tests.alone")


class Answers:
    """Somebody who has made up their mind; remembers what was asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def choose(self, question: str, places: Sequence[Place], *, is_several: bool) -> list[str]:
        self.asked.append(question)
        return self.answers.pop(0)


def machine(tmp_path: Path, *places: str) -> Lorawatch:
    """A home directory with these directories in it; the lorawatch there finds them alone, and no configuration."""
    for place in places or ("ai-toolkit/outputs", "ComfyUI/models/loras"):
        (tmp_path / place).mkdir(parents=True)
    return Lorawatch(tmp_path, program=ALONE)


def tables(text: str) -> dict[str, Any]:
    return tomllib.loads(text)


def loads(file: Path) -> None:
    load(str(file), environ={"HOME": str(file.parent)})


def test_what_is_found_is_written_with_its_reasons_and_loads(tmp_path: Path) -> None:
    done = machine(tmp_path).command("init", "--output", "new/lorawatch.toml")
    file = tmp_path / "new/lorawatch.toml"
    assert done.exit_code == 0, done.stderr
    assert done.stdout == ""
    assert str(file.relative_to(tmp_path)) in done.stderr
    written = tables(file.read_text())
    assert written["watch"]["directories"][0] == str(tmp_path / "ai-toolkit/outputs")
    assert written["destinations"][0]["directory"] == str(tmp_path / "ComfyUI/models/loras")
    assert "# " in file.read_text()
    loads(file)


def test_the_file_that_init_writes_delivers(tmp_path: Path) -> None:
    from tests.scenes import small_lora

    lorawatch = machine(tmp_path)
    lorawatch.command("init", "--output", "lorawatch.toml")
    (tmp_path / "ai-toolkit/outputs/cat.safetensors").write_bytes(small_lora())
    done = lorawatch.command("once", "--config", "lorawatch.toml")
    assert done.exit_code == 0, done.stdout
    assert (tmp_path / "ComfyUI/models/loras/cat.safetensors").read_bytes() == small_lora()


def test_a_file_that_is_there_is_left_alone_unless_it_is_forced(tmp_path: Path) -> None:
    lorawatch, file = machine(tmp_path), tmp_path / "mine.toml"
    file.write_text("# mine\n")
    done = lorawatch.command("init", "--output", str(file))
    assert done.exit_code == 1
    assert "is there already" in done.stderr
    assert "--force" in done.stderr
    assert file.read_text() == "# mine\n"
    assert lorawatch.command("init", "--output", str(file), "--force").exit_code == 0
    loads(file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ComfyUI", "ai-toolkit", "mine.toml"]


def test_what_is_no_file_is_not_replaced_even_if_it_is_forced(tmp_path: Path) -> None:
    lorawatch, pipe = machine(tmp_path), tmp_path / "pipe"
    os.mkfifo(pipe)
    for place, what in ((pipe, "a device or a pipe"), (tmp_path, "a directory")):
        done = lorawatch.command("init", "--output", str(place), "--force")
        assert done.exit_code == 1
        assert what in done.stderr
    assert pipe.is_fifo()


def test_where_nothing_can_be_written_the_file_that_was_asked_for_is_named(tmp_path: Path) -> None:
    done = machine(tmp_path).command("init", "--output", "/proc/lorawatch.toml")
    assert done.exit_code == 1
    assert "/proc/lorawatch.toml cannot be written" in done.stderr
    assert "--output" in done.stderr


def test_a_link_to_nowhere_is_a_file_that_is_there(tmp_path: Path) -> None:
    lorawatch = machine(tmp_path)
    (tmp_path / "link.toml").symlink_to(tmp_path / "elsewhere.toml")
    assert lorawatch.command("init", "--output", "link.toml").exit_code == 1
    assert not (tmp_path / "elsewhere.toml").exists()


def test_a_minus_prints_the_text_alone_on_stdout(tmp_path: Path) -> None:
    before = machine(tmp_path)
    done = before.command("init", "--output", "-")
    assert tables(done.stdout)["destinations"]
    assert "delivers to" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ComfyUI", "ai-toolkit"]


def test_it_is_written_where_it_is_read_next(tmp_path: Path) -> None:
    lorawatch = machine(tmp_path)
    lorawatch.environ = {"XDG_CONFIG_HOME": str(tmp_path / "settings")}
    assert lorawatch.command("init").exit_code == 0
    assert (tmp_path / "settings/lorawatch/config.toml").is_file()
    assert lorawatch.command("once").exit_code == 0


@pytest.mark.parametrize(
    ("environ", "is_root", "wanted"),
    [
        ({"HOME": "/home/ann"}, False, "/home/ann/.config/lorawatch/config.toml"),
        ({"HOME": "/home/ann", "XDG_CONFIG_HOME": "/x"}, False, "/x/lorawatch/config.toml"),
        ({"HOME": "/root"}, True, "/etc/lorawatch/config.toml"),
        ({"HOME": "/root", "XDG_CONFIG_HOME": "/x"}, True, "/x/lorawatch/config.toml"),
        ({"HOME": "/root", "LORAWATCH_CONFIG": "/my.toml"}, True, "/my.toml"),
    ],
)
def test_the_default_place_is_the_one_that_is_searched(environ: dict[str, str], is_root: bool, wanted: str) -> None:
    assert default_file(environ, is_root=is_root) == wanted


def test_where_nothing_is_found_it_says_what_it_looked_for_and_writes_a_file_to_edit(tmp_path: Path) -> None:
    first = first_choice.choose(Found(), Wish(), asker=None)
    assert first.is_guess
    file = tmp_path / "lorawatch.toml"
    file.write_text(text_of(first))
    loads(file)
    assert file.read_text().count("EDIT:") == 2
    # The machine of the test may hold a real ComfyUI: only what is wished for is sure to be asked for in vain.
    done = machine(tmp_path, "empty").command("init", "--output", "a.toml", "--watch", "out", "--to", "loras")
    assert done.exit_code == 0
    assert tables((tmp_path / "a.toml").read_text())["watch"]["directories"] == [str(tmp_path / "out")]


def test_wishes_that_exclude_each_other_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    done = machine(tmp_path).command("init", "--output", "a.toml", "--watch", "out", "--to", "out/loras")
    assert done.exit_code == 78
    assert "lies inside the watched directory" in done.stderr
    assert not (tmp_path / "a.toml").exists()


def test_only_what_was_not_found_is_to_be_edited(tmp_path: Path) -> None:
    text = text_of(first_choice.choose(Found(OUTPUTS[:1]), Wish(), asker=None))
    assert text.count("EDIT:") == 1
    assert 'directory = "/comfyui/models/loras" # EDIT' in text
    text = text_of(first_choice.choose(Found((), LORAS[:1]), Wish(), asker=None))
    assert text.count("EDIT:") == 1
    assert 'directories = ["/ai-toolkit/outputs"] # EDIT' in text
    done = machine(tmp_path, "empty").command("init", "--output", "-", "--watch", "out", "--to", "loras")
    assert "Not found" not in done.stderr
    assert f"watches       {tmp_path}/out" in done.stderr


OUTPUTS = (Place("/a", "here"), Place("/b", "there"))
LORAS = (Place("/c", "here"), Place("/d", "there"))


def test_without_anybody_to_ask_the_likeliest_is_enabled_and_the_rest_stands_beside_it() -> None:
    written = tables(text_of(first_choice.choose(Found(OUTPUTS, LORAS), Wish(), asker=None)))
    assert written["watch"]["directories"] == ["/a", "/b"]
    assert [(each["directory"], each.get("enabled", True)) for each in written["destinations"]] == [
        ("/c", True),
        ("/d", False),
    ]
    assert len({each["name"] for each in written["destinations"]}) == 2


def test_somebody_is_asked_only_what_is_in_doubt() -> None:
    asker = Answers(["/b"], ["/d"])
    first = first_choice.choose(Found(OUTPUTS, LORAS), Wish(), asker=asker)
    assert (list(first.watch), [dict(each.keys)["directory"] for each in first.destinations]) == (["/b"], ["/d", "/c"])
    asker = Answers()
    first_choice.choose(Found(OUTPUTS[:1], LORAS[:1]), Wish(), asker=asker)
    assert asker.asked == []
    first_choice.choose(Found(OUTPUTS, LORAS), Wish(["/x"], "/y"), asker=asker)
    assert asker.asked == []


def test_a_server_is_the_way_only_where_no_directory_is_within_reach() -> None:
    found = Servers("http://127.0.0.1:8188", ("http://127.0.0.1:8189",), ("http://127.0.0.1:8190",))
    both = tables(text_of(first_choice.choose(Found(OUTPUTS[:1], LORAS[:1], servers=found), Wish(), asker=None)))
    assert [each.get("enabled", True) for each in both["destinations"]] == [True, False]
    assert both["destinations"][0]["comfyui_url"] == "http://127.0.0.1:8188"
    assert both["sources"][0]["enabled"] is False
    alone = first_choice.choose(Found(servers=found), Wish(), asker=None)
    checked_text(alone, "/etc/lorawatch/config.toml")
    written = tables(text_of(alone))
    assert (written["destinations"][0]["kind"], written["sources"][0]["enabled"]) == ("comfyui-mcp", True)
    assert not alone.is_guess


def test_a_comfyui_inside_of_a_container_is_reached_through_docker() -> None:
    found = Found(OUTPUTS[:1], contained=(InContainer("comfy", "/app/ComfyUI/models/loras"),))
    (destination,) = tables(checked_text(first_choice.choose(found, Wish(), asker=None), "/x.toml"))["destinations"]
    assert (destination["kind"], destination["container"]) == ("docker", "comfy")


def test_a_strange_path_is_quoted_and_a_contradiction_refused() -> None:
    path = '/a "b"\\c\x7f/ü\n[watch]'
    first = first_choice.choose(Found((Place(path, "here"),), LORAS[:1]), Wish(), asker=None)
    assert tables(checked_text(first, "/x.toml"))["watch"]["directories"] == [path]
    with pytest.raises(ConfigurationError):
        checked_text(first_choice.choose(Found(OUTPUTS[:1]), Wish(to="/a/b"), asker=None), "/x.toml")


def test_a_disk_with_less_than_the_usual_reserve_gets_a_smaller_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_choice, "free_bytes", lambda _: 3_210_000_000)
    found = Found(OUTPUTS[:1], (Place(str(tmp_path), "here"),))
    (destination,) = tables(text_of(first_choice.choose(found, Wish(), asker=None)))["destinations"]
    assert destination["min_free_bytes"] == 320_000_000


def test_servers_are_told_apart_by_what_they_offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy of the environment is no way to this machine: asking it would leave the machine.
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with ExitStack() as stack:
        comfyui = stack.enter_context(ComfyUIServer({"loras": tmp_path}))
        uploads = [
            stack.enter_context(McpServer(tmp_path / dialect, dialect))
            for dialect in ("documented", "direct", "jsonrpc")
        ]
        models = [
            stack.enter_context(AIToolkitServer(tmp_path / f"models-{dialect}", dialect))
            for dialect in ("documented", "current")
        ]
        ports = [int(server.url.rpartition(":")[2]) for server in (*uploads, *models)]
        found = servers.ask(comfyui_port=int(comfyui.url.rpartition(":")[2]), mcp_ports=[*ports, 9])
        assert found.comfyui == comfyui.url
        assert found.uploads == tuple(server.url for server in uploads)
        assert found.models == tuple(server.url for server in models)
        assert all(not any((tmp_path / dialect).iterdir()) for dialect in ("documented", "direct")), "nothing is stored"


def test_a_comfyui_where_an_mcp_server_is_expected_is_none(tmp_path: Path) -> None:
    with ComfyUIServer({"loras": tmp_path}) as comfyui:
        assert servers.role_of(comfyui.url) is None
    with McpServer(tmp_path / "loras") as server:
        assert not servers.is_comfyui(server.url)
    assert servers.ask(comfyui_port=9, mcp_ports=[9]) == Servers()


def test_nothing_but_this_machine_is_ever_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:3128")
    asked: list[object] = []
    connect = socket.socket.connect

    def watched(self: socket.socket, address: Any) -> None:
        asked.append(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    survey(Machine.of({"HOME": str(tmp_path)}))
    ports = {address[1] for address in asked if isinstance(address, tuple)}
    assert ports == {8188, 8189, 8190, 8012, 8013}
    assert {address[0] for address in asked if isinstance(address, tuple)} == {"127.0.0.1"}


def test_without_any_stdin_nothing_is_asked(tmp_path: Path) -> None:
    machine(tmp_path, "ai-toolkit/outputs", "ComfyUI/models/loras", "comfyui/models/loras")
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.getcwd(), "LORAWATCH_CONFIG": ""}
    words = f"{' '.join(ALONE)} init --output a.toml <&-"
    done = subprocess.run(["sh", "-c", words], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.toml").is_file()


def on_a_terminal(tmp_path: Path, answers: str, *words: str) -> Finished:
    """Run `init` with a terminal as stdin and stderr, and type the answers."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.getcwd(), "LORAWATCH_CONFIG": ""}
    process = subprocess.Popen(
        [*ALONE, "init", *words],
        stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, cwd=tmp_path, env=environment, text=True,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, answers.encode())
    said = b""
    try:
        while piece := os.read(ours, 4096):
            said += piece
    except OSError:
        pass  # EIO: the other end is closed
    stdout, _ = process.communicate(timeout=PATIENCE_SECONDS)
    os.close(ours)
    return Finished(process.returncode, stdout, said.decode())


def test_on_a_terminal_it_asks_which_one_it_is(tmp_path: Path) -> None:
    machine(tmp_path, "ai-toolkit/outputs", "ComfyUI/models/loras", "comfyui/models/loras", "ai/ComfyUI/models/loras")
    done = on_a_terminal(tmp_path, "99\n2\n", "--output", "a.toml", "--watch", str(tmp_path / "ai-toolkit/outputs"))
    assert done.exit_code == 0, done.stderr
    assert "Which directory does ComfyUI read" in done.stderr
    assert "is neither in the list nor a directory" in done.stderr
    first, *rest = tables((tmp_path / "a.toml").read_text())["destinations"]
    assert first["directory"] == str(tmp_path / "comfyui/models/loras")
    assert all(each["enabled"] is False for each in rest)


def test_whoever_answers_nothing_gets_no_file(tmp_path: Path) -> None:
    machine(tmp_path, "ai-toolkit/outputs", "ComfyUI/models/loras", "comfyui/models/loras")
    done = on_a_terminal(tmp_path, "\x04", "--output", "a.toml", "--watch", str(tmp_path / "ai-toolkit/outputs"))
    assert done.exit_code == 130
    assert "nothing was written" in done.stderr
    assert not (tmp_path / "a.toml").exists()


def test_yes_asks_nothing_on_a_terminal_either(tmp_path: Path) -> None:
    machine(tmp_path, "ai-toolkit/outputs", "ComfyUI/models/loras", "comfyui/models/loras")
    done = on_a_terminal(tmp_path, "", "--yes", "--output", "a.toml")
    assert done.exit_code == 0
    assert "Which directory" not in done.stderr
