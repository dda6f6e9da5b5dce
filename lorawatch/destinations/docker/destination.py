"""Deliver into a container or a named volume. Implements `domain.ports.Destination` and `SidecarWriter`.

Lane threads call it, several at once. Bytes come under a hidden temporary name, are hashed where they are, and get
their name at the very end; a container that is stopped or gone is waited for. A temporary file is in use as long as its
name is held by a process (transport/holding.py); what cannot be removed because Docker went away is removed later.
"""

import os
import re
import secrets
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from lorawatch.destinations.docker.reach import BrokenOffError, Freight, Landed, Naming, Place, Reach, no_room
from lorawatch.domain.errors import (
    DeliveryDelayedError,
    DestinationError,
    FileChangedError,
    NameTakenError,
)
from lorawatch.domain.model import Finding, RemoteFile, StagedCopy
from lorawatch.domain.planning import refuse_unsafe_name
from lorawatch.domain.ports import Consignment, Prepared, Stop
from lorawatch.transport import holding
from lorawatch.transport.files import blocks_of, open_source, require_version, sha256_of

MOST_SLOTS = 64  # of temporary names that are used again; more than there are lanes


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says. `owner` "": whoever owns the directory."""

    directory: str
    owner: str
    file_mode: int
    min_free_bytes: int


class DockerDestination:
    """`instance` (12 hex digits) marks this installation's temporary files, `key` tells destinations apart."""

    kind = "docker"
    group_size = 1  # every delivery is at least one call of its own

    def __init__(self, place: Place, settings: Settings, *, name: str, instance: str, key: str) -> None:
        self.name = name
        self.was_mount_point: bool | None = None  # what is mounted in a container is the container's business
        self.notes: list[Finding] = []
        self._place = place
        self._settings = settings
        self._root = settings.directory
        self._prefix = f".lorawatch-{instance}-"
        self._pattern = re.compile(rf"{re.escape(self._prefix)}[0-9a-f]{{16}}\.part")
        self._key = key
        self._lock = threading.Lock()
        self._abandoned: set[str] = set()  # temporary files that could not be removed yet

    def probe(self, *, needed_bytes: int) -> None:
        """Return if a file of this size could be written now: a temporary one is created and removed."""
        with self._reaching() as reach:
            self._drop_abandoned(reach)
            ground = reach.look(self._root, (), trial=self._path_in(self._root))
        free, least = ground.free_bytes, self._settings.min_free_bytes
        if free is not None and free - needed_bytes < least:
            raise no_room(self._place.words, free_bytes=free, needed_bytes=needed_bytes, least_bytes=least)

    def find(self, remote_name: str) -> RemoteFile | None:
        """Return what stands at the name: a link, a directory or a device counts, and is never ours."""
        path = self._path_of(remote_name)
        with self._reaching() as reach:
            there = reach.find(self._root, path)
        return replace(there, remote_name=remote_name) if there is not None else None

    def digest(self, remote_name: str) -> str | None:
        """Return the sha256 of a regular file's bytes, computed where they are if anything there can."""
        path = self._path_of(remote_name)
        with self._reaching() as reach:
            return reach.digest(path)

    def prepare(self, consignment: Consignment, *, progress: Callable[[int], None], stop: Stop) -> Prepared:
        """Write the source's accepted version to a temporary name, and have it hashed there."""
        path, version = consignment.source_path, consignment.source_version
        self._path_of(consignment.delivery.remote_name)
        source = open_source(path, version)
        try:
            blocks = blocks_of(source, path, size_bytes=version.size_bytes, progress=progress)
            staged = self._stage(
                consignment.delivery.remote_name,
                blocks,
                size_bytes=version.size_bytes,
                heartbeat=lambda: progress(version.size_bytes),
                stop=stop,
            )
            try:
                require_version(source, path, version)
                self._require_same(consignment, staged, source)
            except BaseException:
                self._discard(staged.path)
                raise
        finally:
            os.close(source)
        return Prepared(replace(consignment, staged=staged), token=staged.path, sha256=staged.sha256)

    def publish(self, prepared: Sequence[Prepared]) -> list[RemoteFile | DestinationError]:
        """Give each its name; one's failure is its own."""
        return [self._outcome(one) for one in prepared]

    def discard(self, prepared: Prepared) -> None:
        """Remove what `prepare` left, now or when Docker answers again. Never raises."""
        self._discard(prepared.token)

    def write_beside(self, name: str, content: bytes, *, replaces: RemoteFile | None) -> RemoteFile:
        """Write a small file the way a model is delivered."""
        staged = self._stage(name, [content], size_bytes=len(content), heartbeat=bool, stop=threading.Event())
        try:
            return self._give_name(name, staged, replaces)
        except BaseException:
            self._discard(staged.path)
            raise

    def touch(self, remote_names: Sequence[str]) -> None:
        """Give the directories that lead to these names the present time: a file is created and removed in each."""
        folders = {self._root, *(folder for name in remote_names for folder in self._folders_of(name))}
        with self._reaching() as reach:
            for folder in sorted(folders):
                reach.look(self._root, (), trial=self._path_in(folder))

    def remove(self, remote: RemoteFile) -> bool:
        """Remove the file if nobody has changed or replaced it since; return whether it was removed."""
        path = self._path_of(remote.remote_name)
        with self._reaching() as reach:
            return reach.remove(path, remote.fingerprint, aside=self._path_in(os.path.dirname(path)))

    def sweep(self) -> None:
        """Remove temporary files that earlier processes of this installation left, here and in sub-directories."""
        with self._reaching() as reach:
            found = reach.leftovers(self._root, f"{self._prefix}*.part")
            ours = [path for path in found if self._pattern.fullmatch(os.path.basename(path))]
            reach.drop([path for path in ours if not holding.is_held(self._held_name(path))])

    def _stage(
        self, remote_name: str, blocks: Iterable[memoryview | bytes], *, size_bytes: int,
        heartbeat: Callable[[], object], stop: Stop,
    ) -> StagedCopy:  # fmt: skip
        folders = (*self._folders_of(remote_name)[::-1], self._root)
        with self._reaching() as reach:
            self._drop_abandoned(reach)
            part_name = self._new_part_name(reach)
            freight = Freight(
                folders=folders,
                part_name=part_name,
                size_bytes=size_bytes,
                blocks=blocks,
                owner=self._settings.owner,
                file_mode=self._settings.file_mode,
                min_free_bytes=self._settings.min_free_bytes,
                heartbeat=heartbeat,
            )
            try:
                landed = reach.land(freight, stop=stop)
            except BaseException:
                # Not by `drop` alone: its program there may not have begun yet.
                possible = [os.path.join(folder, part_name) for folder in folders]
                self._discard(*possible)
                with self._lock:
                    self._abandoned.update(possible)
                raise
        self._note_all(reach, landed)
        return StagedCopy(landed.path, landed.fingerprint, size_bytes, landed.sha256)

    def _require_same(self, consignment: Consignment, staged: StagedCopy, source: int) -> None:
        wanted = consignment.delivery.artifact.sha256
        if staged.sha256 == wanted:
            return
        if sha256_of(source) != wanted:
            raise FileChangedError(f"{consignment.source_path} does not hold the bytes that were inspected")
        raise DeliveryDelayedError(
            f"a copy of {staged.size_bytes} bytes in {self._place.words} was read back and differs from its source",
            code="copy-corrupt",
            fix="it is copied again; if this repeats, memory, disk or file system are at fault",
        )

    def _outcome(self, prepared: Prepared) -> RemoteFile | DestinationError:
        delivery, staged = prepared.consignment.delivery, prepared.consignment.staged
        if staged is None:
            msg = "only what was prepared can be published"
            raise ValueError(msg)
        try:
            return self._give_name(delivery.remote_name, staged, prepared.consignment.replaces)
        except DestinationError as error:
            return error

    def _give_name(self, remote_name: str, staged: StagedCopy, replaces: RemoteFile | None) -> RemoteFile:
        naming = Naming(
            root=self._root,
            temporary=staged.path,
            fingerprint=staged.fingerprint,
            target=self._path_of(remote_name),
            replaces=replaces.fingerprint if replaces is not None else None,
            folders=tuple(self._folders_of(remote_name)),
        )
        with self._reaching() as reach:
            if naming.folders:
                ground = reach.look(self._root, ())
                mode = naming.folder_mode | (stat.S_ISGID if ground.is_group_kept else 0)
                naming = replace(naming, owner=self._settings.owner or ground.owner, folder_mode=mode)
            named = reach.give_name(naming)
        if named is None:
            raise NameTakenError(
                f"at {remote_name!r} in {self._place.words} stands something that lorawatch may not replace",
                fix="move it away, or set on_conflict or name_template",
            )
        there, is_exclusive = named
        holding.release(self._held_name(staged.path))
        if not is_exclusive and reach.is_exclusive:
            detail = f"the file system of {self._place.words} has no hard links: names are checked just before"
            self._note("rename-not-exclusive", detail)
        return replace(there, remote_name=remote_name)

    def _discard(self, *temporaries: str) -> None:
        """Remove one temporary file, which may be at several places."""
        try:
            with self._reaching() as reach:
                reach.drop(temporaries)
        except DestinationError:
            with self._lock:
                self._abandoned.update(temporaries)  # the next who finds Docker again removes it
        holding.release(self._held_name(temporaries[0]))

    def _drop_abandoned(self, reach: Reach) -> None:
        with self._lock:
            abandoned = set(self._abandoned)
        if abandoned:
            reach.drop(sorted(abandoned))
            with self._lock:
                self._abandoned -= abandoned

    @contextmanager
    def _reaching(self) -> Iterator[Reach]:
        """Give the way to the files; a call that was cut off is explained."""
        reach = self._place.reach()
        try:
            yield reach
        except BrokenOffError as error:
            raise self._place.explain(error) from error

    def _new_part_name(self, reach: Reach) -> str:
        """Return a temporary name that nobody holds. What cannot be removed has one of a few, to be used again."""
        for slot in range(MOST_SLOTS):
            number = secrets.token_hex(8) if reach.is_exclusive else f"{slot:016x}"
            part_name = f"{self._prefix}{number}.part"
            if holding.hold(self._held_name(part_name)):
                return part_name
        raise DeliveryDelayedError("every temporary name is in use", fix="it is tried again")

    def _path_in(self, folder: str) -> str:
        return os.path.join(folder, f"{self._prefix}{secrets.token_hex(8)}.part")

    def _path_of(self, remote_name: str) -> str:
        refuse_unsafe_name(remote_name)
        return os.path.join(self._root, remote_name)

    def _folders_of(self, remote_name: str) -> list[str]:
        """Return the directories between the root and a name, from the top."""
        parts = remote_name.split("/")[:-1]
        return [os.path.join(self._root, *parts[:count]) for count in range(1, len(parts) + 1)]

    def _held_name(self, path: str) -> str:
        return f"{self._key} {os.path.basename(path)}"

    def _note_all(self, reach: Reach, landed: Landed) -> None:
        if not reach.is_exclusive:
            why = self._place.why_archive or f"{self._place.words} is stopped"
            detail = (
                f"{why}: files come by `docker cp`. Names are checked just before instead of exclusively, free room is"
                " not known, nothing can be removed, and one empty hidden file stays"
            )
            self._note("container-without-shell", detail)
        for code, detail in landed.notes:
            self._note(code, detail)

    def _note(self, code: str, detail: str) -> None:
        if all(finding.code != code for finding in self.notes):
            self.notes.append(Finding(code, detail))
