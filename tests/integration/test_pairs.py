"""Both halves of a Wan 2.2 LoRA arrive, tied together; one that stays alone arrives too, and that is said."""

import sqlite3

from tests.factories import lora_bytes
from tests.process import Lorawatch
from tests.scenes import Scene, names, save_in_place, scene

__all__ = ["scene"]


def half(name: str) -> bytes:
    return lora_bytes(family="wan_2.2_14b", seed=len(name))


def save_half(scene: Scene, name: str) -> None:
    save_in_place(scene.outputs / "cat" / f"{name}.safetensors", half(name))


def age(scene: Scene, seconds: int) -> None:
    """Let the halves that have come be older than they are: nobody waits ten minutes for a test."""
    with sqlite3.connect(scene.tmp_path / "state" / "journal.sqlite3") as connection:
        connection.execute("UPDATE pair SET begun_at_ms = begun_at_ms - ?", (seconds * 1000,))
    connection.close()


def pair_ids(daemon: Lorawatch, event: str) -> list[str]:
    return [each["pair_id"] for each in daemon.of(event)]


def test_both_halves_arrive_and_every_event_of_theirs_has_one_pair_id(scene: Scene) -> None:
    with scene.daemon() as daemon:
        for name in ("cat_000000250_high_noise", "cat_000000250_low_noise", "cat_high_noise"):
            save_half(scene, name)
        save_in_place(scene.outputs / "single.safetensors", lora_bytes())
        daemon.wait_for("delivery.delivered", count=4)
        single = daemon.wait_for("file.accepted", file=scene.outputs / "single.safetensors")
        assert "pair_id" not in single
        high = None
        for event in ("file.accepted", "delivery.planned", "delivery.started", "delivery.delivered"):
            found = {each["file"].rpartition("/")[2]: each.get("pair_id") for each in daemon.of(event)}
            high, low = (found[f"cat_000000250_{each}_noise.safetensors"] for each in ("high", "low"))
            assert high == low is not None
            assert found["cat_high_noise.safetensors"] not in {high, None}
        accepted = daemon.of("file.accepted", pair="high")
        assert {each["family"] for each in accepted} == {"wan_2.2_14b"}
        deliveries = {each["file"].rpartition("/")[2]: each["pair_id"] for each in daemon.status()["deliveries"]}
        assert deliveries["cat_000000250_high_noise.safetensors"] == high
        assert deliveries["single.safetensors"] is None


def test_a_half_alone_is_delivered_and_told_of_once_also_across_restarts(scene: Scene) -> None:
    daemon = scene.daemon()
    with daemon:
        save_half(scene, "cat_low_noise")
        daemon.wait_for("delivery.delivered")
        assert not daemon.of("pair.incomplete")
        age(scene, 601)
        told = daemon.wait_for("pair.incomplete")
        assert (told["code"], told["level"]) == ("pair-incomplete", "warning")
        assert told["pair_id"] == daemon.of("file.accepted")[0]["pair_id"]
        assert daemon.stop() == 0
    assert names(scene.loras) == ["cat_low_noise.safetensors"]
    with daemon:
        save_half(scene, "cat_high_noise")
        daemon.wait_for("delivery.delivered")
        assert daemon.stop() == 0
        assert not daemon.of("pair.incomplete")
    assert names(scene.loras) == ["cat_high_noise.safetensors", "cat_low_noise.safetensors"]


def test_the_other_half_that_came_while_the_daemon_was_away_is_found_first(scene: Scene) -> None:
    daemon = scene.daemon()
    with daemon:
        save_half(scene, "cat_high_noise")
        daemon.wait_for("delivery.delivered")
        assert daemon.stop() == 0
    age(scene, 3600)
    save_half(scene, "cat_low_noise")
    with daemon:
        daemon.wait_for("delivery.delivered")
        assert daemon.stop() == 0
        assert not daemon.of("pair.incomplete")


def test_once_tells_of_a_half_that_an_earlier_pass_left_alone(scene: Scene) -> None:
    daemon = scene.daemon()
    save_half(scene, "cat_high_noise")
    first = daemon.run_once()
    assert first.exit_code == 0
    age(scene, 601)
    second = daemon.run_once()
    assert second.exit_code == 0
    assert [each["event"] for each in second.events].count("pair.incomplete") == 1
