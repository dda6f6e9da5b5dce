"""The scan of a large file in a real process: its memory does not grow with the file."""

import json
import subprocess
import sys
from pathlib import Path

from tests.factories import header_bytes

GIB = 1 << 30
# Not ru_maxrss: a child inherits it from the process that started it, and the test would measure pytest.
MEASURE = """
import json, os, sys, threading
from lorawatch.inspection.header import read_header
from lorawatch.inspection.hashing import sha256_of
from lorawatch.inspection.weights import WeightsScan

def kib(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(key + ":"))

descriptor = os.open(sys.argv[1], os.O_RDONLY)
size_bytes = os.fstat(descriptor).st_size
header = read_header(descriptor, size_bytes=size_bytes, max_header_bytes=1 << 24)
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")  # forget the peak so far
before = kib("VmRSS")
scan = WeightsScan(header)
sha256_of(descriptor, size_bytes=size_bytes, stop=threading.Event(), sinks=[scan.feed])
findings = [finding.code for finding in scan.result()]
print(json.dumps({"extra_kib": kib("VmHWM") - before, "findings": findings}))
"""


def test_scanning_one_gib_needs_less_than_24_mib(tmp_path: Path) -> None:
    # Zeros are the expensive case: every look for a value that is not zero has to go on to the end.
    layers = 1024
    half = GIB // layers // 2
    document: dict[str, object] = {}
    for number in range(layers):
        begin = number * 2 * half
        document[f"blocks.{number:04}.q.lora_A.weight"] = _info(begin, half)
        document[f"blocks.{number:04}.q.lora_B.weight"] = _info(begin + half, half)
    path = tmp_path / "large.safetensors"
    header = header_bytes(document)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + GIB)
    output = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], check=True, capture_output=True, text=True, timeout=100
    ).stdout
    measured = json.loads(output)
    assert measured["findings"] == ["zero-effect", "zero-tail"]
    assert 1024 <= measured["extra_kib"] < 24 * 1024  # the one buffer is there at least: it was measured at all


def _info(begin: int, length: int) -> dict[str, object]:
    return {"dtype": "BF16", "shape": [length // 2], "data_offsets": [begin, begin + length]}
