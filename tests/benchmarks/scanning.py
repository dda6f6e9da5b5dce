"""What the scan of the weights costs: alone beside a plain read, and riding on sha256 beside sha256 alone.

The processor's seconds are compared, not the clock's: reading, hashing and scanning happen in one thread on a file in
the page cache, so the two are the same on a quiet machine, and on a busy one only these mean something.
"""

import os
import threading
import time
from typing import TYPE_CHECKING

from lorawatch.inspection.hashing import sha256_of
from lorawatch.inspection.header import Header, read_header
from lorawatch.inspection.weights import WeightsScan
from lorawatch.transport.files import new_block
from tests.benchmarks.measuring import MEGABYTE, Report, Sample, Settings, ratio
from tests.factories import ITEM_BITS, Tensor, write_lora

if TYPE_CHECKING:
    from collections.abc import Callable

DTYPES = ("BF16", "F16", "F32", "F8_E4M3", "F8_E5M2")
NEVER = threading.Event()
INPUTS = 3072


def measure_scan(directory: str, settings: Settings) -> Report:
    """For each number type, four ways over one file, in turn."""
    report = Report(
        f"the weights scan on {settings.large_bytes / MEGABYTE:,.0f} MB, median of {settings.rounds}",
        ("", "plain read", "read + scan", "x read", "asked", "sha256", "sha256 + scan", "x sha256", "asked"),
    )
    for dtype in DTYPES:
        path = os.path.join(directory, f"{dtype}.safetensors")
        _write(path, dtype, settings.large_bytes)
        samples = _measure(path, settings.rounds)
        os.unlink(path)
        read, scan, digest, both = (sample.median for sample in samples)
        report.rows.append(
            (
                dtype,
                *(f"{read:.3f}", f"{scan:.3f}", ratio(scan, read), "≤ 2.5"),
                *(f"{digest:.3f}", f"{both:.3f}", ratio(both, digest), "≤ 1.25"),
            )
        )
    return report


def _write(path: str, dtype: str, size_bytes: int) -> None:
    """Write a LoRA of a thousand tensors of this type."""
    rank = size_bytes * 8 // (1000 * INPUTS * ITEM_BITS[dtype])
    write_lora(
        path,
        tensors={
            f"transformer.transformer_blocks.{number}.attn.to_q.lora_{half}.weight": Tensor(dtype, shape)
            for number in range(500)
            for half, shape in (("A", (rank, INPUTS)), ("B", (INPUTS, rank)))
        },
    )


def _measure(path: str, rounds: int) -> tuple[Sample, ...]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size_bytes = os.fstat(descriptor).st_size
        header = read_header(descriptor, size_bytes=size_bytes, max_header_bytes=1 << 24)
        ways: tuple[Callable[[], None], ...] = (
            lambda: _read(descriptor, None),
            lambda: _read(descriptor, WeightsScan(header)),
            lambda: _hash(descriptor, header, is_scanned=False),
            lambda: _hash(descriptor, header, is_scanned=True),
        )
        samples = tuple(Sample() for _ in ways)
        for number in range(-1, rounds):
            for way, sample in zip(ways, samples, strict=True):
                started = time.process_time()
                way()
                if number >= 0:  # the first round fills the page cache
                    sample.seconds.append(time.process_time() - started)
        return samples
    finally:
        os.close(descriptor)


def _read(descriptor: int, scan: WeightsScan | None) -> None:
    buffer = new_block()
    offset = 0
    while count := os.preadv(descriptor, [buffer], offset):
        if scan is not None:
            scan.feed(buffer[:count])
        offset += count
    if scan is not None:
        scan.result()


def _hash(descriptor: int, header: Header, *, is_scanned: bool) -> None:
    scan = WeightsScan(header)
    sinks = (scan.feed,) if is_scanned else ()
    sha256_of(descriptor, size_bytes=header.total_bytes, stop=NEVER, sinks=sinks)
    if is_scanned:
        scan.result()
