"""A Docker engine of the tests' own: a real dockerd with its own data, socket and images, without any network.

    engine.run("cat", engine.image("busybox"))        # a container named "cat" that sleeps
    engine.docker("stop", "-t", "0", "cat")

Images are made from what this machine has: nothing is pulled. Three are there: `busybox` (a static busybox, as in
Alpine), `gnu` (dash and coreutils, as in Debian) and `bare` (one program, no shell: as in distroless images).
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

PATIENCE_SECONDS = 60.0
LORAS = "/comfyui/models/loras"
SLEEP = {
    "busybox": ("/bin/sleep", "1000000"),
    "gnu": ("/usr/bin/sleep", "1000000"),
    "bare": ("/opt/app/busybox", "sleep", "1000000"),
}
_GNU_TOOLS = (
    "cat", "chmod", "chown", "find", "ln", "mkdir", "mv", "rm", "sha256sum", "sleep", "stat", "sync",
)  # fmt: skip


class Engine:
    """One dockerd. It may be stopped, killed and started again; its containers are then as Docker leaves them.

    `second_socket` is another place where it answers; `host_name` is what it takes its machine to be called.
    """

    def __init__(self, second_socket: Path | None = None, *, host_name: str = "") -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="lw-docker-"))  # a short path: socket names end at 107 bytes
        self.socket = self.directory / "docker.sock"
        self.host = f"unix://{self.socket}"
        self._hosts = [self.host, *([f"unix://{second_socket}"] if second_socket is not None else [])]
        self._host_name = host_name
        self._process: subprocess.Popen[bytes] | None = None
        self._images: set[str] = set()

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        for stale in ("pid", "exec/containerd/containerd.pid"):  # its process is gone: `kill` waited for that
            (self.directory / stale).unlink(missing_ok=True)
        words: list[str | Path] = [
            "dockerd",
            "--data-root",
            self.directory / "data",
            "--exec-root",
            self.directory / "exec",
        ]
        words += [f"--host={host}" for host in self._hosts]
        words += ["--pidfile", self.directory / "pid", "--bridge=none", "--iptables=false"]
        if self._host_name:
            words = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self._host_name, *words]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._try("version").returncode != 0:
            said = (self.directory / "log").read_text()
            assert self._process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)

    def stop(self) -> None:
        """End it in order: Docker stops its containers first."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """End it as a crash does, and wait until what it started is gone too."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE_SECONDS)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._containerd_runs():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def remove(self) -> None:
        """Stop it, and remove all that it left on this machine."""
        names = self._try("ps", "--all", "--quiet").stdout.split()
        if names:
            self._try("rm", "--force", *names)
        self.stop()
        mounts = re.findall(
            rf"^\S+ ({re.escape(str(self.directory))}\S*) ", Path("/proc/mounts").read_text(), re.MULTILINE
        )
        for mount in reversed(mounts):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def docker(self, *words: str) -> str:
        """Run a docker command that must succeed; return what it prints."""
        done = self._try(*words)
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
        return done.stdout.strip()

    def image(self, kind: str) -> str:
        """Return the name of an image, which is made when it is first wanted."""
        if kind not in self._images:
            tree = self.directory / "trees" / kind
            _TREES[kind](tree)
            (tree / LORAS.lstrip("/")).mkdir(parents=True)
            (tree / "tmp").mkdir()
            archive = subprocess.run(["tar", "-C", tree, "-c", "."], check=True, capture_output=True).stdout
            subprocess.run([*self._words("import", "-", kind)], input=archive, check=True, capture_output=True)
            self._images.add(kind)
        return kind

    def run(self, name: str, kind: str = "busybox", *options: str) -> None:
        """Start a container that sleeps."""
        self.image(kind)
        self.docker("run", "--detach", "--name", name, "--network", "none", *options, kind, *SLEEP[kind])

    def root(self, name: str) -> Path:
        """Return the file system of a running container, as its programs see it, from outside."""
        return Path("/proc", self.docker("inspect", "--format", "{{.State.Pid}}", name), "root")

    def _try(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self._words(*words), capture_output=True, text=True, check=False, timeout=2 * PATIENCE_SECONDS
        )

    def _words(self, *words: str) -> Sequence[str]:
        return ["docker", "--host", self.host, *words]

    def _containerd_runs(self) -> bool:
        """Return whether the containerd of this engine, and of no other, is there."""
        try:
            pid = int((self.directory / "exec" / "containerd" / "containerd.pid").read_text())
            return str(self.directory) in Path("/proc", str(pid), "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return False


def _busybox(tree: Path) -> None:
    tools = tree / "bin"
    tools.mkdir(parents=True)
    shutil.copy("/bin/busybox", tools / "busybox")
    listed = subprocess.run(["/bin/busybox", "--list"], check=True, capture_output=True, text=True).stdout.split()
    for tool in {*listed} - {"busybox"}:
        (tools / tool).symlink_to("busybox")
    (tree / "etc").mkdir()
    (tree / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nartist:x:1234:1235::/:/bin/sh\n")
    (tree / "etc/group").write_text("root:x:0:\nartists:x:1235:\n")


def _gnu(tree: Path) -> None:
    for tool in _GNU_TOOLS:
        _copy_program(shutil.which(tool) or tool, tree / "usr/bin" / tool, tree)
    _copy_program("/bin/dash", tree / "bin/sh", tree)


def _copy_program(source: str, target: Path, tree: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(os.path.realpath(source), target)
    listed = subprocess.run(["ldd", source], check=True, capture_output=True, text=True).stdout
    for library in re.findall(r"(/\S+) \(0x", listed):
        copy = tree / library.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            shutil.copy(os.path.realpath(library), copy)


def _bare(tree: Path) -> None:
    (tree / "opt/app").mkdir(parents=True)
    shutil.copy("/bin/busybox", tree / "opt/app/busybox")


_TREES = {"busybox": _busybox, "gnu": _gnu, "bare": _bare}
