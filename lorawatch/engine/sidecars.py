"""What is put beside a delivered LoRA on request: a preview picture, and what A1111 and its heirs read of it.

Lanes call it after their deliveries and in idle turns, `send` at its end. What is to be done stands in the journal
since the delivery was recorded, so whatever interrupts it is made up for. No trouble here ever touches a delivery,
and a file that lorawatch did not write is never replaced or removed.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from lorawatch.domain.errors import DestinationDownError, DestinationError
from lorawatch.domain.model import Artifact, Delivery, RemoteFile
from lorawatch.engine import announcing
from lorawatch.engine.samples import best_sample, read_sample
from lorawatch.engine.settings import Route
from lorawatch.events import Event, emit
from lorawatch.journal import deliveries, files, sidecars
from lorawatch.journal.database import Database
from lorawatch.journal.sidecars import Sidecar

# AI Toolkit draws the samples of a step right after it has saved it: the picture comes after the LoRA.
LOOK_AGAIN_SECONDS = 60.0
PATIENCE_SECONDS = 3600.0  # after the save; slow video samples of one step take half of it
# The words of A1111's own list (extensions-builtin/Lora/ui_edit_user_metadata.py); what came later has no word there
# and is named as lorawatch names it.
_A1111_VERSIONS = {"sd_1.5": "SD1", "sd_2.1": "SD2", "sdxl_1.0": "SDXL", "sd_3": "SD3", None: "Unknown"}


@dataclass(frozen=True, slots=True)
class Sidecars:
    """The sidecars at one destination."""

    route: Route
    journal: Database
    now: Callable[[], float] = time.time

    def tend(self) -> None:
        """Write, renew and remove what is due. Raises JournalError only."""
        if not self.route.sidecars or self.route.sidecar_writer is None:
            return
        now, destination_id = self.now(), self.route.destination_id
        with self.journal.read() as connection:
            if not sidecars.is_any_due(connection, destination_id, now=now):
                return
        with self.journal.write() as connection:
            numbers = sidecars.take_due(connection, destination_id, now=now, again_at=now + LOOK_AGAIN_SECONDS)
            due = deliveries.get(connection, numbers)
        for delivery in due:
            try:
                is_done = self._tend_one(delivery)
            except DestinationDownError:
                return  # the rest waits in the journal
            if is_done:
                with self.journal.write() as connection:
                    sidecars.finish(connection, delivery.delivery_id)

    def remove_beside(self, delivery: Delivery) -> None:
        """Remove what lorawatch wrote beside a file that it has removed itself."""
        for each in self._written_beside(delivery):
            self._remove(delivery, each)

    def _tend_one(self, delivery: Delivery) -> bool:
        """Bring the sidecars of a delivery up to date; return whether they are final."""
        with self.journal.read() as connection:
            is_outdated = files.is_outdated(connection, delivery.artifact)
        if is_outdated or self.route.destination.find(delivery.remote_name) is None:
            return True  # its successor brings its own; beside nothing there is nothing to put
        stem = os.path.splitext(delivery.remote_name)[0]
        if "metadata" in self.route.sidecars:
            self._put(delivery, f"{stem}.json", metadata_of(delivery.artifact))
        is_final = "preview" not in self.route.sidecars or self._put_preview(delivery, stem)
        for each in self._written_beside(delivery):
            if each.beside_sha256 != delivery.artifact.sha256:  # of the version before
                self._remove(delivery, each)
        return is_final

    def _put_preview(self, delivery: Delivery, stem: str) -> bool:
        """Write the best picture that there is now; return whether a better one is not to be waited for."""
        artifact, now = delivery.artifact, self.now()
        is_late = now - artifact.version.mtime_ns / 1e9 > PATIENCE_SECONDS
        sample = best_sample(artifact, now=now)
        picture = None if sample is None else read_sample(sample)
        if sample is None or picture is None:
            return is_late
        name = f"{stem}.preview.{sample.extension}"
        is_ours = self._put(delivery, name, picture)
        for each in self._written_beside(delivery):
            if is_ours and each.name != name and each.name.startswith(f"{stem}.preview."):
                self._remove(delivery, each)
        return is_late or not is_ours or artifact.facts.step in {None, sample.step}

    def _put(self, delivery: Delivery, name: str, content: bytes) -> bool:
        """Write one sidecar, or see that it is there; False if its name is not, or no longer, ours."""
        # ComfyUI-Lora-Manager passes over a model whose <stem>.metadata.json is not its own.
        if self.route.sidecar_writer is None or name.endswith(".metadata.json"):
            return False
        known = next((each for each in self._written_beside(delivery) if each.name == name), None)
        sha256, beside_sha256 = hashlib.sha256(content).hexdigest(), delivery.artifact.sha256
        try:
            there, standing_sha256 = self._look_at(name)
            if there is None and known is not None and known.fingerprint and known.beside_sha256 == beside_sha256:
                return False  # a person removed it
            if there is not None and not _is_ours(there, standing_sha256, known):
                self._forget(name)
                reason = f"{self.route.name} holds a file {name!r} that lorawatch did not write; it is left alone"
                self._say(Event.SIDECAR_FAILED, delivery, name, code="name-taken", reason=reason, level="info")
                return False
            intent = Sidecar(name, sha256, known.fingerprint if known else None, beside_sha256)
            if there is None or standing_sha256 != sha256:
                self._record(delivery, intent)
                there = self.route.sidecar_writer.write_beside(name, content, replaces=there)
                self._say(Event.SIDECAR_WRITTEN, delivery, name)
            self._record(delivery, replace(intent, fingerprint=there.fingerprint))
        except DestinationDownError:
            raise
        except DestinationError as error:
            self._say(Event.SIDECAR_FAILED, delivery, name, code=error.code, reason=error.message, fix=error.fix)
        return True

    def _remove(self, delivery: Delivery, sidecar: Sidecar) -> None:
        try:
            there, standing_sha256 = self._look_at(sidecar.name)
            is_ours = there is not None and _is_ours(there, standing_sha256, sidecar)
            if there is not None and is_ours and self.route.destination.remove(there):
                self._say(Event.SIDECAR_REMOVED, delivery, sidecar.name)
            self._forget(sidecar.name)
        except DestinationDownError:
            raise
        except DestinationError as error:
            self._say(
                Event.SIDECAR_FAILED, delivery, sidecar.name, code=error.code, reason=error.message, fix=error.fix
            )

    def _look_at(self, name: str) -> tuple[RemoteFile | None, str | None]:
        """Return what stands at a name, and the sha256 of its bytes."""
        there = self.route.destination.find(name)
        return there, None if there is None else self.route.destination.digest(name)

    def _written_beside(self, delivery: Delivery) -> list[Sidecar]:
        with self.journal.read() as connection:
            return sidecars.beside(connection, self.route.destination_id, delivery.remote_name)

    def _forget(self, name: str) -> None:
        with self.journal.write() as connection:
            sidecars.forget(connection, self.route.destination_id, name)

    def _record(self, delivery: Delivery, sidecar: Sidecar) -> None:
        with self.journal.write() as connection:
            sidecars.record(connection, self.route.destination_id, delivery.remote_name, sidecar)

    @staticmethod
    def _say(event: Event, delivery: Delivery, name: str, **data: object) -> None:
        emit(event, **{**announcing.named(delivery), "remote_name": name}, **data)


def metadata_of(artifact: Artifact) -> bytes:
    """Return what is known of a LoRA in the form of A1111's user metadata."""
    facts = artifact.facts
    what = [facts.family or "of an unknown family", facts.algorithm or facts.kind]
    what += [f"{word} {value}" for word, value in (("rank", facts.rank), ("step", facts.step)) if value is not None]
    by = f", trained with {facts.software}" if facts.software else ""
    document = {
        "description": f"{', '.join(what)}{by}",
        "sd version": _A1111_VERSIONS.get(facts.family, facts.family),
        "activation text": ", ".join(facts.trigger_words),
        "notes": f"delivered by lorawatch, sha256 {artifact.sha256}",
    }
    return json.dumps(document, indent=4).encode() + b"\n"


def _is_ours(there: RemoteFile, standing_sha256: str | None, known: Sidecar | None) -> bool:
    """Return whether lorawatch wrote what stands there, also if it was killed before it could record that."""
    if known is None or there.is_link:
        return False
    return known.fingerprint == there.fingerprint or known.sha256 == standing_sha256
