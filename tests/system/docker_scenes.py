"""What the Docker tests share: a watched folder, a daemon configured for one docker destination, a look inside."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from tests.docker_engine import LORAS, Engine
from tests.process import Lorawatch
from tests.scenes import eventually


@dataclass
class DockerScene:
    """One container or volume. `lines` are further lines of TOML for the destination, `watch` for that table."""

    tmp_path: Path
    engine: Engine
    container: str = ""
    volume: str = ""
    directory: str = LORAS
    lines: str = ""
    watch: str = ""
    min_free_bytes: int = 0
    outputs: Path = field(init=False)

    def __post_init__(self) -> None:
        self.outputs = self.tmp_path / "outputs"
        self.outputs.mkdir(exist_ok=True)

    def daemon(self, *, user: int | None = None, is_ready_awaited: bool = True) -> Lorawatch:
        config = (
            f'[watch]\ndirectories = ["{self.outputs}"]\nquiet_seconds = 0.3\n{self.watch}\n'
            f"[retry]\nfirst_seconds = 0.1\nmax_seconds = 0.5\n"
            f'[[destinations]]\nname = "cage"\nkind = "docker"\ndocker_host = "{self.engine.host}"\n'
            f'container = "{self.container}"\nvolume = "{self.volume}"\ndirectory = "{self.directory}"\n'
            f"min_free_bytes = {self.min_free_bytes}\n{self.lines}\n"
        )
        return Lorawatch(self.tmp_path, config=config, user=user, is_ready_awaited=is_ready_awaited)

    def daemon_of(self, user: int) -> Lorawatch:
        """Return a daemon of another user, who owns its state and may read what is watched."""
        daemon = self.daemon(user=user)
        daemon.state_directory.mkdir(exist_ok=True)
        for path in (daemon.state_directory, self.outputs, *self.outputs.iterdir()):
            os.chown(path, user, user)
        os.chmod(self.engine.directory, 0o755)
        return daemon

    @property
    def loras(self) -> Path:
        """The directory inside the running container."""
        return Path(f"{self.engine.root(self.container)}{self.directory}")

    def contents(self) -> dict[str, bytes]:
        """Return every file there, hidden ones too, by name."""
        return {path.name: path.read_bytes() for path in self.loras.iterdir()}

    def read(self, name: str, *, container: str = "") -> bytes:
        """Return a file's bytes by `docker cp`, which a stopped container knows too."""
        target = self.tmp_path / "copied"
        target.unlink(missing_ok=True)
        self.engine.docker("cp", f"{container or self.container}:{self.directory}/{name}", str(target))
        return target.read_bytes()

    def wait_until_half_written(self, size_bytes: int) -> None:
        """Wait until a temporary file has some of its bytes, and not all."""
        loras = self.loras

        def is_half_written() -> bool:
            sizes = [os.stat(loras / name).st_size for name in os.listdir(loras) if name.endswith(".part")]
            return bool(sizes) and 0 < sizes[0] < size_bytes

        assert eventually(is_half_written)
