"""What a directory destination does when the kernel refuses, a process dies, or two processes meet."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lorawatch.destinations.directory import DirectoryDestination
from lorawatch.domain.errors import DestinationError, LorawatchError
from lorawatch.domain.model import RemoteFile
from lorawatch.transport.renaming import rename_new
from tests.contract.bench import ONE, Sender, delivered, prepare, stage
from tests.contract.test_directory_destination import open_directory
from tests.fakes.failing_calls import FailingCalls

CALLS = ["open", "stat", "lstat", "fstat", "statvfs", "pwrite", "preadv", "fsync", "chmod", "link", "unlink", "mkdir"]
REFUSALS = [errno.EIO, errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ESTALE, errno.EINVAL, errno.ENOENT, errno.EBADF]
STAGE_FOREVER = """
import os, sys, time
from tests.contract.bench import NeverStop
from tests.contract.test_directory_destination import open_directory
def slowly(count):
    print(count, flush=True)
    time.sleep(0.01)
source = os.open(sys.argv[2], os.O_RDONLY)
size_bytes = os.fstat(source).st_size
open_directory(sys.argv[1]).stage(source, size_bytes=size_bytes, progress=slowly, stop=NeverStop())
print("staged", flush=True)
time.sleep(60)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "loras"
    root.mkdir()
    return root


@pytest.fixture
def destination(root: Path) -> DirectoryDestination:
    return open_directory(str(root))


@pytest.fixture
def sender(tmp_path: Path) -> Sender:
    return Sender(str(tmp_path / "outputs"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> FailingCalls:
    return FailingCalls(monkeypatch)


@pytest.mark.parametrize("number", REFUSALS, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", CALLS)
def test_whatever_is_refused_comes_as_our_own_error_and_heals(
    destination: DirectoryDestination, root: Path, sender: Sender, calls: FailingCalls, call: str, number: int
) -> None:
    consignment = sender.consignment(remote_name="flux/cat.safetensors")
    ready = prepare(destination, sender.consignment(name="dog.safetensors", remote_name="sub/dog.safetensors"))
    gone = RemoteFile("x.safetensors", 1, "none")
    calls.fail(call, number)
    acts: list[Callable[[], object]] = [
        lambda: destination.probe(needed_bytes=1),
        lambda: destination.find("cat.safetensors"),
        lambda: destination.digest("cat.safetensors"),
        lambda: prepare(destination, consignment),
        lambda: destination.publish([ready]),
        lambda: destination.remove(gone),
        lambda: destination.sweep(),
        lambda: destination.discard(ready),
    ]
    for act in acts:
        try:
            act()
        except LorawatchError as error:
            assert error.code  # noqa: PT017  most of these calls do not fail
    calls.heal()
    for leftover in root.rglob("*.safetensors"):
        leftover.unlink()
    delivered(destination, consignment)
    assert (root / "flux/cat.safetensors").read_bytes() == ONE


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_modes_groups_and_flushes_is_noted_once_and_used(
    root: Path, sender: Sender, calls: FailingCalls, number: int
) -> None:
    destination = open_directory(str(root), file_mode=0o604)
    for call in ("chmod", "chown", "fsync"):
        calls.fail(call, number)
    for name in ("a.safetensors", "b.safetensors", "sub/c.safetensors"):
        delivered(destination, sender.consignment(remote_name=name))
    codes = [note.code for note in destination.notes]
    assert sorted(codes) == ["directory-flush-refused", "flush-refused", "mode-not-set"]


def test_a_name_that_the_file_system_does_not_know_is_refused(
    destination: DirectoryDestination, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_temporary: str, _target: str) -> bool:
        raise OSError(errno.EINVAL, "Invalid argument")  # vfat: a colon in the name

    monkeypatch.setattr("lorawatch.destinations.publishing.rename_new", refuse)
    (result,) = destination.publish([prepare(destination, sender.consignment())])
    assert isinstance(result, DestinationError)
    assert result.code == "name-refused"


def test_a_name_that_is_too_long_is_refused(destination: DirectoryDestination, sender: Sender) -> None:
    prepared = prepare(destination, sender.consignment(remote_name="x" * 300 + ".safetensors"))
    (result,) = destination.publish([prepared])
    assert isinstance(result, DestinationError)
    assert result.code == "name-refused"


def test_a_name_whose_folder_could_not_be_flushed_has_not_arrived(
    destination: DirectoryDestination, root: Path, sender: Sender, calls: FailingCalls
) -> None:
    group = [prepare(destination, sender.consignment(name=f"{name}.safetensors")) for name in "ab"]
    calls.fail("fsync", errno.EIO, when=lambda descriptor: os.path.isdir(f"/proc/self/fd/{descriptor}"))
    results = destination.publish(group)
    assert [getattr(result, "code", None) for result in results] == ["io-error", "io-error"]
    assert calls.failures == 1  # one flush for the group


def test_bytes_are_on_the_disk_before_their_names_and_names_before_the_answer(
    destination: DirectoryDestination, root: Path, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = [prepare(destination, sender.consignment(name=f"{name}.safetensors")) for name in "ab"]
    trace: list[str] = []
    flush, rename = os.fsync, rename_new

    def traced_flush(descriptor: int) -> None:
        trace.append("flush " + os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        flush(descriptor)

    def traced_rename(temporary: str, target: str) -> bool:
        trace.append("rename " + os.path.basename(temporary))
        return rename(temporary, target)

    monkeypatch.setattr(os, "fsync", traced_flush)
    monkeypatch.setattr("lorawatch.destinations.publishing.rename_new", traced_rename)
    destination.publish(group)
    names = [os.path.basename(prepared.token) for prepared in group]
    assert trace == [f"flush {name}" for name in names] + [f"rename {name}" for name in names] + [f"flush {root.name}"]


def test_folders_get_the_roots_group_and_let_it_write(
    destination: DirectoryDestination, root: Path, sender: Sender
) -> None:
    root.chmod(0o2770)
    delivered(destination, sender.consignment(remote_name="a/b/cat.safetensors"))
    for folder in (root / "a", root / "a/b"):
        assert folder.stat().st_mode & 0o7777 == 0o2775
        assert folder.stat().st_gid == root.stat().st_gid


def test_a_root_that_is_a_link_and_folders_that_lead_in_circles_are_fine(tmp_path: Path, root: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    (root / "circle").symlink_to(root)
    (root / "itself").symlink_to("itself")
    destination = open_directory(str(tmp_path / "link"))
    destination.probe(needed_bytes=0)
    destination.sweep()
    assert destination.is_mount_point is False


@pytest.fixture
def other_process(root: Path, sender: Sender) -> Iterator["subprocess.Popen[str]"]:
    source = sender.write(bytes(32 << 20), "large.safetensors")
    command = [sys.executable, "-c", STAGE_FOREVER, str(root), source]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process
        process.kill()


def test_a_sweep_spares_what_another_process_is_copying_until_that_is_killed(
    destination: DirectoryDestination, root: Path, other_process: "subprocess.Popen[str]"
) -> None:
    destination.sweep()
    assert len(list(root.iterdir())) == 1
    other_process.kill()
    other_process.wait()
    (leftover,) = root.iterdir()
    assert leftover.suffix == ".part"
    destination.sweep()
    assert not list(root.iterdir())


def test_a_sweep_spares_what_another_process_has_staged_and_not_published(
    destination: DirectoryDestination, root: Path, other_process: "subprocess.Popen[str]"
) -> None:
    assert other_process.stdout is not None
    while other_process.stdout.readline().strip() != "staged":
        assert other_process.poll() is None
    destination.sweep()
    assert len(list(root.iterdir())) == 1


def test_a_copy_that_was_staged_before_a_reload_is_published_after_it(
    destination: DirectoryDestination, root: Path, sender: Sender
) -> None:
    consignment = sender.consignment()
    staged = stage(destination, consignment.source_path)
    reloaded = open_directory(str(root))
    prepared = prepare(reloaded, type(consignment)(consignment.delivery, None, staged))
    assert isinstance(reloaded.publish([prepared])[0], RemoteFile)
    assert (root / "cat.safetensors").read_bytes() == ONE
