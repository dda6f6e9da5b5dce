"""A full disk, of the state directory or of the destination: said once, waited out, gone on without a restart."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.factories import write_lora
from tests.process import Lorawatch

pytestmark = pytest.mark.system

DISK_BYTES = 4 << 20
LORA_BYTES = 1 << 20


@contextmanager
def small_disk(point: Path) -> Iterator[Path]:
    """Mount a file system of DISK_BYTES."""
    point.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0755", "tmpfs", point], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", "--lazy", point], check=True)


def fill(disk: Path) -> Path:
    """Write until nothing more fits; return the file to be removed."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        while os.statvfs(disk).f_bavail:
            file.write(bytes(4096))
    return filler


def folders(base: Path) -> tuple[Path, Path]:
    outputs, loras = base / "outputs", base / "loras"
    outputs.mkdir()
    loras.mkdir()
    return outputs, loras


def daemon_of(base: Path, outputs: Path, loras: Path) -> Lorawatch:
    environ = {"LORAWATCH_RETRY__MAX_SECONDS": "1", "LORAWATCH_DESTINATIONS__LORAS__MIN_FREE_BYTES": "0"}
    return Lorawatch(base, watch=outputs, to=loras, environ=environ)


def test_a_full_state_directory_is_said_once_and_survived(tmp_path: Path) -> None:
    outputs, loras = folders(tmp_path)
    with small_disk(tmp_path / "state") as disk, daemon_of(tmp_path, outputs, loras) as daemon:
        write_lora(outputs / "before.safetensors")
        daemon.wait_for("delivery.delivered")
        filler = fill(disk)
        wanted = {f"{number}.safetensors" for number in range(40)}
        for name in wanted:  # more than fits into what the journal has allocated
            write_lora(outputs / name)
        degraded = daemon.wait_for("daemon.degraded")
        assert degraded["code"] == "journal-unusable"
        assert "full" in degraded["reason"]
        assert degraded["fix"]
        with pytest.raises(AssertionError):  # it does not come back by itself, and does not say so again
            daemon.wait_for("daemon.degraded", 7, count=2)
        assert daemon.is_running
        filler.unlink()
        daemon.wait_for("daemon.recovered")
        daemon.wait_for("delivery.delivered", count=41)
        assert {path.name for path in loras.iterdir()} == {"before.safetensors", *wanted}
        assert len(daemon.of("daemon.degraded")) == 1
        assert not daemon.of("delivery.failed")
        assert not daemon.of("file.rejected")
        assert daemon.stop() == 0


def test_a_stop_while_the_state_directory_is_full_is_a_clean_one(tmp_path: Path) -> None:
    outputs, loras = folders(tmp_path)
    with small_disk(tmp_path / "state") as disk, daemon_of(tmp_path, outputs, loras) as daemon:
        filler = fill(disk)
        for number in range(40):
            write_lora(outputs / f"{number}.safetensors")
        daemon.wait_for("daemon.degraded")
        assert daemon.stop() == 0
        assert all(path.suffix == ".safetensors" for path in loras.iterdir())
        filler.unlink()
        assert daemon.run_once().exit_code == 0
        assert len(list(loras.iterdir())) == 40


def test_a_full_destination_is_waited_for(tmp_path: Path) -> None:
    outputs, loras = folders(tmp_path)
    with small_disk(loras) as disk, daemon_of(tmp_path, outputs, loras) as daemon:
        filler = fill(disk)
        write_lora(outputs / "a.safetensors", size_bytes=LORA_BYTES)
        waiting = daemon.wait_for("delivery.waiting")
        assert waiting["code"] in {"disk-full", "low-disk-space"}
        assert waiting["fix"]
        daemon.wait_for("delivery.waiting", count=2)
        assert [path.name for path in loras.iterdir()] == ["filler"]
        filler.unlink()
        daemon.wait_for("delivery.delivered")
        assert [path.name for path in loras.iterdir()] == ["a.safetensors"]
        assert not daemon.of("delivery.failed")
        assert daemon.stop() == 0


def test_a_destination_that_is_too_full_for_one_still_takes_a_smaller_one(tmp_path: Path) -> None:
    outputs, loras = folders(tmp_path)
    with small_disk(loras), daemon_of(tmp_path, outputs, loras) as daemon:
        write_lora(outputs / "large.safetensors", size_bytes=DISK_BYTES + LORA_BYTES)
        daemon.wait_for("delivery.waiting", file=outputs / "large.safetensors")
        write_lora(outputs / "small.safetensors", size_bytes=LORA_BYTES)
        daemon.wait_for("delivery.delivered", file=outputs / "small.safetensors")
        assert daemon.stop() == 0


def test_a_destination_whose_disk_was_unmounted_is_waited_for_also_by_the_next_start(tmp_path: Path) -> None:
    outputs, loras = folders(tmp_path)
    with small_disk(loras), daemon_of(tmp_path, outputs, loras) as daemon:
        write_lora(outputs / "a.safetensors")
        daemon.wait_for("delivery.delivered")
        assert daemon.stop() == 0
    write_lora(outputs / "b.safetensors")
    with daemon_of(tmp_path, outputs, loras) as daemon:
        assert daemon.wait_for("destination.down")["code"] == "destination-unmounted"
        daemon.wait_for("delivery.waiting")
        assert not list(loras.iterdir())
        with small_disk(loras):
            daemon.wait_for("destination.up")
            daemon.wait_for("delivery.delivered", file=outputs / "b.safetensors")
            assert daemon.stop() == 0
