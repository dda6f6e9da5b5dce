"""What is shipped with the package and is no Python: in a wheel it is in `data`, in a checkout it stands beside."""

import os
from importlib import resources
from importlib.resources.abc import Traversable

NAMES = ("config.example.toml", "systemd")


def packaged(name: str) -> Traversable:
    """Return one of `NAMES`: a file or a folder."""
    package = resources.files("lorawatch")
    inside = package.joinpath("data", name)
    return inside if inside.is_dir() or inside.is_file() else package.joinpath(os.pardir, name)
