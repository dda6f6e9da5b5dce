"""The source aitoolkit-mcp: a real daemon fetches from a real HTTP server, and what it fetched goes the usual way."""

from pathlib import Path

import pytest

from tests.factories import lora_bytes
from tests.fakes.aitoolkit_server import AIToolkitServer
from tests.fakes.mcp_server import Fault
from tests.mcp_scenes import NAME, ONE, TWO
from tests.process import Lorawatch
from tests.scenes import eventually


def daemon_for(tmp_path: Path, server: AIToolkitServer, *, environ: dict[str, str] | None = None) -> Lorawatch:
    (tmp_path / "loras").mkdir(exist_ok=True)
    config = (
        "[watch]\nquiet_seconds = 0.2\n[retry]\nfirst_seconds = 0.1\nmax_seconds = 0.5\n"
        f'[[destinations]]\nname = "comfyui"\nkind = "directory"\ndirectory = "{tmp_path / "loras"}"\n'
        "min_free_bytes = 0\n"
        f'[[sources]]\nname = "training-box"\nkind = "aitoolkit-mcp"\nurl = "{server.url}"\npoll_seconds = 0.2\n'
    )
    return Lorawatch(tmp_path, config=config, environ=environ or {})


def spooled(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "state" / "spool" / "training-box").iterdir())


@pytest.mark.parametrize("dialect", ["documented", "current"])
def test_a_model_is_fetched_once_and_delivered(tmp_path: Path, dialect: str) -> None:
    with AIToolkitServer(tmp_path / "models", dialect) as server, daemon_for(tmp_path, server) as daemon:
        (server.directory / NAME).write_bytes(ONE)
        daemon.wait_for("delivery.delivered", remote_name=NAME)
        assert (tmp_path / "loras" / NAME).read_bytes() == ONE
        lists = len(server.calls)
        assert eventually(lambda: len(server.calls) > lists + 3)
        assert server.downloads() == 1
        assert spooled(tmp_path) == [NAME]


def test_nothing_is_fetched_again_after_a_restart(tmp_path: Path) -> None:
    with AIToolkitServer(tmp_path / "models", "current") as server, daemon_for(tmp_path, server) as daemon:
        (server.directory / NAME).write_bytes(ONE)
        daemon.wait_for("delivery.delivered")
        daemon.stop()
        daemon.start()
        lists = len(server.calls)
        assert eventually(lambda: len(server.calls) > lists + 3)
        assert server.downloads() == 1


def test_a_model_that_changes_is_fetched_again_where_the_listing_shows_it(tmp_path: Path) -> None:
    with (
        AIToolkitServer(tmp_path / "models", "current", listing=("size", "modified")) as server,
        daemon_for(tmp_path, server) as daemon,
    ):
        (server.directory / NAME).write_bytes(ONE)
        daemon.wait_for("delivery.delivered")
        (server.directory / NAME).write_bytes(TWO)
        daemon.wait_for("delivery.delivered", count=2)
        assert (tmp_path / "loras" / NAME).read_bytes() == TWO


@pytest.mark.parametrize(
    "fault",
    [
        Fault("download_model", "reset-before"),
        Fault("download_model", "status", status=502),
        Fault("download_model", "raw", body=b'{"success":true,"result":{"status":"success","model":"cat","data":"QUJD'),
        Fault("download_model", "answer", answer={"success": True, "result": {"error": "Model not found"}}),
        Fault(
            "download_model",
            "answer",
            answer={"success": True, "result": {"status": "success", "model": "cat", "data": "QUJD", "size": 3}},
        ),
        Fault("download_model", "answer", answer={"success": True, "result": {"data": "no base64!", "size": 7}}),
    ],
    ids=["reset", "502", "truncated", "missing", "another-size", "no-base64"],
)
def test_a_download_that_fails_leaves_nothing_and_is_done_again(tmp_path: Path, fault: Fault) -> None:
    with AIToolkitServer(tmp_path / "models", "current") as server, daemon_for(tmp_path, server) as daemon:
        server.faults.append(fault)
        (server.directory / NAME).write_bytes(ONE)
        daemon.wait_for("delivery.delivered")
        assert (tmp_path / "loras" / NAME).read_bytes() == ONE
        assert spooled(tmp_path) == [NAME]


def test_once_fetches_before_it_ends(tmp_path: Path) -> None:
    with AIToolkitServer(tmp_path / "models", "current") as server:
        (server.directory / NAME).write_bytes(ONE)
        (server.directory / "large.safetensors").write_bytes(lora_bytes(size_bytes=20 << 20))
        finished = daemon_for(tmp_path, server).run_once()
        assert finished.exit_code == 0, finished.stdout + finished.stderr
        assert (tmp_path / "loras" / NAME).read_bytes() == ONE
        assert (tmp_path / "loras" / "large.safetensors").exists()


def test_a_server_that_refuses_us_is_told_once_and_not_asked_again(tmp_path: Path) -> None:
    with (
        AIToolkitServer(tmp_path / "models", "current", token="another") as server,
        daemon_for(tmp_path, server, environ={"LORAWATCH_TOKEN_TRAINING_BOX": "s3cret"}) as daemon,
    ):
        assert daemon.wait_for("watch.incomplete")["code"] == "not-authorized"
        assert server.calls == []
        assert "s3cret" not in daemon.account()


def test_a_server_that_is_away_is_told_and_asked_again(tmp_path: Path) -> None:
    with AIToolkitServer(tmp_path / "models", "current") as server:
        (server.directory / NAME).write_bytes(ONE)
        server.stop()
        with daemon_for(tmp_path, server) as daemon:
            assert daemon.wait_for("watch.incomplete")["code"] == "connection-failed"
            server.start()
            daemon.wait_for("delivery.delivered")
            daemon.wait_for("watch.reestablished")
