"""Which LoRA is meant, by a path or by a name under which it was delivered, and what ComfyUI calls it.

Behind `workflow`, on the main thread. It reads the file and the journal, and writes nothing.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

from lorawatch.config import Config, DestinationConfig
from lorawatch.domain.codes import lookup
from lorawatch.domain.errors import WorkflowError
from lorawatch.domain.model import Delivery, Facts
from lorawatch.domain.pairing import other_half_of
from lorawatch.inspection.inspector import inspect
from lorawatch.inspection.keys import changes_text_encoder
from lorawatch.journal import views
from lorawatch.journal.database import Database
from lorawatch.looking import examiner_of, look_at

_EXTENSION = ".safetensors"
# Where ComfyUI lists LoRAs from, in its own tree; what lies below is part of their names.
_LORAS = os.sep + os.path.join("models", "loras") + os.sep


@dataclass(frozen=True, slots=True)
class Located:
    """One LoRA. `origin` is where it was trained, as far as that is known, whether it is still there or not."""

    origin: str
    name: str  # relative to ComfyUI's directory of LoRAs
    facts: Facts
    changes_text_encoder: bool
    destination: DestinationConfig | None = None  # where it was delivered


class Locator:
    """Finds LoRAs with a configuration, and a journal if there is one."""

    def __init__(self, config: Config, journal: Database | None) -> None:
        self._config = config
        self._journal = journal
        self._destinations = {each.name: each for each in config.destinations}

    def locate(self, given: str) -> Located:
        """Return the LoRA that is meant. Raises WorkflowError, with the file's own code if it is rejected."""
        path = os.path.abspath(given)
        if os.path.lexists(path):
            return self._at(path)
        for name in (given, given + _EXTENSION):
            delivery = self._preferred(self._delivered_as(name))
            if delivery is not None:
                return self._delivered(delivery)
        raise WorkflowError(
            f"{given}: no such file, and nothing was delivered under that name",
            code="lora-not-found",
            fix="give its path, or a name that `lorawatch status` shows",
        )

    def other_half(self, half: Located) -> Located | None:
        """Return the other half of a pair, beside the first or delivered like it; None if it is in neither place."""
        path = other_half_of(half.origin)
        if path is None:
            return None
        if os.path.lexists(path):
            return self._at(path)
        delivery = self._preferred(self._delivered_of(path))
        return None if delivery is None else self._delivered(delivery)

    def _at(self, path: str) -> Located:
        facts, changes_text = self._look(path)
        delivery = self._preferred(self._delivered_of(path))
        if delivery is not None:
            destination = self._destinations.get(delivery.destination)
            return Located(path, _listed_name(delivery.remote_name, destination), facts, changes_text, destination)
        for destination in self._config.destinations:
            name = _name_inside(destination, path)
            if name is not None:
                return Located(path, _listed_name(name, destination), facts, changes_text, destination)
        return Located(path, os.path.basename(path), facts, changes_text)

    def _delivered(self, delivery: Delivery) -> Located:
        """Return what was delivered, as its bytes are now: at the source, else at the destination, else as recorded."""
        destination = self._destinations.get(delivery.destination)
        name = _listed_name(delivery.remote_name, destination)
        # Whether it changes the text encoder is not recorded; a loader for both does no harm where it does not.
        facts, changes_text = delivery.artifact.facts, True
        for path in (delivery.artifact.path, _path_at(destination, delivery.remote_name)):
            if path is not None and os.path.isfile(path) and os.access(path, os.R_OK):
                facts, changes_text = self._look(path)
                break
        return Located(delivery.artifact.path, name, facts, changes_text, destination)

    def _look(self, path: str) -> tuple[Facts, bool]:
        """Return what a file is, and whether it changes the text encoder. Raises WorkflowError if it is unusable."""
        verdict = look_at(path, examiner_of(self._config), lambda *_: None, Event())
        if not verdict.is_accepted:
            known = lookup(verdict.code or "")
            raise WorkflowError(
                f"{path}: {verdict.reason}", code=verdict.code, fix=known.cure if known is not None else ""
            )
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _, header = inspect(
                descriptor,
                name=os.path.basename(path),
                size_bytes=os.fstat(descriptor).st_size,
                max_header_bytes=self._config.inspect.max_header_bytes,
            )
        finally:
            os.close(descriptor)
        return verdict.facts, changes_text_encoder(header.tensors)

    def _delivered_of(self, path: str) -> list[Delivery]:
        if self._journal is None:
            return []
        with self._journal.read() as connection:
            return views.delivered_of(connection, path)

    def _delivered_as(self, name: str) -> list[Delivery]:
        if self._journal is None:
            return []
        with self._journal.read() as connection:
            return views.delivered_as(connection, name)

    def _preferred(self, deliveries: Sequence[Delivery]) -> Delivery | None:
        """Return the latest delivery, those before that went where ComfyUI can be asked, or is configured at all."""

        def rank(delivery: Delivery) -> int:
            destination = self._destinations.get(delivery.destination)
            return 2 if destination is None else 0 if destination.comfyui_url else 1

        return min(deliveries, key=rank, default=None)


def _directory_of(destination: DestinationConfig | None) -> str | None:
    """Return a destination's directory, if it is one of this machine."""
    return destination.directory if destination is not None and destination.kind == "directory" else None


def _path_at(destination: DestinationConfig | None, remote_name: str) -> str | None:
    directory = _directory_of(destination)
    return None if directory is None else os.path.join(directory, remote_name)


def _name_inside(destination: DestinationConfig, path: str) -> str | None:
    """Return the name of a file that lies in a destination's directory; None if it lies elsewhere."""
    directory = _directory_of(destination)
    if directory is None:
        return None
    name = os.path.relpath(os.path.realpath(path), os.path.realpath(directory))
    return None if name == os.curdir or name.split(os.sep)[0] == os.pardir else name


def _listed_name(remote_name: str, destination: DestinationConfig | None) -> str:
    """Return a name at a destination as ComfyUI lists it, where the destination lies below its models/loras."""
    directory = destination.directory if destination is not None and destination.kind != "comfyui-mcp" else ""
    _, found, below = (directory.rstrip(os.sep) + os.sep).rpartition(_LORAS)
    return os.path.join(below, remote_name) if found and below else remote_name
