"""The composition root: the one file that knows every concrete class.

daemon.py and the commands call it. It starts nothing and keeps nothing.
"""

import hashlib
import json
import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lorawatch.comfyui_wiring import link_of, watches_of
from lorawatch.config import ComfyUIMcpDestinationConfig, Config, DestinationConfig, SourceConfig
from lorawatch.config_environment import token_for
from lorawatch.destinations.directory import DirectoryDestination
from lorawatch.destinations.registry import build, location_of
from lorawatch.domain.model import Standing, Version
from lorawatch.domain.planning import CheckpointPolicy
from lorawatch.domain.policy import RetrySettings
from lorawatch.domain.ports import Destination, SidecarWriter, Source, Stager
from lorawatch.engine.carrying import Carrier
from lorawatch.engine.desk import VerdictDesk
from lorawatch.engine.health import Health
from lorawatch.engine.intake import Intake
from lorawatch.engine.lanes import Bell, Lane
from lorawatch.engine.reading import Reader
from lorawatch.engine.service import Service
from lorawatch.engine.settings import IntakeSettings, Route
from lorawatch.engine.staged import StagedCopies
from lorawatch.engine.surveying import Surveyor
from lorawatch.engine.tally import Tally
from lorawatch.journal import places
from lorawatch.journal.database import Database
from lorawatch.journal.servers import ServerMemory
from lorawatch.journal.standing import standing_of
from lorawatch.looking import examiner_of
from lorawatch.sources.folder import FolderSource
from lorawatch.sources.mounts import Disks, is_local
from lorawatch.sources.watching import WatchHub

# Leases name the process that holds them: "daemon-..." is freed when the next daemon takes the lock.
DAEMON = "daemon"


def verdict_key_of(config: Config) -> str:
    """Return what names every setting that a verdict depends on, and the inspector's version."""
    settings = [
        examiner_of(config).version,
        config.inspect.max_header_bytes,
        config.watch.checkpoints,
        [
            (each.name, each.kinds or config.inspect.kinds, each.families)
            for each in config.destinations
            if each.enabled
        ],
    ]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]


def routes_of(config: Config, journal: Database) -> list[Route]:
    """Build every enabled destination, and register it in the journal."""
    routes, now = [], time.time()
    wakes: dict[str, threading.Event] = {}
    for each in config.destinations:
        if not each.enabled:
            continue
        memory = ServerMemory(journal, f"{each.name} {location_of(each)}")
        destination = build(each, instance=journal.instance(), memory=memory)
        with journal.write() as connection:
            number = places.register_destination(
                connection, name=each.name, location=location_of(each), kind=each.kind, now=now
            )
        routes.append(
            Route(
                destination_id=number,
                destination=destination,
                stager=_stager_of(destination),
                name_template=each.name_template,
                on_conflict=each.on_conflict,
                kinds=frozenset(each.kinds or config.inspect.kinds),
                families=frozenset(each.families) or None,
                connections=each.connections,
                reads_back=_reads_back(each),
                sidecars=frozenset(getattr(each, "sidecars", ())),
                sidecar_writer=_sidecar_writer_of(destination),
                comfyui=link_of(each, destination, wakes),
            )
        )
    return routes


def _reads_back(config: DestinationConfig) -> bool:
    """Return whether every file is to be proved by its hash; chunks that arrive side by side deserve it too."""
    return isinstance(config, ComfyUIMcpDestinationConfig) and (
        config.verify == "download" or config.parallel_chunks > 1
    )


def _sidecar_writer_of(destination: Destination) -> SidecarWriter | None:
    return destination if isinstance(destination, SidecarWriter) else None


def _stager_of(destination: Destination) -> Stager | None:
    """Return the destination as a stager, if what is copied there stays on a local file system."""
    if isinstance(destination, DirectoryDestination) and is_local(destination.directory):
        return destination
    return None


def _hang_proof(source: Source, routes: Sequence[Route]) -> Callable[[], bool]:
    """Return what tells whether reading and staging touch disks of this machine only.

    A name with a directory in it may lead through a link to wherever.
    """
    staging = [route for route in routes if route.stager is not None]
    directories = [each.destination.directory for each in staging if isinstance(each.destination, DirectoryDestination)]
    disks = Disks([source.root, *directories])
    return lambda: all("/" not in each.name_template for each in staging) and disks.are_local()


def build_service(config: Config, journal: Database, tally: Tally) -> Service:
    """Put the parts together for one configuration. Starts nothing."""
    stop = threading.Event()
    process = f"{DAEMON}-{os.getpid()}-{secrets.token_hex(3)}"
    retry = RetrySettings(config.retry.first_seconds, config.retry.max_seconds, config.retry.give_up_after_seconds)
    routes = routes_of(config, journal)
    health = Health(routes, journal=journal, retry=retry, now=time.time, jitter=random.random)
    staged, bell = StagedCopies(), Bell()
    hub = WatchHub()
    settings = IntakeSettings(
        quiet_seconds=config.watch.quiet_seconds,
        poll_seconds=config.watch.poll_seconds,
        reconcile_seconds=config.watch.reconcile_seconds,
        is_existing_delivered=config.watch.existing == "deliver",
        checkpoints=CheckpointPolicy.parse(config.watch.checkpoints),
        is_retiring=config.watch.retire,
        verdict_key=verdict_key_of(config),
    )
    parts = _Parts(config, journal, routes, health, staged, bell, tally, settings, hub, stop)
    sources: list[Source] = [_folder(parts, directory) for directory in config.watch.directories]
    sources += [_fetched(parts, source) for source in config.sources if source.enabled]
    intakes = [_intake(parts, source) for source in sources]
    by_root = {intake.root: intake for intake in intakes}

    def is_root_trusted(root: str) -> bool:
        return root not in by_root or by_root[root].is_root_trusted

    service = Service(
        journal=journal,
        routes=routes,
        intakes=intakes,
        lanes=[],
        health=health,
        staged=staged,
        bell=bell,
        stop_event=stop,
        process=process,
        watches=watches_of(routes, journal=journal, stop=stop, retry=retry),
    )
    service.lanes = _lanes(parts, process, retry, is_root_trusted, service.destination_recovered)
    return service


@dataclass(frozen=True, slots=True)
class _Parts:
    config: Config
    journal: Database
    routes: Sequence[Route]
    health: Health
    staged: StagedCopies
    bell: Bell
    tally: Tally
    settings: IntakeSettings
    hub: WatchHub
    stop: threading.Event


def _folder(parts: _Parts, directory: str) -> FolderSource:
    watch = parts.config.watch
    return FolderSource(
        directory,
        mode=watch.mode,
        include=watch.include,
        exclude=watch.exclude,
        max_header_bytes=parts.config.inspect.max_header_bytes,
        hub=parts.hub,
    )


def _fetched(parts: _Parts, source: SourceConfig) -> Source:
    """Return a source that keeps what it fetches in the state directory."""
    # Imported here: a daemon that only copies files never loads HTTP, which costs 80 ms and 8 MB.
    from lorawatch.sources.aitoolkit import AIToolkitSource
    from lorawatch.sources.aitoolkit_api import AIToolkitApi
    from lorawatch.sources.fetching import Fetcher
    from lorawatch.sources.spool import Spool
    from lorawatch.transport.http import HttpClient, HttpSettings

    folder = _folder(parts, os.path.join(parts.config.state_directory, "spool", source.name))
    settings = HttpSettings(
        url=source.url,
        token=token_for(source, os.environ).get_secret_value(),
        connect_timeout_seconds=source.connect_timeout_seconds,
        read_timeout_seconds=source.read_timeout_seconds,
        verify_tls=source.verify_tls,
    )
    memory = ServerMemory(parts.journal, f"source {source.name} {source.url}")

    def standing(path: str, version: Version) -> Standing:
        with parts.journal.read() as connection:
            return standing_of(connection, path, version)

    fetcher = Fetcher(
        AIToolkitApi(HttpClient(settings)),
        Spool(folder.root, standing),
        poll_seconds=source.poll_seconds,
        memory=memory,
        is_wanted=lambda path: folder.wants(os.path.join(folder.root, path)),
        is_existing_wanted=parts.settings.is_existing_delivered,
    )
    return AIToolkitSource(folder, fetcher)


def _intake(parts: _Parts, source: Source) -> Intake:
    reader = Reader(
        source=source,
        examiner=examiner_of(parts.config),
        routes=parts.routes,
        health=parts.health,
        staged=parts.staged,
        journal=parts.journal,
        stop=parts.stop,
        is_hang_proof=_hang_proof(source, parts.routes),
    )
    desk = VerdictDesk(
        source.root,
        journal=parts.journal,
        routes=parts.routes,
        settings=parts.settings,
        staged=parts.staged,
        tally=parts.tally,
        wake_lanes=parts.bell.ring,
    )

    def surveyor(is_pending: Callable[[str], bool], touch: Callable[[], None]) -> Surveyor:
        return Surveyor(source, parts.journal, parts.routes, parts.settings, time.time, is_pending, touch)

    return Intake(
        source=source,
        reader=reader,
        desk=desk,
        surveyor=surveyor,
        journal=parts.journal,
        settings=parts.settings,
        stop=parts.stop,
    )


def _lanes(
    parts: _Parts,
    process: str,
    retry: RetrySettings,
    is_root_trusted: Callable[[str], bool],
    on_recovered: Callable[[str], None],
) -> list[Lane]:
    lanes = []
    for route in parts.routes:
        carrier = Carrier(
            route=route,
            journal=parts.journal,
            health=parts.health,
            staged=parts.staged,
            retry=retry,
            stop=parts.stop,
            jitter=random.random,
            is_root_trusted=is_root_trusted,
        )
        labels = [f"{route.name}-express", *(f"{route.name}-{number}" for number in range(1, route.connections + 1))]
        lanes += [
            Lane(
                carrier,
                label=label,
                process=process,
                is_express=number == 0,
                bell=parts.bell,
                on_recovered=on_recovered,
            )
            for number, label in enumerate(labels)
        ]
    return lanes
