"""The directory destination on real file systems, on full, read-only and unmounted disks, and as another user."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lorawatch.destinations.directory import DirectoryDestination
from lorawatch.domain.errors import DestinationDownError
from lorawatch.domain.model import RemoteFile
from lorawatch.transport.copying import copy_verified
from tests.contract.bench import (
    LARGE,
    ONE,
    TWO,
    NeverStop,
    Sender,
    Shelf,
    delivered,
    ignore,
    only_whole_files,
    prepare,
    stage,
)
from tests.contract.test_directory_destination import open_directory
from tests.contract.touching import DirectoryShelf

pytestmark = pytest.mark.system

KNOWN = Path("/proc/filesystems").read_text(encoding="ascii").split()
MAKERS = {
    "ext4": ["mkfs.ext4", "-q"],
    "xfs": ["mkfs.xfs", "-q"],
    "btrfs": ["mkfs.btrfs", "-q"],
    "vfat": ["mkfs.vfat"],
}
DISKS = ["tmpfs", *(kind for kind in MAKERS if kind in KNOWN)]
NOBODY = 65534

Mount = Callable[..., Path]


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a fresh file system and unmount it at the end."""
    mounted: list[Path] = []

    def mount(kind: str, name: str = "loras", options: str = "") -> Path:
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        if kind in MAKERS:
            image = tmp_path / f"{name}.img"
            image.touch()
            os.truncate(image, 400 << 20)  # the least that xfs takes is 300 MB; the image stays sparse
            run(*MAKERS[kind], image)
            run("mount", "-o", f"loop,{options}".rstrip(","), image, place)
        elif kind == "bind":
            run("mount", "--bind", options, place)
        else:
            run("mount", "-t", kind, "-o", options or "defaults", kind, place)
        mounted.append(place)
        return place

    yield mount
    for place in reversed(mounted):
        subprocess.run(["umount", place], check=False, capture_output=True)


@pytest.fixture
def sender(tmp_path: Path) -> Sender:
    return Sender(str(tmp_path / "outputs"))


def deliver_two_versions(destination: DirectoryDestination, shelf: Shelf, sender: Sender) -> None:
    with only_whole_files(shelf, ONE, TWO, LARGE):
        first = delivered(destination, sender.consignment(ONE))
        second = delivered(destination, sender.consignment(TWO, replaces=first))
        delivered(destination, sender.consignment(LARGE, name="large.safetensors"))
        delivered(destination, sender.consignment(ONE, remote_name="flux.1/dog.safetensors"))
    assert first.fingerprint != second.fingerprint
    assert destination.find("cat.safetensors") == second


@pytest.mark.parametrize("kind", DISKS)
def test_deliveries_arrive_and_are_replaced_on_every_file_system(mount: Mount, sender: Sender, kind: str) -> None:
    root = mount(kind)
    for leftover in root.iterdir():
        leftover.rmdir()  # lost+found
    destination = open_directory(str(root))
    destination.probe(needed_bytes=1)
    assert destination.was_mount_point is True
    deliver_two_versions(destination, DirectoryShelf(str(root)), sender)
    assert sorted(os.listdir(root)) == ["cat.safetensors", "flux.1", "large.safetensors"]
    assert (root / "cat.safetensors").read_bytes() == TWO
    if kind != "vfat":
        assert (root / "large.safetensors").stat().st_mode & 0o7777 == 0o664
        assert not destination.notes


def test_deliveries_arrive_on_the_layered_file_system_of_a_container(
    mount: Mount, sender: Sender, tmp_path: Path
) -> None:
    lower, upper, work = (tmp_path / name for name in ("lower", "upper", "work"))
    for folder in (lower, upper, work):
        folder.mkdir()
    (lower / "old.safetensors").write_bytes(b"from the image")
    root = mount("overlay", options=f"lowerdir={lower},upperdir={upper},workdir={work}")
    destination = open_directory(str(root))
    deliver_two_versions(destination, DirectoryShelf(str(upper)), sender)
    there = destination.find("old.safetensors")
    assert there is not None
    delivered(destination, sender.consignment(ONE, remote_name="old.safetensors", replaces=there))
    assert (root / "old.safetensors").read_bytes() == ONE


@pytest.mark.parametrize("kind", [kind for kind in ("xfs", "btrfs") if kind in KNOWN])
def test_a_copy_within_a_file_system_with_reflinks_shares_its_blocks(mount: Mount, kind: str) -> None:
    disk = mount(kind)
    (disk / "source").write_bytes(LARGE)
    source = os.open(disk / "source", os.O_RDONLY)
    target = os.open(disk / "target", os.O_RDWR | os.O_CREAT)
    os.sync()
    free_before = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    try:
        copy_verified(source, target, size_bytes=len(LARGE), progress=ignore, stop=NeverStop())
    finally:
        os.close(source)
        os.close(target)
    os.sync()
    assert os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > free_before - len(LARGE) // 2
    assert (disk / "target").read_bytes() == LARGE


def test_a_full_disk_is_told_and_used_again_when_there_is_room(mount: Mount, sender: Sender) -> None:
    root = mount("tmpfs", options="size=5m")
    destination = open_directory(str(root))
    (root / "ballast").write_bytes(bytes(4 << 20))
    consignment = sender.consignment(ONE)
    with pytest.raises(DestinationDownError) as down:
        prepare(destination, consignment)
    assert down.value.code == "low-disk-space"
    os.truncate(root / "ballast", 0)

    def fill_the_disk(_: int) -> None:
        (root / "ballast").write_bytes(bytes(3 << 20))

    with pytest.raises(DestinationDownError) as full:
        prepare(destination, consignment, progress=fill_the_disk)
    assert full.value.code == "disk-full"
    os.unlink(root / "ballast")
    assert not os.listdir(root)
    delivered(destination, consignment)


def test_a_disk_that_turns_read_only_is_told_and_used_again(mount: Mount, sender: Sender) -> None:
    root = mount("tmpfs")
    destination = open_directory(str(root))
    prepared = prepare(destination, sender.consignment(name="ready.safetensors"))
    destination._staging.release(prepared.token)  # an open writable file forbids the remount
    run("mount", "-o", "remount,ro", root)
    for act in (lambda: destination.probe(needed_bytes=0), lambda: prepare(destination, sender.consignment())):
        with pytest.raises(DestinationDownError) as down:
            act()
        assert down.value.code == "destination-read-only"
    (result,) = destination.publish([prepared])
    assert isinstance(result, DestinationDownError)
    run("mount", "-o", "remount,rw", root)
    assert isinstance(destination.publish([prepared])[0], RemoteFile)


def test_an_unmounted_disk_is_missed_and_its_mount_point_stays_empty(mount: Mount, sender: Sender) -> None:
    root = mount("tmpfs")
    destination = open_directory(str(root))
    delivered(destination, sender.consignment())
    run("umount", root)
    acts: list[Callable[[], object]] = [
        lambda: destination.probe(needed_bytes=0),
        lambda: destination.find("cat.safetensors"),
        lambda: prepare(destination, sender.consignment()),
        destination.sweep,
    ]
    for act in acts:
        with pytest.raises(DestinationDownError) as down:
            act()
        assert down.value.code == "destination-unmounted"
    assert not os.listdir(root)
    mount("tmpfs")
    delivered(destination, sender.consignment())


@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_a_sub_directory_on_another_mount_gets_its_copy_there(
    mount: Mount, sender: Sender, tmp_path: Path, kind: str
) -> None:
    root, elsewhere = tmp_path / "loras", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    flux = mount(kind, "loras/flux", options=str(elsewhere) if kind == "bind" else "")
    destination = open_directory(str(root))
    with only_whole_files(DirectoryShelf(str(flux)), ONE):
        delivered(destination, sender.consignment(remote_name="flux/people/cat.safetensors"))
        consignment = sender.consignment(remote_name="flux/dog.safetensors")
        staged = stage(destination, consignment.source_path)
        delivered(destination, type(consignment)(consignment.delivery, None, staged))
    assert (flux / "people/cat.safetensors").read_bytes() == (flux / "dog.safetensors").read_bytes() == ONE
    assert os.listdir(root) == ["flux"]
    leftover = prepare(destination, sender.consignment(remote_name="flux/bird.safetensors"))
    assert os.path.dirname(leftover.token) == str(flux)
    destination._staging.release(leftover.token)
    destination.sweep()
    assert sorted(os.listdir(flux)) == ["dog.safetensors", "people"]


PROBE_AS_NOBODY = """
import os, sys
from lorawatch.domain.errors import DestinationError
from tests.contract.test_directory_destination import open_directory
destination = open_directory(sys.argv[1])
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    destination.probe(needed_bytes=0)
except DestinationError as error:
    print(error.code, error.message, error.fix, sep="\\n")
"""


def test_another_user_is_refused_with_words_and_let_in_by_the_line_that_they_give() -> None:
    def probe_as_nobody() -> list[str]:
        command = [sys.executable, "-c", PROBE_AS_NOBODY, root]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    with tempfile.TemporaryDirectory() as root:  # pytest's own folders let nobody else in
        os.chmod(root, 0o755)
        code, message, fix = probe_as_nobody()
        assert code == "destination-permission-denied"
        assert f"uid {NOBODY}" in message
        assert "uid 0, gid 0, mode 0755" in message
        _, _, line = fix.partition(", or: ")
        run("sh", "-c", line.removesuffix(" (with sudo)"))
        assert probe_as_nobody() == []
