"""Hints from the kernel: every way in which a finished file appears, and what must cost nothing."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, WatchDescriptor

from lorawatch.domain.ports import Hint
from lorawatch.sources.mounts import MountTable
from lorawatch.sources.watching import WatchHub
from tests.factories import lora_bytes, write_lora
from tests.watched_folder import eventually, folder_source, watching

SAVE_0_8 = """
import os, sys
directory, name, content = sys.argv[1], sys.argv[2], sys.stdin.buffer.read()
temporary = os.path.join(directory, ".tmpAbCdEf")
descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
os.posix_fallocate(descriptor, 0, len(content))
os.pwrite(descriptor, content, 0)
os.rename(temporary, os.path.join(directory, name))
os.close(descriptor)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "out"
    directory.mkdir()
    return directory


def test_a_file_written_in_place_is_hinted_at_and_told_when_closed(root: Path) -> None:
    with watching(folder_source(root)) as hints:
        path = str(root / "a.safetensors")
        write_lora(path)
        assert eventually(lambda: hints.has(Hint(path, is_closed=True)))
        assert hints.seen == [Hint(path), Hint(path, is_closed=True)]


def test_a_file_saved_as_safetensors_0_8_does_it_is_told_as_closed_when_renamed(root: Path) -> None:
    with watching(folder_source(root)) as hints:
        save = [sys.executable, "-c", SAVE_0_8, str(root), "a.safetensors"]
        subprocess.run(save, input=lora_bytes(), check=True)
        path = str(root / "a.safetensors")
        assert eventually(lambda: hints.seen.count(Hint(path, is_closed=True)) == 2)  # the rename, then the close
        assert {hint.path for hint in hints.seen} == {path}, "hidden names are nobody's business"


def test_hard_links_and_links_are_hinted_at(root: Path) -> None:
    write_lora(root.parent / "a.safetensors")
    with watching(folder_source(root)) as hints:
        os.link(root.parent / "a.safetensors", root / "b.safetensors")
        (root / "c.safetensors").symlink_to("b.safetensors")
        linked = [Hint(str(root / f"{name}.safetensors")) for name in ("b", "c")]
        assert eventually(lambda: all(map(hints.has, linked)))


def test_a_file_that_goes_is_told(root: Path) -> None:
    for name in ("a", "b"):
        write_lora(root / f"{name}.safetensors")
    with watching(folder_source(root)) as hints:
        (root / "a.safetensors").unlink()
        (root / "b.safetensors").rename(root / "b.old")
        gone = [Hint(str(root / f"{name}.safetensors"), is_gone=True) for name in ("a", "b")]
        assert eventually(lambda: all(map(hints.has, gone)))


def test_a_rename_is_told_without_delay(root: Path) -> None:
    for name in ("x.txt", "y.txt"):
        (root / name).write_bytes(b"x")
    told = threading.Event()
    source = folder_source(root)
    source.start(lambda hint: told.set(), lambda: None)
    try:
        os.rename(root / "y.txt", root.parent / "y.txt")  # one that leaves the tree holds nobody up either
        os.rename(root / "x.txt", root / "a.safetensors")
        assert told.wait(0.4), "watchdog's own observer would have held it back for half a second"
    finally:
        source.stop()


def test_nothing_is_lost_in_directories_that_are_made_and_filled_at_once(root: Path) -> None:
    with watching(folder_source(root)) as hints:
        expected = set()
        for number in range(200):
            directory = root / f"job{number}" / "deep"
            os.makedirs(directory)
            path = str(directory / "a.safetensors")
            with open(path, "wb") as file:
                file.write(b"x")
            expected.add(path)
        assert eventually(lambda: hints.found_paths() >= expected), expected - hints.found


def test_a_directory_that_is_moved_in_is_told_and_watched(root: Path) -> None:
    write_lora(root.parent / "job" / "deep" / "a.safetensors")
    with watching(folder_source(root)) as hints:
        os.rename(root.parent / "job", root / "job")
        assert eventually(lambda: str(root / "job" / "deep" / "a.safetensors") in hints.found_paths())
        path = str(root / "job" / "deep" / "b.safetensors")
        write_lora(path)
        assert eventually(lambda: hints.has(Hint(path, is_closed=True)))


def test_a_directory_that_is_renamed_is_watched_under_its_new_name(root: Path) -> None:
    (root / "old" / "deep").mkdir(parents=True)
    with watching(folder_source(root)) as hints:
        os.rename(root / "old", root / "new")
        assert eventually(lambda: hints.has(Hint(str(root / "new"), is_directory=True)))
        path = str(root / "new" / "deep" / "a.safetensors")
        write_lora(path)
        assert eventually(lambda: hints.has(Hint(path, is_closed=True)))
        assert hints.has(Hint(str(root / "old"), is_directory=True, is_gone=True))


def test_a_directory_that_left_the_tree_is_not_watched_any_more(root: Path) -> None:
    (root / "job" / "deep").mkdir(parents=True)
    with watching(folder_source(root)) as hints:
        os.rename(root / "job", root.parent / "job")
        assert eventually(lambda: hints.has(Hint(str(root / "job"), is_directory=True, is_gone=True)))
        write_lora(root.parent / "job" / "deep" / "a.safetensors")
        hints.settle_down()
        assert not any(hint.path.endswith("a.safetensors") for hint in hints.seen)


def test_a_tree_that_is_removed_and_made_again_is_watched_again(root: Path) -> None:
    with watching(folder_source(root)) as hints:
        for _ in range(20):
            (root / "job" / "deep").mkdir(parents=True)
            write_lora(root / "job" / "deep" / "a.safetensors")
            shutil.rmtree(root / "job")
        (root / "job" / "deep").mkdir(parents=True)
        hints.settle_down()
        path = str(root / "job" / "deep" / "last.safetensors")
        write_lora(path)
        assert eventually(lambda: hints.has(Hint(path, is_closed=True)))


def test_a_directory_with_the_name_of_a_lora_is_hinted_at_as_a_path_too(root: Path) -> None:
    with watching(folder_source(root)) as hints:
        path = str(root / "x.safetensors")
        os.mkdir(path)
        assert eventually(lambda: hints.has(Hint(path)) and hints.has(Hint(path, is_directory=True)))


def test_names_that_are_no_text_are_told_as_they_are(root: Path) -> None:
    with watching(folder_source(root)) as hints:
        os.mkdir(os.fsencode(root) + b"/j\xf6b")
        path = os.fsdecode(os.fsencode(root) + b"/j\xf6b/caf\xe9.safetensors")
        hints.settle_down()
        with open(path, "wb"):
            pass
        assert eventually(lambda: hints.has(Hint(path, is_closed=True)))


def test_who_only_reads_the_tree_causes_no_hint_and_wakes_nobody(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        write_lora(root / f"job{number}" / "a.safetensors")
    source = folder_source(root)
    with watching(source) as hints:
        assert source._tree is not None
        assert source._tree._inotify is not None
        handled: list[InotifyEvent] = []
        inotify = source._tree._inotify
        handle = inotify.handle_event

        def tap(event: InotifyEvent) -> None:
            handled.append(event)
            handle(event)

        monkeypatch.setattr(inotify, "handle_event", tap)
        for directory, _, names in os.walk(root):
            for name in names:
                with open(os.path.join(directory, name), "rb") as file:
                    file.read()
                os.stat(os.path.join(directory, name))
        hints.settle_down()
        assert {hint.path for hint in hints.seen} == {hints.seen[-1].path}
        assert len(handled) <= 2, "the marker's own creation and close"


def test_what_is_not_wanted_causes_no_hint(root: Path) -> None:
    (root / ".cache").mkdir()
    with watching(folder_source(root, exclude=("samples/",))) as hints:
        for name in ("a.txt", ".a.safetensors", ".cache/b.safetensors"):
            (root / name).write_bytes(b"x")
        (root / ".git").mkdir()
        (root / ".git" / "c.safetensors").write_bytes(b"x")
        hints.settle_down()
        assert len({hint.path for hint in hints.seen}) == 1


def test_lost_events_are_made_up_for(root: Path) -> None:
    source = folder_source(root)
    with watching(source) as hints:
        assert source._tree is not None
        assert source._tree._inotify is not None
        inotify = source._tree._inotify
        lost = threading.Event()

        def lose(event: InotifyEvent) -> None:
            if event.name == b"last.txt" and event.is_close_write:
                lost.set()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(inotify, "handle_event", lose)
            (root / "job" / "deep").mkdir(parents=True)
            (root / "last.txt").write_bytes(b"x")
            assert lost.wait(20)
        assert hints.seen == []
        inotify.handle_event(InotifyEvent(WatchDescriptor(-1), InotifyConstants.IN_Q_OVERFLOW, 0, b""))
        assert hints.overflows == 1
        path = str(root / "job" / "deep" / "a.safetensors")
        write_lora(path)
        assert eventually(lambda: hints.has(Hint(path, is_closed=True)))


def test_one_thread_and_one_instance_serve_all_roots_and_end_with_the_last(tmp_path: Path) -> None:
    def watchers() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "lorawatch-watcher"]

    def instances() -> int:
        links = (os.path.join("/proc/self/fd", number) for number in os.listdir("/proc/self/fd"))
        return sum(os.path.lexists(link) and os.readlink(link) == "anon_inode:inotify" for link in links)

    hub = WatchHub()
    roots = [tmp_path / name for name in ("a", "b")]
    for root in roots:
        root.mkdir()
    with watching(folder_source(roots[0], hub=hub)) as first:
        with watching(folder_source(roots[1], hub=hub)) as second:
            assert (len(watchers()), instances()) == (1, 1)
            path = str(roots[1] / "x.safetensors")
            write_lora(path)
            assert eventually(lambda: second.has(Hint(path, is_closed=True)))
        first.settle_down()
        assert not first.has(Hint(path, is_closed=True))
    assert (watchers(), instances()) == ([], 0)


def test_starting_and_stopping_twice_does_no_harm(root: Path) -> None:
    source = folder_source(root)
    with watching(source) as hints:
        source.start(hints.take, hints.overflow)
        hints.settle_down()
        source.stop()
    count = len(hints.seen)
    write_lora(root / "a.safetensors")
    assert len(hints.seen) == count
    with watching(source) as again:
        again.settle_down()


def test_a_directory_without_others_is_watched_without_being_listed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf = root / "job" / "samples"
    leaf.mkdir(parents=True)
    listed: list[str] = []
    real = os.scandir

    def scandir(path: str) -> object:
        listed.append(path)
        return real(path)

    monkeypatch.setattr("lorawatch.sources.watching.os.scandir", scandir)
    is_counting = MountTable().of(os.path.realpath(root)).kind in {"ext4", "xfs", "tmpfs"}
    with watching(folder_source(root)) as hints:
        assert listed == [str(root), str(root / "job"), *([] if is_counting else [str(leaf)])]
        monkeypatch.undo()
        for directory in (leaf, leaf / "later", leaf / "later" / "still"):
            directory.mkdir(exist_ok=True)
            path = directory / "a.safetensors"
            write_lora(path)
            assert eventually(lambda path=str(path): path in hints.found_paths())  # type: ignore[misc]  # bound now


def test_a_linked_root_is_watched_below_however_many_names_the_link_has(root: Path) -> None:
    (root / "job").mkdir()
    link = root.parent / "link"
    link.symlink_to(root)
    os.link(link, root.parent / "second", follow_symlinks=False)  # as cp -al makes one of a tree
    with watching(folder_source(link)) as hints:
        path = link / "job" / "a.safetensors"
        write_lora(path)
        assert eventually(lambda: hints.has(Hint(str(path), is_closed=True)))
