"""lorawatch as a real process: started with a state directory of its own, read through its events, ended by signals.

    with Lorawatch(tmp_path, watch=outputs, to=loras) as daemon:   # started, and ready
        write_lora(outputs / "a.safetensors")
        delivered = daemon.wait_for("delivery.delivered", file=outputs / "a.safetensors")
        assert daemon.stop() == 0

The state directory is `tmp_path / "state"`, so a second Lorawatch with the same `tmp_path` is the same daemon after a
restart. Every wait has a deadline; one that passes fails the test with everything that the process has said.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PATIENCE_SECONDS = 30.0  # only a failing test waits so long
PROJECT = Path(__file__).parent.parent
OTHER_USER = str(PROJECT / "tests" / "other_user.py")

JsonEvent = dict[str, Any]  # Any: JSON at the edge of the process under test


@dataclass(frozen=True)
class Finished:
    """What a command that ran to its end left."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def events(self) -> list[JsonEvent]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass
class Lorawatch:
    """One daemon. `config` is TOML text; `environ` adds to the environment; `user` is a uid, which takes root.

    `program` replaces `python -m lorawatch`, for a runner that injects faults.
    """

    tmp_path: Path
    watch: Path | Sequence[Path] = ()
    to: Path | None = None
    config: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    user: int | None = None
    program: Sequence[str] = (sys.executable, "-m", "lorawatch")
    is_ready_awaited: bool = True  # by `with`

    def __post_init__(self) -> None:
        self.state_directory = self.tmp_path / "state"
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []
        self._events: list[JsonEvent] = []
        self._said = threading.Condition()
        self._stray: list[str] = []  # lines on stdout that are no event: there should be none
        self._stderr: list[str] = []

    def __enter__(self) -> Self:
        self.start()
        try:
            if self.is_ready_awaited:
                self.wait_for("daemon.ready")
        except BaseException:  # nobody else would end it
            if self.is_running:
                self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_running:
            self.kill()
        assert kind is not None or not self._stray, f"not an event: {self._stray}"

    @property
    def events(self) -> list[JsonEvent]:
        """What this process has said so far, oldest first; a restart begins anew."""
        with self._said:
            return list(self._events)

    @property
    def stderr(self) -> str:
        return "".join(self._stderr)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        """Start `run`, without waiting for anything."""
        assert not self.is_running, "it runs already"
        self._events, self._stray, self._stderr = [], [], []
        self._process = self._popen("run", *self._arguments())
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read_events, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._read_words, args=(self._process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def of(self, event: str, **matching: object) -> list[JsonEvent]:
        """Return the events of this name, with these values, that have been said so far."""
        return [each for each in self.events if _matches(each, event, matching)]

    def wait_for(
        self, event: str, timeout: float = PATIENCE_SECONDS, *, count: int = 1, **matching: object
    ) -> JsonEvent:
        """Return the `count`th event of this name with these values, once it has been said."""
        deadline = time.monotonic() + timeout
        with self._said:
            while True:
                found = [each for each in self._events if _matches(each, event, matching)]
                if len(found) >= count:
                    return found[count - 1]
                left = deadline - time.monotonic()
                if left <= 0 or not self._has_more_to_say():
                    wanted = f"no {event} {matching or ''} (number {count}) within {timeout} s"
                    raise AssertionError(f"{wanted}\n{self.account()}")
                self._said.wait(min(left, 0.2))

    def account(self) -> str:
        """Return all that the process has said, for a failing test."""
        lines = [json.dumps(each) for each in self._events]
        return "\n".join([*lines, *self._stray, self.stderr, f"running: {self.is_running}"])

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def stop(self, timeout: float = PATIENCE_SECONDS) -> int:
        """Send SIGTERM and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self, timeout: float = PATIENCE_SECONDS) -> int:
        """Return the exit code, once the process has ended and every word of it is read."""
        assert self._process is not None, "not started"
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it still runs after {timeout} s\n{self.account()}") from None
        for reader in self._readers:
            reader.join(PATIENCE_SECONDS)
        return code

    def run_once(self, timeout: float = 2 * PATIENCE_SECONDS) -> Finished:
        """Run `once` on the same directories, to its end."""
        return self.command("once", *self._arguments(), timeout=timeout)

    def command(
        self, *words: str, user: int | None = None, timeout: float = PATIENCE_SECONDS, given: str | None = None
    ) -> Finished:
        """Run another command on the same state directory, to its end; `user` overrules the daemon's.

        `given` is what it finds on stdin.
        """
        process = self._popen(*words, user=user, has_stdin=given is not None)
        try:
            stdout, stderr = process.communicate(given, timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            raise AssertionError(f"{words} still runs after {timeout} s\n{stdout}{stderr}") from None
        return Finished(process.returncode, stdout, stderr)

    def status(self) -> Any:
        """Return the JSON document of `status`."""
        return self.command("status", "--json").json()

    def _arguments(self) -> list[str]:
        watched = [self.watch] if isinstance(self.watch, Path) else self.watch
        words = [f"--watch={directory}" for directory in watched]
        if self.to is not None:
            words.append(f"--to={self.to}")
        if self.config is not None:
            words.append(f"--config={self._config_file()}")
        return words

    def _config_file(self) -> Path:
        file = self.tmp_path / "lorawatch.toml"
        if self.config is not None:
            file.write_text(self.config, encoding="utf-8")
        return file

    def _popen(self, *words: str, user: int | None = None, has_stdin: bool = False) -> subprocess.Popen[str]:
        user = self.user if user is None else user
        demotion = [] if user is None else [sys.executable, OTHER_USER, str(user)]
        return subprocess.Popen(
            [*demotion, *self.program, *words],
            stdin=subprocess.PIPE if has_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            cwd=self.tmp_path,
            env=self._environment(),
        )

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LORAWATCH_")}
        return {
            **inherited,
            "PYTHONPATH": str(PROJECT),
            "HOME": str(self.tmp_path),
            "LORAWATCH_STATE_DIRECTORY": str(self.state_directory),
            "LORAWATCH_LOG__FORMAT": "json",
            **self.environ,
        }

    def _has_more_to_say(self) -> bool:
        return self.is_running or any(reader.is_alive() for reader in self._readers)

    def _read_events(self, stream: Any) -> None:
        for line in stream:
            with self._said:
                try:
                    self._events.append(json.loads(line))
                except ValueError:
                    self._stray.append(line)
                self._said.notify_all()
        stream.close()
        with self._said:
            self._said.notify_all()

    def _read_words(self, stream: Any) -> None:
        self._stderr.extend(stream)
        stream.close()


def _matches(event: JsonEvent, name: str, matching: Mapping[str, object]) -> bool:
    return event.get("event") == name and all(
        event.get(key) == (str(value) if isinstance(value, Path) else value) for key, value in matching.items()
    )
