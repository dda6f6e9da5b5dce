"""What the daemon may not do is said once, with a cure, and done as soon as it may: without a restart.

Root is never refused, so as root the daemon runs as nobody, and everything belongs to nobody.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories import write_lora
from tests.process import Lorawatch

NOBODY = 65534
USER = NOBODY if os.geteuid() == 0 else None
QUICK = {
    "LORAWATCH_RETRY__MAX_SECONDS": "1",
    "LORAWATCH_WATCH__RECONCILE_SECONDS": "2",
    "LORAWATCH_DESTINATIONS__LORAS__MIN_FREE_BYTES": "0",
}


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory that the daemon's user reaches: pytest's own are for the user of the tests alone."""
    directory = Path(tempfile.mkdtemp(prefix="lorawatch-test-"))
    try:
        for name in ("outputs", "loras", "state"):
            (directory / name).mkdir()
        for path in (directory, *directory.iterdir()):
            give(path)
        yield directory
    finally:
        for path in (directory, *directory.iterdir()):
            path.chmod(0o700)
        shutil.rmtree(directory)


def give(path: Path) -> None:
    """Let a path belong to the daemon's user."""
    if USER is not None:
        os.chown(path, USER, USER)


def daemon_of(base: Path) -> Lorawatch:
    return Lorawatch(base, watch=base / "outputs", to=base / "loras", user=USER, environ=QUICK)


def write(base: Path, name: str, *, seed: int = 0, mode: int = 0o600) -> Path:
    path = base / "outputs" / name
    write_lora(path, seed=seed)
    give(path)
    path.chmod(mode)
    return path


def test_a_file_that_may_not_be_read_is_told_once_and_delivered_after_a_chmod(base: Path) -> None:
    with daemon_of(base) as daemon:
        path = write(base, ".forbidden.safetensors", mode=0)
        path = path.rename(base / "outputs" / "forbidden.safetensors")
        told = daemon.wait_for("file.unreadable", file=path)
        assert told["code"] == "permission-denied"
        assert told["fix"]
        write(base, "free.safetensors", seed=1)
        daemon.wait_for("delivery.delivered", file=base / "outputs" / "free.safetensors")
        (shown,) = daemon.status()["files"]
        assert (shown["file"], shown["state"], shown["code"]) == (str(path), "unreadable", "permission-denied")
        assert daemon.stop() == 0
    with daemon_of(base) as daemon:  # a restart is no news
        daemon.wait_for("daemon.ready")
        path.chmod(0o600)
        daemon.wait_for("delivery.delivered", file=path)
        assert not daemon.of("file.unreadable")
        assert daemon.stop() == 0
    assert {each.name for each in (base / "loras").iterdir()} == {"forbidden.safetensors", "free.safetensors"}


def test_a_directory_that_may_not_be_listed_is_told_once_and_read_after_a_chmod(base: Path) -> None:
    job = base / "outputs" / "job"
    job.mkdir()
    path = write(base, "job/a.safetensors")
    give(job)
    job.chmod(0)
    with daemon_of(base) as daemon:
        told = daemon.wait_for("file.unreadable", file=job)
        assert told["code"] == "permission-denied"
        assert told["fix"]
        job.chmod(0o700)
        daemon.wait_for("delivery.delivered", file=path)
        assert len(daemon.of("file.unreadable")) == 1
        assert daemon.status()["files"] == []
        assert daemon.stop() == 0


def test_a_destination_that_may_not_be_written_is_told_once_and_used_after_a_chmod(base: Path) -> None:
    loras = base / "loras"
    with daemon_of(base) as daemon:
        loras.chmod(0o500)
        for number in range(5):
            write(base, f"{number}.safetensors", seed=number)
        down = daemon.wait_for("destination.down")
        assert down["code"] == "destination-permission-denied"
        assert str(loras) in down["fix"]
        for number in range(5):
            daemon.wait_for("delivery.waiting", file=base / "outputs" / f"{number}.safetensors")
        assert daemon.command("status").exit_code == 0
        loras.chmod(0o700)
        daemon.wait_for("destination.up")
        daemon.wait_for("delivery.delivered", count=5)
        assert len(daemon.of("destination.down")) == 1
        assert not daemon.of("delivery.failed")
        assert daemon.stop() == 0
    assert len(list(loras.iterdir())) == 5


@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_a_state_directory_that_may_not_be_written_is_refused_with_words(base: Path, mode: int) -> None:
    (base / "state").chmod(mode)
    refused = daemon_of(base).run_once()
    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert str(base / "state") in refused.stderr
    assert "set state_directory" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_journal_that_may_not_be_written_is_refused_with_words(base: Path) -> None:
    assert daemon_of(base).run_once().exit_code == 0
    (base / "state" / "journal.sqlite3").chmod(0o400)
    refused = daemon_of(base).run_once()
    assert refused.exit_code == 1
    assert "journal.sqlite3" in refused.stderr
    assert "written" in refused.stderr
    assert "Traceback" not in refused.stderr
