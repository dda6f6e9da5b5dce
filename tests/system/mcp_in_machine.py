"""The fake MCP server, inside a machine: on its loopback, as a process of its own that outlives the service."""

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.fakes import mcp_server, port
from tests.system.nspawn import Machine

LORAS = "/srv/loras"
_FAKES = "/srv/fakes"
# The token comes by stdin: a test looks for it in every other place. The end of stdin is the end of the server.
_PROGRAM = f"""
import sys
sys.path.insert(0, "{_FAKES}")
from tests.fakes.mcp_server import Fault, McpServer
server = McpServer("{LORAS}", token=sys.stdin.readline().strip() or None)
server.faults.append(Fault("append", "slow", times=10**6, seconds=float(sys.argv[1])))
with server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


class McpInMachine:
    """A documented, chunked server. `seconds_per_chunk` makes an upload last."""

    def __init__(self, machine: Machine, *, token: str = "", seconds_per_chunk: float = 0.0) -> None:
        self.url = ""
        self._machine = machine
        self._token = token
        self._seconds_per_chunk = seconds_per_chunk
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._machine.run("mkdir", "-p", f"{_FAKES}/tests/fakes")
        for file in (Path(mcp_server.__file__), Path(port.__file__)):
            self._machine.run("tee", f"{_FAKES}/tests/fakes/{file.name}", stdin=file.read_bytes())
        words = ["python3", "-c", _PROGRAM, str(self._seconds_per_chunk)]
        self._process = subprocess.Popen(
            [*self._machine.enter(), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{self._token}\n")
        self._process.stdin.flush()
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the server has not started"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.communicate("")
        self._machine.run("rm", "-rf", LORAS, f"{LORAS}-parts", _FAKES)

    def uploaded_bytes(self) -> int:
        """Return how much of unfinished uploads has arrived."""
        return int(self._machine.run("du", "-sb", "--apparent-size", f"{LORAS}-parts").stdout.split()[0])
