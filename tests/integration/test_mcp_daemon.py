"""The real daemon in front of a real HTTP server: what the engine makes of each way an upload can end."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.factories import finite_bytes, header_bytes, lora_bytes, lora_tensors
from tests.fakes.mcp_server import Fault, McpServer
from tests.mcp_scenes import CHUNK_BYTES, NAME, ONE, TWO, daemon_for, sha256
from tests.scenes import eventually, save_by_rename

LARGE = lora_bytes(size_bytes=8 << 20, seed=7)
LARGE_CHUNKS = -(-len(LARGE) // CHUNK_BYTES)


def stored(server: McpServer, name: str = NAME) -> bytes | None:
    path = server.directory / name
    return path.read_bytes() if path.exists() else None


def save(tmp_path: Path, content: bytes, name: str = NAME) -> Path:
    path = tmp_path / "outputs" / name
    save_by_rename(path, content)
    return path


def slowly() -> Fault:
    """Makes an upload last long enough to be interrupted."""
    return Fault("append", "slow", times=10**6, seconds=0.02)


@pytest.mark.parametrize("dialect", ["documented", "chunked", "direct", "jsonrpc"])
def test_a_lora_arrives_and_its_size_in_the_listing_is_the_proof(tmp_path: Path, dialect: str) -> None:
    with McpServer(tmp_path / "loras", dialect) as server, daemon_for(tmp_path, server) as daemon:
        path = save(tmp_path, ONE)
        event = daemon.wait_for("delivery.delivered", file=path)
        assert (event["evidence"], event["replaced"], event["carried_bytes"]) == ("size", False, len(ONE))
        assert stored(server) == ONE
        assert daemon.stop() == 0


def test_verify_download_proves_the_hash(tmp_path: Path) -> None:
    with (
        McpServer(tmp_path / "loras", "chunked") as server,
        daemon_for(tmp_path, server, 'verify = "download"') as daemon,
    ):
        assert daemon.wait_for("delivery.delivered", file=save(tmp_path, ONE))["evidence"] == "sha256"


def test_chunks_side_by_side_are_proved_by_the_hash_where_the_server_tells_it(tmp_path: Path) -> None:
    with (
        McpServer(tmp_path / "loras", listing=("size", "sha256")) as server,
        daemon_for(tmp_path, server, "parallel_chunks = 4") as daemon,
    ):
        assert daemon.wait_for("delivery.delivered", file=save(tmp_path, LARGE))["evidence"] == "sha256"
        assert stored(server) == LARGE


def test_a_second_version_of_equal_size_is_only_answered_where_nothing_can_be_read_back(tmp_path: Path) -> None:
    with McpServer(tmp_path / "loras") as server, daemon_for(tmp_path, server) as daemon:
        path = save(tmp_path, ONE)
        daemon.wait_for("delivery.delivered", file=path)
        save(tmp_path, TWO)
        event = daemon.wait_for("delivery.delivered", count=2, file=path)
        assert (event["evidence"], event["replaced"]) == ("answered", True)
        assert stored(server) == TWO
        assert os.listdir(server.directory) == [NAME]


def test_a_second_version_of_equal_size_is_read_back_where_that_is_possible(tmp_path: Path) -> None:
    with McpServer(tmp_path / "loras", "chunked") as server, daemon_for(tmp_path, server) as daemon:
        path = save(tmp_path, ONE)
        daemon.wait_for("delivery.delivered", file=path)
        save(tmp_path, TWO)
        assert daemon.wait_for("delivery.delivered", count=2, file=path)["evidence"] == "sha256"
        assert stored(server) == TWO


def test_a_file_of_equal_size_is_never_taken_for_the_same(tmp_path: Path) -> None:
    with McpServer(tmp_path / "loras") as server, daemon_for(tmp_path, server) as daemon:
        (server.directory / NAME).write_bytes(TWO)  # a stranger's, of the same size
        event = daemon.wait_for("delivery.delivered", file=save(tmp_path, ONE))
        assert event["remote_name"] == f"cat-{sha256(ONE)[:8]}.safetensors"
        assert stored(server) == TWO
        assert stored(server, event["remote_name"]) == ONE


def test_the_same_bytes_are_not_carried_where_they_can_be_read_back(tmp_path: Path) -> None:
    with McpServer(tmp_path / "loras", "direct") as server, daemon_for(tmp_path, server) as daemon:
        (server.directory / NAME).write_bytes(ONE)
        event = daemon.wait_for("delivery.delivered", file=save(tmp_path, ONE))
        assert (event["evidence"], event["carried_bytes"]) == ("sha256", 0)


def test_success_without_anything_stored_fails_and_needs_a_person(tmp_path: Path) -> None:
    with McpServer(tmp_path / "loras", "chunked") as server, daemon_for(tmp_path, server) as daemon:
        server.faults.append(Fault("complete", "lie", times=99))
        assert daemon.wait_for("delivery.failed", file=save(tmp_path, ONE))["code"] == "not-listed"
        assert not daemon.of("delivery.delivered")
        assert daemon.command("status").exit_code == 3


def test_a_refused_token_parks_the_destination_until_retry(tmp_path: Path) -> None:
    environ = {"LORAWATCH_TOKEN_BOX": "s3cret-t0ken"}
    with (
        McpServer(tmp_path / "loras", token="another") as server,
        daemon_for(tmp_path, server, environ=environ) as daemon,
    ):
        path = save(tmp_path, ONE)
        assert daemon.wait_for("destination.down")["code"] == "not-authorized"
        daemon.wait_for("delivery.waiting", file=path)
        time.sleep(0.5)  # both lanes have had their refusal
        pages = len(server.pages)
        assert pages <= 4
        time.sleep(1.5)  # several of its pauses between attempts
        assert (len(server.pages), len(server.calls)) == (pages, 0)
        server.token = "s3cret-t0ken"
        daemon.command("retry", "--all")
        daemon.wait_for("delivery.delivered", file=path)
        assert "s3cret-t0ken" not in daemon.account()


def test_a_refusal_in_the_middle_of_an_upload_parks_it_too(tmp_path: Path) -> None:
    with McpServer(tmp_path / "loras") as server, daemon_for(tmp_path, server) as daemon:
        server.faults.append(Fault("append", "status", after=4, times=10**6, status=403))
        save(tmp_path, ONE)
        assert daemon.wait_for("destination.down")["code"] == "not-authorized"
        calls = len(server.calls)
        time.sleep(1.0)  # several of its pauses between attempts
        assert len(server.calls) == calls


def test_a_400_is_permanent(tmp_path: Path) -> None:
    with McpServer(tmp_path / "loras") as server, daemon_for(tmp_path, server) as daemon:
        server.faults.append(Fault("start", "status", times=99, status=400))
        assert daemon.wait_for("delivery.failed", file=save(tmp_path, ONE))["code"] == "wrong-parameters"


def test_a_long_retry_after_decides_when_the_delivery_is_tried_again(tmp_path: Path) -> None:
    with (
        McpServer(tmp_path / "loras") as server,
        daemon_for(tmp_path, server, retry="max_seconds = 40") as daemon,
    ):
        server.faults.append(Fault("append", "status", after=5, status=429, headers={"Retry-After": "3600"}))
        event = daemon.wait_for("delivery.waiting", file=save(tmp_path, ONE))
        assert event["code"] == "server-busy"
        assert 39 <= event["retry_in_seconds"] <= 40  # capped by retry.max_seconds


def test_a_killed_daemon_resumes_where_the_upload_stood(tmp_path: Path) -> None:
    with McpServer(tmp_path / "loras") as server, daemon_for(tmp_path, server) as daemon:
        server.faults.append(slowly())
        path = save(tmp_path, LARGE)
        assert eventually(lambda: len(server.indexes()) > 20)
        daemon.kill()
        sent = len(server.indexes())
        server.faults.clear()
        daemon.start()
        resumed = daemon.wait_for("delivery.resumed", file=path)
        daemon.wait_for("delivery.delivered", file=path)
        assert stored(server) == LARGE
        assert server.count("start") == 1
        assert resumed["sent_bytes"] >= (sent - 2) * CHUNK_BYTES
        assert len(server.indexes()) <= LARGE_CHUNKS + 2


def test_a_stopped_daemon_ends_soon_and_sends_no_chunk_twice(tmp_path: Path) -> None:
    with (
        McpServer(tmp_path / "loras", placement="append") as server,
        daemon_for(tmp_path, server) as daemon,
    ):
        server.faults.append(slowly())
        path = save(tmp_path, LARGE)
        assert eventually(lambda: len(server.indexes()) > 20)
        started = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - started < 5
        server.faults.clear()
        daemon.start()
        daemon.wait_for("delivery.delivered", file=path)
        assert stored(server) == LARGE
        assert server.indexes() == list(range(LARGE_CHUNKS))


def test_a_daemon_killed_while_it_finishes_carries_nothing_twice(tmp_path: Path) -> None:
    with McpServer(tmp_path / "loras") as server, daemon_for(tmp_path, server) as daemon:
        finishing: list[bool] = []
        finish = server._finish

        def finish_late(arguments: dict[str, object]) -> dict[str, object]:
            result = finish(arguments)
            finishing.append(True)
            time.sleep(1)
            return result

        server._finish = finish_late  # type: ignore[method-assign]
        path = save(tmp_path, ONE)
        assert eventually(lambda: bool(finishing))
        daemon.kill()
        chunks = len(server.indexes())
        daemon.start()
        daemon.wait_for("delivery.delivered", file=path)
        assert len(server.indexes()) == chunks
        assert os.listdir(server.directory) == [NAME]
        assert stored(server) == ONE


def test_a_replacement_in_the_middle_of_the_upload_is_what_arrives(tmp_path: Path) -> None:
    with McpServer(tmp_path / "loras") as server, daemon_for(tmp_path, server) as daemon:
        server.faults.append(slowly())
        path = save(tmp_path, LARGE)
        assert eventually(lambda: len(server.indexes()) > 10)
        server.faults.clear()
        save(tmp_path, ONE)
        assert daemon.wait_for("delivery.cancelled", file=path)["code"] == "source-changed"
        assert daemon.wait_for("delivery.delivered", file=path)["sha256"] == sha256(ONE)
        assert stored(server) == ONE
        assert len(daemon.of("delivery.delivered")) == 1


def test_a_server_that_is_away_for_a_while_gets_everything_afterwards(tmp_path: Path) -> None:
    with McpServer(tmp_path / "loras") as server, daemon_for(tmp_path, server) as daemon:
        server.stop()
        path = save(tmp_path, ONE)
        # Lost, where a call was on its way as it went.
        assert daemon.wait_for("destination.down")["code"] in {"connection-failed", "connection-lost"}
        server.start()
        daemon.wait_for("destination.up")
        daemon.wait_for("delivery.delivered", file=path)
        assert stored(server) == ONE


@pytest.mark.parametrize(("dialect", "size_bytes"), [("documented", 1 << 30), ("direct", 192 << 20)])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, dialect: str, size_bytes: int) -> None:
    """1 GiB in chunks; in one call as much as the fake, which holds the whole body as the real one does, can bear."""
    with (
        McpServer(tmp_path / "loras", dialect) as server,
        daemon_for(tmp_path, server, f"chunk_bytes = {1 << 20}\nread_timeout_seconds = 60") as daemon,
    ):
        warm_up = save(tmp_path, lora_bytes(size_bytes=24 << 20, seed=3), "warm.safetensors")
        daemon.wait_for("delivery.delivered", file=warm_up)
        before = resident_bytes(daemon.pid)
        path = tmp_path / "outputs" / NAME
        write_large_lora(path, size_bytes)
        daemon.wait_for("delivery.delivered", timeout=110, file=path)
        assert resident_bytes(daemon.pid) - before < 32 << 20
        assert (server.directory / NAME).stat().st_size == path.stat().st_size


def write_large_lora(path: Path, size_bytes: int) -> None:
    """A LoRA of this size, whose weights repeat every 8 MiB: this process need not hold it either."""
    tensors = lora_tensors(size_bytes=size_bytes)
    document, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + tensor.size_bytes
        document[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    block = finite_bytes(8 << 20)
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        file.write(header_bytes(document))
        for start in range(0, offset, len(block)):
            file.write(block[: offset - start])
    temporary.rename(path)


def resident_bytes(pid: int) -> int:
    """The most it ever held."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("/proc has no VmHWM")


def test_the_daemon_still_takes_signals_while_a_server_keeps_it_waiting(tmp_path: Path) -> None:
    with McpServer(tmp_path / "loras") as server, daemon_for(tmp_path, server) as daemon:
        server.faults.append(Fault("append", "slow", after=3, times=99, seconds=20))
        save(tmp_path, ONE)
        assert eventually(lambda: server.count("append") > 3)
        started = time.monotonic()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
        assert time.monotonic() - started < 15, "it waited for the server's answer, which takes 20 s"
