"""A file system that can share blocks between files: there the cost of a verified delivery should be its hash.

Needs root: it makes an xfs and a btrfs in a file and mounts them through a loop device.
"""

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.benchmarks.arrival import carry
from tests.benchmarks.carriers import Carrier, Command, LorawatchCarrier
from tests.benchmarks.measuring import MEGABYTE, Report, Sample, Settings, ratio, settle
from tests.factories import lora_bytes

FILE_SYSTEMS = {"xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"], "btrfs": ["mkfs.btrfs", "-q"]}
IMAGE_BYTES = 16 << 30  # sparse; lorawatch waits where less than its min_free_bytes, 5 GB, is free
HASH_BLOCK_BYTES = 1 << 20


def measure_reflink(directory: str, settings: Settings) -> Report:
    """Close → visible against sha256 of the same file alone, in one thread."""
    report = Report(
        f"file systems with reflink, {settings.large_bytes / MEGABYTE:.0f} MB, median of {settings.rounds}",
        ("", "writer", "seconds", "spread", "x sha256 alone", "asked"),
        notes=[
            "sharing the blocks of a file that is not on disk yet makes the kernel write them first, for cp as well:",
            "the flushed writer shows lorawatch itself, the other one what a trainer that never flushes will see.",
        ],
    )
    if os.geteuid() != 0:
        report.notes = ["left out: mounting needs root"]
        return report
    for kind, make in FILE_SYSTEMS.items():
        if not shutil.which(make[0]):
            report.notes.append(f"{make[0]} is not installed: left out")
            continue
        with _mounted(directory, kind, make) as root:
            _measure_one(report, root, kind, settings)
    return report


def _measure_one(report: Report, root: str, kind: str, settings: Settings) -> None:
    content = bytearray(lora_bytes(size_bytes=settings.large_bytes))
    carriers: list[Carrier] = [Command(root, "cp", ["cp", "--reflink=always"]), LorawatchCarrier(root)]
    samples: dict[tuple[str, bool], Sample] = {
        (carrier.label, is_flushed): Sample() for carrier in carriers for is_flushed in (True, False)
    }
    hashing = Sample()
    with carriers[0], carriers[1]:
        for number in range(-1, settings.rounds):  # the first round warms up
            alone = _hash_alone(os.path.join(root, "alone"), content)
            if number >= 0:
                hashing.seconds.append(alone)
            for (label, is_flushed), sample in samples.items():
                carrier = next(each for each in carriers if each.label == label)
                name = f"round{number + 1}-{int(is_flushed)}.safetensors"
                _, since_close = carry(carrier, [name], content, is_flushed=is_flushed)
                if number >= 0:
                    sample.seconds.append(since_close)
                settle()
    report.rows.append((f"{kind}: sha256 alone", "", f"{hashing.median:.3f}", hashing.spread, "1.00", ""))
    for (label, is_flushed), sample in samples.items():
        report.rows.append(
            (
                f"{kind}: {label}",
                "flushed" if is_flushed else "not flushed",
                f"{sample.median:.3f}",
                sample.spread,
                ratio(sample.median, hashing.median),
                "about 1.0" if label == "lorawatch" and is_flushed else "",
            )
        )


def _hash_alone(path: str, content: bytearray) -> float:
    """Write a file, then return how long it takes to read it from the page cache and hash it."""
    with open(path, "wb") as file:
        file.write(content)
    block = memoryview(bytearray(HASH_BLOCK_BYTES))
    started = time.perf_counter()
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
    seconds = time.perf_counter() - started
    os.remove(path)
    settle()
    return seconds


@contextmanager
def _mounted(directory: str, kind: str, make: list[str]) -> Iterator[str]:
    image, root = os.path.join(directory, f"{kind}.image"), os.path.join(directory, kind)
    with open(image, "wb") as file:
        file.truncate(IMAGE_BYTES)
    os.makedirs(root)
    subprocess.run([*make, image], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, root], check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", root], check=True)
        os.remove(image)
