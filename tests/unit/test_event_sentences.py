"""Every event has a sentence, whatever of its data is missing or strange."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorawatch.domain import codes
from lorawatch.event_names import LEVELS, Event
from lorawatch.event_record import Json, Record, plain
from lorawatch.event_sentences import sentence_of

ROUTE: dict[str, Json] = {
    "file": "/out/cat/cat.safetensors",
    "destination": "comfyui",
    "remote_name": "cat.safetensors",
    "delivery_id": 7,
}
KEYS = re.findall(
    r"\w+",
    "file destination remote_name directory directories destinations polled reason code fix size_bytes sent_bytes"
    " seconds seconds_left retry_in_seconds bytes_per_second attempt rank step family kind trigger_words findings files"
    " backlog_files backlog_bytes replaced carried_bytes evidence taken_by taken_name version config_file"
    " state_directory traceback",
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=5,
)


def said(event: Event, **data: Json) -> str:
    sentence = sentence_of(Record(0.0, LEVELS[event], event, data))
    return f"{sentence.label} {sentence.whole}"


@given(event=st.sampled_from(list(Event)), data=st.dictionaries(st.sampled_from(KEYS), JSON_VALUES))
@settings(max_examples=1000, deadline=None, database=None)
def test_any_data_gives_one_printable_line(event: Event, data: dict[str, Json]) -> None:
    shown = plain(data)
    assert isinstance(shown, dict)
    assert said(event, **shown).isprintable()


@pytest.mark.parametrize("event", list(Event))
def test_an_event_without_data_still_says_something(event: Event) -> None:
    sentence = sentence_of(Record(0.0, LEVELS[event], event, {}))
    assert sentence.label
    assert len(sentence.label) <= 10
    assert "None" not in sentence.text


@pytest.mark.parametrize(
    ("event", "data", "expected"),
    [
        (
            Event.DAEMON_READY,
            {"directories": ["/out"], "destinations": ["comfyui", "render-box"]},
            "ready watching /out, delivering to comfyui, render-box",
        ),
        (
            Event.SCAN_FINISHED,
            {"directory": "/out", "files": 12, "backlog_files": 3, "backlog_bytes": 4.5e9, "seconds": 0.4},
            "scanned /out: 12 files, 3 of them new (4.5 GB), in 0.4 s",
        ),
        (
            Event.FILE_ACCEPTED,
            {
                "file": "/out/cat.safetensors",
                "size_bytes": 151_000_000,
                "kind": "lora",
                "family": "flux.1",
                "rank": 16,
                "step": 250,
                "trigger_words": ["p1x", "cat"],
                "findings": [{"code": "zero-effect", "detail": "zeros"}],
            },
            "accepted cat.safetensors (lora, flux.1, rank 16, step 250, 151 MB, trigger p1x, cat). zeros (zero-effect)",
        ),
        (
            Event.DELIVERY_PROGRESS,
            {**ROUTE, "sent_bytes": 96e6, "size_bytes": 151e6, "bytes_per_second": 12e6, "seconds_left": 4.6},
            "sending cat.safetensors → comfyui 63% (96 MB of 151 MB, 12 MB/s, 4.6 s left)",
        ),
        (
            Event.DELIVERY_WAITING,
            {**ROUTE, "code": "disk-full", "reason": "no space left", "fix": "free some", "retry_in_seconds": 30},
            "waiting cat.safetensors → comfyui: no space left (disk-full), again in 30 s. To do: free some",
        ),
        (
            Event.DELIVERY_DELIVERED,
            {**ROUTE, "remote_name": "x/cat.safetensors", "size_bytes": 5e6, "carried_bytes": 0, "evidence": "sha256"},
            "delivered cat.safetensors → comfyui as x/cat.safetensors (5 MB already there, sha256)",
        ),
        (
            Event.DELIVERY_DELIVERED,
            {**ROUTE, "size_bytes": 5e6, "seconds": 0.01, "evidence": "size", "replaced": True},
            "delivered cat.safetensors → comfyui (5 MB in 0.01 s, size, replaced)",
        ),
        (Event.DELIVERY_PLANNED, ROUTE, "planned cat.safetensors → comfyui"),
        (Event.DELIVERY_STARTED, {**ROUTE, "attempt": 3}, "sending cat.safetensors → comfyui (attempt 3)"),
        (Event.DELIVERY_STARTED, {**ROUTE, "attempt": 1}, "sending cat.safetensors → comfyui"),
        (Event.FILE_DETECTED, {"file": "/out/cat.safetensors"}, "detected cat.safetensors"),
        (Event.DESTINATION_UP, {"destination": "comfyui"}, "up comfyui takes deliveries again"),
        (
            Event.DESTINATION_NOTE,
            {"destination": "comfyui", "code": "mode-refused", "reason": "modes cannot be set there"},
            "note comfyui: modes cannot be set there",
        ),
    ],
)
def test_a_person_understands_it_at_a_glance(event: Event, data: dict[str, Json], expected: str) -> None:
    assert said(event, **data) == expected


def test_the_cure_of_the_table_is_told_where_the_error_advises_nothing() -> None:
    cure = codes.lookup("lfs-pointer")
    assert cure is not None
    told = said(Event.FILE_REJECTED, file="/out/x.safetensors", code="lfs-pointer", reason="a Git LFS pointer")
    assert told == f"rejected /out/x.safetensors: a Git LFS pointer (lfs-pointer). To do: {cure.cure}"


def test_nobody_is_told_to_do_nothing() -> None:
    assert "To do" not in said(Event.DELIVERY_CANCELLED, **ROUTE, code="source-changed")
    assert "To do" not in said(Event.FILE_INCOMPLETE, file="/x", code="not-quiet")


def test_a_path_that_the_reason_names_is_not_named_twice() -> None:
    told = said(Event.FILE_UNREADABLE, file="/out/x.safetensors", reason="/out/x.safetensors may not be read", fix="y")
    assert told == "unreadable /out/x.safetensors may not be read. To do: y"


def test_a_traceback_is_not_shown_to_a_person() -> None:
    told = said(Event.LANE_CRASHED, destination="comfyui", reason="KeyError: 'x'", traceback="Traceback (most recent")
    assert told == "crashed the lane to comfyui: KeyError: 'x'"


def test_what_comfyui_was_told_of_names_the_first_of_many() -> None:
    told = said(Event.COMFYUI_REFRESHED, destination="comfyui", remote_names=["cat.safetensors"])
    assert told == "refreshed cat.safetensors: ComfyUI has dropped the old weights and loads the new"
    told = said(Event.COMFYUI_REFRESHED, destination="comfyui", remote_names=["a", "b", "c"])
    assert told.startswith("refreshed a and 2 others: ")


def test_a_comfyui_that_is_down_holds_nothing_up() -> None:
    told = said(Event.COMFYUI_DOWN, url="http://x", code="comfyui-unreachable", reason="GET http://x: refused", fix="y")
    assert told.startswith("down ComfyUI: GET http://x: refused (comfyui-unreachable). Deliveries go on")
    assert told.endswith(". To do: y")


def test_what_to_do_names_the_file_and_the_delivery() -> None:
    file = "/out/it is.safetensors"
    assert "`file '/out/it is.safetensors'`" in said(Event.FILE_REJECTED, file=file, code="not-safetensors")
    given: dict[str, Json] = {"file": file, "destination": "a", "delivery_id": 7}
    assert "`lorawatch retry 7`" in said(Event.DELIVERY_FAILED, **given, code="gave-up")
    assert "send '/out/it is.safetensors' --as NAME" in said(Event.DELIVERY_FAILED, **given, code="name-refused")
