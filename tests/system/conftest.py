"""One booted machine for all tests of the service, with lorawatch installed as the README says."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import nspawn
from tests.system.nspawn import Machine
from tests.system.serving import DROP_INS, LORAS, OUTPUTS, PROGRAM, TRAINER, Serving, as_readme, prepare, readme_block


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("machine"), wheels=nspawn.wheels()) as machine:
        prepare(machine)
        for line in readme_block()[:-1]:
            as_readme(machine, line)
        yield machine


@pytest.fixture
def serving(machine: Machine) -> Iterator[Serving]:
    """Nothing but the program is installed; the two directories are the trainer's, for everybody to enter and read."""
    machine.run("mkdir", "-p", OUTPUTS, LORAS)
    machine.run("chown", TRAINER, OUTPUTS)
    machine.run("chmod", "0777", LORAS)
    yield Serving(machine)
    machine.run(PROGRAM, "service", "uninstall", "--purge")
    machine.run("rm", "-rf", DROP_INS, "/ai-toolkit", "/comfyui")
    machine.run("systemctl", "daemon-reload")


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that other users may enter; pytest's own are closed, again and again."""
    directory = Path(tempfile.mkdtemp(prefix="lw-open-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)
