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
_WRAPPERS = ("data", "result")
_FILE_NAMES = ("filename", "file_name", "file")
_NAMES = ("lora_name", "name")
_SIZES = ("size", "size_bytes", "file_size", "filesize", "bytes", "total_size")
_HASHES = ("sha256", "hash", "file_hash", "checksum")
_TIMES = ("modified", "modified_at", "mtime", "last_modified", "updated_at", "uploaded_at")
# These may stay as they are when a file is replaced in place, as on Windows: only another one says something.
_FIRST_TIMES = ("created", "created_at")
# A server that hands back what an upload told about itself also hands back our hash: that proves nothing.
SENDER_KEY, SENDER = "sent_by", "lorawatch"
_DIGITS = re.compile(r"[0-9]{1,18}")  # more than any disk holds
_ABSOLUTE = re.compile(r"/|[A-Za-z]:[/\\]|\\\\")
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.IGNORECASE)


def entries_of(payload: Mapping[str, Any]) -> list[Entry] | None:
    """Return the entries of a listing; a bare name is an entry that knows nothing else.

    None if it holds no list, or one without a single name: what cannot be read is not an empty directory.
    """
    for key in _LISTS:
        listed = payload.get(key)
        if isinstance(listed, list):
            entries: list[object] = [{"filename": each} if isinstance(each, str) else each for each in listed]
            named: list[Entry] = [each for each in entries if isinstance(each, dict) and _names_of(each)]
            return named if named or not entries else None
        if isinstance(listed, dict):
            return [{**(each if isinstance(each, dict) else {}), "filename": name} for name, each in listed.items()]
    for key in _WRAPPERS:
        inner = payload.get(key)
        if isinstance(inner, dict | list):
            return entries_of(inner if isinstance(inner, dict) else {_LISTS[0]: inner})
    return None


def entry_named(entries: Sequence[Entry], remote_name: str) -> Entry | None:
    """Return the entry of a name; a name without a model's extension stands for the file with it."""
    return next((entry for entry in entries if _is_named(entry, remote_name)), None)


def remote_file(entry: Entry, remote_name: str) -> RemoteFile:
    """Return what an entry says about its file."""
    size_bytes = _number(entry, _SIZES)
    sha256 = _sha256(entry)
    times = {key: entry[key] for key in (*_TIMES, *_FIRST_TIMES) if isinstance(entry.get(key), str | int | float)}
    marks = [size_bytes, sha256, times]
    return RemoteFile(
        remote_name,
        size_bytes,
        fingerprint=json.dumps(marks, sort_keys=True, default=str),
        sha256=sha256,
        is_distinct=sha256 is not None or any(key in times for key in _TIMES),
    )


def _is_named(entry: Entry, remote_name: str) -> bool:
    names = _names_of(entry)
    if any(isinstance(entry.get(key), str) for key in _FILE_NAMES):
        return remote_name in names
    stem, extension = os.path.splitext(remote_name)
    return remote_name in names or (extension.lower() in MODEL_EXTENSIONS and stem in names)


def _names_of(entry: Entry) -> list[str]:
    """Return what an entry calls its file: by its whole name, else in short, else where it lies."""
    for keys in (_FILE_NAMES, _NAMES, ("path",)):
        names = [entry[key] for key in keys if isinstance(entry.get(key), str)]
        if names:
            return [_last_part(name) if keys == ("path",) or _ABSOLUTE.match(name) else name for name in names]
    return []


def _last_part(path: str) -> str:
    return re.split(r"[/\\]", path)[-1]


def _number(entry: Entry, keys: tuple[str, ...]) -> int | None:
    for key in keys:
        value = entry.get(key)
        if isinstance(value, str) and _DIGITS.fullmatch(value):
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return None


def _sha256(entry: Entry) -> str | None:
    if entry.get(SENDER_KEY) == SENDER:
        return None
    for key in _HASHES:
        value = entry.get(key)
        match = _SHA256.fullmatch(value) if isinstance(value, str) else None
        if match is not None:
            return match[1].lower()
    return None
