"""What a server's list of LoRAs says about one name. Pure; used wherever a listing decides.

The entries have other keys on every server. What cannot be told from them stays unknown: a size is never guessed,
and two files are never taken for one because their sizes are equal.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lorawatch.domain.model import RemoteFile
from lorawatch.domain.planning import MODEL_EXTENSIONS

Entry = Mapping[str, Any]

_LISTS = ("loras", "models", "files", "items", "lora_list", "available_loras")
_FILE_NAMES = ("filename", "file_name", "file")
_NAMES = ("lora_name", "name")
_SIZES = ("size", "size_bytes", "file_size", "filesize", "bytes", "total_size")
_HASHES = ("sha256", "hash", "file_hash", "checksum")
_TIMES = ("modified", "modified_at", "mtime", "last_modified", "created", "created_at", "updated_at", "uploaded_at")
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.IGNORECASE)


def entries_of(payload: Mapping[str, Any]) -> list[object]:
    """Return the entries of a listing; a bare name is an entry that knows nothing else."""
    for key in _LISTS:
        listed = payload.get(key)
        if isinstance(listed, list):
            return [{"filename": each} if isinstance(each, str) else each for each in listed if each]
        if isinstance(listed, dict):
            return [{**(each if isinstance(each, dict) else {}), "filename": name} for name, each in listed.items()]
    return []


def entry_named(entries: Sequence[object], remote_name: str) -> Entry | None:
    """Return the entry of a name; a name without a model's extension stands for the file with it."""
    return next((entry for entry in entries if isinstance(entry, dict) and _is_named(entry, remote_name)), None)


def remote_file(entry: Entry, remote_name: str) -> RemoteFile:
    """Return what an entry says about its file."""
    size_bytes = _number(entry, _SIZES)
    sha256 = _sha256(entry)
    times = {key: entry[key] for key in _TIMES if entry.get(key) is not None}
    marks = [size_bytes, sha256, times]
    return RemoteFile(
        remote_name,
        size_bytes,
        fingerprint=json.dumps(marks, sort_keys=True, default=str),
        sha256=sha256,
        is_distinct=bool(sha256 or times),
    )


def _is_named(entry: Entry, remote_name: str) -> bool:
    file_names = [entry[key] for key in _FILE_NAMES if isinstance(entry.get(key), str)]
    if file_names:
        return remote_name in file_names
    names = [entry[key] for key in _NAMES if isinstance(entry.get(key), str)]
    if not names and isinstance(entry.get("path"), str):
        names = [os.path.basename(entry["path"])]
    stem, extension = os.path.splitext(remote_name)
    return remote_name in names or (extension.lower() in MODEL_EXTENSIONS and stem in names)


def _number(entry: Entry, keys: tuple[str, ...]) -> int | None:
    for key in keys:
        value = entry.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, str) and value.isdecimal():
            return int(value)
    return None


def _sha256(entry: Entry) -> str | None:
    for key in _HASHES:
        value = entry.get(key)
        match = _SHA256.fullmatch(value) if isinstance(value, str) else None
        if match is not None:
            return match[1].lower()
    return None
