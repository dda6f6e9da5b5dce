"""Deliver one file now, at a person's word. Behind `send`.

Runs on the main thread, beside a daemon or without one. It goes through the same journal and the same carrier as the
daemon, under a lease of its own.
"""

import os
import random
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lorawatch.domain.errors import DeliveryRefusedError
from lorawatch.domain.model import Artifact, Candidate, Delivery, Facts
from lorawatch.domain.planning import base_name_of, refuse_unsafe_name
from lorawatch.domain.policy import RetrySettings
from lorawatch.domain.ports import Stop
from lorawatch.engine.carrying import Arrived, Carrier, Failed
from lorawatch.engine.health import Health
from lorawatch.engine.progress import LEASE_SECONDS
from lorawatch.engine.recording import plan_delivery
from lorawatch.engine.settings import IntakeSettings, Route
from lorawatch.engine.sidecars import Sidecars
from lorawatch.engine.staged import StagedCopies
from lorawatch.journal import deliveries, files, upkeep
from lorawatch.journal.database import Database
from lorawatch.journal.rows import Connection
from lorawatch.looking import Verdict


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one delivery."""

    delivery: Delivery  # as it is now
    code: str | None  # None: it arrived
    reason: str | None
    evidence: str | None
    fix: str = ""  # what to do, where its error knows better than its code


def deliver(
    verdict: Verdict,
    routes: Sequence[Route],
    journal: Database,
    *,
    name: str | None,
    retry: RetrySettings,
    stop: Stop,
    report: Callable[[str, int], None],
) -> Iterator[Sent]:
    """Deliver an accepted file to these destinations now, once each; what fails waits in the journal.

    Yields what became of each as soon as it is known; after `stop` none is begun any more. `report` is told the
    destination and the bytes carried to it so far. Raises DeliveryRefusedError for a bad `name`.
    """
    if verdict.candidate is None or verdict.sha256 is None:
        msg = f"{verdict.file} was not accepted"
        raise ValueError(msg)
    process = f"send-{os.getpid()}-{secrets.token_hex(3)}"
    if name is not None:
        refuse_unsafe_name(name)
    planner = _Planner(verdict.candidate, verdict.sha256, verdict.facts, name)
    health = Health(list(routes), journal=journal, retry=retry, now=time.time, jitter=random.random)
    health.load()
    for route in routes:
        if stop.is_set():
            return
        is_up = health.probe_if_due(route.name)
        with journal.write() as connection:  # planned and claimed at once, or a running daemon would take it up
            number = planner.plan(connection, route, time.time())
            claimed = []
            if is_up:
                claimed = deliveries.claim(
                    connection, [number], now=time.time(), lease_seconds=LEASE_SECONDS, owner=f"{process}:1"
                )
            else:
                deliveries.record_outcome(connection, number, health.waiting_outcome(route.name), now=time.time())
            refused = deliveries.get(connection, [number]) if not claimed else []
        carrier = Carrier(
            route=route,
            journal=journal,
            health=health,
            staged=StagedCopies(),
            retry=retry,
            stop=stop,
            jitter=random.random,
            is_root_trusted=lambda _: True,
            watcher=partial(report, route.name),
        )
        yield from (Sent(each, each.code, each.reason, None) for each in refused)
        for result in carrier.carry(claimed, touch=lambda: None):
            yield _sent(result, journal)
        if is_up:
            Sidecars(route, journal).tend()


@dataclass(slots=True)
class _Planner:
    """Plans the deliveries of one file, under a name of the person's choice if there is one."""

    candidate: Candidate
    sha256: str
    facts: Facts
    name: str | None
    artifact: Artifact | None = None  # of those deliveries that were not planned before

    def plan(self, connection: Connection, route: Route, now: float) -> int:
        """Return the number of the delivery to one destination: the one that waits or failed before, or a new one."""
        if self.name is not None:
            route = replace(route, name_template=self.name)
        return self._begun_before(connection, route, now) or self._new(connection, route, now)

    def _begun_before(self, connection: Connection, route: Route, now: float) -> int | None:
        path, root = self.candidate.path, self.candidate.root
        try:
            base_name = base_name_of(route.name_template, path=path, root=root, sha256=self.sha256, facts=self.facts)
        except DeliveryRefusedError:
            return None  # planned anew, it fails with the same words
        return upkeep.take_up(connection, self.candidate, self.sha256, route.destination_id, base_name, now=now)

    def _new(self, connection: Connection, route: Route, now: float) -> int:
        if self.artifact is None:
            # As an artifact, and as nothing else: what a daemon knows and owes of this path stays as it is.
            candidate = self.candidate
            new = files.NewArtifact(
                candidate.root, candidate.path, candidate.version, self.sha256, self.facts, is_backlog=False
            )
            self.artifact = files.add_artifact(connection, new, now=now)
        planned = plan_delivery(connection, self.artifact, route, IntakeSettings(), now=now)
        if planned is None:
            msg = "a new artifact cannot have been planned before"
            raise RuntimeError(msg)
        return planned.delivery_id


def _sent(result: Arrived | Failed, journal: Database) -> Sent:
    if isinstance(result, Arrived):
        return Sent(result.delivery, None, None, result.receipt.evidence.label)
    with journal.read() as connection:
        (delivery,) = deliveries.get(connection, [result.delivery.delivery_id])
    return Sent(delivery, result.error.code, result.error.message, None, result.error.fix)
