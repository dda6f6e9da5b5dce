"""When a single pass is over: not while a lane takes up work, at whatever moment it does so."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lorawatch.app import build_service
from lorawatch.config_loading import load
from lorawatch.domain.model import Facts, Version
from lorawatch.engine.tally import Tally
from lorawatch.journal import deliveries, files
from lorawatch.journal.database import Database
from lorawatch.journal.rows import Connection

NOW = 1_700_000_000.0


def test_a_delivery_that_is_claimed_while_it_is_asked_about_is_not_taken_for_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs, loras, state = (tmp_path / name for name in ("outputs", "loras", "state"))
    outputs.mkdir()
    loras.mkdir()
    config = load(None, environ={"LORAWATCH_STATE_DIRECTORY": str(state)}, watch=[str(outputs)], to=str(loras)).config
    journal = Database.open(str(state))
    service = build_service(config, journal, Tally())
    (route,) = service.routes
    service.health.load()
    assert service.health.probe_if_due(route.name)
    plan(journal, str(outputs / "cat.safetensors"), route.destination_id)
    read = journal.read
    is_claimed = False

    @contextmanager
    def read_after_a_lane_has_claimed() -> Iterator[Connection]:
        nonlocal is_claimed
        if not is_claimed:
            is_claimed = True
            assert service.lanes[0]._claim()
        with read() as connection:
            yield connection

    assert service.is_anything_due()
    monkeypatch.setattr(journal, "read", read_after_a_lane_has_claimed)
    assert service.is_anything_due()
    assert is_claimed
    journal.close()


def plan(journal: Database, path: str, destination_id: int) -> None:
    with journal.write() as connection:
        new = files.NewArtifact(os.path.dirname(path), path, Version(1, 100, 1), "a" * 64, Facts(), is_backlog=False)
        artifact = files.add_artifact(connection, new, now=NOW)
        name = os.path.basename(path)
        planned = deliveries.Plan(artifact, destination_id, name, name, series="cat", step=None)
        assert deliveries.plan(connection, planned, now=NOW) is not None
