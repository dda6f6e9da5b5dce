"""What `status` says of one delivery."""

import pytest

from lorawatch import status_report
from lorawatch.domain.model import Artifact, Delivery, DeliveryState, Facts, Version
from lorawatch.journal.views import DeliveryView

NOW = 2000.0


class Clock:
    @staticmethod
    def time() -> float:
        return NOW


def sentence(monkeypatch: pytest.MonkeyPatch, delivery: Delivery, *, evidence: str | None = None) -> str:
    monkeypatch.setattr(status_report, "time", Clock)
    return status_report._sentence(DeliveryView(delivery, evidence, NOW - 10))


def delivery(state: DeliveryState, **values: object) -> Delivery:
    artifact = Artifact(1, "/out", "/out/a", Version(1, 300_000_000, 1), "0" * 64, Facts())
    return Delivery(7, artifact, "comfyui", "a", "a", state, 1, **values)  # type: ignore[arg-type]  # by name


def test_what_is_being_sent_has_a_percentage_a_rate_and_a_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    said = sentence(monkeypatch, delivery(DeliveryState.SENDING, sent_bytes=100_000_000))
    assert said.endswith("#7 /out/a → comfyui:a (33% of 300 MB, 10 MB/s, 20 s left)")


def test_what_has_just_begun_or_was_resumed_has_no_rate_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sentence(monkeypatch, delivery(DeliveryState.SENDING)).endswith("(0% of 300 MB)")
    resumed = delivery(DeliveryState.SENDING, sent_bytes=100_000_000, resume="upload-1")
    assert sentence(monkeypatch, resumed).endswith("(33% of 300 MB)")


def test_what_waits_says_why_and_when(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = delivery(DeliveryState.WAITING, code="low-disk-space", reason="it is full", next_attempt_at=NOW + 90)
    assert sentence(monkeypatch, waiting).endswith("(low-disk-space, again in 1 min 30 s): it is full")


def test_what_arrived_says_how_well_that_is_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    said = sentence(monkeypatch, delivery(DeliveryState.DELIVERED), evidence="sha256")
    assert said.endswith("(300 MB, proof: sha256)")
