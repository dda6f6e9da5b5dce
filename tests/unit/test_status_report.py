"""What `status` says of each thing, where no person looks: one line each, and a document."""

from dataclasses import replace

import pytest

from lorawatch import status_report
from lorawatch.domain.model import DeliveryState
from lorawatch.journal.views import DestinationView, FileView
from lorawatch.status_plain import lines, sentence
from lorawatch.status_report import Snapshot
from tests.snapshots import NOW, delivery, eventful, view

PATH = "/out/a"


def test_what_is_being_sent_has_a_percentage_a_rate_and_a_time_left() -> None:
    sending = view(delivery(DeliveryState.SENDING, path=PATH, sent_bytes=100_000_000))
    assert sentence(sending, NOW) == "sending     #7 /out/a → comfyui:a (33% of 300 MB, 10 MB/s, 20 s left)"


def test_what_has_just_begun_has_no_rate_yet() -> None:
    assert sentence(view(delivery(DeliveryState.SENDING, path=PATH)), NOW).endswith("(0% of 300 MB)")


def test_the_rate_of_an_upload_that_was_taken_up_again_counts_only_what_was_carried_since() -> None:
    resumed = view(
        delivery(DeliveryState.SENDING, path=PATH, sent_bytes=150_000_000, resume="upload-1"), begun_bytes=100_000_000
    )
    assert sentence(resumed, NOW).endswith("(50% of 300 MB, 5 MB/s, 30 s left)")


def test_what_waits_says_why_and_when() -> None:
    waiting = delivery(
        DeliveryState.WAITING, path=PATH, code="low-disk-space", reason="it is full", next_attempt_at=NOW + 90
    )
    assert sentence(view(waiting), NOW).endswith("(low-disk-space, again in 1 min 30 s): it is full")
    due = replace(waiting, next_attempt_at=NOW - 1)
    assert sentence(view(due), NOW).endswith("(low-disk-space, again now): it is full")


def test_what_arrived_says_how_well_that_is_proved() -> None:
    arrived = view(delivery(DeliveryState.DELIVERED, path=PATH), evidence="sha256")
    assert sentence(arrived, NOW).endswith("(300 MB, proof: sha256)")


def test_what_many_wait_for_is_explained_once() -> None:
    waiting = [
        view(delivery(DeliveryState.WAITING, number, code="low-disk-space", reason="full", next_attempt_at=NOW + 9))
        for number in range(50)
    ]
    said = lines(replace(eventful(), deliveries=waiting))
    assert sum("min_free_bytes" in line for line in said) == 1
    assert sum(line.startswith("  waiting") for line in said) == 50


def test_every_kind_of_trouble_comes_with_what_to_do() -> None:
    said = "\n".join(lines(eventful()))
    for words in ("curl -v http://192.168.0.152:8189", "df -h /comfyui/models/loras", "lorawatch retry 15", "curl -fL"):
        assert words in said


def test_what_to_do_is_a_command_to_copy_and_is_said_once() -> None:
    place = DestinationView("comfyui", "directory", "/my loras", "up", None, None, None)
    gave_up = view(delivery(DeliveryState.FAILED, path="/out/a b", code="gave-up", reason="x"))
    refused = view(delivery(DeliveryState.FAILED, 8, path="/out/a b", code="name-refused", reason="x"))
    unreadable = FileView("/out/it's", "unreadable", "permission-denied", "r")
    said = "\n".join(
        lines(Snapshot("/s", NOW, deliveries=[gave_up, refused], files=[unreadable], destinations=[place]))
    )
    assert said.count("lorawatch retry 7") == 1
    assert "send '/out/a b' --as NAME" in said
    assert "Then: lorawatch retry 8" in said
    assert """namei -l '/out/it'"'"'s'""" in said
    closed = view(
        delivery(DeliveryState.WAITING, path="/out/b", code="permission-denied", reason="x", next_attempt_at=NOW)
    )
    said = "\n".join(lines(Snapshot("/s", NOW, deliveries=[closed], destinations=[place])))
    assert "setfacl -m u:lorawatch:rx /out`" in said  # it is the source that may not be read
    docker = DestinationView("comfyui", "docker", " container=x volume= /loras", "up", None, None, None)
    missing = view(delivery(DeliveryState.WAITING, code="destination-missing", reason="x", next_attempt_at=NOW))
    assert "mkdir -p DIRECTORY" in "\n".join(lines(Snapshot("/s", NOW, deliveries=[missing], destinations=[docker])))
    full = view(delivery(DeliveryState.WAITING, code="disk-full", reason="r", next_attempt_at=NOW))
    assert "df -h '/my loras'" in "\n".join(lines(Snapshot("/s", NOW, deliveries=[full], destinations=[place])))


def test_the_document_holds_rates_and_cures_and_times() -> None:
    document = status_report.document(eventful())
    deliveries = document["deliveries"]
    assert isinstance(deliveries, list)
    by_number = {each["delivery_id"]: each for each in deliveries}
    assert (by_number[11]["bytes_per_second"], by_number[11]["seconds_left"]) == (19_200_000, pytest.approx(5.625))
    assert by_number[12]["next_attempt_at"] == NOW + 38
    assert by_number[10]["bytes_per_second"] is by_number[10]["seconds_left"] is None
    assert "name_template" in by_number[15]["fix"]
    destinations, files = document["destinations"], document["files"]
    assert isinstance(destinations, list)
    assert isinstance(files, list)
    assert [each["fix"] is None for each in destinations] == [True, False]
    assert [set(each) >= {"file", "state", "code", "reason"} for each in files] == [True] * 3


@pytest.mark.parametrize(
    ("snapshot", "is_needed"),
    [
        (Snapshot("/s", NOW, has_journal=False), False),
        (Snapshot("/s", NOW, counts={"waiting": 3, "failed": 0}), False),
        (Snapshot("/s", NOW, counts={"failed": 1}), True),
        (Snapshot("/s", NOW, file_counts={"settling": 2, "skipped": 1}), False),
        (Snapshot("/s", NOW, file_counts={"rejected": 1}), True),
        (Snapshot("/s", NOW, destinations=[DestinationView("a", "d", "l", "down", "x", "y", None)]), False),
        (Snapshot("/s", NOW, destinations=[DestinationView("a", "d", "l", "parked", "x", "y", None)]), True),
    ],
)
def test_a_person_is_needed_only_where_nothing_goes_on_by_itself(snapshot: Snapshot, is_needed: bool) -> None:
    assert snapshot.needs_person is is_needed


def test_where_nothing_was_ever_delivered_that_is_said() -> None:
    assert lines(Snapshot("/s", NOW, has_journal=False)) == [
        "Nothing has been delivered yet: there is no journal in /s."
    ]


def test_a_file_is_found_whatever_became_of_it() -> None:
    files = [
        FileView("/o/f", state, "c", "r") for state in ("settling", "incomplete", "unreadable", "rejected", "skipped")
    ]
    said = lines(Snapshot("/s", NOW, files=files))
    assert [line.split()[0] for line in said if "/o/f" in line] == [each.state for each in files]
