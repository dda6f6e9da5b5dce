"""A trainer that cuts and rewrites its file while we look at it costs an answer, never the process."""

import mmap
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lorawatch.domain.errors import FileRejectedError
from lorawatch.inspection.examination import Examiner
from tests.factories import Tensor, lora_bytes, lora_tensors, write_lora

NEVER = threading.Event()

LOOK = """
import os, sys, threading, time
from lorawatch.domain.errors import SourceError
from lorawatch.inspection.examination import Examiner
from lorawatch.inspection.wholeness import wholeness

examiner = Examiner(max_header_bytes=1 << 24, scan_weights=True, on_nonfinite="reject")
never = threading.Event()
outcomes = {"whole": 0}
print("looking", flush=True)
until = time.monotonic() + 2
while time.monotonic() < until:
    descriptor = os.open(sys.argv[1], os.O_RDONLY)
    try:
        size_bytes = os.fstat(descriptor).st_size
        wholeness(descriptor, size_bytes=size_bytes, max_header_bytes=1 << 24)
        examination = examiner.begin(descriptor, name="x.safetensors", size_bytes=size_bytes)
        examination.hash(descriptor, size_bytes=size_bytes, stop=never)
        examination.conclude()
        outcomes["whole"] += 1
    except SourceError as error:
        outcomes[error.code] = outcomes.get(error.code, 0) + 1
    finally:
        os.close(descriptor)
print(outcomes)
"""


def test_a_file_that_is_cut_and_rewritten_all_the_time_never_kills_the_process(tmp_path: Path) -> None:
    path = tmp_path / "live.safetensors"
    content = lora_bytes(size_bytes=3_000_000)
    path.write_bytes(content)
    with subprocess.Popen(
        [sys.executable, "-c", LOOK, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as looker:
        assert looker.stdout is not None
        assert looker.stdout.readline() == "looking\n"
        descriptor = os.open(path, os.O_RDWR)
        try:
            while looker.poll() is None:
                for length in (0, 100, 50_000, 2_000_000):
                    os.ftruncate(descriptor, length)
                os.pwrite(descriptor, content, 0)
        finally:
            os.close(descriptor)
        rest, errors = looker.communicate()
    assert (looker.returncode, errors) == (0, "")
    # It is no test unless cuts were met: a short file is rejected, one that shrinks under the read has changed.
    assert "source-changed" in rest or "truncated" in rest


def test_mapping_the_file_instead_would_kill_the_process(tmp_path: Path) -> None:
    # Why nothing in inspection maps a live file: this is what the test above guards against.
    path = tmp_path / "live.safetensors"
    path.write_bytes(bytes(mmap.PAGESIZE * 4))
    script = (
        "import mmap, os, resource, sys; resource.setrlimit(resource.RLIMIT_CORE, (0, 0));"
        "f = open(sys.argv[1], 'r+b'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ);"
        "os.ftruncate(f.fileno(), 0); m[0]"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -signal.SIGBUS


class TestExamination:
    """From the header to the verdict on the weights."""

    def examine(self, path: Path, *, on_nonfinite: str = "reject", scan_weights: bool = True) -> tuple[str, list[str]]:
        examiner = Examiner(max_header_bytes=1 << 24, scan_weights=scan_weights, on_nonfinite=on_nonfinite)
        with path.open("rb") as file:
            size_bytes = path.stat().st_size
            examination = examiner.begin(file.fileno(), name=path.name, size_bytes=size_bytes)
            sha256 = examination.hash(file.fileno(), size_bytes=size_bytes, stop=NEVER)
            return sha256, [finding.code for finding in examination.conclude().findings]

    @pytest.fixture
    def poisoned(self, tmp_path: Path) -> Path:
        tensors = lora_tensors()
        first = min(tensors)
        tensors[first] = Tensor("BF16", tensors[first].shape, b"\xff" * tensors[first].size_bytes)
        write_lora(tmp_path / "nan.safetensors", tensors=tensors)
        return tmp_path / "nan.safetensors"

    def test_a_good_file_is_read_once_and_has_no_findings(self, tmp_path: Path) -> None:
        sha256 = write_lora(tmp_path / "good.safetensors")
        assert self.examine(tmp_path / "good.safetensors") == (sha256, [])

    def test_nan_is_rejected_or_warned_of_as_the_settings_say(self, poisoned: Path) -> None:
        with pytest.raises(FileRejectedError) as caught:
            self.examine(poisoned)
        assert caught.value.code == "nonfinite"
        assert caught.value.fix
        assert self.examine(poisoned, on_nonfinite="warn")[1] == ["nonfinite"]
        assert self.examine(poisoned, scan_weights=False)[1] == []

    def test_a_missing_end_is_always_rejected(self, tmp_path: Path) -> None:
        path = tmp_path / "cut.safetensors"
        content = lora_bytes()
        path.write_bytes(content[:-20_000] + bytes(20_000))
        with pytest.raises(FileRejectedError) as caught:
            self.examine(path, on_nonfinite="warn")
        assert caught.value.code == "zero-tail"

    def test_no_effect_is_a_warning_only(self, tmp_path: Path) -> None:
        tensors = {
            name: Tensor("BF16", tensor.shape, bytes(tensor.size_bytes)) if "lora_B" in name else tensor
            for name, tensor in lora_tensors().items()
        }
        write_lora(tmp_path / "zero.safetensors", tensors=tensors)
        assert self.examine(tmp_path / "zero.safetensors")[1] == ["zero-effect"]

    def test_after_a_broken_off_read_it_starts_again(self, tmp_path: Path) -> None:
        path = tmp_path / "good.safetensors"
        sha256 = write_lora(path)
        examiner = Examiner(max_header_bytes=1 << 24, scan_weights=True, on_nonfinite="reject")
        with path.open("rb") as file:
            size_bytes = path.stat().st_size
            examination = examiner.begin(file.fileno(), name=path.name, size_bytes=size_bytes)
            for sink in examination.sinks:
                sink(memoryview(b"the first bytes of a copy that failed"))
            examination.restart()
            assert examination.hash(file.fileno(), size_bytes=size_bytes, stop=NEVER) == sha256
            assert examination.conclude().findings == ()

    def test_every_setting_that_a_verdict_depends_on_changes_the_version(self) -> None:
        versions = {
            Examiner(max_header_bytes=cap, scan_weights=is_scanned, on_nonfinite=wish).version
            for cap in (1 << 20, 1 << 24)
            for is_scanned in (True, False)
            for wish in ("reject", "warn")
        }
        assert len(versions) == 8
