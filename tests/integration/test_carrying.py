"""What a journal that fails in the middle of a delivery does to it: nothing that would need a person."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lorawatch.domain.errors import JournalError
from lorawatch.domain.model import DeliveryState
from lorawatch.engine.recording import Accepted
from lorawatch.journal import deliveries
from tests.integration.test_reading import SMALL, Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.journal.close()


def test_a_journal_error_beside_bytes_that_are_there_already_fails_no_delivery(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scene.loras / "cat.safetensors").write_bytes(SMALL)
    accepted = scene.reader.read(scene.candidate())
    assert isinstance(accepted, Accepted)
    scene.service.intakes[0]._desk.record([accepted])
    lane = scene.service.lanes[0]
    (delivery,) = lane._claim()

    def fail(*_: object) -> bool:
        raise JournalError("the disk of the journal is gone", code="journal-unusable")

    monkeypatch.setattr(deliveries, "is_sent", fail)
    with pytest.raises(JournalError):
        lane._carrier.carry([replace(delivery, attempt=2)], touch=lambda: None)
    with scene.journal.read() as connection:
        (state,) = connection.execute("SELECT state FROM delivery").fetchone()
    assert state == DeliveryState.SENDING
