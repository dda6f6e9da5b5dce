"""One booted machine for all tests of the service, with lorawatch installed as the README says."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import nspawn
from tests.system.nspawn import Machine
from tests.system.serving import DROP_INS, LORAS, OUTPUTS, TRAINER, Serving, as_readme, prepare, readme_block


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("machine"), wheels=nspawn.wheels()) as machine:
        prepare(machine)
        for line in readme_block()[:-1]:
            as_readme(machine, line)
        yield machine


# What `service uninstall --purge` does, and the rest of a test, in a fraction of its time.
_CLEAN_UP = f"""
systemctl disable --now --quiet lorawatch
rm -rf /etc/systemd/system/lorawatch.service {DROP_INS} /etc/lorawatch /var/lib/lorawatch /var/log/lorawatch
rm -rf /ai-toolkit /comfyui
userdel lorawatch && groupdel lorawatch
systemctl daemon-reload
systemctl reset-failed --quiet lorawatch || true
"""


@pytest.fixture
def serving(machine: Machine) -> Iterator[Serving]:
    """Nothing but the program is installed; the two directories are the trainer's, for everybody to enter and read."""
    machine.run("mkdir", "-p", OUTPUTS, LORAS)
    machine.run("chown", TRAINER, OUTPUTS)
    machine.run("chmod", "0777", LORAS)
    yield Serving(machine)
    machine.run("sh", "-c", _CLEAN_UP)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that other users may enter; pytest's own are closed, again and again."""
    directory = Path(tempfile.mkdtemp(prefix="lw-open-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)
