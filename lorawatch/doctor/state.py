"""The state directory: can lorawatch's user write it, is the journal whole, does a daemon run on it."""

import os
import shlex
from collections.abc import Iterator

from lorawatch import humanize
from lorawatch.doctor import access
from lorawatch.doctor.findings import Finding, Level, error, fine, of_error
from lorawatch.doctor.worker import Worker
from lorawatch.domain.errors import JournalError
from lorawatch.journal import checkup
from lorawatch.journal.database import FILE_NAME, Database
from lorawatch.journal.lock import is_locked
from lorawatch.transport.files import free_bytes

_LEAST_FREE_BYTES = 100_000_000  # the journal of a hundred thousand files has about 60 MB


def look(directory: str, worker: Worker) -> Iterator[Finding]:
    """Look at directory and journal."""
    yield from _directory(directory, worker)
    yield from _journal(directory, worker)


def daemon(directory: str, worker: Worker) -> Iterator[Finding]:
    """Say whether a daemon runs, and as whom."""
    if is_locked(directory):
        yield fine(
            "daemon", f"runs on {directory}, as {worker.name}" + (f" (process {worker.pid})" if worker.pid else "")
        )
    else:
        yield fine("daemon", f"none runs on {directory}; one would work {worker.why} ({worker.name})")


def _directory(directory: str, worker: Worker) -> Iterator[Finding]:
    check = "state-directory"
    there = directory
    while not os.path.isdir(there) and there != os.path.dirname(there):
        there = os.path.dirname(there)
    is_made_by_systemd = worker.is_service and there != directory
    what = f"write into {there}" if there == directory else f"make {directory}, as the first run will"
    found = [] if is_made_by_systemd else access.tried(check, worker, write=[there], subject=directory, what=what)
    wrong = [finding for finding in found if not finding.is_fine]
    yield from wrong
    free = free_bytes(there)
    if free < _LEAST_FREE_BYTES:
        yield error(
            check,
            f"the disk of {directory} has only {humanize.size(free)} left: nothing can be recorded",
            fix=f"free some room: df -h {shlex.quote(there)}",
            subject=directory,
            code="journal-unusable",
        )
    elif not wrong:
        said = found[0].detail if found else f"systemd makes {directory} at the first start"
        yield fine(check, f"{said}; {humanize.size(free)} free", subject=directory)


def _journal(directory: str, worker: Worker) -> Iterator[Finding]:
    check, path = "journal", os.path.join(directory, FILE_NAME)
    try:
        database = Database.open_read_only(directory)
        if database is None:
            yield fine(check, "there is none yet: nothing has been delivered", subject=directory)
            return
        try:
            with database.read() as connection:
                wrong = checkup.damage(connection)
        finally:
            database.close()
    except JournalError as raised:
        is_mine_to_read = worker.is_me or worker.can_be_tried
        level = Level.ERROR if is_mine_to_read or "may not be" not in raised.message else Level.WARNING
        words = {"STATE_DIRECTORY": shlex.quote(directory)}
        yield of_error(check, raised, subject=directory, words=words, level=level)
        return
    if wrong:
        yield error(
            check,
            f"{path} is damaged: {wrong}",
            fix=f"stop lorawatch and move it away: mv {shlex.quote(path)} {shlex.quote(path + '.damaged')}",
            subject=directory,
            code="journal-unusable",
        )
    else:
        yield fine(check, f"{path} is whole, {humanize.size(os.path.getsize(path))}", subject=directory)
