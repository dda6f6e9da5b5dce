"""The board that `status` draws: it fits every terminal, and what matters most stays where room is short."""

from dataclasses import replace

import pytest

from lorawatch.domain.model import DeliveryState
from lorawatch.status_board import Pulse, rows
from lorawatch.status_pulse import Pulsometer
from lorawatch.status_report import Snapshot
from lorawatch.status_rows import Row, fitted, flight_row, footer
from lorawatch.terminal import cells
from tests.snapshots import NOW, delivery, eventful, view


def text(board: list[Row]) -> str:
    return "\n".join(row.text for row in board)


@pytest.mark.parametrize("columns", [1, 12, 20, 39, 40, 60, 80, 120, 300])
def test_no_row_is_wider_than_the_terminal(columns: int) -> None:
    pulse = Pulse({"comfyui": [0.0, 5e6, 41e6] * 20}, {11: 19e6})
    board = rows(eventful(), columns, pulse)
    assert max(cells(row.text) for row in board) <= max(columns, 20)


def test_forty_columns_still_tell_what_is_in_flight_how_long_and_what_failed() -> None:
    said = text(rows(eventful(), 40))
    for words in ("64%", "6 s left", "✗ x", "lorawatch retry 15", "猫の絵", "again in 1 min", "render-box down"):
        assert words in " ".join(said.split()), words


def test_eighty_columns_show_a_bar_a_rate_and_the_time_left() -> None:
    row = next(row for row in rows(eventful(), 80) if "flux_portrait" in row.text)
    for words in ("━━━", "64%", "19.2 MB/s", "6 s left"):
        assert words in row.text


def test_each_trouble_stands_with_its_reason_its_code_and_its_cure() -> None:
    said = " ".join(text(rows(eventful(), 100)).split())
    for words in (
        "Connection refused (connection-failed)", "curl -v http://192.168.0.152:8189", "are needed (low-disk-space)",
        "df -h /comfyui/models/loras",
        "(name-refused)", "lorawatch retry 15", "(html-page)", "asked again in 38 s", "12 s ago · sha256",
    ):  # fmt: skip
        assert words in said, words


@pytest.mark.parametrize("height", range(1, 30))
def test_a_short_terminal_is_never_overfilled_and_says_that_there_is_more(height: int) -> None:
    board = fitted(rows(eventful(), 80), height - 1)
    screen = footer(board, "q ends", NOW, columns=80, height=height)
    assert len(screen) == height
    assert "q ends" in screen[-1].text
    if 2 < height < 26:
        assert "more row" in text(screen)


def test_where_room_is_short_delivered_goes_first_and_what_is_in_flight_last() -> None:
    said = text(fitted(rows(eventful(), 80), 10))
    assert "flux_portrait" in said
    assert "delivered cat_v2" not in said
    assert "✗ failed" in said


def test_a_thousand_waiting_deliveries_take_a_few_rows() -> None:
    waiting = [
        view(delivery(DeliveryState.WAITING, number, code="low-disk-space", reason="full", next_attempt_at=NOW + 9))
        for number in range(1000)
    ]
    board = rows(replace(eventful(), deliveries=waiting), 80)
    assert len(board) < 40
    assert "and 995 more waiting" in text(board)


def test_names_show_no_control_characters_and_no_undecodable_bytes() -> None:
    evil = view(delivery(DeliveryState.SENDING, path="/out/a\x1b[2J\udce9.safetensors"))
    said = text(rows(replace(eventful(), deliveries=[evil]), 80))
    assert "\x1b" not in said
    assert "a\\x1b[2J\\xe9" in said


def test_a_name_that_does_not_fit_loses_its_middle() -> None:
    row = flight_row("sending", "a_very_long_name_of_a_portrait_000001500", 1, 2, None, columns=40)
    assert "a_very" in row.text
    assert "_000001500" in row.text
    assert "…" in row.text


def test_without_a_journal_it_says_how_to_begin() -> None:
    assert "lorawatch run" in text(rows(Snapshot("/s", NOW, has_journal=False), 80))


def test_the_throughput_counts_what_is_under_way_and_what_arrived_and_nothing_twice() -> None:
    pulsometer = Pulsometer()
    sending = view(delivery(DeliveryState.SENDING, 1, sent_bytes=10_000_000))
    first = replace(eventful(), deliveries=[sending], carried=[])
    assert pulsometer.feel(first).throughput["comfyui"][-1] == 0
    further = view(delivery(DeliveryState.SENDING, 1, sent_bytes=30_000_000))
    second = replace(first, deliveries=[further], now=NOW + 1)
    assert pulsometer.feel(second).throughput["comfyui"][-1] == 20_000_000
    carried = [replace(eventful().carried[0], delivery_id=1, carried_bytes=100_000_000, at=NOW + 1.5)]
    third = replace(first, deliveries=[], carried=carried, now=NOW + 2)
    assert pulsometer.feel(third).throughput["comfyui"][-1] == 70_000_000
    assert pulsometer.feel(replace(third, now=NOW + 3)).throughput["comfyui"][-1] == 0


def test_the_rate_of_a_view_that_looks_again_follows_what_happens_now() -> None:
    pulsometer = Pulsometer()
    pulse, board = Pulse(), []
    for second in range(20):
        sent = min(second, 8) * 1_000_000  # after 8 seconds it hangs
        snapshot = replace(
            eventful(), deliveries=[view(delivery(DeliveryState.SENDING, 1, sent_bytes=sent))], now=NOW + second
        )
        pulse = pulsometer.feel(snapshot)
        board = rows(snapshot, 120, pulse)
    assert pulse.paces[1] == 0
    assert "0 B/s" in text(board)


def test_the_first_look_already_knows_the_last_minute() -> None:
    history = Pulsometer().feel(eventful()).throughput["comfyui"]
    assert history[-1 - 12] == 151_000_000
    assert sum(map(bool, history)) == 1


def test_what_there_is_to_say_of_a_thing_is_left_out_whole_and_a_wide_terminal_shows_more_of_the_name() -> None:
    name = "a_very_long_name_of_a_training_on_many_pictures_of_my_cat_000000250"
    arrived = view(delivery(DeliveryState.DELIVERED, path=f"/out/{name}.safetensors"), evidence="sha256")
    board = replace(eventful(), deliveries=[arrived], files=[])
    narrow = next(row.text for row in rows(board, 40) if "000250" in row.text)
    assert narrow.endswith("  300 MB")
    assert name in text(rows(board, 220))
