"""How often a delivery says how far it is: in the journal once a second, as an event every five."""

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from lorawatch.domain.model import Artifact, Delivery, DeliveryState, Facts, Version
from lorawatch.engine import progress
from lorawatch.journal.database import Database

SIZE_BYTES = 2000
BEGAN_AT = 1000.0


class Clock:
    def __init__(self) -> None:
        self.seconds = BEGAN_AT

    def monotonic(self) -> float:
        return self.seconds

    def time(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def report_for(
    monkeypatch: pytest.MonkeyPatch, said: list[dict[str, object]], recorded: list[object]
) -> Callable[[int], None]:
    journal = Database("nowhere")
    connection = SimpleNamespace(execute=lambda *words: recorded.append(words))
    monkeypatch.setattr(journal, "write", lambda **_: nullcontext(connection))
    monkeypatch.setattr(progress, "emit", lambda event, **data: said.append({"event": str(event), **data}))
    artifact = Artifact(1, "/out", "/out/a", Version(1, SIZE_BYTES, 1), "0" * 64, Facts())
    delivery = Delivery(7, artifact, "comfyui", "a", "a", DeliveryState.SENDING, 1)
    return progress.ProgressReport(delivery, journal, lambda: None)


def test_progress_is_said_every_five_seconds_and_recorded_every_second(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    said: list[dict[str, object]] = []
    recorded: list[object] = []
    report = report_for(monkeypatch, said, recorded)
    moments: list[float] = []
    for step in range(1, 201):
        clock.seconds = BEGAN_AT + step / 10
        report(step * 10)
        if len(said) > len(moments):
            moments.append(step / 10)
    assert moments == [5, 10, 15, 20]
    assert len(recorded) == 20
    assert {each["event"] for each in said} == {"delivery.progress"}
    assert (said[0]["delivery_id"], said[0]["file"], said[0]["size_bytes"]) == (7, "/out/a", SIZE_BYTES)
    assert [each["sent_bytes"] for each in said] == [500, 1000, 1500, 2000]


def test_progress_tells_the_rate_and_the_time_left(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    said: list[dict[str, object]] = []
    report = report_for(monkeypatch, said, [])
    clock.seconds += 5
    report(500)
    clock.seconds += 10
    report(1000)
    assert [(each["bytes_per_second"], each["seconds_left"]) for each in said] == [(100, 15), (50, 20)]


def test_an_upload_that_stands_still_has_no_time_left_to_tell(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    said: list[dict[str, object]] = []
    report = report_for(monkeypatch, said, [])
    clock.seconds += 6
    report(0)
    assert (said[0]["bytes_per_second"], said[0]["seconds_left"]) == (0, None)
