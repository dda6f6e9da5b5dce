"""`python -m tests.benchmarks [NAME…]`, from the top of a checkout: run the benchmarks, print one table for each."""

import argparse
import os
import platform
import tempfile
from collections.abc import Callable

from rich.console import Console

from tests.benchmarks.arrival import measure_burst, measure_large
from tests.benchmarks.checking import measure_check
from tests.benchmarks.costs import measure_idle, measure_memory
from tests.benchmarks.measuring import MEGABYTE, Report, Settings
from tests.benchmarks.reflink import measure_reflink
from tests.benchmarks.scanning import measure_scan
from tests.benchmarks.starting import measure_help, measure_start
from tests.benchmarks.upload import measure_upload

BENCHMARKS: dict[str, Callable[[str, Settings], Report]] = {
    "large": measure_large,
    "burst": measure_burst,
    "reflink": measure_reflink,
    "check": measure_check,
    "scan": measure_scan,
    "start": measure_start,
    "idle": measure_idle,
    "memory": measure_memory,
    "help": measure_help,
    "upload": measure_upload,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of each measurement (default: 5)")
    parser.add_argument(
        "--directory", default=tempfile.gettempdir(), help="work below it, on its file system (default: %(default)s)"
    )
    parser.add_argument("--large-bytes", type=int, default=150 * MEGABYTE, help="size of the large file")
    parser.add_argument("--burst-count", type=int, default=200, help="files of 1 MB in a burst")
    parser.add_argument("--known-files", type=int, default=100_000, help="files that are known at a start")
    parser.add_argument("--idle-seconds", type=float, default=30.0, help="how long to watch an idle daemon")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    console = Console(width=None if Console().is_terminal else 140)
    console.print(_machine(), highlight=False)
    settings = Settings(
        rounds=arguments.rounds,
        large_bytes=arguments.large_bytes,
        burst_count=arguments.burst_count,
        known_files=arguments.known_files,
        idle_seconds=arguments.idle_seconds,
    )
    for name in arguments.names or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix=f"lorawatch-{name}-", dir=arguments.directory) as directory:
            console.print()
            BENCHMARKS[name](directory, settings).print_to(console)
            console.print(f"  load average now: {os.getloadavg()[0]:.1f}", highlight=False)


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.release()}, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
