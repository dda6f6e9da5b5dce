"""What `lorawatch check` costs over many files, against the sha256 of the same files and nothing else."""

import os
import sys

from tests.benchmarks.daemon import COMMAND, seconds_of
from tests.benchmarks.measuring import MEGABYTE, Report, Sample, Settings, ratio
from tests.factories import write_lora

# How many files of which size: small ones, whose headers weigh most, and those of an ordinary rank.
SERIES = ((1000, 3 * MEGABYTE), (1000, 20 * MEGABYTE))
DISTINCT_FILES = 10  # the others are further names of these: the disk need not hold 20 GB
HASH_ALONE = """
import hashlib, sys
for path in sys.argv[1:]:
    with open(path, "rb", buffering=0) as file:
        print(hashlib.file_digest(file, "sha256").hexdigest())
"""


def measure_check(directory: str, settings: Settings) -> Report:
    """One process over all files, from exec to exit, its start and output included; all of them in the page cache."""
    report = Report(f"check, median of {settings.rounds}", ("", "seconds", "spread", "MB/s", "x sha256 alone", "asked"))
    for count, size_bytes in SERIES:
        files = _files(os.path.join(directory, str(size_bytes)), count, size_bytes)
        total = sum(os.stat(file).st_size for file in files)
        alone, check = Sample(), Sample()
        for number in range(-1, settings.rounds):
            for sample, command in (
                (alone, [sys.executable, "-c", HASH_ALONE]),
                (check, [*COMMAND, "check", "--json"]),
            ):
                seconds = seconds_of([*command, *files])
                if number >= 0:  # the first round fills the page cache and compiles
                    sample.seconds.append(seconds)
        what = f"{count:,} files of {total / count / MEGABYTE:.0f} MB"
        for label, sample, asked in (
            (f"{what}: sha256 alone", alone, ""),
            (f"{what}: lorawatch check", check, "≤ 1.25"),
        ):
            speed = f"{total / sample.median / MEGABYTE:.0f}"
            report.rows.append(
                (label, f"{sample.median:.2f}", sample.spread, speed, ratio(sample.median, alone.median), asked)
            )
    report.notes = ["sha256 alone is Python's, one file after the other; check looks at two files at once"]
    return report


def _files(directory: str, count: int, size_bytes: int) -> list[str]:
    os.makedirs(directory)
    files = [os.path.join(directory, f"training_{number:09}.safetensors") for number in range(count)]
    for number, file in enumerate(files):
        if number < DISTINCT_FILES:
            write_lora(file, size_bytes=size_bytes, seed=number)
        else:
            os.link(files[number % DISTINCT_FILES], file)
    return files
