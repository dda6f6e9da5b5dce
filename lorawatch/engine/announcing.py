"""The events of files and deliveries, made of nouns. Called after the journal has recorded what they tell."""

from lorawatch.domain.model import Artifact, Delivery, Receipt, Rejection
from lorawatch.domain.pairing import pair_id_of
from lorawatch.domain.policy import Outcome
from lorawatch.engine.recording import Recorded
from lorawatch.events import Event, emit


def accepted(artifact: Artifact) -> None:
    """Say that a file was accepted, and what it is."""
    facts = artifact.facts
    emit(
        Event.FILE_ACCEPTED,
        file=artifact.path,
        sha256=artifact.sha256,
        size_bytes=artifact.version.size_bytes,
        kind=facts.kind,
        family=facts.family,
        rank=facts.rank,
        trigger_words=list(facts.trigger_words),
        step=facts.step,
        findings=[{"code": each.code, "detail": each.detail} for each in facts.findings],
        level="warning" if facts.findings else None,
        **paired(artifact),
    )


def paired(artifact: Artifact) -> dict[str, object]:
    """Return what ties one half of a Wan 2.2 LoRA to the other; nothing for other files."""
    pair_id = pair_id_of(artifact)
    return {} if pair_id is None else {"pair": artifact.facts.pair, "pair_id": pair_id}


def pair_incomplete(artifact: Artifact) -> None:
    """Say that the other half of a pair has not come."""
    half = artifact.facts.pair
    other = "low" if half == "high" else "high"
    reason = (
        f"it is the {half}-noise half of a Wan 2.2 LoRA, and the {other}-noise half has not come; it is delivered alone"
    )
    emit(Event.PAIR_INCOMPLETE, file=artifact.path, **paired(artifact), code="pair-incomplete", reason=reason)


def refused(path: str, rejection: Rejection) -> None:
    """Say that a file was rejected or skipped."""
    event = Event.FILE_SKIPPED if rejection.state == "skipped" else Event.FILE_REJECTED
    emit(event, file=path, code=rejection.code, reason=rejection.reason, kind=rejection.facts.kind)


def planned(recorded: Recorded) -> None:
    """Say which deliveries were planned, and which became needless."""
    path = recorded.artifact.path
    for delivery in recorded.cancelled:
        cancelled(delivery)
    for each in recorded.planned:
        data = {
            "file": path,
            "destination": each.destination,
            "remote_name": each.remote_name,
            "delivery_id": each.delivery_id,
            **paired(recorded.artifact),
        }
        emit(Event.DELIVERY_PLANNED, **data)
        if each.taken_by is not None:
            emit(Event.DELIVERY_COLLISION, **data, taken_by=each.taken_by)
        if each.failure is not None:
            emit(Event.DELIVERY_FAILED, **data, code=each.failure.code, reason=each.failure.reason)


def cancelled(delivery: Delivery) -> None:
    """Say that a delivery became needless before anybody had begun it."""
    emit(Event.DELIVERY_CANCELLED, **named(delivery), code=delivery.code, reason=delivery.reason)


def named(delivery: Delivery) -> dict[str, object]:
    """Return what every event of a delivery tells."""
    return {
        "file": delivery.artifact.path,
        "destination": delivery.destination,
        "remote_name": delivery.remote_name,
        "delivery_id": delivery.delivery_id,
        **paired(delivery.artifact),
    }


def delivered(delivery: Delivery, receipt: Receipt) -> None:
    """Say that a delivery arrived, and how well that is proved."""
    emit(
        Event.DELIVERY_DELIVERED,
        **{**named(delivery), "remote_name": receipt.remote_name},
        size_bytes=delivery.artifact.version.size_bytes,
        seconds=receipt.seconds,
        evidence=receipt.evidence.label,
        replaced=receipt.is_replacement,
        carried_bytes=receipt.carried_bytes,
        sha256=delivery.artifact.sha256,
    )


def not_delivered(delivery: Delivery, outcome: Outcome, *, fix: str, now: float) -> None:
    """Say that a delivery waits, failed or was cancelled."""
    data = {**named(delivery), "code": outcome.code, "reason": outcome.reason, "attempt": delivery.attempt}
    if outcome.next_attempt_at is not None:
        wait = max(0.0, outcome.next_attempt_at - now)
        emit(Event.DELIVERY_WAITING, **data, fix=fix, retry_in_seconds=wait)
    elif outcome.state == "failed":
        emit(Event.DELIVERY_FAILED, **data, fix=fix)
    else:
        emit(Event.DELIVERY_CANCELLED, **data)
