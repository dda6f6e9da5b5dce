"""One file at a person's word: look at it as intake would, or deliver it now. Behind `check` and `send`.

Runs on the main thread, beside a daemon or without one. `look_at` writes nothing; `deliver` goes through the same
journal and the same carrier as the daemon, under a lease of its own.
"""

import os
import random
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lorawatch.domain.errors import FileRejectedError, SourceError
from lorawatch.domain.model import Candidate, Delivery, Facts, Finding
from lorawatch.domain.planning import refuse_unsafe_name, series_of, step_of
from lorawatch.domain.policy import RetrySettings
from lorawatch.domain.ports import Stop
from lorawatch.engine.carrying import Arrived, Carrier, Failed
from lorawatch.engine.health import Health
from lorawatch.engine.progress import LEASE_SECONDS
from lorawatch.engine.recording import Accepted, Recorded, plan_route, record_accepted
from lorawatch.engine.settings import IntakeSettings, Route
from lorawatch.engine.staged import StagedCopies
from lorawatch.inspection.examination import Examiner
from lorawatch.journal import deliveries, places
from lorawatch.journal.database import Database
from lorawatch.journal.rows import Connection
from lorawatch.sources.looking import open_version, sight


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a file is, and whether it would be delivered."""

    file: str  # as it was given
    is_accepted: bool
    code: str | None
    reason: str | None
    facts: Facts
    size_bytes: int | None
    sha256: str | None = None
    candidate: Candidate | None = None


def look_at(file: str, examiner: Examiner, refusal: Callable[[Facts], tuple[str, str] | None], stop: Stop) -> Verdict:
    """Read a file whole and say what it is. Raises StoppedError only: every other trouble is in the verdict."""
    path = os.path.abspath(file)
    facts, candidate = Facts(), None
    try:
        sighting = sight(path, "/")
        candidate = Candidate(os.path.dirname(path), path, sighting.version, sighting.ctime_ns, is_closed=True)
        descriptor = open_version(replace(candidate, root="/"))
        try:
            examination = examiner.begin(descriptor, name=os.path.basename(path))
            facts = examination.facts
            sha256 = examination.hash(descriptor, size_bytes=sighting.version.size_bytes, stop=stop)
            facts = examination.conclude()
        finally:
            os.close(descriptor)
    except (FileRejectedError, SourceError) as error:
        facts = replace(facts, findings=(*facts.findings, Finding(error.code, error.message)))
        size_bytes = candidate.version.size_bytes if candidate else None
        return Verdict(
            file, is_accepted=False, code=error.code, reason=error.message, facts=facts, size_bytes=size_bytes
        )
    refused = refusal(facts)
    code, reason = refused or (None, None)
    return Verdict(
        file,
        is_accepted=refused is None,
        code=code,
        reason=reason,
        facts=facts,
        size_bytes=candidate.version.size_bytes,
        sha256=sha256,
        candidate=candidate,
    )


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one delivery."""

    delivery: Delivery
    code: str | None  # None: it arrived
    reason: str | None
    evidence: str | None


def deliver(
    verdict: Verdict,
    routes: Sequence[Route],
    journal: Database,
    *,
    name: str | None,
    retry: RetrySettings,
    stop: Stop,
    report: Callable[[int], None],
) -> list[Sent]:
    """Deliver an accepted file to these destinations now, once each; what fails waits in the journal.

    `report` is told the bytes carried so far to each destination. Raises DeliveryRefusedError for a bad `name`.
    """
    if verdict.candidate is None or verdict.sha256 is None:
        msg = f"{verdict.file} was not accepted"
        raise ValueError(msg)
    process = f"send-{os.getpid()}-{secrets.token_hex(3)}"
    if name is not None:
        refuse_unsafe_name(name)
    now = time.time()
    with journal.write() as connection:
        accepted = Accepted(verdict.candidate, verdict.sha256, verdict.facts)
        recorded = record_accepted(connection, accepted, [], IntakeSettings(), now=now)
        numbers = [_plan(connection, recorded, route, name, now) for route in routes]
    sent = []
    health = Health(list(routes), journal=journal, retry=retry, now=time.time, jitter=random.random)
    for route, number in zip(routes, numbers, strict=True):
        with journal.write() as connection:
            claimed = deliveries.claim(
                connection, [number], now=time.time(), lease_seconds=LEASE_SECONDS, owner=f"{process}:1"
            )
        carrier = Carrier(
            route=route,
            journal=journal,
            health=health,
            staged=StagedCopies(),
            retry=retry,
            stop=stop,
            jitter=random.random,
            is_root_trusted=lambda _: True,
            watcher=report,
        )
        sent += [_sent(each) for each in carrier.carry(claimed, touch=lambda: None)]
    return sent


def _plan(connection: Connection, recorded: Recorded, route: Route, name: str | None, now: float) -> int:
    """Plan a delivery to one destination, under a name of the person's choice if there is one."""
    if name is None:
        plan_route(connection, recorded, replace(route, kinds=None, families=None), IntakeSettings(), now=now)
        return recorded.planned[-1].delivery_id
    artifact = recorded.artifact
    plan = deliveries.Plan(artifact, route.destination_id, name, name, series_of(artifact.path), step_of(artifact.path))
    places.claim_name(connection, route.destination_id, remote_name=name, path=artifact.path, base_name=name, now=now)
    number = deliveries.plan(connection, plan, now=now)
    if number is None:
        msg = "a new artifact cannot have been planned before"
        raise RuntimeError(msg)
    return number


def _sent(result: Arrived | Failed) -> Sent:
    if isinstance(result, Arrived):
        return Sent(result.delivery, None, None, result.receipt.evidence.label)
    return Sent(result.delivery, result.error.code, result.error.message, None)
