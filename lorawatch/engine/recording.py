"""From verdicts to the journal: accept an artifact, plan its deliveries, cancel what it makes needless.

Called by intake, a group of verdicts in one transaction; nothing here touches a file or a destination.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from lorawatch.domain.errors import DeliveryRefusedError
from lorawatch.domain.model import Artifact, Candidate, Delivery, DeliveryState, Facts, StagedCopy
from lorawatch.domain.pairing import pair_id_of
from lorawatch.domain.planning import base_name_of, choose_name, series_of, step_of, surplus_steps
from lorawatch.domain.policy import Outcome
from lorawatch.engine.settings import IntakeSettings, Route
from lorawatch.journal import deliveries, files, pairs, places, upkeep
from lorawatch.journal.rows import Connection


@dataclass(frozen=True, slots=True)
class Accepted:
    """A file that was read whole and may be delivered. `staged` is a copy that waits at `staged_at`."""

    candidate: Candidate
    sha256: str
    facts: Facts
    staged: StagedCopy | None = None
    staged_at: str | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """A delivery that was just planned. `taken_by` is the path that owns the name it would have had."""

    delivery_id: int
    destination: str
    remote_name: str
    taken_by: str | None = None
    failure: Outcome | None = None


@dataclass(slots=True)
class Recorded:
    """What became of one accepted file."""

    artifact: Artifact
    planned: list[Planned] = field(default_factory=list)
    cancelled: list[Delivery] = field(default_factory=list)


def record_accepted(
    connection: Connection, accepted: Accepted, routes: Sequence[Route], settings: IntakeSettings, *, now: float
) -> Recorded:
    """Record an accepted file and plan a delivery for each route that wants it."""
    candidate = accepted.candidate
    owed_before = upkeep.owed(connection, candidate.path)
    artifact = files.add_artifact(
        connection,
        files.NewArtifact(
            candidate.root,
            candidate.path,
            candidate.version,
            accepted.sha256,
            accepted.facts,
            is_backlog=candidate.is_backlog,
        ),
        now=now,
    )
    files.record(
        connection,
        [
            files.FileRecord(
                root=candidate.root,
                path=candidate.path,
                version=candidate.version,
                state="accepted",
                verdict_key=settings.verdict_key,
                artifact_id=artifact.artifact_id,
                is_backlog=candidate.is_backlog,
            )
        ],
        now=now,
    )
    pair_id = pair_id_of(artifact)
    if pair_id is not None:
        pairs.record_half(connection, pair_id, artifact, now=now)
    recorded = Recorded(artifact)
    code, reason = "source-changed", "the file at this path has been replaced by a newer version"
    recorded.cancelled += upkeep.cancel(connection, owed_before, code=code, reason=reason, now=now)
    for route in routes:
        plan_route(connection, recorded, route, settings, now=now)
    return recorded


def plan_route(
    connection: Connection, recorded: Recorded, route: Route, settings: IntakeSettings, *, now: float
) -> None:
    """Plan the delivery of an artifact to one destination, unless it was planned before or is not wanted there."""
    artifact = recorded.artifact
    if route.refusal(artifact.facts) or route.destination_id in places.ignoring(
        connection, artifact.path, artifact.version
    ):
        return
    planned = plan_delivery(connection, artifact, route, settings, now=now)
    if planned is None:
        return
    recorded.planned.append(planned)
    recorded.cancelled += _supersede(connection, artifact, route, settings, now=now)


def plan_delivery(
    connection: Connection, artifact: Artifact, route: Route, settings: IntakeSettings, *, now: float
) -> Planned | None:
    """Plan the delivery of an artifact to one destination; None if it was planned before."""
    base_name = os.path.basename(artifact.path)
    remote_name, taken_by, failure = base_name, None, None
    try:
        base_name = base_name_of(
            route.name_template, path=artifact.path, root=artifact.root, sha256=artifact.sha256, facts=artifact.facts
        )
        kept = places.kept_name(connection, route.destination_id, path=artifact.path, base_name=base_name)
        choice = choose_name(
            base_name,
            path=artifact.path,
            sha256=artifact.sha256,
            kept=kept,
            owner_of=lambda name: places.owner_of(connection, route.destination_id, name),
        )
        remote_name, taken_by = choice.remote_name, choice.taken_by
    except DeliveryRefusedError as error:
        failure = Outcome(DeliveryState.FAILED, error.code, error.message)
    step = step_of(artifact.path)
    new = deliveries.Plan(
        artifact,
        route.destination_id,
        base_name,
        remote_name,
        series_of(artifact.path),
        step,
        keep_latest=settings.checkpoints.latest if settings.is_retiring and step is not None else None,
    )
    number = deliveries.plan(connection, new, now=now)
    if number is None:
        return None
    if failure is not None:
        deliveries.record_outcome(connection, number, failure, now=now)
    else:
        places.claim_name(
            connection,
            route.destination_id,
            remote_name=remote_name,
            path=artifact.path,
            base_name=base_name,
            now=now,
        )
    return Planned(number, route.name, remote_name, taken_by, failure)


def _supersede(
    connection: Connection, artifact: Artifact, route: Route, settings: IntakeSettings, *, now: float
) -> list[Delivery]:
    """Cancel older steps that nobody has begun to carry, where only the latest N are wanted.

    Higher steps do not count: they are of an earlier run of the same job, and gone from the folder.
    """
    newest = step_of(artifact.path)
    if settings.checkpoints.latest is None or newest is None:
        return []
    states = (DeliveryState.PLANNED, DeliveryState.SENDING, DeliveryState.WAITING, DeliveryState.DELIVERED)
    steps = upkeep.steps_of_series(
        connection, route.destination_id, series_of(artifact.path), up_to=newest, states=states
    )
    surplus = surplus_steps(steps.values(), settings.checkpoints)
    return upkeep.cancel(
        connection,
        [number for number, step in steps.items() if step in surplus],
        code="superseded",
        reason=f"newer checkpoints exist, and only the latest {settings.checkpoints.latest} are wanted",
        now=now,
    )
