"""Which mount holds a path, and whose changes are told: from the text of a mount table."""

import os
import stat
from pathlib import Path

import pytest

from lorawatch.sources.mounts import Disks, Mount, MountTable

TABLE = rb"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /mnt/nas rw shared:2 master:3 - nfs4 nas:/export rw,vers=4.2
31 22 0:41 / /mnt/with\040space\134and\011tab rw - cifs //nas/share rw
32 30 8:1 / /mnt/nas/disk rw - xfs /dev/sdb rw
33 22 0:42 / /home/u/remote rw - fuse.sshfs host: rw
34 22 8:2 / /media/ntfs rw - fuseblk /dev/sdc1 rw
35 22 8:3 / /media/ntfs/over rw - ext4 /dev/sdd rw
36 35 0:9 / /media/ntfs/over rw - virtiofs tag rw
37 22 0:43 / /mnt/by\377te rw - 9p host rw
"""


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    file = tmp_path / "mountinfo"
    file.write_bytes(TABLE)
    return file


@pytest.fixture
def table(table_file: Path) -> MountTable:
    return MountTable(str(table_file))


@pytest.mark.parametrize(
    ("path", "point", "is_local"),
    [
        ("/", "/", True),
        ("/home/u", "/", True),
        ("/mnt/nas", "/mnt/nas", False),
        ("/mnt/nas/a/b", "/mnt/nas", False),
        ("/mnt/nas-not", "/", True),
        ("/mnt/nas/disk/a", "/mnt/nas/disk", True),
        ("/mnt/with space\\and\ttab/a", "/mnt/with space\\and\ttab", False),
        ("/home/u/remote", "/home/u/remote", False),
        ("/media/ntfs/a", "/media/ntfs", True),
        ("/media/ntfs/over/a", "/media/ntfs/over", False),
        ("/mnt/by\udcffte/a", "/mnt/by\udcffte", False),
    ],
)
def test_a_path_lies_on_the_innermost_mount_that_was_mounted_last(
    table: MountTable, path: str, point: str, is_local: bool
) -> None:
    assert (table.of(path).point, table.of(path).is_local) == (point, is_local)


def test_mounts_below_a_directory_are_found_without_its_own_and_its_neighbours(table: MountTable) -> None:
    assert {mount.point for mount in table.below("/media/ntfs")} == {"/media/ntfs/over"}
    assert {mount.point for mount in table.below("/mnt/nas")} == {"/mnt/nas/disk"}
    assert "/" not in {mount.point for mount in table.below("/")}


def test_a_change_of_the_table_is_noticed_once(table: MountTable, table_file: Path) -> None:
    assert table.refresh() is False
    table_file.write_bytes(TABLE.replace(b"nfs4", b"ext4"))
    assert table.refresh() is True
    assert table.refresh() is False
    assert table.of("/mnt/nas").is_local


def test_without_a_mount_table_everything_is_local(tmp_path: Path) -> None:
    assert MountTable(str(tmp_path / "none")).of("/a/b").is_local


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse", "fuse.sshfs", "virtiofs", "fakeowner"])
def test_file_systems_that_others_change_are_remote(kind: str) -> None:
    assert Mount("/m", kind).is_local is False


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "fuseblk", "vfat"])
def test_file_systems_of_this_machine_are_local(kind: str) -> None:
    assert Mount("/m", kind).is_local is True


def status_of(*, mode: int = stat.S_IFDIR, links: int = 2, device: int = os.makedev(254, 0)) -> os.stat_result:
    return os.stat_result((mode, 1, device, links, 0, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("kind", "is_believed"), [("ext4", True), ("xfs", True), ("tmpfs", True), ("btrfs", False), ("fuse.sshfs", False)]
)
def test_two_links_are_believed_where_the_kernel_counts_directories(kind: str, *, is_believed: bool) -> None:
    mount = Mount("/", kind, os.makedev(254, 0))
    assert mount.has_no_directory_in(status_of()) is is_believed
    assert not mount.has_no_directory_in(status_of(links=3))
    assert not mount.has_no_directory_in(status_of(links=1))


def test_two_links_of_a_link_or_on_another_device_say_nothing(table: MountTable) -> None:
    mount = table.of("/")
    assert mount.has_no_directory_in(status_of())
    assert not mount.has_no_directory_in(status_of(mode=stat.S_IFLNK))
    assert not mount.has_no_directory_in(status_of(device=os.makedev(0, 41)))
    assert not Mount("/", "ext4").has_no_directory_in(status_of())


def test_the_table_knows_the_devices_that_stat_tells(tmp_path: Path) -> None:
    mount = MountTable().of(os.path.realpath(tmp_path))
    if mount.kind != "btrfs":
        assert mount.device == tmp_path.stat().st_dev


@pytest.mark.parametrize(
    ("directories", "are_local"),
    [
        (["/home/u", "/media/ntfs"], False),  # something of another machine is mounted below
        (["/home/u/outputs", "/mnt/nas/disk"], True),
        (["/home/u/outputs", "/mnt/nas/loras"], False),
        ([], True),
    ],
)
def test_disks_are_local_if_nothing_in_or_below_them_is_another_machines(
    table_file: Path, directories: list[str], are_local: bool
) -> None:
    assert Disks(directories, table=str(table_file)).are_local() is are_local


@pytest.mark.parametrize("kind", ["nfs4", "autofs"])
def test_what_is_mounted_later_counts_too(table_file: Path, kind: str) -> None:
    disks = Disks(["/srv/loras"], table=str(table_file))
    assert disks.are_local()
    with table_file.open("ab") as file:
        file.write(b"40 22 0:50 / /srv/loras rw - " + kind.encode() + b" nas:/loras rw\n")
    assert not disks.are_local()
