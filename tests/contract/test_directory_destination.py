"""The directory destination keeps every promise of the suite; beside it, what only a directory can get wrong."""

import os
import shutil
from collections.abc import Callable

import pytest

from lorawatch.destinations import staging
from lorawatch.destinations.directory import DirectoryDestination
from lorawatch.domain.errors import DeliveryDelayedError, DestinationDownError, FileChangedError, NameTakenError
from lorawatch.domain.model import RemoteFile
from lorawatch.domain.ports import Consignment, Destination
from tests.contract.bench import ONE, TWO, Sender, Shelf, delivered, prepare, stage
from tests.contract.destination_suite import DestinationSuite
from tests.contract.touching import DirectoryShelf, TouchingSuite


def open_directory(root: str, **changes: int) -> DirectoryDestination:
    settings = {"file_mode": 0o664, "min_free_bytes": 0, **changes}
    return DirectoryDestination(name="there", directory=root, instance="0123456789ab", owner=None, **settings)


class TestDirectoryDestination(TouchingSuite, DestinationSuite):
    @pytest.fixture
    def root(self, tmp_path_factory: pytest.TempPathFactory) -> str:
        return str(tmp_path_factory.mktemp("loras"))

    @pytest.fixture
    def reopen(self, root: str) -> Callable[[], Destination]:
        return lambda: open_directory(root)

    @pytest.fixture
    def directory(self, root: str) -> DirectoryDestination:
        return open_directory(root)

    @pytest.fixture
    def shelf(self, root: str) -> Shelf:
        return DirectoryShelf(root)

    def crash(self, destination: Destination) -> None:
        assert isinstance(destination, DirectoryDestination)
        for path in list(staging._descriptors):
            if path.startswith(destination.directory):
                destination._staging.release(path)

    def test_a_crash_leaves_one_hidden_file_that_no_program_takes_for_a_model(
        self, directory: DirectoryDestination, shelf: Shelf, sender: Sender
    ) -> None:
        prepare(directory, sender.consignment())
        (name,) = shelf.names()
        assert name.startswith(".lorawatch-0123456789ab-")
        assert name.endswith(".part")
        self.crash(directory)
        directory.sweep()
        assert not shelf.names()

    def test_a_staged_copy_is_adopted_without_reading_the_source_again(
        self, directory: DirectoryDestination, shelf: Shelf, sender: Sender
    ) -> None:
        consignment = sender.consignment()
        staged = stage(directory, consignment.source_path)
        os.unlink(consignment.source_path)
        published = delivered(directory, Consignment(consignment.delivery, None, staged))
        assert published.fingerprint == staged.fingerprint
        assert shelf.read("cat.safetensors") == ONE

    @pytest.mark.parametrize("is_removed", [True, False])
    def test_a_staged_copy_that_somebody_touched_is_made_again(
        self, directory: DirectoryDestination, shelf: Shelf, sender: Sender, is_removed: bool
    ) -> None:
        consignment = sender.consignment()
        staged = stage(directory, consignment.source_path)
        if is_removed:
            os.unlink(staged.path)
        else:
            with open(staged.path, "r+b") as file:
                file.write(b"oops")
        delivered(directory, Consignment(consignment.delivery, None, staged))
        assert shelf.read("cat.safetensors") == ONE
        assert list(shelf.names()) == ["cat.safetensors"]

    def test_a_prepared_copy_that_somebody_touched_is_not_published(
        self, directory: DirectoryDestination, shelf: Shelf, sender: Sender
    ) -> None:
        prepared = prepare(directory, sender.consignment())
        with open(prepared.token, "r+b") as file:
            file.write(b"oops")
        (result,) = directory.publish([prepared])
        assert isinstance(result, DeliveryDelayedError)
        assert result.code == "destination-changed"
        assert shelf.read("cat.safetensors") is None

    def test_a_staged_copy_of_other_bytes_is_never_published(
        self, directory: DirectoryDestination, shelf: Shelf, sender: Sender
    ) -> None:
        staged = stage(directory, sender.consignment(TWO).source_path)
        with pytest.raises(FileChangedError):
            prepare(directory, Consignment(sender.consignment(ONE).delivery, None, staged))
        assert not shelf.names()

    def test_an_unstaged_copy_is_gone(self, directory: DirectoryDestination, shelf: Shelf, sender: Sender) -> None:
        staged = stage(directory, sender.consignment().source_path)
        directory.unstage(staged)
        directory.unstage(staged)
        assert not shelf.names()

    def test_the_configured_mode_is_given_and_never_the_sources(self, root: str, sender: Sender) -> None:
        consignment = sender.consignment()
        os.chmod(consignment.source_path, 0o600)
        delivered(open_directory(root, file_mode=0o640), consignment)
        assert os.stat(os.path.join(root, "cat.safetensors")).st_mode & 0o7777 == 0o640

    def test_nothing_of_the_source_changes_not_even_its_access_time(
        self, directory: DirectoryDestination, sender: Sender
    ) -> None:
        consignment = sender.consignment()
        os.utime(consignment.source_path, ns=(10**18, os.stat(consignment.source_path).st_mtime_ns))
        before = os.stat(consignment.source_path)
        delivered(directory, consignment)
        after = os.stat(consignment.source_path)
        assert (before.st_atime_ns, before.st_ctime_ns) == (after.st_atime_ns, after.st_ctime_ns)

    @pytest.mark.parametrize("kind", ["directory", "fifo"])
    def test_what_is_no_file_stands_in_the_way_and_stays(
        self, directory: DirectoryDestination, root: str, sender: Sender, kind: str
    ) -> None:
        path = os.path.join(root, "cat.safetensors")
        if kind == "directory":
            os.mkdir(path)
        else:
            os.mkfifo(path)
        there = directory.find("cat.safetensors")
        assert there is not None
        assert directory.digest("cat.safetensors") is None
        for replaces in (None, there) if kind == "directory" else (None,):
            prepared = prepare(directory, sender.consignment(replaces=replaces))
            assert isinstance(directory.publish([prepared])[0], NameTakenError)
            directory.discard(prepared)
        assert directory.find("cat.safetensors") == there
        assert len(os.listdir(root)) == 1

    def test_a_link_may_be_replaced_on_the_users_word_and_what_it_leads_to_stays(
        self, directory: DirectoryDestination, shelf: Shelf, sender: Sender
    ) -> None:
        shelf.put("private.txt", b"private")
        shelf.put_link("cat.safetensors", "private.txt")
        delivered(directory, sender.consignment(replaces=directory.find("cat.safetensors")))
        assert shelf.read("private.txt") == b"private"
        assert shelf.read("cat.safetensors") == ONE

    def test_a_missing_root_is_waited_for_and_never_created(
        self, directory: DirectoryDestination, root: str, sender: Sender
    ) -> None:
        prepared = prepare(directory, sender.consignment())
        shutil.rmtree(root)
        calls: list[Callable[[], object]] = [
            lambda: directory.probe(needed_bytes=0),
            lambda: directory.find("cat.safetensors"),
            lambda: prepare(directory, sender.consignment()),
            lambda: stage(directory, sender.consignment().source_path),
            directory.sweep,
        ]
        for call in calls:
            with pytest.raises(DestinationDownError) as down:
                call()
            assert down.value.code == "destination-missing"
        (result,) = directory.publish([prepared])
        assert isinstance(result, DestinationDownError)
        assert result.code == "destination-missing"
        directory.discard(prepared)
        assert not os.path.exists(root)

    def test_a_disk_that_was_there_before_is_missed(self, directory: DirectoryDestination) -> None:
        assert directory.was_mount_point is None
        directory.probe(needed_bytes=0)
        assert directory.was_mount_point is directory.is_mount_point is False
        directory.was_mount_point = True
        with pytest.raises(DestinationDownError) as down:
            directory.probe(needed_bytes=0)
        assert down.value.code == "destination-unmounted"

    def test_a_disk_that_is_nearly_full_is_spared(self, root: str, shelf: Shelf, sender: Sender) -> None:
        full = open_directory(root, min_free_bytes=1 << 60)
        calls: list[Callable[[], object]] = [
            lambda: full.probe(needed_bytes=1),
            lambda: prepare(full, sender.consignment()),
            lambda: stage(full, sender.consignment().source_path),
        ]
        for call in calls:
            with pytest.raises(DestinationDownError) as down:
                call()
            assert down.value.code == "low-disk-space"
        assert not shelf.names()

    def test_a_group_larger_than_one_flush_arrives(
        self, directory: DirectoryDestination, shelf: Shelf, sender: Sender
    ) -> None:
        group = [prepare(directory, sender.consignment(b"%d" % n, name=f"{n}.safetensors")) for n in range(100)]
        assert all(isinstance(result, RemoteFile) for result in directory.publish(group))
        assert len(shelf.names()) == 100
        assert not [path for path in staging._descriptors if path.startswith(directory.directory)]
