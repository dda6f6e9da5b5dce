"""Puts together what asks ComfyUI: for app.py, which hands in the configuration and takes the threads to the service.

It connects to nothing; the client is loaded on its thread when something is first asked, for HTTP costs 80 ms and 8 MB,
and the watch where there is a ComfyUI to be asked.
"""

import os
import random
import threading
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from lorawatch.config import ComfyUIMcpDestinationConfig, DestinationConfig
from lorawatch.destinations.directory import DirectoryDestination
from lorawatch.domain.policy import RetrySettings
from lorawatch.domain.ports import ComfyUIApi, Destination, Toucher
from lorawatch.engine.settings import ComfyUILink, Route
from lorawatch.journal.database import Database
from lorawatch.sources.mounts import is_local

if TYPE_CHECKING:
    from lorawatch.engine.comfyui_watch import ComfyUIWatch


def link_of(
    config: DestinationConfig, destination: Destination, wakes: dict[str, threading.Event]
) -> ComfyUILink | None:
    """Return what leads from a destination to its ComfyUI; None if it is not to be asked.

    `wakes` holds one event per ComfyUI, shared by all destinations that it reads.
    """
    if not config.comfyui_url:
        return None
    directories: dict[str, None] = {}
    if not isinstance(config, ComfyUIMcpDestinationConfig):  # elsewhere only the server knows where it puts things
        directories = dict.fromkeys([config.directory])
    is_directory = isinstance(destination, DirectoryDestination)
    if is_directory:
        directories |= dict.fromkeys(os.path.realpath(directory) for directory in list(directories))
    return ComfyUILink(
        url=config.comfyui_url,
        wake=wakes.setdefault(config.comfyui_url, threading.Event()),
        refresh=config.refresh,
        refresh_wait_seconds=config.refresh_wait_seconds,
        directories=tuple(directories),
        toucher=destination if isinstance(destination, Toucher) else None,
        has_same_times=is_directory and all(is_local(directory) for directory in directories),
    )


def watches_of(
    routes: Sequence[Route], *, journal: Database, stop: threading.Event, retry: RetrySettings
) -> "list[ComfyUIWatch]":
    """Return one watch per ComfyUI; none of them is started."""
    links: dict[str, list[Route]] = {}
    for route in routes:
        if route.comfyui is not None:
            links.setdefault(route.comfyui.url, []).append(route)
    if not links:
        return []
    from lorawatch.engine.comfyui_watch import ComfyUIWatch

    return [
        ComfyUIWatch(
            linked,
            url=url,
            connect=partial(_connect, url),
            journal=journal,
            stop=stop,
            wake=linked[0].comfyui.wake if linked[0].comfyui is not None else threading.Event(),
            retry=retry,
            jitter=random.random,
        )
        for url, linked in links.items()
    ]


def _connect(url: str) -> ComfyUIApi:
    from lorawatch.comfyui.client import ComfyUI

    return ComfyUI(url)
