"""What every destination promises, whatever it is: one suite, and each destination runs it.

A subclass says how to open its destination and how to look behind its back (the `Shelf`), and switches off the
few promises that its protocol cannot keep.
"""

import hashlib
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from lorawatch.domain.errors import (
    DeliveryRefusedError,
    DestinationError,
    FileChangedError,
    FileVanishedError,
    NameTakenError,
    StoppedError,
)
from lorawatch.domain.model import RemoteFile
from lorawatch.domain.ports import Destination, Prepared
from tests.contract.bench import (
    LARGE,
    ONE,
    TWO,
    Sender,
    Shelf,
    StopAfter,
    deliver,
    delivered,
    only_whole_files,
    prepare,
)


class DestinationSuite(ABC):
    """The promises. Test classes inherit from it."""

    keeps_odd_bytes = True  # a name may hold bytes that are not UTF-8
    has_links = True
    has_folders = True
    reads_back = True  # `digest` tells the sha256

    @pytest.fixture
    @abstractmethod
    def reopen(self) -> Callable[[], Destination]:
        """Return what opens the destination as a new process of this installation would."""

    @pytest.fixture
    @abstractmethod
    def shelf(self) -> Shelf:
        """Return the look behind its back."""

    def crash(self, destination: Destination) -> None:  # noqa: B027  most leave nothing that outlives an object
        """Do to a destination what the death of its process does."""

    @pytest.fixture
    def destination(self, reopen: Callable[[], Destination]) -> Destination:
        return reopen()

    @pytest.fixture
    def sender(self, tmp_path_factory: pytest.TempPathFactory) -> Sender:
        return Sender(str(tmp_path_factory.mktemp("outputs")))

    def test_a_probe_of_a_healthy_destination_returns_and_leaves_nothing(
        self, destination: Destination, shelf: Shelf
    ) -> None:
        destination.probe(needed_bytes=1000)
        assert not shelf.names()

    def test_a_new_file_arrives_whole_and_is_never_seen_otherwise(
        self, destination: Destination, shelf: Shelf, sender: Sender
    ) -> None:
        with only_whole_files(shelf, ONE, LARGE):
            delivered(destination, sender.consignment(ONE))
            delivered(destination, sender.consignment(LARGE, name="large.safetensors"))
        assert shelf.read("cat.safetensors") == ONE
        assert shelf.read("large.safetensors") == LARGE
        assert sorted(shelf.names()) == ["cat.safetensors", "large.safetensors"]

    def test_find_tells_what_publish_told(self, destination: Destination, sender: Sender) -> None:
        assert destination.find("cat.safetensors") is None
        published = delivered(destination, sender.consignment())
        assert destination.find("cat.safetensors") == published
        assert (published.size_bytes, published.is_link) == (len(ONE), False)

    def test_digest_reads_the_bytes_back(self, destination: Destination, shelf: Shelf) -> None:
        shelf.put("cat.safetensors", ONE)
        expected = hashlib.sha256(ONE).hexdigest() if self.reads_back else None
        assert destination.digest("cat.safetensors") == expected
        assert destination.digest("missing.safetensors") is None

    def test_progress_grows_up_to_the_size(self, destination: Destination, sender: Sender) -> None:
        seen: list[int] = []
        destination.discard(prepare(destination, sender.consignment(), progress=seen.append))
        assert seen == sorted(seen)
        assert seen[-1] == len(ONE)

    def test_an_empty_file_can_be_carried(self, destination: Destination, shelf: Shelf, sender: Sender) -> None:
        delivered(destination, sender.consignment(b""))
        assert shelf.read("cat.safetensors") == b""

    def test_our_own_file_is_replaced_and_its_fingerprint_changes(
        self, destination: Destination, shelf: Shelf, sender: Sender
    ) -> None:
        first = delivered(destination, sender.consignment(ONE))
        with only_whole_files(shelf, ONE, TWO):
            second = delivered(destination, sender.consignment(TWO, replaces=first))
        assert shelf.read("cat.safetensors") == TWO
        assert first.fingerprint != second.fingerprint
        assert list(shelf.names()) == ["cat.safetensors"]

    def test_a_file_to_replace_that_is_gone_is_no_obstacle(
        self, destination: Destination, shelf: Shelf, sender: Sender
    ) -> None:
        first = delivered(destination, sender.consignment(ONE))
        shelf.take("cat.safetensors")
        delivered(destination, sender.consignment(TWO, replaces=first))
        assert shelf.read("cat.safetensors") == TWO

    def test_a_foreign_file_is_left_alone(self, destination: Destination, shelf: Shelf, sender: Sender) -> None:
        shelf.put("cat.safetensors", b"not ours")
        assert isinstance(deliver(destination, sender.consignment()), NameTakenError)
        assert shelf.read("cat.safetensors") == b"not ours"

    def test_our_file_that_somebody_replaced_is_left_alone(
        self, destination: Destination, shelf: Shelf, sender: Sender
    ) -> None:
        first = delivered(destination, sender.consignment(ONE))
        shelf.take("cat.safetensors")
        shelf.put("cat.safetensors", b"not ours any more")
        prepared = prepare(destination, sender.consignment(TWO, replaces=first))
        assert isinstance(destination.publish([prepared])[0], NameTakenError)
        destination.discard(prepared)
        assert shelf.read("cat.safetensors") == b"not ours any more"
        assert list(shelf.names()) == ["cat.safetensors"]

    def test_a_link_at_the_name_is_never_written_through(
        self, destination: Destination, shelf: Shelf, sender: Sender
    ) -> None:
        if not self.has_links:
            pytest.skip("its protocol knows no links")
        shelf.put("private.txt", b"private")
        shelf.put_link("cat.safetensors", "private.txt")
        there = destination.find("cat.safetensors")
        assert there is not None
        assert there.is_link
        assert destination.digest("cat.safetensors") is None
        assert isinstance(deliver(destination, sender.consignment()), NameTakenError)
        assert shelf.read("private.txt") == b"private"

    def test_one_of_a_group_fails_and_the_others_arrive(
        self, destination: Destination, shelf: Shelf, sender: Sender
    ) -> None:
        shelf.put("b.safetensors", b"not ours")
        group = [prepare(destination, sender.consignment(name=f"{letter}.safetensors")) for letter in "abc"]
        results = destination.publish(group)
        assert [type(result) for result in results] == [RemoteFile, NameTakenError, RemoteFile]
        assert shelf.read("a.safetensors") == shelf.read("c.safetensors") == ONE
        assert shelf.read("b.safetensors") == b"not ours"

    def test_of_two_publishing_one_name_exactly_one_wins(
        self, destination: Destination, shelf: Shelf, sender: Sender
    ) -> None:
        named = [(ONE, "1.st"), (TWO, "2.st")]
        both = [
            prepare(destination, sender.consignment(content, name=name, remote_name="cat.safetensors"))
            for content, name in named
        ]
        start = threading.Barrier(2)

        def publish(prepared: Prepared) -> RemoteFile | DestinationError:
            start.wait()
            return destination.publish([prepared])[0]

        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(publish, both))
        assert sorted(type(result).__name__ for result in results) == ["NameTakenError", "RemoteFile"]
        assert shelf.read("cat.safetensors") in {ONE, TWO}

    def test_discard_leaves_nothing(self, destination: Destination, shelf: Shelf, sender: Sender) -> None:
        prepared = prepare(destination, sender.consignment())
        destination.discard(prepared)
        destination.discard(prepared)
        assert not shelf.names()

    def test_a_stop_in_the_middle_leaves_no_model(self, destination: Destination, shelf: Shelf, sender: Sender) -> None:
        for content in (ONE, LARGE):
            with only_whole_files(shelf), pytest.raises(StoppedError):
                prepare(destination, sender.consignment(content), stop=StopAfter(1))
        assert destination.find("cat.safetensors") is None

    @pytest.mark.parametrize("content", [TWO, ONE[:1000]], ids=["other-bytes", "shorter"])
    def test_a_source_that_changes_under_way_is_not_delivered(
        self, destination: Destination, shelf: Shelf, sender: Sender, content: bytes
    ) -> None:
        consignment = sender.consignment(ONE)
        with only_whole_files(shelf), pytest.raises(FileChangedError):
            prepare(destination, consignment, progress=lambda _: sender.rewrite(content))
        assert destination.find("cat.safetensors") is None

    def test_a_source_that_was_replaced_by_its_like_is_another(self, destination: Destination, sender: Sender) -> None:
        consignment = sender.consignment(ONE)
        os.replace(sender.write(ONE, "new"), consignment.source_path)
        with pytest.raises(FileChangedError):
            prepare(destination, consignment)

    def test_a_source_that_is_gone_is_told(self, destination: Destination, shelf: Shelf, sender: Sender) -> None:
        consignment = sender.consignment()
        os.unlink(consignment.source_path)
        with pytest.raises(FileVanishedError):
            prepare(destination, consignment)
        assert not shelf.names()

    def test_after_a_crash_between_carrying_and_publishing_it_is_done_again(
        self, reopen: Callable[[], Destination], shelf: Shelf, sender: Sender
    ) -> None:
        consignment = sender.consignment()
        dead = reopen()
        prepare(dead, consignment)
        self.crash(dead)
        alive = reopen()
        alive.sweep()
        delivered(alive, consignment)
        assert list(shelf.names()) == ["cat.safetensors"]

    def test_a_sweep_takes_nothing_that_is_not_ours_or_still_in_use(
        self, reopen: Callable[[], Destination], shelf: Shelf, sender: Sender
    ) -> None:
        foreign = [".hidden", "cat.part", ".lorawatch-ffffffffffff-0123456789abcdef.part", "dog.safetensors"]
        for name in foreign:
            shelf.put(name, b"foreign")
        busy = reopen()
        prepared = prepare(busy, sender.consignment())
        reopen().sweep()
        assert isinstance(busy.publish([prepared])[0], RemoteFile)
        assert sorted(shelf.names()) == sorted([*foreign, "cat.safetensors"])

    @pytest.mark.parametrize("name", ["a b ü 漢 '\"$.safetensors", "x" * 188 + ".safetensors", "-rf.safetensors"])
    def test_odd_names_arrive_unchanged(
        self, destination: Destination, shelf: Shelf, sender: Sender, name: str
    ) -> None:
        delivered(destination, sender.consignment(name=name))
        assert list(shelf.names()) == [name]
        assert shelf.read(name) == ONE

    def test_a_name_that_is_no_utf8_arrives_unchanged(
        self, destination: Destination, shelf: Shelf, sender: Sender
    ) -> None:
        name = os.fsdecode(b"caf\xe9.safetensors")
        result = deliver(destination, sender.consignment(name=name))
        if self.keeps_odd_bytes:
            assert isinstance(result, RemoteFile)
            assert shelf.read(name) == ONE
        else:
            assert isinstance(result, DeliveryRefusedError)

    @pytest.mark.parametrize("name", ["", "/etc/x.st", "../x.st", "a/../x.st", "a//x.st", ".hidden.st", "a\0.st"])
    def test_a_name_that_leads_astray_is_refused(
        self, destination: Destination, shelf: Shelf, sender: Sender, name: str
    ) -> None:
        with pytest.raises(DeliveryRefusedError) as refused:
            prepare(destination, sender.consignment(name="cat.safetensors", remote_name=name))
        assert refused.value.code == "name-refused"
        with pytest.raises(DeliveryRefusedError):
            destination.find(name)
        assert not shelf.names()

    def test_a_name_in_a_folder_arrives_there(self, destination: Destination, shelf: Shelf, sender: Sender) -> None:
        if not self.has_folders:
            pytest.skip("its protocol knows no folders")
        for remote_name in ("flux.1/people/cat.safetensors", "flux.1/dog.safetensors"):
            published = delivered(destination, sender.consignment(remote_name=remote_name))
            assert destination.find(remote_name) == published
            assert shelf.read(remote_name) == ONE

    def test_a_folder_that_is_a_file_is_refused(self, destination: Destination, shelf: Shelf, sender: Sender) -> None:
        if not self.has_folders:
            pytest.skip("its protocol knows no folders")
        shelf.put("flux", b"a file")
        assert destination.find("flux/cat.safetensors") is None
        result = deliver(destination, sender.consignment(remote_name="flux/cat.safetensors"))
        assert isinstance(result, DeliveryRefusedError)
        assert shelf.read("flux") == b"a file"

    def test_remove_takes_only_what_is_unchanged(self, destination: Destination, shelf: Shelf, sender: Sender) -> None:
        first = delivered(destination, sender.consignment())
        shelf.take("cat.safetensors")
        assert not destination.remove(first)
        shelf.put("cat.safetensors", b"not ours")
        assert not destination.remove(first)
        assert shelf.read("cat.safetensors") == b"not ours"
        shelf.take("cat.safetensors")
        assert destination.remove(delivered(destination, sender.consignment()))
        assert not shelf.names()
