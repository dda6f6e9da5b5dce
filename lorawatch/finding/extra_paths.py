"""ComfyUI's extra_model_paths.yaml: where else it reads LoRAs. Read the way ComfyUI reads it. comfyui.py calls it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

_MOST_BYTES = 1 << 20  # it is a page of text; whatever is larger is something else


@dataclass(frozen=True, slots=True)
class ExtraDirectory:
    """One directory for LoRAs. `is_default`: ComfyUI looks there first."""

    path: str
    is_default: bool


def lora_directories(file: str) -> list[ExtraDirectory]:
    """Return the directories for LoRAs that a file names, the default ones first; none if it is no such file."""
    try:
        with open(file, encoding="utf-8-sig") as stream:
            text = stream.read(_MOST_BYTES)
    except (OSError, UnicodeDecodeError):
        return []
    return sorted(_in_text(text, os.path.dirname(os.path.abspath(file))), key=lambda each: not each.is_default)


def _in_text(text: str, folder: str) -> Iterator[ExtraDirectory]:
    # Imported here: it costs 30 ms, and most machines have no such file.
    import yaml

    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return  # ComfyUI would not start with it either
    for group in document.values() if isinstance(document, dict) else ():
        if isinstance(group, dict) and isinstance(group.get("loras"), str):
            base = group.get("base_path")
            start = _absolute(base, folder) if isinstance(base, str) and base.strip() else folder
            for line in group["loras"].splitlines():
                if line.strip():
                    yield ExtraDirectory(
                        os.path.normpath(os.path.join(start, line.strip())), bool(group.get("is_default"))
                    )


def _absolute(path: str, folder: str) -> str:
    return os.path.normpath(os.path.join(folder, os.path.expandvars(os.path.expanduser(path.strip()))))
