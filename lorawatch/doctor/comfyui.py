"""ComfyUI itself: does it answer, list what lies at the destination, read that, and what failed there lately."""

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lorawatch.comfyui.client import ComfyUI
from lorawatch.doctor.findings import Finding, Level, error, fine, of_error, warning
from lorawatch.doctor.history import troubles_of
from lorawatch.domain.codes import cure_of as cure
from lorawatch.domain.errors import ComfyUIError
from lorawatch.domain.planning import MODEL_EXTENSIONS

CHECK = "comfyui"
_READ_SECONDS = 6.0
_MOST_NAMES = 2000
_MOST_GRAPHS = 30  # of its history
_FOLDER = "loras"
_NOT_LISTED = "comfyui-not-listed"


@dataclass(frozen=True, slots=True)
class Shelf:
    """What one destination holds. `directory`: where, if it is a directory of this machine; else ""."""

    destination: str
    names: Callable[[], Sequence[str]]
    directory: str = ""


def look(url: str, shelves: Sequence[Shelf]) -> Iterator[Finding]:
    """Look at one ComfyUI, for all destinations that name it. It is asked, and changes nothing."""
    client, words = ComfyUI(url, read_timeout_seconds=_READ_SECONDS), {"URL": url}
    try:
        system = client.system()
        listed = client.listing(_FOLDER)
        if listed is None:
            yield error(CHECK, f"{url} knows no models folder {_FOLDER}", fix=cure("comfyui-error", words), subject=url)
            return
        yield fine(
            CHECK,
            f"ComfyUI {system.version or 'of an unknown version'} at {url} lists {len(listed):,} LoRAs",
            subject=url,
        )
        for shelf in shelves:
            yield from _compare(client, shelf, listed)
        for trouble in troubles_of(client.recent(_MOST_GRAPHS)):
            yield warning(
                "comfyui-history", trouble.detail, fix=cure(trouble.code, words), subject=url, code=trouble.code
            )
    except ComfyUIError as raised:
        yield of_error(CHECK, raised, subject=url, words=words)


def unnamed(url: str, directory: str, name: str) -> Finding:
    """Say that a ComfyUI answers which no destination names."""
    detail = f'a ComfyUI answers at {url}; with comfyui_url = "{url}" it would be asked whether it lists {directory}'
    return Finding(CHECK, Level.OK, detail, subject=name)


def names_in(directory: str) -> list[str]:
    """Return the models below a directory as ComfyUI would list them; hidden files are none of its list's business."""
    found: list[str] = []
    for folder, folders, files in os.walk(directory):
        folders[:] = [each for each in folders if not each.startswith(".")]
        found += [os.path.relpath(os.path.join(folder, name), directory) for name in files if _is_model(name)]
        if len(found) >= _MOST_NAMES:
            break
    return found[:_MOST_NAMES]


def _is_model(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in MODEL_EXTENSIONS and not name.startswith(".")


def _compare(client: ComfyUI, shelf: Shelf, listed: Sequence[str]) -> Iterator[Finding]:
    check, held = "comfyui-listing", shelf.names()
    known = _tails(listed)
    missing = [name for name in held if name not in known]
    folders = client.folders(_FOLDER)
    reads = f"; it reads LoRAs from {', '.join(folders)}" if folders else ""
    if held and len(missing) == len(held):
        code = _NOT_LISTED
        detail = f"ComfyUI lists none of the {len(held):,} files of {shelf.directory or shelf.destination}{reads}"
        yield error(check, detail, fix=_way_for(shelf), subject=shelf.destination, code=code)
        return
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        detail = f"ComfyUI does not list {missing[0]}{more} of the {len(held):,} files there"
        yield warning(check, detail, fix=_way_for(shelf), subject=shelf.destination, code=_NOT_LISTED)
    elif held:
        yield fine(check, f"ComfyUI lists all {len(held):,} files of {shelf.destination}", subject=shelf.destination)
    elif shelf.directory and folders and not _is_among(shelf.directory, folders):
        detail = f"nothing is in {shelf.directory} yet, and ComfyUI reads LoRAs elsewhere: {', '.join(folders)}"
        yield fine(check, detail, subject=shelf.destination)
    else:
        yield fine(check, f"nothing is in {shelf.destination} yet to compare", subject=shelf.destination)
    yield from _sample(client, shelf, [name for name in held if name not in missing], listed)


def _sample(client: ComfyUI, shelf: Shelf, names: Sequence[str], listed: Sequence[str]) -> Iterator[Finding]:
    """Ask about one LoRA in full: can a workflow name it, and can ComfyUI read it."""
    sample = next((each for name in names[:1] for each in listed if each == name or each.endswith(f"/{name}")), None)
    if sample is None:
        return
    if client.can_choose_lora(sample) is False:
        detail = f"a workflow that names {sample} is refused: value not in list"
        code = "value-not-in-list"
        yield error("comfyui-listing", detail, fix=cure(code), subject=shelf.destination, code=code)
    if not client.can_read(_FOLDER, sample):
        where = shlex.quote(os.path.join(shelf.directory, names[0])) if shelf.directory else sample
        yield error(
            "comfyui-permissions",
            f"ComfyUI lists {sample} and fails to read it",
            fix=f"let it read: sudo chmod a+r {where}\nor see what is wrong with it: lorawatch check {where}",
            subject=shelf.destination,
            code="value-not-in-list",
        )


def _way_for(shelf: Shelf) -> str:
    if not shelf.directory:
        return cure(_NOT_LISTED)
    folder, name = os.path.split(shelf.directory.rstrip("/"))
    return (
        f"refresh its list: touch {shlex.quote(shelf.directory)}\n"
        "if it looks elsewhere, deliver there, or add to its extra_model_paths.yaml and restart it:"
        f" lorawatch: {{base_path: {folder}, {_FOLDER}: {name}}}"
    )


def _tails(listed: Sequence[str]) -> set[str]:
    """Return every name of the list, and what is left of it without directories: a destination may be one of these."""
    parts = [name.split("/") for name in listed]
    return {"/".join(each[start:]) for each in parts for start in range(len(each))}


def _is_among(directory: str, folders: Sequence[str]) -> bool:
    real = os.path.realpath(directory)
    return any(real == each or real.startswith(os.path.join(each, "")) for each in map(os.path.realpath, folders))
