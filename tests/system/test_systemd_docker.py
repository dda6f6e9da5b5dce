"""The service delivers into a container: its sandbox lets Docker's socket through, for the group that may use it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker_engine import LORAS, Engine
from tests.factories import lora_bytes
from tests.system.nspawn import Machine
from tests.system.serving import OUTPUTS, Serving, configuration

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

SOCKET = "/srv/docker.sock"  # in the machine; a socket is found by its inode, whatever the namespaces
GROUP = 2375


@pytest.fixture
def engine(machine: Machine) -> Iterator[Engine]:
    """A Docker of this machine whose socket, and whose command, are in the booted one too."""
    socket = Path(f"{machine.root}{SOCKET}")
    engine = Engine(second_socket=socket)
    try:
        engine.start()
        os.chown(socket, 0, GROUP)
        os.chmod(socket, 0o660)
        machine.run("groupadd", "--gid", str(GROUP), "docker")
        machine.run("tee", "/usr/bin/docker", stdin=Path(shutil.which("docker") or "docker").read_bytes())
        machine.run("chmod", "755", "/usr/bin/docker")
        yield engine
    finally:
        engine.remove()
        machine.run("rm", "-f", "/usr/bin/docker", SOCKET)
        machine.run("groupdel", "docker", check=False)


def test_the_service_delivers_into_a_container_from_inside_its_sandbox(serving: Serving, engine: Engine) -> None:
    engine.run("cage", "gnu")
    cage = f'[[destinations]]\nname = "cage"\nkind = "docker"\ncontainer = "cage"\ndirectory = "{LORAS}"\n'
    cage += f'docker_host = "unix://{SOCKET}"\nmin_free_bytes = 0\n'
    serving.configure('state_directory = "/var/lib/lorawatch"\n' + configuration(tables=cage))
    serving.install()
    shown = serving.machine.run("systemctl", "show", "--property=SupplementaryGroups", "lorawatch").stdout
    assert "docker" in shown
    lora = lora_bytes(seed=6, size_bytes=9_000_000)
    serving.save(f"{OUTPUTS}/cat.safetensors", lora)
    delivered = serving.wait_for("delivery.delivered", destination="cage")
    assert delivered["LORAWATCH_EVIDENCE"] == "sha256"
    (path,) = Path(f"{engine.root('cage')}{LORAS}").iterdir()
    assert (path.name, path.read_bytes()) == ("cat.safetensors", lora)
