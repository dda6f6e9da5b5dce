"""A watched root that goes away, comes back or is replaced, and a watch that is not what it should be."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from lorawatch.domain.ports import Hint, WatchState
from lorawatch.sources import rooting
from lorawatch.sources import watching as watching_module
from lorawatch.sources.folder import FolderSource
from lorawatch.sources.mounts import Mount, MountTable
from tests.factories import write_lora
from tests.watched_folder import Hints, eventually, folder_source, watching

WELL = WatchState(is_present=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "out"
    directory.mkdir()
    return directory


def assert_is_watched(hints: Hints, directory: Path) -> None:
    path = str(directory / "proof.safetensors")
    write_lora(path)
    assert eventually(lambda: hints.has(Hint(path, is_closed=True)))


def test_a_root_that_is_well_stays_well(root: Path) -> None:
    source = folder_source(root)
    with watching(source):
        assert [source.supervise() for _ in range(3)] == [WELL] * 3
        assert source.polled() == ()


def test_a_root_that_is_missing_at_the_start_is_watched_as_soon_as_it_is_there(tmp_path: Path) -> None:
    root = tmp_path / "later"
    source = folder_source(root)
    with watching(source) as hints:
        state = source.supervise()
        assert (state.is_present, state.code) == (False, "root-missing")
        root.mkdir()
        assert source.supervise() == WatchState(is_present=True, is_rescan_needed=True)
        assert source.supervise() == WELL
        assert_is_watched(hints, root)


@pytest.mark.parametrize("is_noticed_missing", [True, False])
def test_a_root_that_is_removed_and_made_again_is_watched_again(root: Path, is_noticed_missing: bool) -> None:
    source = folder_source(root)
    with watching(source) as hints:
        for number in range(5):
            (root / f"job{number}").mkdir()
            shutil.rmtree(root)
            if is_noticed_missing:
                assert source.supervise().code == "root-missing"
            root.mkdir()  # ext4 gives it the same inode number again
            hints.seen.clear()
            assert supervise_until_mended(source).code == (None if is_noticed_missing else "root-replaced")
            assert source.supervise() == WELL
            assert_is_watched(hints, root)


def supervise_until_mended(source: FolderSource) -> WatchState:
    """Supervise until a rescan is asked for: the watcher's thread may not have read yet what happened."""
    states = [source.supervise()]

    def is_mended() -> bool:
        states.append(source.supervise())
        return states[-1].is_rescan_needed

    assert states[-1].is_rescan_needed or eventually(is_mended)
    return states[-1]


def test_a_root_that_was_swapped_for_another_directory_is_watched_instead(root: Path) -> None:
    source = folder_source(root)
    with watching(source) as hints:
        root.rename(root.parent / "old")
        root.mkdir()
        state = source.supervise()
        assert (state.is_present, state.code, state.is_rescan_needed) == (True, "root-replaced", True)
        assert source.supervise() == WELL
        assert_is_watched(hints, root)
        write_lora(root.parent / "old" / "stranger.safetensors")
        hints.settle_down()
        assert not any("stranger" in hint.path for hint in hints.seen)


def test_a_root_that_is_a_link_is_followed_when_it_points_elsewhere(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    link = tmp_path / "link"
    link.symlink_to("one")
    source = folder_source(link)
    with watching(source) as hints:
        assert_is_watched(hints, link)
        hints.seen.clear()
        link.unlink()
        link.symlink_to("two")
        assert source.supervise().code == "root-replaced"
        assert_is_watched(hints, link)
        assert (tmp_path / "two" / "proof.safetensors").exists()


def test_a_root_that_is_no_directory_is_missing(root: Path) -> None:
    root.rmdir()
    root.write_bytes(b"")
    source = folder_source(root)
    with watching(source):
        assert source.supervise().code == "root-missing"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_root_that_may_not_be_listed_is_said_to_be_so(root: Path) -> None:
    source = folder_source(root)
    with watching(source) as hints:
        root.chmod(0)
        try:
            state = source.supervise()
            assert (state.is_present, state.code) == (False, "root-unreadable")
        finally:
            root.chmod(0o700)
        assert source.supervise().is_rescan_needed
        assert_is_watched(hints, root)


def test_a_watcher_that_died_is_replaced(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threading.excepthook", lambda arguments: None)
    source = folder_source(root)
    with watching(source) as hints:
        assert source._tree is not None
        assert source._tree._inotify is not None
        thread = source._tree._inotify

        def die(event: object) -> None:
            raise RuntimeError("injected")

        thread.handle_event = die  # type: ignore[method-assign]  # the injected fault
        (root / "a.safetensors").write_bytes(b"x")
        assert eventually(lambda: not thread.is_alive())
        assert source.supervise() == WatchState(is_present=True, is_rescan_needed=True)
        assert source.supervise() == WELL
        assert_is_watched(hints, root)


class LimitedInotify(watching_module._Watcher):
    """An inotify instance with room for a few watches only."""

    room = 2

    def add_callback(self, path, mask, callback, id_):  # type: ignore[no-untyped-def]  # watchdog's own signature
        if len(self._watch_for_wd) >= LimitedInotify.room:
            raise OSError(errno.ENOSPC, "inotify watch limit reached")
        return super().add_callback(path, mask, callback, id_)


def test_directories_beyond_the_watch_limit_are_polled_until_there_is_room(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching_module, "_Watcher", LimitedInotify)
    monkeypatch.setattr(LimitedInotify, "room", 2)
    for name in ("a", "b", "c/deep"):
        (root / name).mkdir(parents=True)
    source = folder_source(root, retry_watch_seconds=0)
    with watching(source) as hints:
        state = source.supervise()
        assert (state.is_present, state.code, state.is_rescan_needed) == (True, "inotify-limit", False)
        assert "max_user_watches" in state.reason
        assert len(source.polled()) == 2
        assert str(root) not in source.polled()
        monkeypatch.setattr(LimitedInotify, "room", 100)
        assert source.supervise() == WatchState(is_present=True, is_rescan_needed=True)
        assert source.polled() == ()
        assert source.supervise() == WELL
        for name in ("a", "b", "c/deep"):
            assert_is_watched(hints, root / name)


def test_a_new_directory_beyond_the_watch_limit_is_polled_and_let_go_when_removed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching_module, "_Watcher", LimitedInotify)
    monkeypatch.setattr(LimitedInotify, "room", 1)
    source = folder_source(root)
    with watching(source):
        assert source.supervise() == WELL
        (root / "job").mkdir()
        assert eventually(lambda: source.polled() == (str(root / "job"),))
        assert source.supervise().code == "inotify-limit"
        (root / "job").rmdir()
        assert eventually(lambda: source.polled() == ())
        assert source.supervise() == WELL


def test_without_any_inotify_instance_the_whole_root_is_polled_until_there_is_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    source = folder_source(root, retry_watch_seconds=0)
    with monkeypatch.context() as patch:
        patch.setattr(watching_module, "_Watcher", refuse)
        hints = Hints(source)
        source.start(hints.take, hints.overflow)
        assert source.polled() == (str(root),)
        state = source.supervise()
        assert (state.code, state.is_rescan_needed) == ("inotify-limit", False)
    try:
        assert source.supervise() == WatchState(is_present=True, is_rescan_needed=True)
        assert source.polled() == ()
        assert_is_watched(hints, root)
    finally:
        source.stop()


def test_polling_mode_sends_no_hints_and_starts_no_thread(root: Path) -> None:
    source = folder_source(root, mode="polling")
    with watching(source) as hints:
        assert source.polled() == (str(root),)
        assert source._tree is None
        write_lora(root / "a.safetensors")
        assert hints.seen == []
        shutil.rmtree(root)
        assert source.supervise().code == "root-missing"
        root.mkdir()
        assert source.supervise().is_rescan_needed


def mounted(monkeypatch: pytest.MonkeyPatch, *mounts: Mount) -> None:
    def refresh(table: MountTable) -> bool:
        table._mounts = {mount.point: mount for mount in mounts}
        return True

    monkeypatch.setattr(MountTable, "refresh", refresh)


def test_a_network_mount_is_polled_and_its_times_are_not_believed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(monkeypatch, Mount(str(root), "nfs4"))
    write_lora(root / "a.safetensors")
    source = folder_source(root)
    with watching(source):
        assert (source.is_local, source.polled(), source._tree) == (False, (str(root),), None)
        (candidate,) = source.scan()
        seen = source.observe(candidate)
        assert (seen.is_local, seen.is_held_open) == (False, None)


def test_a_network_mount_below_a_local_root_is_polled_alone_also_when_it_comes_later(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "nas" / "deep").mkdir(parents=True)
    link = root.parent / "link"
    link.symlink_to(root)
    source = folder_source(link)
    with watching(source) as hints:
        assert source.polled() == ()
        mounted(monkeypatch, Mount("/", "ext4"), Mount(str(root / "nas"), "fuse.sshfs"))
        assert source.supervise().is_rescan_needed
        assert source.supervise() == WELL
        assert source.polled() == (str(link / "nas"),)
        write_lora(root / "nas" / "deep" / "quiet.safetensors")
        assert_is_watched(hints, link)
        assert not any("quiet" in hint.path for hint in hints.seen)


def test_inotify_mode_never_polls(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(monkeypatch, Mount(str(root), "fuse.mergerfs"))
    source = folder_source(root, mode="inotify")
    with watching(source) as hints:
        assert source.polled() == ()
        assert_is_watched(hints, root)


def test_an_unmounted_root_is_not_mistaken_for_the_directory_below(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(monkeypatch, Mount("/", "ext4"), Mount(str(root.parent), "xfs"))
    source = folder_source(root)
    with watching(source) as hints:
        mounted(monkeypatch, Mount("/", "ext4"))
        state = source.supervise()
        assert (state.is_present, state.code) == (False, "root-unmounted")
        mounted(monkeypatch, Mount("/", "ext4"), Mount(str(root.parent), "xfs"))
        assert source.supervise() == WatchState(is_present=True, is_rescan_needed=True)
        assert_is_watched(hints, root)


def test_a_root_that_cannot_be_asked_is_unreadable(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str) -> os.stat_result:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    table = MountTable()
    monkeypatch.setattr("os.stat", fail)
    with pytest.raises(rooting.RootMissingError) as caught:
        rooting.find_root(str(root), table, before=None)
    assert caught.value.code == "root-unreadable"
