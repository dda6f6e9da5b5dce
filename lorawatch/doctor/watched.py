"""A watched directory: is it there, on what kind of mount, may lorawatch's user read all of it, what does it hold."""

import itertools
import os
import shlex
from collections.abc import Iterator

from lorawatch import humanize
from lorawatch.config import WatchConfig
from lorawatch.doctor import access
from lorawatch.doctor.findings import Finding, error, fine, warning
from lorawatch.doctor.worker import Worker
from lorawatch.domain.codes import cure_of as cure
from lorawatch.sources.mounts import MountTable
from lorawatch.sources.rooting import RootMissingError, find_root
from lorawatch.sources.scanning import NameFilter, scan_tree

_MOST_FILES = 20_000  # enough to tell that there are some


def look(directory: str, watch: WatchConfig, worker: Worker) -> Iterator[Finding]:
    """Look at one watched directory."""
    check, mounts = "watched-directory", MountTable()
    check_access = "source-permissions"
    found = access.tried(check_access, worker, read=[directory], subject=directory, what="read it and the LoRAs in it")
    is_open = all(finding.is_fine for finding in found)
    try:
        find_root(directory, mounts, before=None)
    except RootMissingError as missing:
        if not is_open:
            yield from found
        else:
            words = {"DIRECTORY": shlex.quote(directory), "PATH": shlex.quote(directory)}
            yield error(check, missing.reason, fix=cure(missing.code, words), subject=directory, code=missing.code)
        return
    yield from _mounts(directory, watch, mounts)
    yield from found
    yield from _contents(directory, watch)


def _mounts(directory: str, watch: WatchConfig, mounts: MountTable) -> Iterator[Finding]:
    check, real = "mounts", os.path.realpath(directory)
    own = mounts.of(real)
    remote = [each for each in (own, *mounts.below(real)) if not each.is_local]
    where = ", ".join(f"{each.kind} at {each.point}" for each in remote)
    if remote and watch.mode == "inotify":
        yield error(
            check,
            f'{where} tells of no change, and mode = "inotify" looks only every {watch.reconcile_seconds:g} s',
            fix='write mode = "auto" below [watch]',
            subject=directory,
        )
    elif remote:
        yield fine(
            check, f"{where}: looked at every {watch.poll_seconds:g} s, as it tells of no change", subject=directory
        )
    else:
        how = "is polled" if watch.mode == "polling" else "tells of every change"
        yield fine(check, f"on a local disk ({own.kind or 'unknown'}), which {how}", subject=directory)


def _contents(directory: str, watch: WatchConfig) -> Iterator[Finding]:
    """Say what is there: a pattern that matches nothing is seen at once."""
    check = "watched-directory"
    unreadable: dict[str, str] = {}
    every = itertools.islice(
        scan_tree(directory, root=directory, wanted=NameFilter(["**/*.safetensors"]), unreadable=unreadable),
        _MOST_FILES,
    )
    wanted, start = NameFilter(watch.include, watch.exclude), len(os.path.join(directory, ""))
    paths = [each.path for each in every]
    matching = sum(wanted.wants(path, start) for path in paths)
    if paths and not matching:
        yield warning(
            check,
            f"none of the {humanize.count(len(paths), 'safetensors file')} in it matches `include` without `exclude`",
            fix='write include = ["**/*.safetensors"] and exclude = [] below [watch]',
            subject=directory,
        )
    else:
        yield fine(check, f"is there, with {humanize.count(matching, 'possible LoRA')}", subject=directory)
