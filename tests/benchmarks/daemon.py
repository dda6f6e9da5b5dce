"""`lorawatch run` as a process of its own: its events, what it costs, and its end.

Events go to a file and are read from there: a pipe would make the benchmark a part of what it measures.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.measuring import wait_until

PROJECT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "lorawatch")
STOP_SECONDS = 10.0
EVENT_POLL_SECONDS = 0.002


def as_installed() -> dict[str, str]:
    """Return the environment in which Python keeps what it has compiled, as pip does when it installs."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def seconds_of(command: Sequence[str]) -> float:
    """Run a command of the project to its end."""
    started = time.perf_counter()
    subprocess.run(command, check=True, cwd=PROJECT, env=as_installed(), stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


class Lorawatch:
    """One daemon with a state directory of its own, which outlives `stop` so that it can be started again."""

    def __init__(self, *, watch: str, to: str, directory: str, environment: dict[str, str] | None = None) -> None:
        os.makedirs(directory, exist_ok=True)
        self._command = [*COMMAND, "run", "--watch", watch, "--to", to]
        self._environment = {
            **as_installed(),
            "LORAWATCH_STATE_DIRECTORY": os.path.join(directory, "state"),
            "LORAWATCH_LOG__FORMAT": "json",
            **(environment or {}),
        }
        self._events = Path(directory) / "events"
        self._words = Path(directory) / "stderr"
        self._process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0

    def start(self, *, tracer: tuple[str, ...] = ()) -> None:
        """Start the process. A tracer must leave it our child, as `strace -D` does: `stop` signals what we started."""
        with self._events.open("wb") as events, self._words.open("wb") as words:
            self.started_at = time.perf_counter()
            self._process = subprocess.Popen(
                [*tracer, *self._command], env=self._environment, cwd=PROJECT, stdout=events, stderr=words
            )

    @property
    def pid(self) -> int:
        return self._running().pid

    def events(self) -> list[dict[str, object]]:
        lines = self._events.read_bytes().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith(b"\n")]

    def count(self, event: str) -> int:
        return self._events.read_bytes().count(b'"%s"' % event.encode())

    def wait_for(self, event: str, count: int = 1) -> float:
        """Return the monotonic time at which the event was seen so often. Raises RuntimeError if the daemon ends."""

        def has_come() -> bool:
            if self._running().poll() is not None:
                raise RuntimeError(f"lorawatch ended: {self._words.read_text()[-2000:]}")
            return self.count(event) >= count

        return wait_until(has_come, f"{count} x {event}", every_seconds=EVENT_POLL_SECONDS)

    def cpu_seconds(self) -> float:
        """User and system time so far, of all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self, key: str) -> int:
        """`VmRSS` is what it holds now, `VmHWM` the most it ever held."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"/proc has no {key}")

    def bytes_read(self) -> int:
        """What it has asked the kernel for by read calls, from the disk or not."""
        counters = Path(f"/proc/{self.pid}/io").read_text().split()
        return int(counters[counters.index("rchar:") + 1])

    def stop(self) -> None:
        process = self._running()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError("it has not been started")
        return self._process
