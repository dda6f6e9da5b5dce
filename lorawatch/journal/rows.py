"""Rows to nouns and back: the one place that knows how paths, inodes, times and facts are stored."""

import dataclasses
import json
import os
import sqlite3
from typing import Any

from lorawatch.domain.model import Artifact, Delivery, DeliveryState, Facts, Finding, Version

_INODE_WRAP = 1 << 64
SIGNED_END = 1 << 63  # from here on an integer does not fit into SQLite's
# The condition of the index on what is not accepted: SQLite uses it only where these very words are in the question.
NEEDS_ATTENTION = "state <> 'accepted'"
_FACT_NAMES = frozenset(field.name for field in dataclasses.fields(Facts))


def milliseconds(at: float) -> int:
    """Return unix seconds as the journal stores them."""
    return round(at * 1000)


def seconds(at_ms: int | None) -> float | None:
    """Return stored milliseconds as unix seconds."""
    return None if at_ms is None else at_ms / 1000


def signed(inode: int) -> int:
    """Return an inode as SQLite can store it: 64 bits, signed."""
    return inode - _INODE_WRAP if inode >= SIGNED_END else inode


def version_of(inode: int, size_bytes: int, mtime_ns: int) -> Version:
    """Return the version that three stored numbers stand for."""
    return Version(inode + _INODE_WRAP if inode < 0 else inode, size_bytes, mtime_ns)


def facts_to_text(facts: Facts) -> str:
    """Return facts as JSON, without what is empty."""
    stored = {name: value for name in _FACT_NAMES if (value := getattr(facts, name))}
    if facts.findings:
        stored["findings"] = [dataclasses.asdict(finding) for finding in facts.findings]
    return json.dumps(stored)


def facts_from_text(text: str) -> Facts:
    """Read facts; keys of other versions of this program are passed over."""
    stored: dict[str, Any] = json.loads(text)
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in stored.items() if key in _FACT_NAMES
    }
    values["findings"] = tuple(Finding(**finding) for finding in stored.get("findings", ()))
    return Facts(**values)


ARTIFACT_COLUMNS = """
    artifact.artifact_id, artifact.root, artifact.path, artifact.inode, artifact.size_bytes, artifact.mtime_ns,
    artifact.sha256, artifact.facts, artifact.is_backlog
"""
DELIVERY_COLUMNS = """
    delivery.delivery_id, destination.name, delivery.base_name, delivery.remote_name, delivery.state,
    delivery.attempt, delivery.sent_bytes, delivery.code, delivery.reason, delivery.next_attempt_at_ms,
    delivery.resume
"""
DELIVERY_TABLES = "delivery JOIN artifact USING (artifact_id) JOIN destination USING (destination_id)"


def artifact_from(row: tuple[Any, ...]) -> Artifact:
    """Make an artifact of ARTIFACT_COLUMNS."""
    return Artifact(
        artifact_id=row[0],
        root=os.fsdecode(row[1]),
        path=os.fsdecode(row[2]),
        version=version_of(row[3], row[4], row[5]),
        sha256=row[6],
        facts=facts_from_text(row[7]),
        is_backlog=bool(row[8]),
    )


def delivery_from(row: tuple[Any, ...]) -> Delivery:
    """Make a delivery of DELIVERY_COLUMNS followed by ARTIFACT_COLUMNS."""
    return Delivery(
        delivery_id=row[0],
        destination=row[1],
        base_name=os.fsdecode(row[2]),
        remote_name=os.fsdecode(row[3]),
        state=DeliveryState(row[4]),
        attempt=row[5],
        sent_bytes=row[6],
        code=row[7],
        reason=row[8],
        next_attempt_at=seconds(row[9]),
        resume=row[10],
        artifact=artifact_from(row[11:]),
    )


Connection = sqlite3.Connection
