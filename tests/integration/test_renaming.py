"""A name is never taken from somebody else: not by chance, not in a race, not on a file system that knows no better."""

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lorawatch.transport import renaming
from lorawatch.transport.renaming import remove_expected, rename_new, rename_over
from tests.fakes.failing_calls import FailingCalls

Expectation = Callable[[os.stat_result], bool]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> FailingCalls:
    return FailingCalls(monkeypatch)


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    path = tmp_path / ".ours.part"
    path.write_bytes(b"ours")
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cat.safetensors"


@pytest.fixture
def no_renameat2(monkeypatch: pytest.MonkeyPatch) -> None:
    """As NFS, most FUSE file systems and old C libraries are."""

    def refuse(*_: object) -> int:
        ctypes.set_errno(errno.EINVAL)
        return -1

    class Library:
        renameat2 = staticmethod(refuse)

    monkeypatch.setattr(renaming, "_libc", Library)


@pytest.fixture
def no_library_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renaming, "_libc", object())


def inode_is(path: Path) -> Expectation:
    inode = path.stat().st_ino
    return lambda status: status.st_ino == inode


def replaced_after_the_first_look(path: Path) -> Expectation:
    """Expect what is there now, but let somebody replace it as soon as that was checked."""
    is_expected = inode_is(path)
    looks = 0

    def look(status: os.stat_result) -> bool:
        nonlocal looks
        looks += 1
        verdict = is_expected(status)
        if looks == 1:
            other = path.with_name("other")
            other.write_bytes(b"theirs")
            os.replace(other, path)
        return verdict

    return look


def test_a_free_name_is_taken_exclusively(ours: Path, target: Path) -> None:
    assert rename_new(str(ours), str(target))
    assert target.read_bytes() == b"ours"
    assert not ours.exists()


def test_a_taken_name_is_left_alone(ours: Path, target: Path) -> None:
    target.write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        rename_new(str(ours), str(target))
    assert (target.read_bytes(), ours.read_bytes()) == (b"theirs", b"ours")


@pytest.mark.parametrize("missing", ["no_renameat2", "no_library_call"])
def test_without_an_exclusive_rename_a_hard_link_is_exclusive(
    ours: Path, target: Path, missing: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(missing)
    assert rename_new(str(ours), str(target))
    assert target.read_bytes() == b"ours"
    assert not ours.exists()
    ours.write_bytes(b"next")
    with pytest.raises(FileExistsError):
        rename_new(str(ours), str(target))
    assert target.read_bytes() == b"ours"


@pytest.mark.usefixtures("no_renameat2")
def test_an_answer_that_a_file_server_lost_is_no_collision(ours: Path, target: Path) -> None:
    os.link(ours, target)
    assert rename_new(str(ours), str(target))
    assert not ours.exists()


@pytest.mark.usefixtures("no_renameat2")
@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_links_too_it_looks_and_says_that_this_was_not_exclusive(
    ours: Path, target: Path, calls: FailingCalls, number: int
) -> None:
    calls.fail("link", number)
    target.write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        rename_new(str(ours), str(target))
    target.unlink()
    assert not rename_new(str(ours), str(target))
    assert target.read_bytes() == b"ours"


@pytest.mark.usefixtures("no_renameat2")
def test_another_error_of_a_link_is_told(ours: Path, target: Path, calls: FailingCalls) -> None:
    calls.fail("link", errno.ENOSPC)
    with pytest.raises(OSError, match="No space"):
        rename_new(str(ours), str(target))


def test_the_expected_file_is_replaced(ours: Path, target: Path) -> None:
    target.write_bytes(b"old")
    assert rename_over(str(ours), str(target), is_expected=inode_is(target))
    assert target.read_bytes() == b"ours"
    assert not ours.exists()


def test_another_file_than_the_expected_one_is_left_alone(ours: Path, target: Path) -> None:
    target.write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        rename_over(str(ours), str(target), is_expected=lambda _: False)
    assert (target.read_bytes(), ours.read_bytes()) == (b"theirs", b"ours")


def test_a_file_that_is_put_there_between_look_and_rename_survives(ours: Path, target: Path) -> None:
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        rename_over(str(ours), str(target), is_expected=replaced_after_the_first_look(target))
    assert (target.read_bytes(), ours.read_bytes()) == (b"theirs", b"ours")


@pytest.mark.usefixtures("no_renameat2")
def test_without_an_exchange_it_looks_replaces_and_says_so(ours: Path, target: Path) -> None:
    target.write_bytes(b"old")
    assert not rename_over(str(ours), str(target), is_expected=inode_is(target))
    assert target.read_bytes() == b"ours"


def test_nothing_to_replace_is_a_new_name(ours: Path, target: Path) -> None:
    assert rename_over(str(ours), str(target), is_expected=lambda _: False)
    assert target.read_bytes() == b"ours"


def test_only_the_expected_file_is_removed(tmp_path: Path, target: Path) -> None:
    aside = str(tmp_path / ".aside.part")
    assert not remove_expected(str(target), aside, is_expected=lambda _: True)
    target.write_bytes(b"theirs")
    assert not remove_expected(str(target), aside, is_expected=lambda _: False)
    assert target.read_bytes() == b"theirs"
    assert remove_expected(str(target), aside, is_expected=inode_is(target))
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_put_there_between_look_and_removal_survives(tmp_path: Path, target: Path) -> None:
    target.write_bytes(b"old")
    aside = str(tmp_path / ".aside.part")
    assert not remove_expected(str(target), aside, is_expected=replaced_after_the_first_look(target))
    assert target.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [target]
