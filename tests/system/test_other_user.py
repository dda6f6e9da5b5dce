"""The daemon as one user, the trainer's files and the person who asks as others: as in every real installation."""

import grp
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories import write_lora
from tests.process import Finished, Lorawatch
from tests.system.users import DAEMON, STRANGER, base

pytestmark = pytest.mark.system

__all__ = ["base"]


@pytest.fixture
def daemon(base: Path) -> Iterator[Lorawatch]:
    environ = {"LORAWATCH_DESTINATIONS__LORAS__MIN_FREE_BYTES": "0"}
    with Lorawatch(base, watch=base / "outputs", to=base / "loras", user=DAEMON, environ=environ) as daemon:
        yield daemon


def state_of(base: Path) -> set[str]:
    return {path.name for path in (base / "state").iterdir()}


def status_as(daemon: Lorawatch, user: int) -> Finished:
    return daemon.command("status", "--json", user=user)


def assert_shows_the_delivery(finished: Finished, *, is_running: bool) -> None:
    assert finished.exit_code == 0, finished.stderr
    (delivery,) = finished.json()["deliveries"]
    assert delivery["state"] == "delivered"
    assert finished.json()["running"] is is_running


def deliver(base: Path, daemon: Lorawatch) -> None:
    write_lora(base / "outputs" / "a.safetensors")
    daemon.wait_for("delivery.delivered")


def test_a_file_of_mode_0600_of_the_trainer_waits_for_a_chmod(base: Path, daemon: Lorawatch) -> None:
    hidden = base / "outputs" / ".tmp"
    write_lora(hidden)
    hidden.chmod(0o600)  # as safetensors 0.8 leaves it
    path = hidden.rename(base / "outputs" / "a.safetensors")
    told = daemon.wait_for("file.unreadable", file=path)
    assert told["code"] == "permission-denied"
    assert "service install --private-files" in told["fix"]  # it is root's file, and the service never runs as root
    assert daemon.status()["files"][0]["state"] == "unreadable"
    path.chmod(0o644)
    daemon.wait_for("delivery.delivered", file=path)
    assert len(daemon.of("file.unreadable")) == 1
    delivered = (base / "loras" / "a.safetensors").stat()
    assert (delivered.st_uid, delivered.st_mode & 0o777) == (DAEMON, 0o664)
    assert daemon.stop() == 0


def test_a_directory_that_appears_and_cannot_be_listed_is_told_at_once_and_waits_for_a_chmod(
    base: Path, daemon: Lorawatch
) -> None:
    run = base / "outputs" / "run"
    run.mkdir(mode=0o700)
    write_lora(run / "a.safetensors")
    told = daemon.wait_for("file.unreadable", timeout=3, file=run)
    assert told["code"] == "permission-denied"
    run.chmod(0o755)
    daemon.wait_for("delivery.delivered", timeout=12, file=run / "a.safetensors")
    assert len(daemon.of("file.unreadable", file=run)) == 1
    assert not daemon.status()["files"]


def test_status_works_for_everybody_who_may_read_the_journal_and_creates_nothing(base: Path, daemon: Lorawatch) -> None:
    (base / "state").chmod(0o755)
    deliver(base, daemon)
    running = state_of(base)
    for user in (STRANGER, 0):
        assert_shows_the_delivery(status_as(daemon, user), is_running=True)
    assert state_of(base) == running
    assert daemon.stop() == 0
    closed = state_of(base)
    assert closed == {"journal.sqlite3", "lock"}
    for user in (STRANGER, DAEMON, 0):
        assert_shows_the_delivery(status_as(daemon, user), is_running=False)
    assert state_of(base) == closed


def test_status_works_after_the_daemon_was_killed(base: Path, daemon: Lorawatch) -> None:
    (base / "state").chmod(0o755)
    deliver(base, daemon)
    daemon.kill()
    for user in (STRANGER, 0, DAEMON):
        assert_shows_the_delivery(status_as(daemon, user), is_running=False)
    assert daemon.run_once().exit_code == 0, "what another user read must not keep the daemon from writing"


def test_status_by_root_does_not_lock_the_daemon_out(base: Path, daemon: Lorawatch) -> None:
    deliver(base, daemon)
    assert daemon.stop() == 0
    assert_shows_the_delivery(status_as(daemon, 0), is_running=False)
    assert daemon.run_once().exit_code == 0


@pytest.mark.parametrize("is_running", [True, False])
def test_status_without_permission_says_whom_to_ask(base: Path, daemon: Lorawatch, is_running: bool) -> None:
    (base / "state").chmod(0o750)
    deliver(base, daemon)
    if not is_running:
        assert daemon.stop() == 0
    refused = status_as(daemon, STRANGER)
    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert "sudo" in refused.stderr
    assert f"sudo usermod -aG {grp.getgrgid(DAEMON).gr_name} $USER" in refused.stderr
    assert "Traceback" not in refused.stderr
    (base / "state").chmod(0o700)
    refused = status_as(daemon, STRANGER)
    assert refused.exit_code == 1
    assert "sudo" in refused.stderr
    assert "group" not in refused.stderr


@pytest.mark.parametrize("words", [("retry", "--all"), ("status",)])
def test_commands_that_may_read_but_not_write_say_so(base: Path, daemon: Lorawatch, words: tuple[str, ...]) -> None:
    (base / "state").chmod(0o755)
    deliver(base, daemon)
    finished = daemon.command(*words, user=STRANGER)
    assert finished.exit_code == (0 if words == ("status",) else 1)
    assert words == ("status",) or "sudo" in finished.stderr
    assert "Traceback" not in finished.stderr
