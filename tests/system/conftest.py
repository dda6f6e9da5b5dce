"""One booted machine for all tests of the service, with lorawatch installed as the README says."""

import shutil
from collections.abc import Iterator

import pytest

from tests.system import nspawn
from tests.system.nspawn import Machine
from tests.system.serving import LORAS, OUTPUTS, PROGRAM, TRAINER, Serving, install_program


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    directory = tmp_path_factory.mktemp("machine")
    wheel = nspawn.build_wheel(directory)
    wheels = directory / "wheels"
    shutil.copytree(nspawn.dependencies(wheel), wheels)
    with Machine(directory, wheels=wheels) as machine:
        install_program(machine, wheel)
        machine.run("useradd", "--create-home", TRAINER)
        yield machine


@pytest.fixture
def serving(machine: Machine) -> Iterator[Serving]:
    """Nothing but the program is installed; the two directories are the trainer's, for everybody to enter and read."""
    machine.run("mkdir", "-p", OUTPUTS, LORAS)
    machine.run("chown", TRAINER, OUTPUTS)
    machine.run("chmod", "0777", LORAS)
    yield Serving(machine)
    machine.run(PROGRAM, "service", "uninstall", "--purge")
    machine.run("rm", "-rf", "/etc/systemd/system/lorawatch.service.d", "/ai-toolkit", "/comfyui")
    machine.run("systemctl", "daemon-reload")
