"""Where /proc is not mounted, as in a bare chroot: said at once, not found out by waiting for files that never come."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import write_lora

pytestmark = pytest.mark.system


@pytest.mark.parametrize("words", [["demo"], ["check", "cat.safetensors"], ["once", "--watch", "out", "--to", "loras"]])
def test_every_command_that_opens_files_says_what_is_missing(tmp_path: Path, words: list[str]) -> None:
    write_lora(tmp_path / "cat.safetensors")
    for name in ("out", "loras"):
        (tmp_path / name).mkdir()
    inside = ["sh", "-c", 'umount --lazy /proc && exec "$@"', "sh", sys.executable, "-m", "lorawatch", *words]
    run = subprocess.run(
        ["unshare", "--mount", *inside],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    assert "/proc is not mounted" in run.stderr
    assert "mount -t proc proc /proc" in run.stderr
    assert "Traceback" not in run.stderr
