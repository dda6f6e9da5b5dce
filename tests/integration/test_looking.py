"""Looking at many files: two at a time, answered in their order, and over at once when nobody wants to know more."""

import time
from pathlib import Path

from lorawatch.inspection.examination import Examiner
from lorawatch.looking import look_at_all
from tests.factories import header_bytes, write_lora

EXAMINER = Examiner(max_header_bytes=16_777_216, scan_weights=True, on_nonfinite="reject")
HUGE_BYTES = 40 << 30


def test_the_answers_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    sizes = (8_000_000, 100_000, 4_000_000, 100_000, 100_000, 2_000_000)
    files = [str(tmp_path / f"{number}.safetensors") for number in range(len(sizes))]
    hashes = [write_lora(file, size_bytes=size, seed=size) for file, size in zip(files, sizes, strict=True)]
    files.insert(2, str(tmp_path / "missing.safetensors"))
    verdicts = list(look_at_all(files, EXAMINER, lambda *_: None))
    assert [verdict.file for verdict in verdicts] == files
    assert [verdict.sha256 for verdict in verdicts] == [*hashes[:2], None, *hashes[2:]]
    assert [verdict.is_accepted for verdict in verdicts] == [
        each is not None for each in (*hashes[:2], None, *hashes[2:])
    ]


def test_whoever_stops_asking_waits_for_no_large_file(tmp_path: Path) -> None:
    small, huge = tmp_path / "small.safetensors", tmp_path / "huge.safetensors"
    write_lora(small)
    with huge.open("wb") as file:
        file.write(header_bytes({"a": {"dtype": "U8", "shape": [HUGE_BYTES], "data_offsets": [0, HUGE_BYTES]}}))
        file.truncate(file.tell() + HUGE_BYTES)  # sparse: takes no room, and half a minute to read
    verdicts = look_at_all([str(small), *[str(huge)] * 10], EXAMINER, lambda *_: None)
    assert next(iter(verdicts)).file == str(small)
    started = time.monotonic()
    verdicts.close()
    assert time.monotonic() - started < 60, "to read them all takes five minutes"
