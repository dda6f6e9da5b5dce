"""`doctor` and servers: each of the client's known troubles, on real servers that have it."""

import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from lorawatch.doctor.examination import examine
from lorawatch.doctor.findings import Finding, Level
from tests.fakes.aitoolkit_server import AIToolkitServer
from tests.fakes.comfyui_server import ComfyUIServer
from tests.fakes.mcp_server import Fault, McpServer
from tests.fakes.port import Port
from tests.mcp_scenes import ONE, daemon_for
from tests.scenes import small_lora

DIRECTORY = '[[destinations]]\nname = "comfyui"\nkind = "directory"\nmin_free_bytes = 0\n'


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "loras").mkdir()
    return tmp_path


def look(folders: Path, tables: str, *, seconds: float = 20.0) -> list[Finding]:
    """Return what a doctor finds about this destination, source or ComfyUI."""
    file = folders / "doctor.toml"
    file.write_text(
        f'state_directory = "{folders / "state"}"\n[watch]\ndirectories = ["{folders / "outputs"}"]\n{tables}'
    )
    file.chmod(0o600)
    return list(examine(str(file), {"HOME": str(folders)}, seconds=seconds))


def to_server(folders: Path, url: str, lines: str = "") -> list[Finding]:
    return look(folders, f'[[destinations]]\nname = "render-box"\nkind = "comfyui-mcp"\nurl = "{url}"\n{lines}')


def to_directory(folders: Path, url: str, directory: Path | None = None) -> list[Finding]:
    return look(folders, f'{DIRECTORY}directory = "{directory or folders / "loras"}"\ncomfyui_url = "{url}"\n')


def wrong(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if not finding.is_fine]


def only(found: list[Finding], check: str) -> Finding:
    (finding,) = [finding for finding in found if finding.check == check]
    return finding


@pytest.fixture
def dead_url() -> Iterator[str]:
    with closing(Port()) as port:
        yield f"http://127.0.0.1:{port.number}"


@pytest.mark.parametrize("dialect", ["documented", "chunked", "direct", "jsonrpc"])
def test_a_server_that_works_is_described_and_nothing_is_stored_there(folders: Path, dialect: str) -> None:
    with McpServer(folders / "there", dialect, version="2.1") as server:
        found = to_server(folders, server.url)
        assert wrong(found) == []
        assert f'"{dialect}"' in only(found, "mcp-server").detail
        assert "version 2.1" in only(found, "mcp-server").detail
        assert list((folders / "there").iterdir()) == []
        assert server.uploads == {}


def test_tools_that_the_server_hides_are_named(folders: Path) -> None:
    with McpServer(folders / "there", is_hiding_tools=True) as server:
        assert "upload-lora-chunked-append" in only(to_server(folders, server.url), "mcp-tools").detail


def test_a_server_that_refuses_us_is_told_with_the_variable_for_its_token(folders: Path) -> None:
    with McpServer(folders / "there", token="right") as server:
        (found,) = wrong(to_server(folders, server.url, 'token = "wrong"\n'))
        assert (found.check, found.code) == ("mcp-server", "not-authorized")
        assert "$LORAWATCH_TOKEN_RENDER_BOX" in found.fix
        assert "wrong" not in found.detail


def test_no_server_at_the_url_is_told_with_the_command_that_shows_it(folders: Path, dead_url: str) -> None:
    (found,) = wrong(to_server(folders, dead_url))
    assert (found.check, found.code, found.level) == ("mcp-server", "connection-failed", Level.ERROR)
    assert f"curl -v {dead_url}" in found.fix


def test_a_url_that_leads_to_another_kind_of_server_is_told_with_what_it_is(folders: Path) -> None:
    with ComfyUIServer({"loras": folders / "loras"}) as comfyui:
        (found,) = wrong(to_server(folders, comfyui.url))
        assert "is ComfyUI itself" in found.detail
    with AIToolkitServer(folders / "models", "current") as toolkit:
        (found,) = wrong(to_server(folders, toolkit.url))
        assert "is AI Toolkit's MCP server" in found.detail
    with McpServer(folders / "there") as server:
        tables = f'{DIRECTORY}directory = "{folders / "loras"}"\n[[sources]]\nname = "box"\nkind = "aitoolkit-mcp"\n'
        (found,) = wrong(look(folders, f'{tables}url = "{server.url}"\n'))
        assert "is ComfyUI's MCP server" in found.detail


def test_a_source_that_works_says_how_much_it_offers(folders: Path, dead_url: str) -> None:
    with AIToolkitServer(folders / "models", "current") as toolkit:
        (folders / "models/cat.safetensors").write_bytes(small_lora())
        tables = f'{DIRECTORY}directory = "{folders / "loras"}"\n[[sources]]\nname = "box"\nkind = "aitoolkit-mcp"\n'
        found = look(folders, f'{tables}url = "{toolkit.url}"\n')
        assert wrong(found) == []
        assert "offers 1 model" in only(found, "source-server").detail
        assert toolkit.downloads() == 0
        (bad,) = wrong(look(folders, f'{tables}url = "{dead_url}"\n'))
        assert (bad.check, bad.code) == ("source-server", "connection-failed")


def test_wrong_parameters_a_configured_api_that_the_server_does_not_speak(folders: Path) -> None:
    with McpServer(folders / "there", "direct") as server:
        (found,) = wrong(to_server(folders, server.url, 'api = "documented"\n'))
        assert (found.check, found.code) == ("mcp-api", "wrong-parameters")
        assert 'api = "direct"' in found.fix


@pytest.mark.parametrize(("dialect", "level"), [("documented", Level.WARNING), ("direct", Level.ERROR)])
def test_request_entity_too_large_a_limit_below_the_size_of_a_chunk(folders: Path, dialect: str, level: Level) -> None:
    with McpServer(folders / "there", dialect, most_body_bytes=300_000) as server:
        (found,) = wrong(to_server(folders, server.url))
        assert (found.check, found.code, found.level) == ("mcp-request-size", "too-large", level)
        assert "client_max_body_size" in found.fix
        assert wrong(to_server(folders, server.url, "chunk_bytes = 65536\n")) == []


def test_time_outs_a_server_that_does_not_answer_is_waited_for_within_bounds(folders: Path) -> None:
    with McpServer(folders / "there") as server:
        server.faults.append(Fault("list-loras", "slow", times=99, seconds=3))
        (found,) = wrong(to_server(folders, server.url, "read_timeout_seconds = 0.5\n"))
        assert (found.check, found.code) == ("mcp-server", "timeout")


def test_a_server_that_hangs_for_ever_does_not_hang_the_doctor(folders: Path) -> None:
    with ComfyUIServer({"loras": folders / "loras"}) as comfyui:
        comfyui.released.clear()
        file = folders / "doctor.toml"
        file.write_text(
            f'[watch]\ndirectories = ["{folders / "outputs"}"]\n{DIRECTORY}directory = "{folders / "loras"}"\n'
            f'comfyui_url = "{comfyui.url}"\n'
        )
        found = list(examine(str(file), {"HOME": str(folders)}, seconds=2.0))
        comfyui.released.set()
        (hung,) = wrong(found)
        assert (hung.check, hung.code, hung.subject) == ("comfyui", "io-stuck", comfyui.url)


def test_size_mismatch_a_file_that_the_server_lists_with_another_size_than_was_delivered(folders: Path) -> None:
    with McpServer(folders / "there") as server:
        (folders / "outputs/cat.safetensors").write_bytes(ONE)
        daemon = daemon_for(folders, server)
        assert daemon.run_once().exit_code == 0
        tables = f'[[destinations]]\nname = "box"\nkind = "comfyui-mcp"\nurl = "{server.url}"\n'
        assert wrong(look(folders, tables)) == []
        (folders / "there/cat.safetensors").write_bytes(ONE[:-1])
        (found,) = wrong(look(folders, tables))
        assert (found.check, found.code) == ("mcp-listing", "size-mismatch")


def test_a_certificate_that_nobody_vouches_for_is_told_as_tls(folders: Path) -> None:
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run(["openssl", *words.split()], cwd=folders, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folders / "cert.pem", folders / "key.pem")
    with McpServer(folders / "there", tls=context) as server:
        (found,) = wrong(to_server(folders, server.url))
        assert found.code == "connection-failed"
        assert "TLS failed" in found.detail
        assert "verify_tls" in found.fix
        assert wrong(to_server(folders, server.url, "verify_tls = false\n")) == []


def test_comfyui_that_lists_what_is_there_is_fine(folders: Path) -> None:
    (folders / "loras/flux").mkdir()
    (folders / "loras/flux/cat.safetensors").write_bytes(small_lora())
    (folders / "loras/.hidden.safetensors").write_bytes(b"")
    with ComfyUIServer({"loras": folders / "loras"}) as comfyui:
        found = to_directory(folders, comfyui.url)
        assert wrong(found) == []
        assert "lists all 1 files" in only(found, "comfyui-listing").detail
        assert not [route for method, route in comfyui.calls if method == "POST" and route != "/prompt"]
        assert comfyui.history == {}, "nothing was computed"


def test_a_destination_below_comfyui_s_directory_is_compared_by_its_part_of_the_names(folders: Path) -> None:
    (folders / "loras/trained").mkdir()
    (folders / "loras/trained/cat.safetensors").write_bytes(small_lora())
    with ComfyUIServer({"loras": folders / "loras"}) as comfyui:
        assert wrong(to_directory(folders, comfyui.url, folders / "loras/trained")) == []


def test_value_not_in_list_comfyui_looks_elsewhere_than_where_is_delivered(folders: Path) -> None:
    (folders / "loras/cat.safetensors").write_bytes(small_lora())
    (folders / "elsewhere").mkdir()
    with ComfyUIServer({"loras": folders / "elsewhere"}) as comfyui:
        (found,) = wrong(to_directory(folders, comfyui.url))
        assert (found.check, found.code, found.level) == ("comfyui-listing", "comfyui-not-listed", Level.ERROR)
        assert str(folders / "elsewhere") in found.detail
        assert f"touch {folders / 'loras'}" in found.fix
        assert "extra_model_paths.yaml" in found.fix


def test_a_list_that_is_old_is_a_warning_with_the_touch_that_renews_it(folders: Path) -> None:
    import os

    (folders / "loras/cat.safetensors").write_bytes(small_lora())
    with ComfyUIServer({"loras": folders / "loras"}) as comfyui:
        assert wrong(to_directory(folders, comfyui.url)) == []
        before = os.stat(folders / "loras").st_mtime_ns
        (folders / "loras/dog.safetensors").write_bytes(small_lora(1))
        os.utime(folders / "loras", ns=(before, before))
        (found,) = wrong(to_directory(folders, comfyui.url))
        assert (found.code, found.level) == ("comfyui-not-listed", Level.WARNING)
        assert "dog.safetensors" in found.detail


def test_permissions_a_file_that_comfyui_lists_and_cannot_read(folders: Path) -> None:
    (folders / "loras/cat.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    with ComfyUIServer({"loras": folders / "loras"}) as comfyui:
        (found,) = wrong(to_directory(folders, comfyui.url))
        assert found.check == "comfyui-permissions"
        assert f"chmod a+r {folders / 'loras/cat.safetensors'}" in found.fix


def test_none_type_not_iterable_and_no_effect_are_read_from_comfyui_s_history(folders: Path) -> None:
    name = "cat.safetensors"
    (folders / "loras" / name).write_bytes(small_lora())
    weak = {
        "class_type": "LoraLoaderModelOnly",
        "inputs": {"lora_name": name, "strength_model": 0.0, "model": ["3", 0]},
    }
    text = {"class_type": "CLIPTextEncode", "inputs": {"text": None, "clip": ["1", 0]}}
    with ComfyUIServer({"loras": folders / "loras"}) as comfyui:
        comfyui.failure = "argument of type 'NoneType' is not iterable"
        comfyui.queue({"1": weak, "2": text})
        found = wrong(to_directory(folders, comfyui.url))
        assert {each.code for each in found} == {"none-type-not-iterable", "no-lora-effect"}
        assert all(each.level is Level.WARNING for each in found)
        assert any("CLIPTextEncode.text" in each.detail for each in found)
        assert any('"text": ""' in each.fix for each in found)


def test_a_comfyui_that_is_down_or_something_else_is_told_apart(folders: Path, dead_url: str) -> None:
    (found,) = wrong(to_directory(folders, dead_url))
    assert (found.check, found.code) == ("comfyui", "comfyui-unreachable")
    with McpServer(folders / "there") as server:
        (found,) = wrong(to_directory(folders, server.url))
        assert (found.check, found.code) == ("comfyui", "comfyui-error")
    with ComfyUIServer({"loras": folders / "loras"}) as comfyui:
        comfyui.failing["/models/loras"] = 500
        (found,) = wrong(to_directory(folders, comfyui.url))
        assert found.code == "comfyui-error"


def test_several_servers_are_looked_at_side_by_side_and_told_in_order(folders: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(McpServer(folders / f"there-{number}")) for number in range(4)]
        tables = "".join(
            f'[[destinations]]\nname = "box-{number}"\nkind = "comfyui-mcp"\nurl = "{server.url}"\n'
            for number, server in enumerate(servers)
        )
        found = [finding.subject for finding in look(folders, tables) if finding.check == "mcp-server"]
        assert found == [f"box-{number}" for number in range(4)]
