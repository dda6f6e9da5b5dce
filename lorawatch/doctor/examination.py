"""Which checks there are for a configuration, in the order in which they are told. `doctor` calls it, once."""

import os
from collections.abc import Iterator, Mapping
from functools import partial

from lorawatch.config import (
    ComfyUIMcpDestinationConfig,
    Config,
    DestinationConfig,
    DirectoryDestinationConfig,
    DockerDestinationConfig,
)
from lorawatch.config_environment import default_state_directory
from lorawatch.destinations.registry import location_of
from lorawatch.doctor import (
    comfyui,
    configuration,
    directory,
    elsewhere,
    inotify,
    program,
    readers,
    records,
    server,
    service,
    source,
    state,
    troubles,
    watched,
)
from lorawatch.doctor.findings import Finding, fine
from lorawatch.doctor.running import CHECK_SECONDS, Check, run, within
from lorawatch.doctor.worker import Worker, myself, worker_of
from lorawatch.finding import servers
from lorawatch.journal import checkup

_READ_SECONDS = 8.0  # resolving the directories of a configuration takes no time, unless one of them hangs


def examine(file: str | None, environ: Mapping[str, str], *, seconds: float = CHECK_SECONDS) -> Iterator[Finding]:
    """Yield every finding, those of the configuration first. Never raises; takes `seconds` at most, and some."""
    read = within(min(seconds, _READ_SECONDS), lambda: configuration.read(file, environ))
    if read is None:
        yield from run(list(_of_hung(file, environ)), seconds=min(seconds, _READ_SECONDS))
        return
    yield from read.findings
    config = read.loaded.config if read.loaded is not None else None
    where = config.state_directory if config is not None else _default_state_directory(environ)
    used = read.loaded.file if read.loaded is not None else file
    worker = within(min(seconds, _READ_SECONDS), lambda: worker_of(where, used)) or myself()
    if config is None:
        yield from run([*_program(None), Check("systemd", partial(service.look, None, file, worker))], seconds=seconds)
    else:
        yield from run(list(_checks(config, used, worker)), seconds=seconds)


def _default_state_directory(environ: Mapping[str, str]) -> str:
    return environ.get("LORAWATCH_STATE_DIRECTORY") or default_state_directory(environ)


def _of_hung(file: str | None, environ: Mapping[str, str]) -> Iterator[Check]:
    """Yield what can be looked at while a directory of the configuration hangs: which one it is, and the machine."""
    for path in configuration.directories_in(file, environ):
        yield Check("directory", partial(_reached, path), path)
    yield from _program(None)
    yield Check("systemd", partial(service.look, None, file, myself()))
    yield Check(configuration.CHECK, partial(_read_later, file, environ), file or "")


def _reached(path: str) -> Iterator[Finding]:
    yield fine("directory", f"{path} {'answers' if os.path.isdir(path) else 'is not there'}")


def _read_later(file: str | None, environ: Mapping[str, str]) -> Iterator[Finding]:
    yield from configuration.read(file, environ).findings


def _program(config: Config | None) -> Iterator[Check]:
    yield Check("python", program.python)
    yield Check("clock", partial(program.clock, config.state_directory if config else None))


def _checks(config: Config, file: str | None, worker: Worker) -> Iterator[Check]:
    yield from _program(config)
    where = config.state_directory
    yield Check("state-directory", partial(state.look, where, worker), where)
    yield Check("daemon", partial(state.daemon, where, worker), where)
    yield Check("systemd", partial(service.look, config, file, worker))
    if config.watch.directories and config.watch.mode != "polling":
        yield Check("inotify", partial(inotify.look, config.watch.directories, worker))
    for path in config.watch.directories:
        yield Check("watched-directory", partial(watched.look, path, config.watch, worker), path)
    for each in config.sources:
        if each.enabled:
            yield Check(source.CHECK, partial(source.look, each), each.name)
    enabled = [each for each in config.destinations if each.enabled]
    for destination in enabled:
        yield from _of_destination(destination, config, worker)
    yield from _comfyui(enabled, config)
    yield Check("destination-parked", partial(troubles.parked, enabled, where))
    yield Check("deliveries", partial(troubles.deliveries, enabled, where, worker.name))
    yield Check("lora-effect", partial(troubles.effects, where))


def _of_destination(destination: DestinationConfig, config: Config, worker: Worker) -> Iterator[Check]:
    where = config.state_directory
    if isinstance(destination, DirectoryDestinationConfig):
        look = partial(directory.look, destination, worker, state_directory=where, sources=config.watch.directories)
        yield Check("destination-directory", look, destination.name)
        yield Check(readers.CHECK, partial(readers.look, destination, worker), destination.name)
    elif isinstance(destination, ComfyUIMcpDestinationConfig):
        yield Check(server.CHECK, partial(server.look, destination, state_directory=where), destination.name)
    elif isinstance(destination, DockerDestinationConfig):
        yield Check(elsewhere.CHECK, partial(elsewhere.look, destination, worker), destination.name)


def _comfyui(enabled: list[DestinationConfig], config: Config) -> Iterator[Check]:
    """Yield one check for each ComfyUI that is named; and one for a ComfyUI of this machine that is not."""
    urls = dict.fromkeys(each.comfyui_url for each in enabled if each.comfyui_url)
    for url in urls:
        shelves = [_shelf(each, config.state_directory) for each in enabled if each.comfyui_url == url]
        yield Check(comfyui.CHECK, partial(comfyui.look, url, shelves), url)
    local = next(
        (each for each in enabled if isinstance(each, DirectoryDestinationConfig) and not each.comfyui_url), None
    )
    if local is not None:
        yield Check(comfyui.CHECK, partial(_unnamed, local), local.name)


def _shelf(destination: DestinationConfig, state_directory: str) -> comfyui.Shelf:
    if isinstance(destination, DirectoryDestinationConfig):
        path = destination.directory
        return comfyui.Shelf(destination.name, partial(comfyui.names_in, path), path)

    def delivered() -> list[str]:
        names = records.ask(
            state_directory,
            lambda connection: checkup.delivered(connection, destination.name, location_of(destination)),
        )
        return list(names or {})

    return comfyui.Shelf(destination.name, delivered)


def _unnamed(destination: DirectoryDestinationConfig) -> Iterator[Finding]:
    url = f"http://127.0.0.1:{servers.COMFYUI_PORT}"
    if servers.is_comfyui(url):
        yield comfyui.unnamed(url, destination.directory, destination.name)
