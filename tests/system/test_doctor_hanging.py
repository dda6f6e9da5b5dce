"""`doctor` in front of a disk that hangs: calls to it never come back, and it ends all the same, naming the disk."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process import PROJECT

pytestmark = pytest.mark.system

# In mount namespace of its own: a FUSE file system whose program never answers, and the command behind it.
_PROGRAM = """
import ctypes, os, subprocess, sys
point, *command = sys.argv[1:]
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40755,user_id=0,group_id=0,allow_other"
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"hanging", os.fsencode(point), b"fuse", 0, options.encode()):
    sys.exit(os.strerror(ctypes.get_errno()))
sys.exit(subprocess.run(command).returncode)
"""


@pytest.mark.parametrize("hanging", ["outputs", "loras"])
def test_a_disk_that_hangs_is_named_and_hangs_nobody(tmp_path: Path, hanging: str) -> None:
    for name in ("outputs", "loras"):
        (tmp_path / name).mkdir()
    file = tmp_path / "lorawatch.toml"
    file.write_text(
        f'state_directory = "{tmp_path / "state"}"\n[watch]\ndirectories = ["{tmp_path / "outputs"}"]\n'
        f'[[destinations]]\nname = "comfyui"\nkind = "directory"\ndirectory = "{tmp_path / "loras"}"\n'
    )
    words = [sys.executable, "-m", "lorawatch", "doctor", "--config", str(file), "--json"]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", _PROGRAM, tmp_path / hanging, *words],
        capture_output=True, timeout=100, check=False, text=True, cwd=PROJECT,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    stuck = [each for each in json.loads(done.stdout)["findings"] if each["code"] == "io-stuck"]
    assert str(tmp_path / hanging) in {each["subject"] for each in stuck}
    assert {each["check"] for each in json.loads(done.stdout)["findings"]} >= {"python", "clock", "systemd"}
