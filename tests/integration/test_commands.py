"""The commands as people and scripts call them: exit codes, JSON to the letter of the contract, words for trouble."""

import json
import os
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from lorawatch.daemon import TICK_SECONDS
from lorawatch.engine.lanes import LONGEST_SLEEP_SECONDS
from tests.factories import Tensor, broken, write_lora
from tests.process import Finished, Lorawatch
from tests.scenes import Scene, contents, eventually, names, save_in_place, scene, sha256, small_lora

__all__ = ["scene"]

CHECK_KEYS = {
    "file", "accepted", "code", "reason", "kind", "family", "rank", "trigger_words", "step", "tensor_count", "dtypes",
    "size_bytes", "sha256", "findings",
}  # fmt: skip
DELIVERY_KEYS = {
    "delivery_id", "file", "destination", "remote_name", "state", "size_bytes", "sent_bytes", "attempt", "code",
    "reason", "next_attempt_at", "sha256", "evidence",
}  # fmt: skip
NAME = "cat_000000250.safetensors"


def command(scene: Scene, *words: str, config: str | None = None) -> Finished:
    file = scene.tmp_path / "lorawatch.toml"
    file.write_text(scene.config() if config is None else config)
    return Lorawatch(scene.tmp_path).command(words[0], "--config", str(file), *words[1:])


def test_once_delivers_everything_and_exits_with_0(scene: Scene) -> None:
    for number in range(3):
        save_in_place(scene.outputs / f"n{number}.safetensors", small_lora(number))
    (scene.outputs / "optimizer.pt").write_bytes(b"not asked for")
    finished = command(scene, "once")
    assert finished.exit_code == 0
    assert contents(scene.loras) == {f"n{number}.safetensors": small_lora(number) for number in range(3)}
    assert finished.events[0]["event"] == "daemon.starting"
    assert finished.events[-1]["event"] == "daemon.stopped"
    assert all({"timestamp", "level", "event"} <= set(each) for each in finished.events)
    again = command(scene, "once")
    assert again.exit_code == 0
    assert not [each for each in again.events if each["event"].startswith(("file.", "delivery."))]


def test_once_with_nothing_to_do_exits_with_0_and_skipped_files_count_as_fine(scene: Scene) -> None:
    assert command(scene, "once").exit_code == 0
    save_in_place(scene.outputs / NAME, small_lora())
    config = scene.config(watch='checkpoints = "final"')
    assert command(scene, "once", config=config).exit_code == 0
    assert names(scene.loras) == []


@pytest.mark.parametrize("trouble", ["rejected", "waiting", "open"])
def test_once_exits_with_3_where_something_needs_attention(scene: Scene, trouble: str) -> None:
    path = scene.outputs / NAME
    save_in_place(path, broken("html") if trouble == "rejected" else small_lora())
    if trouble == "waiting":
        scene.loras.rmdir()
    with path.open("ab") if trouble == "open" else open(os.devnull, "rb"):
        finished = command(scene, "once")  # it does not wait for what may never come
    assert finished.exit_code == 3
    if trouble == "waiting":
        waiting = [each for each in finished.events if each["event"] == "delivery.waiting"]
        assert [each["code"] for each in waiting] == ["destination-missing"]
        assert not scene.loras.exists()
    if trouble == "rejected":
        assert command(scene, "once").exit_code == 0  # newly rejected: it has been said


def test_once_exits_with_3_where_a_watched_directory_is_not_there(scene: Scene) -> None:
    scene.outputs.rmdir()
    finished = command(scene, "once")
    assert finished.exit_code == 3
    assert [each["code"] for each in finished.events if each["event"] == "watch.lost"] == ["root-missing"]


def test_once_works_where_the_caller_has_closed_stdout(scene: Scene) -> None:
    save_in_place(scene.outputs / NAME, small_lora())
    shell = Lorawatch(scene.tmp_path, program=["sh", "-c", 'exec "$0" -m lorawatch "$@" >&-', sys.executable])
    finished = shell.command("once", f"--watch={scene.outputs}", f"--to={scene.loras}")
    assert (finished.exit_code, finished.stderr) == (0, "")
    assert contents(scene.loras) == {NAME: small_lora()}


def test_an_output_that_cannot_be_written_is_told_in_words(scene: Scene) -> None:
    shell = Lorawatch(scene.tmp_path, program=["sh", "-c", 'exec "$0" -m lorawatch "$@" >/dev/full', sys.executable])
    finished = shell.command("status", "--json")
    assert finished.exit_code == 1
    assert "No space left on device" in finished.stderr
    assert "this is a bug" not in finished.stderr
    assert "Exception" not in finished.stderr


def test_once_delivers_to_a_directory_whose_name_is_no_utf8(scene: Scene) -> None:
    save_in_place(scene.outputs / NAME, small_lora())
    loras = os.path.join(os.fsencode(scene.tmp_path), b"caf\xe9")
    os.mkdir(loras)
    for _ in range(2):
        finished = Lorawatch(scene.tmp_path).command("once", f"--watch={scene.outputs}", "--to", os.fsdecode(loras))
        assert (finished.exit_code, finished.stderr) == (0, "")
    assert os.listdir(loras) == [os.fsencode(NAME)]


def test_a_second_daemon_on_the_same_state_directory_exits_with_4(scene: Scene) -> None:
    with scene.daemon() as daemon:
        for word in ("run", "once"):
            finished = command(scene, word)
            assert finished.exit_code == 4
            assert str(daemon.pid) in finished.stderr
            assert finished.stdout == ""


def test_a_wrong_configuration_exits_with_78_and_names_every_problem(scene: Scene) -> None:
    config = scene.config(watch='mode = "sometimes"', destination="colour = 3")
    for words in (["run"], ["once"], ["check", "x"], ["status"], ["retry", "1"], ["send", "x"]):
        finished = command(scene, *words, config=config)
        assert finished.exit_code == 78, words
        assert "watch.mode" in finished.stderr
        assert "destinations.comfyui.colour" in finished.stderr


def test_a_missing_configuration_file_exits_with_78(scene: Scene) -> None:
    finished = Lorawatch(scene.tmp_path).command("run", "--config", str(scene.tmp_path / "nowhere.toml"))
    assert finished.exit_code == 78
    assert "nowhere.toml" in finished.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"], ["run", "--nonsense"], ["check"], ["retry"], ["retry", "1", "--all"], ["retry", "x"], ["send"],
        ["run", "--log-level", "loud"], ["demo", "--log-format", "xml"], ["status", "--watch", "--json"],
    ],
)  # fmt: skip
def test_wrong_usage_exits_with_2(scene: Scene, words: list[str]) -> None:
    finished = Lorawatch(scene.tmp_path).command(*words)
    assert finished.exit_code == 2
    assert finished.stderr
    assert finished.stdout == ""


def test_check_tells_everything_about_files_as_one_json_document(scene: Scene) -> None:
    good, bad, missing = scene.tmp_path / NAME, scene.tmp_path / "bad.safetensors", scene.tmp_path / "missing"
    write_lora(good, size_bytes=200_000)
    bad.write_bytes(broken("data-cut"))
    finished = Lorawatch(scene.tmp_path).command("check", NAME, str(bad), str(missing), "--json")
    assert finished.exit_code == 3
    assert finished.stderr == ""
    documents = finished.json()["files"]
    assert all(set(each) >= CHECK_KEYS for each in documents)
    assert [each["file"] for each in documents] == [NAME, str(bad), str(missing)]
    first, second, third = documents
    assert (first["accepted"], first["code"], first["reason"]) == (True, None, None)
    assert (first["kind"], first["family"], first["rank"], first["step"]) == ("lora", "flux.1", 4, 1000)
    assert (first["trigger_words"], first["dtypes"]) == (["p3rson"], ["BF16"])
    assert (first["size_bytes"], first["sha256"]) == (good.stat().st_size, sha256(good.read_bytes()))
    assert (second["accepted"], second["code"], second["sha256"]) == (False, "truncated", None)
    assert second["findings"][0]["code"] == "truncated"
    assert set(second["findings"][0]) == {"code", "detail"}
    assert third["accepted"] is False
    assert third["code"]
    assert not (scene.tmp_path / "state").exists()


def test_check_of_good_files_exits_with_0_and_changes_nothing(scene: Scene) -> None:
    write_lora(scene.tmp_path / NAME)
    before = (scene.tmp_path / NAME).stat()
    finished = Lorawatch(scene.tmp_path).command("check", NAME)
    assert finished.exit_code == 0
    assert "accepted" in finished.stdout
    assert "p3rson" in finished.stdout
    assert (scene.tmp_path / NAME).stat().st_ctime_ns == before.st_ctime_ns


def test_check_refuses_names_that_the_daemon_does_not_look_for(scene: Scene) -> None:
    watched, foreign = scene.outputs / "samples" / NAME, scene.tmp_path / "cat.SAFETENSORS"
    watched.parent.mkdir()
    write_lora(watched)
    write_lora(foreign)
    write_lora(scene.outputs / NAME)
    config = scene.tmp_path / "config.toml"
    config.write_text(scene.config(watch='exclude = ["samples/"]'), encoding="utf-8")
    files = [str(each) for each in (watched, foreign, scene.outputs / NAME)]
    finished = Lorawatch(scene.tmp_path).command("check", "--config", str(config), "--json", *files)
    assert finished.exit_code == 3
    assert [each["code"] for each in finished.json()["files"]] == ["name-refused", "name-refused", None]


def test_check_tells_all_that_is_wrong_with_weights_and_the_hash_of_what_it_read(scene: Scene) -> None:
    path, up = scene.tmp_path / NAME, "transformer.transformer_blocks.0.attn.to_q.lora_B.weight"
    down = up.replace("_B", "_A")
    tensors = {down: Tensor("F16", (4, 64), b"\0\x7e" * 256), up: Tensor("F16", (64, 4), b"\0" * 512)}
    write_lora(path, tensors=tensors)
    finished = Lorawatch(scene.tmp_path).command("check", "--json", str(path))
    (document,) = finished.json()["files"]
    assert (document["accepted"], document["code"], document["kind"]) == (False, "nonfinite", "lora")
    assert [finding["code"] for finding in document["findings"]] == ["nonfinite", "zero-effect"]
    assert document["sha256"] == sha256(path.read_bytes())


def test_check_calls_what_no_destination_wants_not_wanted(scene: Scene) -> None:
    write_lora(scene.tmp_path / NAME)
    config = scene.config(destination='families = ["wan_2.1"]')
    finished = command(scene, "check", str(scene.tmp_path / NAME), "--json", config=config)
    assert finished.exit_code == 3
    assert finished.json()["files"][0]["code"] == "family-not-wanted"
    config = scene.config(destination='kinds = ["embedding"]')
    finished = command(scene, "check", str(scene.tmp_path / NAME), "--json", config=config)
    assert finished.json()["files"][0]["code"] == "kind-not-wanted"


def test_check_refuses_what_the_daemon_would_not_look_at(scene: Scene) -> None:
    write_lora(scene.tmp_path / NAME)
    write_lora(scene.tmp_path / ".cat.safetensors")
    write_lora(scene.tmp_path / "cat.safetensors")

    def codes(watch: str) -> list[str | None]:
        files = [str(scene.tmp_path / name) for name in (NAME, ".cat.safetensors", "cat.safetensors")]
        finished = command(scene, "check", *files, "--json", config=scene.config(watch=watch))
        return [each["code"] for each in finished.json()["files"]]

    assert codes('checkpoints = "final"') == ["checkpoint-not-wanted", "name-refused", None]
    assert codes('checkpoints = "latest:1"') == [None, "name-refused", None]


def test_check_without_a_file_heeds_the_environment_and_refuses_nonsense(scene: Scene) -> None:
    write_lora(scene.tmp_path / NAME)
    lorawatch = Lorawatch(scene.tmp_path)
    assert lorawatch.command("check", NAME).exit_code == 0
    for option in ("--log-level", "--log-format"):
        finished = lorawatch.command("check", NAME, option, "nonsense")
        assert finished.exit_code == 2
        assert "nonsense" in finished.stderr
    lorawatch = Lorawatch(scene.tmp_path, environ={"LORAWATCH_INSPECT__KINDS": "embedding"})
    assert lorawatch.command("check", NAME, "--json").json()["files"][0]["code"] == "kind-not-wanted"


def test_status_with_waiting_deliveries_alone_exits_with_0(scene: Scene) -> None:
    save_in_place(scene.outputs / NAME, small_lora())
    scene.loras.rmdir()
    assert command(scene, "once").exit_code == 3
    assert command(scene, "status").exit_code == 0  # waiting needs nobody yet


def test_status_answers_where_each_file_is(scene: Scene) -> None:
    gone = scene.tmp_path / "gone"
    bad = scene.outputs / "bad.safetensors"
    with scene.daemon(tables=scene.second_destination(gone)) as daemon:
        gone.rename(scene.tmp_path / "away")  # it is looked at right now: something hidden may lie in it
        save_in_place(scene.outputs / NAME, small_lora())
        save_in_place(bad, broken("html"))
        daemon.wait_for("delivery.delivered", destination="comfyui")
        daemon.wait_for("delivery.waiting", destination="other")
        daemon.wait_for("file.rejected")
        status = daemon.status()
        assert all(set(each) >= DELIVERY_KEYS for each in status["deliveries"])
        by_destination = {each["destination"]: each for each in status["deliveries"]}
        arrived, waiting = by_destination["comfyui"], by_destination["other"]
        assert (arrived["state"], arrived["evidence"], arrived["sent_bytes"]) == ("delivered", "sha256", 198_000)
        assert (arrived["file"], arrived["remote_name"]) == (str(scene.outputs / NAME), NAME)
        assert arrived["sha256"] == sha256(small_lora())
        assert (waiting["state"], waiting["code"]) in {("waiting", "destination-missing"), ("sending", None)}
        assert {each["name"]: (each["kind"], each["state"]) for each in status["destinations"]} == {
            "comfyui": ("directory", "up"),
            "other": ("directory", "down"),
        }
        assert [(each["file"], each["state"], each["code"]) for each in status["files"]] == [
            (str(bad), "rejected", "html-page")
        ]
        assert "web page" in status["files"][0]["reason"]
        assert set(status["counts"]) >= {"planned", "sending", "waiting", "delivered", "failed", "cancelled"}
        assert status["counts"]["delivered"] == 1
        words = daemon.command("status")
        assert words.exit_code == 3  # a rejected file needs a person
        assert "other" in words.stdout
        assert "html" in words.stdout or "web page" in words.stdout


def test_status_json_knows_every_delivery_and_every_file_however_many(scene: Scene) -> None:
    for number in range(23):
        save_in_place(scene.outputs / f"n{number}.safetensors", small_lora(number))
    assert command(scene, "once").exit_code == 0
    with sqlite3.connect(scene.tmp_path / "state" / "journal.sqlite3") as connection:
        columns = (
            "root, directory, name, state, code, inode, size_bytes, mtime_ns, verdict_key, is_backlog, changed_at_ms"
        )
        connection.executemany(
            f"INSERT INTO file ({columns}) VALUES (x'2f', x'2f6f', ?, 'rejected', 'html-page', 1, 1, 1, '', 0, 1)",
            [(f"{number}.safetensors".encode(),) for number in range(1200)],
        )
    status = command(scene, "status", "--json").json()
    assert len(status["deliveries"]) == status["counts"]["delivered"] == 23
    assert len(status["files"]) == status["counts"]["files"]["rejected"] == 1200
    words = command(scene, "status").stdout
    assert words.count("html-page") == 1000
    assert "In all: 23 delivered; files: 1,200 rejected." in words
    assert "Told here are 1,020, the latest; lorawatch status --json tells all 1,223." in words


def test_status_in_a_pipe_keeps_every_name_on_its_line(scene: Scene) -> None:
    (scene.outputs / "a\x1b[31mb\nrejected    x.safetensors").write_bytes(broken("html"))
    command(scene, "once")
    words = command(scene, "status").stdout
    assert r"a\x1b[31mb\nrejected    x.safetensors" in words
    assert "\x1b" not in words


def test_status_without_a_daemon_and_before_the_first_start_creates_nothing(scene: Scene) -> None:
    finished = Lorawatch(scene.tmp_path).command("status", "--json")
    assert finished.exit_code == 0
    assert finished.json() == {"deliveries": [], "files": [], "destinations": [], "counts": {}} | finished.json()
    assert not (scene.tmp_path / "state").exists()


def test_status_after_a_failed_delivery_exits_with_3_and_says_what_to_do(scene: Scene) -> None:
    (scene.loras / "sub").write_bytes(b"a file where a directory is needed")
    with scene.daemon(destination='name_template = "sub/{file_name}"') as daemon:
        save_in_place(scene.outputs / NAME, small_lora())
        number = daemon.wait_for("delivery.failed")["delivery_id"]
        finished = daemon.command("status")
        assert finished.exit_code == 3
        assert f"lorawatch retry {number}" in finished.stdout
        (scene.loras / "sub").unlink()
        started = time.monotonic()
        assert daemon.command("retry", "--all").exit_code == 0
        daemon.wait_for("delivery.delivered", delivery_id=number)
        # It begins within 2 s because the daemon looks at each tick; by itself a lane sleeps for much longer.
        assert TICK_SECONDS <= 2
        assert time.monotonic() - started < LONGEST_SLEEP_SECONDS
        assert daemon.command("status").exit_code == 0
    assert names(scene.loras) == [f"sub/{NAME}"]


def test_retry_says_which_numbers_it_does_not_know(scene: Scene) -> None:
    save_in_place(scene.outputs / NAME, small_lora())
    command(scene, "once")
    finished = command(scene, "retry", "1", "99", str(1 << 63))
    assert finished.exit_code == 3
    assert f"99, {1 << 63}" in finished.stderr
    assert "1 delivery put back; the next lorawatch run" in finished.stdout
    alone = command(scene, "retry", "99")
    assert (alone.exit_code, alone.stdout) == (3, "")
    assert "No delivery has the number 99" in alone.stderr
    (scene.loras / NAME).unlink()
    assert command(scene, "once").exit_code == 0
    assert names(scene.loras) == [NAME]


def test_retry_all_with_nothing_to_retry_is_fine_and_says_so(scene: Scene) -> None:
    assert command(scene, "retry", "--all").exit_code == 0
    assert command(scene, "retry", "1").exit_code == 3
    command(scene, "once")
    finished = command(scene, "retry", "--all")
    assert finished.exit_code == 0
    assert "Nothing to put back" in finished.stdout


def test_retry_of_what_is_being_sent_says_so_and_is_fine(scene: Scene) -> None:
    save_in_place(scene.outputs / NAME, small_lora())
    command(scene, "once")
    with sqlite3.connect(scene.tmp_path / "state" / "journal.sqlite3") as connection:
        connection.execute("UPDATE delivery SET state = 'sending', lease_owner = 'x', lease_until_ms = 1 << 50")
    finished = command(scene, "retry", "1")
    assert finished.exit_code == 0
    assert "Being sent right now: 1" in finished.stderr


def test_retry_of_a_version_that_is_gone_is_cancelled(scene: Scene) -> None:
    path = scene.outputs / NAME
    with scene.daemon() as daemon:
        save_in_place(path, small_lora(1))
        daemon.wait_for("delivery.delivered")
        save_in_place(path, small_lora(2))
        daemon.wait_for("delivery.delivered", count=2)
        daemon.command("retry", "1")
        assert daemon.wait_for("delivery.cancelled", delivery_id=1)["code"] == "source-changed"
    assert contents(scene.loras) == {NAME: small_lora(2)}


def test_send_delivers_any_file_also_under_another_name_and_to_one_destination(scene: Scene) -> None:
    other = scene.tmp_path / "other"
    config = scene.config(tables=scene.second_destination(other))
    file = scene.tmp_path / "elsewhere" / NAME
    write_lora(file)
    both = command(scene, "send", str(file), config=config)
    assert both.exit_code == 0
    assert names(scene.loras) == names(other) == [NAME]
    assert "sha256" in both.stdout
    named = command(scene, "send", str(file), "--to", "other", "--as", "styles/cat", config=config)
    assert named.exit_code == 0, named.stderr
    assert names(other) == [NAME, "styles/cat.safetensors"]
    assert names(scene.loras) == [NAME]


@pytest.mark.parametrize("name", ["../out", "/etc/x", ".hidden", ""])
def test_send_refuses_a_bad_name_or_destination_with_2(scene: Scene, name: str) -> None:
    file = scene.tmp_path / NAME
    write_lora(file)
    assert command(scene, "send", str(file), "--as", name).exit_code == 2
    assert command(scene, "send", str(file), "--to", "nobody").exit_code == 2
    assert names(scene.loras) == []


def test_send_exits_with_3_for_a_bad_file_and_where_the_destination_is_not_there(scene: Scene) -> None:
    bad, good = scene.tmp_path / "bad.safetensors", scene.tmp_path / NAME
    bad.write_bytes(broken("html"))
    write_lora(good)
    finished = command(scene, "send", str(bad), str(good))
    assert finished.exit_code == 3
    assert "html-page" in finished.stderr
    assert names(scene.loras) == [NAME]
    (scene.loras / NAME).unlink()
    scene.loras.rmdir()
    finished = command(scene, "send", str(good))
    assert finished.exit_code == 3
    assert "destination-missing" in finished.stderr


def test_what_is_not_there_is_called_that(scene: Scene) -> None:
    finished = Lorawatch(scene.tmp_path).command("check", "nope.safetensors")
    assert finished.exit_code == 3
    assert "file-missing: there is no such file" in finished.stdout
    assert f"ls {scene.tmp_path}" in finished.stdout
    finished = command(scene, "send", "nope.safetensors")
    assert finished.exit_code == 3
    assert "not sent (file-missing): there is no such file" in finished.stderr


def test_send_says_what_to_do_and_whether_it_is_tried_again_by_itself(scene: Scene) -> None:
    (scene.loras / "sub").write_bytes(b"a file where a directory is needed")
    save_in_place(scene.tmp_path / NAME, small_lora())
    finished = command(scene, "send", NAME, config=scene.config(destination='name_template = "sub/{file_name}"'))
    assert finished.exit_code == 3
    assert "not tried again by itself; then: lorawatch retry 1" in finished.stderr
    assert "goes on with it" not in finished.stderr
    scene.loras.rename(scene.tmp_path / "away")
    finished = command(scene, "send", NAME)
    assert f"mkdir -p {scene.loras}" in finished.stderr
    assert "the next `lorawatch run` or `lorawatch once` goes on with it; by hand: lorawatch retry 2" in finished.stderr


def test_send_beside_a_daemon_takes_nothing_from_what_the_daemon_owes(scene: Scene) -> None:
    gone = scene.tmp_path / "gone"
    path = scene.outputs / NAME
    with scene.daemon(tables=scene.second_destination(gone)) as daemon:
        gone.rmdir()
        save_in_place(path, small_lora())
        owed = daemon.wait_for("delivery.waiting", destination="other")["delivery_id"]
        finished = daemon.command(
            "send", "--config", str(scene.tmp_path / "lorawatch.toml"), str(path), "--to", "comfyui"
        )
        assert finished.exit_code == 0, finished.stderr
        gone.mkdir()
        daemon.wait_for("delivery.delivered", delivery_id=owed)
        assert not daemon.of("delivery.cancelled")
    assert names(gone) == names(scene.loras) == [NAME]


def test_send_of_a_file_whose_delivery_waits_goes_on_with_that_one(scene: Scene) -> None:
    save_in_place(scene.tmp_path / NAME, small_lora())
    scene.loras.rmdir()
    for _ in range(2):
        assert command(scene, "send", NAME).exit_code == 3
    assert command(scene, "send", NAME, "--as", "another.safetensors").exit_code == 3
    save_in_place(scene.tmp_path / NAME, small_lora(2))  # another version
    assert command(scene, "send", NAME).exit_code == 3
    waiting = command(scene, "status", "--json").json()["deliveries"]
    assert sorted((each["delivery_id"], each["remote_name"]) for each in waiting) == [
        (1, NAME),
        (2, "another.safetensors"),
        (3, NAME),
    ]
    scene.loras.mkdir()
    finished = command(scene, "send", NAME)
    assert finished.exit_code == 0, finished.stderr
    assert contents(scene.loras) == {NAME: small_lora(2)}
    delivered = [
        each for each in command(scene, "status", "--json").json()["deliveries"] if each["state"] == "delivered"
    ]
    assert [each["delivery_id"] for each in delivered] == [3]


def test_send_of_a_file_that_is_ignored_as_existing_delivers_it(scene: Scene) -> None:
    config = scene.config(watch='existing = "ignore"')
    save_in_place(scene.outputs / NAME, small_lora())
    assert command(scene, "once", config=config).exit_code == 0
    assert names(scene.loras) == []
    assert command(scene, "send", str(scene.outputs / NAME), config=config).exit_code == 0
    assert names(scene.loras) == [NAME]


def test_send_never_replaces_what_another_path_has_there(scene: Scene) -> None:
    config = scene.config(destination='on_conflict = "overwrite"')
    save_in_place(scene.outputs / NAME, small_lora(1))
    assert command(scene, "once", config=config).exit_code == 0
    other = scene.tmp_path / "other.safetensors"
    other.write_bytes(small_lora(2))
    assert command(scene, "send", str(other), "--as", NAME, config=config).exit_code == 0
    kept = f"cat_000000250-{sha256(small_lora(2))[:8]}.safetensors"
    assert contents(scene.loras) == {NAME: small_lora(1), kept: small_lora(2)}


def test_a_journal_of_a_newer_program_is_left_untouched_and_exits_with_1(scene: Scene) -> None:
    assert command(scene, "once").exit_code == 0
    journal = scene.tmp_path / "state" / "journal.sqlite3"
    with sqlite3.connect(journal) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    before = journal.read_bytes()
    for words in (["run"], ["once"], ["status"], ["retry", "--all"]):
        finished = command(scene, *words)
        assert finished.exit_code == 1, words
        assert "newer" in finished.stderr
    assert journal.read_bytes() == before


def test_the_journal_of_an_older_daemon_that_runs_is_not_brought_up_to_date_by_a_command(scene: Scene) -> None:
    journal = scene.tmp_path / "state" / "journal.sqlite3"
    file = scene.tmp_path / "elsewhere" / NAME
    write_lora(file)
    with scene.daemon() as daemon:
        with sqlite3.connect(journal) as connection:
            connection.execute("PRAGMA user_version = 1")
        for words in (["retry", "--all"], ["send", str(file)]):
            finished = daemon.command(*words)
            assert finished.exit_code == 1, words
            assert "restart the daemon" in finished.stderr
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        connection.close()
    assert names(scene.loras) == []


def test_the_demo_shows_the_life_of_a_lora_and_leaves_nothing_behind(tmp_path: Path) -> None:
    finished = Lorawatch(tmp_path).command("demo")
    assert finished.exit_code == 0  # what does not arrive in 10 s ends with 3
    assert "verified" in finished.stdout
    assert "removed again" in finished.stdout
    assert list(tmp_path.iterdir()) == []


def test_every_json_option_prints_one_document_for_undecodable_names_too(scene: Scene) -> None:
    path = os.path.join(os.fsencode(scene.outputs), b"caf\xe9.safetensors")
    with open(path, "wb") as file:
        file.write(small_lora())
    assert command(scene, "once").exit_code == 0
    finished = Lorawatch(scene.tmp_path).command("check", os.fsdecode(path), "--json")
    assert json.loads(finished.stdout)["files"][0]["accepted"] is True
    assert "caf\\xe9" in Lorawatch(scene.tmp_path).status()["deliveries"][0]["file"]


def test_status_watch_shows_it_again_until_it_is_interrupted(scene: Scene) -> None:
    assert command(scene, "once").exit_code == 0
    daemon = Lorawatch(scene.tmp_path)
    process = daemon._popen("status", "--watch")
    try:
        assert process.stdout is not None
        first = [process.stdout.readline() for _ in range(3)]
        assert any("not running" in line for line in first)
        assert eventually(lambda: process.poll() is None, timeout=1)
    finally:
        process.terminate()
        process.communicate()
