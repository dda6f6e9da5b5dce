"""`doctor` among users: the daemon as one, the trainer's files and the person who asks as others."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.factories import write_lora
from tests.process import Lorawatch
from tests.system.users import DAEMON, STRANGER, base

pytestmark = pytest.mark.system

__all__ = ["base"]


def daemon_of(base: Path) -> Lorawatch:
    config = (
        f'[watch]\ndirectories = ["{base / "outputs"}"]\n[[destinations]]\nname = "comfyui"\nkind = "directory"\n'
        f'directory = "{base / "loras"}"\nmin_free_bytes = 0\n'
    )
    return Lorawatch(base, config=config, user=DAEMON)


def doctor(daemon: Lorawatch, user: int | None = None) -> list[dict[str, Any]]:
    """Return what is wrong in the eyes of a doctor who is this user; None: root."""
    root = Lorawatch(daemon.tmp_path, config=daemon.config)
    done = root.command("doctor", f"--config={daemon.tmp_path / 'lorawatch.toml'}", "--json", user=user)
    found = [each for each in done.json()["findings"] if each["level"] != "ok"]
    assert done.exit_code == (3 if found else 0), done.stderr
    return found


def private_lora(base: Path, name: str = "cat.safetensors") -> Path:
    path = base / "outputs" / name
    write_lora(path)
    path.chmod(0o600)
    return path


def test_root_finds_what_the_running_daemon_s_user_may_not_do(base: Path) -> None:
    with daemon_of(base) as daemon:
        assert doctor(daemon) == []
        path = private_lora(base)
        os.chown(base / "loras", 0, 0)
        reading, writing, *_ = doctor(daemon)
        assert (reading["check"], reading["code"]) == ("source-permissions", "permission-denied")
        assert str(path) in reading["detail"]
        assert "mode 0600" in reading["detail"]
        assert f"chmod g+r {path}" in reading["fix"]
        assert (writing["check"], writing["code"]) == ("destination-permissions", "destination-permission-denied")
        assert "setfacl" in writing["fix"]
        assert [path.name for path in (base / "loras").iterdir()] == []


def test_a_stranger_beside_the_daemon_is_told_as_whom_it_was_tried_and_that_this_does_not_count(base: Path) -> None:
    with daemon_of(base) as daemon:
        private_lora(base)
        found = [each for each in doctor(daemon, STRANGER) if each["check"].endswith("-permissions")]
        assert [each["check"] for each in found] == ["source-permissions", "destination-permissions"]
        for each in found:
            assert each["level"] == "warning"
            assert "which was not tried" in each["detail"]
            assert "sudo -u nobody lorawatch doctor" in each["fix"]


def test_who_would_run_it_oneself_is_told_what_is_in_the_way(base: Path) -> None:
    daemon = daemon_of(base)
    daemon._config_file()
    private_lora(base)
    before = sorted(path for path in base.rglob("*"))
    found = {each["check"]: each for each in doctor(daemon, STRANGER)}
    assert found.keys() == {"state-directory", "source-permissions", "destination-permissions"}
    assert {each["level"] for each in found.values()} == {"error"}
    assert sorted(path for path in base.rglob("*")) == before


def test_a_directory_on_the_way_that_may_not_be_entered_is_named(base: Path) -> None:
    daemon = daemon_of(base)
    daemon._config_file()
    (base / "outputs").chmod(0o700)
    (found,) = doctor(daemon, DAEMON)
    assert (found["check"], found["code"]) == ("source-permissions", "permission-denied")
    assert "setfacl" in found["fix"]


def test_a_delivered_file_that_comfyui_s_user_cannot_read_is_found_through_its_process(base: Path) -> None:
    import subprocess
    import sys

    comfyui = base / "ComfyUI"
    (comfyui / "models").mkdir(parents=True)
    (comfyui / "main.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(600)\n")
    (base / "loras").rename(comfyui / "models/loras")
    (base / "loras").symlink_to(comfyui / "models/loras")
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent.parent / "other_user.py"), str(STRANGER), sys.executable, "main.py"],
        cwd=comfyui, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        daemon = daemon_of(base)
        assert doctor_as_daemon(daemon) == []
        (comfyui / "models/loras/own.safetensors").touch(mode=0o600)
        (found,) = doctor_as_daemon(daemon)
        assert (found["check"], found["code"]) == ("comfyui-permissions", "value-not-in-list")
        assert "chmod a+r" in found["fix"]
        (comfyui / "models/loras").chmod(0o700)
        (found,) = doctor_as_daemon(daemon)
        assert "may not enter" in found["detail"]
    finally:
        process.kill()
        process.communicate()


def doctor_as_daemon(daemon: Lorawatch) -> list[dict[str, Any]]:
    """Return what root's doctor finds while nothing runs."""
    daemon._config_file()
    return doctor(daemon)
