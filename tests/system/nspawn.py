"""A small Debian with a real systemd, booted in systemd-nspawn, for the tests of the service.

The tree is made once by debootstrap and kept with the wheels outside of the repository, in
${XDG_CACHE_HOME:-/var/cache}/lorawatch-tests; delete that directory to have it made anew. Each machine gets an overlay
over it, so that nothing a test does reaches the next one, and no network but its own loopback. Needs root.

    with Machine(tmp_path) as machine:
        machine.run("systemctl", "start", "lorawatch")
"""

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

PROJECT = Path(__file__).parent.parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "/var/cache") / "lorawatch-tests"
SUITE = "bookworm"
PACKAGES = ("systemd", "systemd-sysv", "dbus", "sudo", "acl", "python3", "python3-venv", "python3-systemd", "pipx")
# What the README's lines ask an index for, beside lorawatch's own dependencies: to build the wheel, and for pipx.
BUILDERS = ("hatchling", "pip", "setuptools", "wheel")
PYTHON = "3.11"  # that of the suite
MIRROR = "http://deb.debian.org/debian"
WHEELS = "/wheels"  # in the machine
# A boot takes 2 s, most answers less. On a busy machine everything may take many times longer; only a failing test
# waits so long.
PATIENCE_SECONDS = 180.0
# The same for one command, which may be an installation with its start.
COMMAND_SECONDS = 900.0


def tree() -> Path:
    """Return the tree; make it when it is not there (1 minute on a quiet machine, 350 MB)."""
    wanted = CACHE / f"{SUITE}-{_digest(','.join(PACKAGES))}"
    with _alone(wanted) as is_there:
        if is_there:
            return wanted
        fresh = wanted.with_suffix(f".{os.getpid()}")
        include = f"--include={','.join(PACKAGES)}"
        subprocess.run(["debootstrap", "--variant=minbase", include, SUITE, fresh, MIRROR], check=True, timeout=1500)
        (fresh / "etc/machine-id").write_text("uninitialized\n")
        fresh.rename(wanted)
    return wanted


def wheels() -> Path:
    """Return a directory with the wheels that lorawatch needs; download them when pyproject.toml has changed."""
    wanted = CACHE / f"wheels-{_digest((PROJECT / 'pyproject.toml').read_text() + ','.join(BUILDERS))}"
    with _alone(wanted) as is_there:
        if is_there:
            return wanted
        fresh = wanted.with_suffix(f".{os.getpid()}")
        pip = [sys.executable, "-m", "pip"]
        own = [*pip, "wheel", "-q", "--no-deps", "--wheel-dir", str(fresh), str(PROJECT)]
        subprocess.run(own, check=True, timeout=300)
        wheel = next(fresh.glob("lorawatch-*.whl"))
        chosen = ["--only-binary=:all:", "--python-version", PYTHON, "--dest", str(fresh), str(wheel), *BUILDERS]
        subprocess.run([*pip, "download", "-q", *chosen], check=True, timeout=900)
        wheel.unlink()
        fresh.rename(wanted)
    return wanted


@contextmanager
def _alone(wanted: Path) -> Iterator[bool]:
    """Let one process at a time make what the cache lacks; tell whether another one has made it meanwhile."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield wanted.is_dir()


class Machine:
    """One booted machine. Commands run in its namespaces, as its root."""

    def __init__(self, directory: Path, *, wheels: Path) -> None:
        self.root = directory / "root"
        self._directory = directory
        self._wheels = wheels
        self._console = directory / "console.log"
        self._nspawn: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        upper, work = self._directory / "upper", self._directory / "work"
        for each in (self.root, upper, work):
            each.mkdir()
        options = f"lowerdir={tree()},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, self.root], check=True)
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._nspawn is not None
        self._nspawn.send_signal(signal.SIGTERM)  # an orderly power-off (systemd-nspawn(1), --kill-signal=)
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        subprocess.run(["umount", "--lazy", self.root], check=True)
        shutil.rmtree(self._directory / "upper", ignore_errors=True)

    @property
    def pid(self) -> int:
        """The machine's process 1, as it is called here; another one after a reboot."""
        return eventually(self._find_first_process, lambda: f"no process 1\n{self.console}")

    @property
    def console(self) -> str:
        """What was written on the console since the machine was made."""
        return self._console.read_text(errors="replace")

    def run(
        self,
        *words: str,
        check: bool = True,
        stdin: bytes | None = None,
        environ: Sequence[str] = (),
        cwd: str = "/root",
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine; a failure fails the test with all that it said."""
        done = subprocess.run(
            [
                *self.enter(),
                "env",
                "-i",
                f"--chdir={cwd}",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME=/root",
                *environ,
                *words,
            ],
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        output, errors = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        assert not check or done.returncode == 0, f"{words} ended with {done.returncode}\n{output}{errors}"
        return subprocess.CompletedProcess(words, done.returncode, output, errors)

    def enter(self) -> list[str]:
        """Return the words that run a command in the machine's namespaces."""
        return ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p"]

    def path(self, inside: str) -> Path:
        """Return where a path of the machine's own disk is seen from here."""
        return self.root / inside.lstrip("/")

    def reboot(self) -> None:
        """Reboot, and return when it is up again."""
        assert self._nspawn is not None
        self.run("systemctl", "reboot", "--no-block")
        # systemd-nspawn(1), --keep-unit: it leaves the starting again to whoever started it, and says so.
        assert self._nspawn.wait(PATIENCE_SECONDS) == 133, self.console
        self._start()

    def _start(self) -> None:
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--boot"]
        command += [
            "--console=pipe",
            "--resolv-conf=off",
            f"--bind-ro={self._wheels}:{WHEELS}",
            f"--directory={self.root}",
        ]
        if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):  # the host has no unified hierarchy
            command.append("systemd.unified_cgroup_hierarchy=0")
        with open(self._console, "ab") as console:
            self._nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        self._await_boot()

    def _await_boot(self) -> None:
        def is_up() -> bool:
            state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
            return state in {"running", "degraded"}

        eventually(is_up, "it does not come up")

    def _find_first_process(self) -> int | None:
        """Return our child whose number in its own namespace is 1."""
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, f"systemd-nspawn has ended\n{self.console}"
        for child in _children(self._nspawn.pid):
            try:
                numbers = Path(f"/proc/{child}/status").read_text().partition("\nNSpid:")[2].split("\n")[0].split()
                is_init = Path(f"/proc/{child}/comm").read_text().strip() == "systemd"
            except FileNotFoundError:
                continue
            if numbers[-1:] == ["1"] and is_init:
                return child
        return None


def _children(pid: int) -> list[int]:
    found = []
    for each in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in each.read_text().split():
            found += [int(child), *_children(int(child))]
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def eventually(
    ask: Callable[[], T | None], failure: str | Callable[[], str], *, timeout: float = PATIENCE_SECONDS
) -> T:
    """Return the first answer that is true in the sense of Python; fail with words when none comes in time."""
    deadline = time.monotonic() + timeout
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(failure if isinstance(failure, str) else failure())
        time.sleep(0.2)  # each question starts programs in the machine
    return answer
