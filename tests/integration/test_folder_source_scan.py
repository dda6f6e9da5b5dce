"""The scan of a watched directory: which names, which directories, and what it says where it may not look."""

import os
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from lorawatch.sources.scanning import PAGE
from tests.factories import write_lora
from tests.watched_folder import DEFAULT_INCLUDE, folder_source, paths


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


NAMES = (
    "a.safetensors",
    "a.txt",
    "job/a_000000250.safetensors",
    "job/samples/s.safetensors",
    "job/deep/er/b.safetensors",
    "job/c.sft",
    "other/d.safetensors",
    ".hidden.safetensors",
    ".git/e.safetensors",
    "job/.tmpAbCdEf",
    "x.safetensors.part",
)


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (
            DEFAULT_INCLUDE,
            (),
            (
                "a.safetensors job/a_000000250.safetensors job/samples/s.safetensors job/deep/er/b.safetensors"
                " other/d.safetensors"
            ),
        ),
        (("*.sft", "**/*.safetensors"), ("samples/", "/other/**"), None),
        (("job/*.safetensors",), (), "job/a_000000250.safetensors"),
        (("/*.safetensors",), (), "a.safetensors"),
        (("job/**/*.safetensors", "!**/samples/*"), (), "job/a_000000250.safetensors job/deep/er/b.safetensors"),
        (("*.safetensors",), ("*", "!a.safetensors"), "a.safetensors"),
        (("*.safetensors", "!a*", "/a.safetensors"), ("job/",), "a.safetensors other/d.safetensors"),
        (("*_[0-9]*.safetensors",), (), "job/a_000000250.safetensors"),
    ],
)
def test_patterns_have_the_rules_of_gitignore(
    tmp_path: Path, include: Sequence[str], exclude: Sequence[str], expected: str | None
) -> None:
    make(tmp_path, *NAMES)
    wanted = expected or "a.safetensors job/a_000000250.safetensors job/deep/er/b.safetensors job/c.sft"
    assert paths(folder_source(tmp_path, include=include, exclude=exclude)) == set(wanted.split())


def test_a_part_of_the_tree_can_be_scanned_alone(tmp_path: Path) -> None:
    make(tmp_path, *NAMES)
    source = folder_source(tmp_path)
    assert paths(source, str(tmp_path / "job" / "deep")) == {"job/deep/er/b.safetensors"}


@pytest.mark.parametrize("below", [".git", "none", "..", "linked", "a.safetensors"])
def test_what_is_hidden_gone_outside_or_a_link_is_not_scanned(tmp_path: Path, below: str) -> None:
    root = tmp_path / "out"
    make(root, *NAMES)
    make(tmp_path / "elsewhere", "f.safetensors")
    (root / "linked").symlink_to("../elsewhere")
    source = folder_source(root)
    assert paths(source, os.path.join(root, below)) == set()
    assert source.unreadable() == {}
    assert "linked/f.safetensors" not in paths(source)


def test_links_to_directories_cannot_make_a_loop(tmp_path: Path) -> None:
    make(tmp_path, "job/a.safetensors")
    (tmp_path / "job" / "again").symlink_to(tmp_path)
    assert paths(folder_source(tmp_path)) == {"job/a.safetensors"}


def test_versions_are_those_of_stat(tmp_path: Path) -> None:
    write_lora(tmp_path / "a.safetensors")
    (candidate,) = folder_source(tmp_path).scan()
    status = (tmp_path / "a.safetensors").stat()
    assert (candidate.version.inode, candidate.version.size_bytes) == (status.st_ino, status.st_size)
    assert (candidate.version.mtime_ns, candidate.ctime_ns) == (status.st_mtime_ns, status.st_ctime_ns)
    assert (candidate.root, candidate.is_closed, candidate.is_backlog) == (str(tmp_path), False, False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_may_not_be_read_is_reported_until_it_may(tmp_path: Path) -> None:
    make(tmp_path, "a.safetensors", "closed/b.safetensors", "blind/c.safetensors")
    source = folder_source(tmp_path)
    (tmp_path / "closed").chmod(0)
    (tmp_path / "blind").chmod(0o400)  # names without what is behind them
    try:
        assert paths(source) == {"a.safetensors"}
        assert set(source.unreadable()) == {str(tmp_path / "closed"), str(tmp_path / "blind")}
        assert "denied" in source.unreadable()[str(tmp_path / "closed")]
        paths(source, str(tmp_path / "closed"))
        assert set(source.unreadable()) == {str(tmp_path / "closed"), str(tmp_path / "blind")}
    finally:
        (tmp_path / "closed").chmod(0o700)
        (tmp_path / "blind").chmod(0o700)
    assert paths(source, str(tmp_path / "closed")) == {"closed/b.safetensors"}
    assert set(source.unreadable()) == {str(tmp_path / "blind")}
    assert len(paths(source)) == 3
    assert source.unreadable() == {}


def test_a_missing_root_is_unreadable_rather_than_empty(tmp_path: Path) -> None:
    source = folder_source(tmp_path / "none")
    assert list(source.scan()) == []
    assert set(source.unreadable()) == {str(tmp_path / "none")}


def test_files_that_vanish_during_the_scan_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, *(f"{number:04}.safetensors" for number in range(2000)))
    source = folder_source(tmp_path)
    scan = source.scan()
    first = next(scan)
    for name in os.listdir(tmp_path):
        if name != os.path.basename(first.path):
            os.unlink(tmp_path / name)
    assert len(list(scan)) < 1999
    assert source.unreadable() == {}


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    make(tmp_path, *(f"{number:05}.safetensors" for number in range(5000)))
    source = folder_source(tmp_path)
    tracemalloc.start()
    try:
        count = sum(1 for _ in source.scan())
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 5000
    assert peak_bytes < 200_000


def test_a_directory_that_is_renamed_while_it_is_listed_yields_no_file_by_its_old_name(tmp_path: Path) -> None:
    make(tmp_path, *(f"job/{number}.safetensors" for number in range(1000)))
    found = 0
    for candidate in folder_source(tmp_path).scan():
        found += 1
        if found == 1:
            (tmp_path / "job").rename(tmp_path / "renamed")
        assert candidate.path.startswith(f"{tmp_path}/job/")
    assert found == PAGE  # what was in hand
    assert len(paths(folder_source(tmp_path))) == 1000


def test_a_scan_that_is_not_finished_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    make(tmp_path, *(f"job/{number}.safetensors" for number in range(10)))
    before = os.listdir("/proc/self/fd")
    scan = folder_source(tmp_path).scan()
    next(scan)
    del scan
    assert os.listdir("/proc/self/fd") == before
