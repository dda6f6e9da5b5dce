"""A watched directory on real mounts, under real limits and as another user. Needs root."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lorawatch.domain.errors import FileRejectedError, FileUnreadableError
from lorawatch.domain.ports import Hint, WatchState
from lorawatch.sources.mounts import MountTable
from tests.factories import lora_bytes, write_lora
from tests.watched_folder import Hints, candidate_at, eventually, folder_source, paths, watching

pytestmark = pytest.mark.system

NOBODY = 65534
TRAINER = 1000
MAX_QUEUED_EVENTS = Path("/proc/sys/fs/inotify/max_queued_events")


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)


def unmount(point: Path) -> None:
    subprocess.run(["umount", str(point)], check=True, capture_output=True)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A disk of its own, as a file."""
    file = tmp_path / "disk.img"
    with open(file, "wb") as disk:
        disk.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(file)], check=True, capture_output=True)
    return file


@pytest.fixture
def point(tmp_path: Path) -> Iterator[Path]:
    """A mount point that is free again afterwards."""
    directory = tmp_path / "disk"
    directory.mkdir()
    yield directory
    while MountTable().of(str(directory)).point == str(directory):  # os.path.ismount does not see bind mounts
        unmount(directory)


def assert_is_watched(hints: Hints, directory: Path) -> None:
    path = str(directory / f"proof{len(hints.seen)}.safetensors")
    write_lora(path)
    assert eventually(lambda: hints.has(Hint(path, is_closed=True)))


@pytest.mark.parametrize("below", ["", "out"])
def test_a_disk_that_is_unmounted_is_missed_and_watched_again_when_it_is_back(
    image: Path, point: Path, below: str
) -> None:
    root = point / below
    root.mkdir(exist_ok=True)  # on the system's disk there is a directory of that name too
    mount("-o", "loop", image, point)
    root.mkdir(exist_ok=True)
    write_lora(root / "a.safetensors")
    source = folder_source(root)
    with watching(source) as hints:
        assert_is_watched(hints, root)
        unmount(point)
        state = source.supervise()
        assert (state.is_present, state.code) == (False, "root-unmounted")
        assert str(point) in state.reason
        mount("-o", "loop", image, point)
        assert source.supervise() == WatchState(is_present=True, is_rescan_needed=True)
        assert "a.safetensors" in paths(source)
        assert_is_watched(hints, root)
        assert source.supervise() == WatchState(is_present=True)


def test_a_bind_mount_of_the_same_disk_that_goes_is_missed_too(tmp_path: Path, point: Path) -> None:
    (tmp_path / "real").mkdir()
    mount("--bind", tmp_path / "real", point)
    source = folder_source(point)
    with watching(source) as hints:
        assert_is_watched(hints, point)
        unmount(point)
        assert source.supervise().code == "root-unmounted"
        mount("--bind", tmp_path / "real", point)
        assert source.supervise().is_rescan_needed
        assert_is_watched(hints, point)


def test_a_disk_that_is_mounted_below_the_root_later_is_watched(tmp_path: Path, point: Path) -> None:
    source = folder_source(tmp_path)
    with watching(source) as hints:
        mount("-t", "tmpfs", "none", point)
        (point / "job").mkdir()
        assert source.supervise().is_rescan_needed
        assert source.polled() == ()
        assert_is_watched(hints, point / "job")
        unmount(point)
        assert source.supervise().is_rescan_needed
        assert_is_watched(hints, point)


def test_a_directory_that_is_seen_at_two_places_gives_hints_at_both(tmp_path: Path, point: Path) -> None:
    (tmp_path / "real").mkdir()
    mount("--bind", tmp_path / "real", point)
    with watching(folder_source(tmp_path)) as hints:
        write_lora(tmp_path / "real" / "a.safetensors")
        for directory in (tmp_path / "real", point):
            path = str(directory / "a.safetensors")
            hints.settle_down()
            assert hints.has(Hint(path, is_closed=True))


def test_a_writer_is_noticed_on_a_file_system_of_its_own(image: Path, point: Path) -> None:
    mount("-o", "loop", image, point)
    write_lora(point / "a.safetensors")
    source = folder_source(point)
    candidate = candidate_at(source, point / "a.safetensors")
    assert source.observe(candidate).is_held_open is False
    with open(point / "a.safetensors", "ab"):
        assert source.observe(candidate).is_held_open is True


@pytest.mark.parametrize("device", [os.makedev(1, 3), os.makedev(4, 0)])
def test_a_device_is_rejected_and_never_opened(tmp_path: Path, device: int) -> None:
    path = tmp_path / "x.safetensors"
    os.mknod(path, 0o020666, device)
    source = folder_source(tmp_path)
    (candidate,) = source.scan()
    with pytest.raises(FileRejectedError) as caught:
        source.observe(candidate)
    assert caught.value.code == "not-a-regular-file"


@contextmanager
def as_user(uid: int) -> Iterator[None]:
    """Give up root's rights for a while: this is what a service with its own user sees."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory of the trainer that everybody may enter, down from the root."""
    root = tmp_path / "out"
    root.mkdir()
    for directory in (root, *root.parents):
        if directory.stat().st_uid == 0 and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o555)
    os.chown(root, TRAINER, TRAINER)
    return root


def test_a_file_of_the_trainer_alone_is_unreadable_until_its_mode_is_changed(shared: Path) -> None:
    path = shared / "a.safetensors"
    write_lora(path)
    os.chown(path, TRAINER, TRAINER)
    path.chmod(0o600)  # as safetensors 0.8 makes them
    source = folder_source(shared)
    with as_user(NOBODY):
        (candidate,) = source.scan()
        with pytest.raises(FileUnreadableError) as caught:
            source.observe(candidate)
        assert str(path) in caught.value.message
        assert "lorawatch service install --private-files" in caught.value.fix
    path.chmod(0o644)
    with as_user(NOBODY):
        assert source.look(str(path)) is not None
        assert source.observe(candidate_at(source, path)).expected_bytes is not None


def test_who_holds_the_file_of_another_user_cannot_be_known(shared: Path) -> None:
    path = shared / "a.safetensors"
    write_lora(path)
    os.chown(path, TRAINER, TRAINER)
    source = folder_source(shared)
    with as_user(NOBODY):
        assert source.observe(candidate_at(source, path)).is_held_open is None
    with as_user(TRAINER):
        assert source.observe(candidate_at(source, path)).is_held_open is False


def test_a_directory_of_the_trainer_alone_is_reported_and_watched_once_it_is_open(shared: Path) -> None:
    closed = shared / "job"
    write_lora(closed / "a.safetensors")
    for path in (closed, closed / "a.safetensors"):
        os.chown(path, TRAINER, TRAINER)
    closed.chmod(0o700)
    source = folder_source(shared, retry_watch_seconds=0)
    with as_user(NOBODY), watching(source) as hints:
        assert source.supervise() == WatchState(is_present=True)
        assert paths(source) == set()
        assert set(source.unreadable()) == {str(closed)}
        os.seteuid(0)
        closed.chmod(0o755)
        os.seteuid(NOBODY)
        assert source.supervise() == WatchState(is_present=True, is_rescan_needed=True)
        assert paths(source) == {"job/a.safetensors"}
        os.seteuid(0)
        assert_is_watched(hints, closed)
        os.seteuid(NOBODY)


def test_a_root_of_the_trainer_alone_is_said_to_be_unreadable(shared: Path) -> None:
    shared.chmod(0o700)
    source = folder_source(shared)
    with as_user(NOBODY):
        assert source.supervise().code == "root-unreadable"


def test_a_queue_that_overflows_is_told_and_new_directories_are_watched(tmp_path: Path) -> None:
    released = threading.Event()
    source = folder_source(tmp_path)
    hints = Hints(source)

    def take(hint: Hint) -> None:
        released.wait(30)
        hints.take(hint)

    normal = MAX_QUEUED_EVENTS.read_text()
    MAX_QUEUED_EVENTS.write_text("32")  # an instance keeps the length that it was made with
    try:
        source.start(take, hints.overflow)
    finally:
        MAX_QUEUED_EVENTS.write_text(normal)
    try:
        for number in range(500):
            (tmp_path / f"{number}.safetensors").write_bytes(lora_bytes()[:10])
        (tmp_path / "job" / "deep").mkdir(parents=True)
        released.set()
        assert eventually(lambda: hints.overflows > 0)
        assert_is_watched(hints, tmp_path / "job" / "deep")
    finally:
        released.set()
        source.stop()


LIMITED = """
import sys
from pathlib import Path
from lorawatch.domain.ports import Hint
from tests.watched_folder import Hints, eventually, folder_source

limit, root = Path("/proc/sys/user", sys.argv[1]), Path(sys.argv[2])
for name in ("a", "b", "c/deep"):
    (root / name).mkdir(parents=True)
limit.write_text(sys.argv[3])
source = folder_source(root, retry_watch_seconds=0)
hints = Hints(source)
source.start(hints.take, hints.overflow)
state = source.supervise()
assert (state.is_present, state.code) == (True, "inotify-limit"), state
assert len(source.polled()) == int(sys.argv[4]), source.polled()
limit.write_text("1000")
assert source.supervise().is_rescan_needed
assert source.polled() == ()
assert source.supervise().code is None
path = root / "c" / "deep" / "x.safetensors"
path.write_bytes(b"x")
assert eventually(lambda: hints.has(Hint(str(path), is_closed=True)))
source.stop()
print("recovered")
"""


@pytest.mark.parametrize(
    ("limit", "value", "polled_count"), [("max_inotify_watches", 2, 2), ("max_inotify_instances", 0, 1)]
)
def test_a_real_limit_of_inotify_is_said_and_lived_with(
    tmp_path: Path, limit: str, value: int, polled_count: int
) -> None:
    # In a user namespace of its own the limit is that of nobody else.
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-W", "error", "-c", LIMITED]
    result = subprocess.run(
        [*command, limit, str(tmp_path), str(value), str(polled_count)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert (result.returncode, result.stdout) == (0, "recovered\n"), result.stderr


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_every_directory_is_watched_however_the_file_system_counts_links(
    tmp_path: Path, point: Path, kind: str
) -> None:
    if kind == "tmpfs":
        mount("-t", "tmpfs", "tmpfs", point)
    else:
        disk = tmp_path / f"{kind}.img"
        disk.touch()
        os.truncate(disk, 400 << 20)  # the least that xfs takes is 300 MB; the image stays sparse
        subprocess.run([f"mkfs.{kind}", "-q", str(disk)], check=True, capture_output=True)
        mount("-o", "loop", disk, point)
    directories = [point, point / "job", point / "job" / "samples", point / "other", point / "other" / "a" / "b"]
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
    with watching(folder_source(point)) as hints:
        for directory in [*directories, point / "other" / "a"]:
            assert_is_watched(hints, directory)
