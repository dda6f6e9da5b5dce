"""Names, versions and collisions: which name a file gets, what may be replaced, and what is never touched."""

import os
import shutil
from pathlib import Path

import pytest

from tests.process import Lorawatch
from tests.scenes import Scene, contents, eventually, names, save_in_place, scene, sha256, small_lora

__all__ = ["scene"]

A, B, C = small_lora(1), small_lora(2), small_lora(3)
NAME = "cat.safetensors"


def sha8(content: bytes) -> str:
    return sha256(content)[:8]


def deliver(daemon: Lorawatch, path: Path, content: bytes) -> dict[str, object]:
    """Save a version and return its delivery."""
    count = len(daemon.of("delivery.delivered", file=path))
    save_in_place(path, content)
    return daemon.wait_for("delivery.delivered", count=count + 1, file=path)


def test_contents_that_go_from_a_to_b_to_a_are_three_artifacts_under_one_name(scene: Scene) -> None:
    path = scene.outputs / NAME
    with scene.daemon() as daemon:
        for content in (A, B, A):
            arrived = deliver(daemon, path, content)
            assert (arrived["remote_name"], arrived["sha256"]) == (NAME, sha256(content))
            assert contents(scene.loras) == {NAME: content}
        assert len(daemon.of("file.accepted")) == 3


def test_the_old_file_moved_back_with_its_old_inode_and_time_is_delivered_again(scene: Scene) -> None:
    path, aside = scene.outputs / NAME, scene.tmp_path / "aside"
    with scene.daemon() as daemon:
        deliver(daemon, path, A)
        os.rename(path, aside)
        deliver(daemon, path, B)
        os.rename(aside, path)
        daemon.wait_for("delivery.delivered", count=3)
    assert contents(scene.loras) == {NAME: A}


def test_a_new_version_of_the_same_name_and_size_replaces_the_old_one_also_after_a_restart(scene: Scene) -> None:
    path = scene.outputs / NAME
    daemon = scene.daemon()
    with daemon:
        assert deliver(daemon, path, A)["replaced"] is False
        assert deliver(daemon, path, B)["replaced"] is True
        assert daemon.stop() == 0
    save_in_place(path, C)
    with daemon:
        assert daemon.wait_for("delivery.delivered")["replaced"] is True
        assert daemon.stop() == 0
    assert contents(scene.loras) == {NAME: C}


def test_a_touched_file_is_a_new_version_of_which_nothing_is_carried(scene: Scene) -> None:
    path = scene.outputs / NAME
    with scene.daemon() as daemon:
        deliver(daemon, path, A)
        before = (scene.loras / NAME).stat()
        again = deliver(daemon, path, A)
        assert (again["carried_bytes"], again["replaced"]) == (0, False)
        after = (scene.loras / NAME).stat()
        assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
        assert deliver(daemon, path, B)["replaced"] is True
    assert contents(scene.loras) == {NAME: B}


def test_two_paths_with_one_name_both_survive_and_each_replaces_its_own(scene: Scene) -> None:
    one, two = scene.outputs / "one" / NAME, scene.outputs / "two" / NAME
    kept = f"cat-{sha8(B)}.safetensors"
    with scene.daemon(destination='on_conflict = "overwrite"') as daemon:  # which is about foreign files only
        deliver(daemon, one, A)
        assert deliver(daemon, two, B)["remote_name"] == kept
        assert daemon.of("delivery.collision")[0]["taken_by"] == str(one)
        assert contents(scene.loras) == {NAME: A, kept: B}
        assert deliver(daemon, two, C)["remote_name"] == kept
        assert deliver(daemon, one, B)["remote_name"] == NAME
        assert contents(scene.loras) == {NAME: B, kept: C}
        assert len(daemon.of("delivery.collision")) == 1


def test_two_paths_with_the_same_bytes_share_a_name_until_one_of_them_changes(scene: Scene) -> None:
    one, two = scene.outputs / "one" / NAME, scene.outputs / "two" / NAME
    with scene.daemon() as daemon:
        deliver(daemon, one, A)
        assert deliver(daemon, two, A)["carried_bytes"] == 0
        assert contents(scene.loras) == {NAME: A}
        deliver(daemon, one, B)
        both = {NAME: B, f"cat-{sha8(A)}.safetensors": A}
        daemon.wait_for("delivery.delivered", file=two, count=2)
        assert contents(scene.loras) == both


@pytest.mark.parametrize("on_conflict", ["keep-both", "overwrite", "skip"])
def test_a_foreign_file_at_the_name_is_treated_as_the_user_says(scene: Scene, on_conflict: str) -> None:
    (scene.loras / NAME).write_bytes(C)
    kept = f"cat-{sha8(A)}.safetensors"
    with scene.daemon(destination=f'on_conflict = "{on_conflict}"') as daemon:
        save_in_place(scene.outputs / NAME, A)
        if on_conflict == "skip":
            cancelled = daemon.wait_for("delivery.cancelled")
            assert cancelled["code"] == "name-taken"
            assert contents(scene.loras) == {NAME: C}
        elif on_conflict == "overwrite":
            assert daemon.wait_for("delivery.delivered")["replaced"] is True
            assert contents(scene.loras) == {NAME: A}
        else:
            assert daemon.wait_for("delivery.delivered")["remote_name"] == kept
            assert contents(scene.loras) == {NAME: C, kept: A}
            deliver(daemon, scene.outputs / NAME, B)  # keeps the name it was given
            assert contents(scene.loras) == {NAME: C, kept: B}
        assert daemon.status()["counts"]["failed"] == 0


@pytest.mark.parametrize("on_conflict", ["keep-both", "overwrite", "skip"])
def test_a_link_at_the_name_is_foreign_and_never_written_through(scene: Scene, on_conflict: str) -> None:
    target = scene.tmp_path / "precious.safetensors"
    target.write_bytes(A)  # even where it leads to the very bytes
    (scene.loras / NAME).symlink_to(target)
    with scene.daemon(destination=f'on_conflict = "{on_conflict}"') as daemon:
        save_in_place(scene.outputs / NAME, A)
        daemon.wait_for("delivery.cancelled" if on_conflict == "skip" else "delivery.delivered")
    assert target.read_bytes() == A
    assert not target.is_symlink()
    assert (scene.loras / NAME).is_symlink() is (on_conflict != "overwrite")
    assert len(names(scene.loras)) == (2 if on_conflict == "keep-both" else 1)


@pytest.mark.parametrize("on_conflict", ["keep-both", "overwrite"])
def test_a_directory_at_the_name_is_never_replaced_and_holds_nothing_up(scene: Scene, on_conflict: str) -> None:
    (scene.loras / NAME).mkdir()
    with scene.daemon(destination=f'on_conflict = "{on_conflict}"') as daemon:
        save_in_place(scene.outputs / NAME, A)
        daemon.wait_for("delivery.delivered")
    assert contents(scene.loras) == {f"cat-{sha8(A)}.safetensors": A}
    assert (scene.loras / NAME).is_dir()


def test_a_file_that_the_user_copied_by_hand_is_not_carried_and_never_overwritten(scene: Scene) -> None:
    save_in_place(scene.outputs / NAME, A)
    shutil.copy2(scene.outputs / NAME, scene.loras / NAME)
    before = (scene.loras / NAME).stat()
    daemon = scene.daemon()
    with daemon:
        arrived = daemon.wait_for("delivery.delivered")
        assert (arrived["carried_bytes"], arrived["remote_name"], arrived["evidence"]) == (0, NAME, "sha256")
        assert (scene.loras / NAME).stat().st_ctime_ns == before.st_ctime_ns
        assert daemon.stop() == 0
    with daemon:  # what it knows of whose file that is outlives a restart
        deliver(daemon, scene.outputs / NAME, B)
    assert contents(scene.loras) == {NAME: A, f"cat-{sha8(B)}.safetensors": B}


def test_a_delivered_file_that_somebody_changed_is_not_overwritten(scene: Scene) -> None:
    path = scene.outputs / NAME
    with scene.daemon() as daemon:
        deliver(daemon, path, A)
        (scene.loras / NAME).write_bytes(C)
        deliver(daemon, path, B)
    assert contents(scene.loras) == {NAME: C, f"cat-{sha8(B)}.safetensors": B}


def test_a_delivered_file_that_a_person_removed_stays_removed_until_retry(scene: Scene) -> None:
    path = scene.outputs / NAME
    daemon = scene.daemon(watch="reconcile_seconds = 0.5")
    with daemon:
        number = deliver(daemon, path, A)["delivery_id"]
        (scene.loras / NAME).unlink()
        assert not eventually(lambda: names(scene.loras) != [], timeout=1.5)
        assert daemon.stop() == 0
    with daemon:
        assert not eventually(lambda: names(scene.loras) != [], timeout=0.5)
        assert daemon.command("retry", str(number)).exit_code == 0
        daemon.wait_for("delivery.delivered", timeout=2.5, delivery_id=number)
        assert contents(scene.loras) == {NAME: A}
        assert deliver(daemon, path, B)["replaced"] is True
    assert contents(scene.loras) == {NAME: B}


def test_retry_of_a_delivery_that_is_still_there_carries_nothing_and_stays_ours(scene: Scene) -> None:
    path = scene.outputs / NAME
    with scene.daemon() as daemon:
        number = deliver(daemon, path, A)["delivery_id"]
        assert daemon.command("retry", str(number)).exit_code == 0
        again = daemon.wait_for("delivery.delivered", count=2, delivery_id=number)
        assert again["carried_bytes"] == 0
        os.utime(scene.loras / NAME)  # a backup tool passes by
        assert deliver(daemon, path, B)["replaced"] is True
    assert contents(scene.loras) == {NAME: B}


def test_a_template_makes_names_and_directories_of_what_is_known(scene: Scene) -> None:
    template = "{family}/{job}/{stem}-{step}-{rank}-{trigger}-{sha8}"
    with scene.daemon(destination=f'name_template = "{template}"') as daemon:
        deliver(daemon, scene.outputs / "cat" / "cat_000000250.safetensors", A)
        deliver(daemon, scene.outputs / "dog.safetensors", B)
    assert names(scene.loras) == [
        f"flux.1/cat/cat_000000250-250-4-p3rson-{sha8(A)}.safetensors",
        f"flux.1/dog/dog-final-4-p3rson-{sha8(B)}.safetensors",
    ]


def test_two_paths_that_share_a_name_part_even_where_foreign_files_are_overwritten(scene: Scene) -> None:
    one, two = scene.outputs / "one" / NAME, scene.outputs / "two" / NAME
    with scene.daemon(destination='on_conflict = "overwrite"') as daemon:
        deliver(daemon, one, A)
        deliver(daemon, two, A)
        deliver(daemon, one, B)
        both = {NAME: B, f"cat-{sha8(A)}.safetensors": A}
        daemon.wait_for("delivery.delivered", file=two, count=2)
        assert contents(scene.loras) == both
        deliver(daemon, two, C)
    assert contents(scene.loras) == {NAME: B, f"cat-{sha8(A)}.safetensors": C}


def test_another_template_puts_the_next_version_beside_the_old_file(scene: Scene) -> None:
    path = scene.outputs / NAME
    with scene.daemon() as daemon:
        deliver(daemon, path, A)
        assert daemon.stop() == 0
    with scene.daemon(destination='name_template = "{family}/{file_name}"') as daemon:
        assert deliver(daemon, path, B)["replaced"] is False
    assert contents(scene.loras) == {NAME: A, f"flux.1/{NAME}": B}
