"""A daemon's user and a stranger, and a place that is shared out among them: for the tests with several users."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

DAEMON, STRANGER = 65534, 65533


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory that everybody may enter, with a state directory and a destination that are the daemon's."""
    directory = Path(tempfile.mkdtemp(prefix="lorawatch-test-"))
    directory.chmod(0o755)
    for name in ("outputs", "loras", "state"):
        (directory / name).mkdir()
    for name in ("loras", "state"):
        os.chown(directory / name, DAEMON, DAEMON)
    yield directory
    shutil.rmtree(directory)
