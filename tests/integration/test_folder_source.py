"""Looking at single files of a watched directory: what they are, whether they are whole, who holds them."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lorawatch.domain.errors import FileChangedError, FileRejectedError, FileUnreadableError, FileVanishedError
from lorawatch.domain.model import Candidate
from lorawatch.sources import looking
from tests.factories import lora_bytes, write_lora
from tests.watched_folder import candidate_at, folder_source, paths


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "out"
    directory.mkdir()
    return directory


def test_a_whole_file_that_nobody_holds_is_seen_as_such(root: Path) -> None:
    write_lora(root / "a.safetensors")
    source = folder_source(root)
    seen = source.observe(candidate_at(source, root / "a.safetensors"))
    assert seen.expected_bytes == seen.candidate.version.size_bytes
    assert (seen.is_local, seen.is_held_open, seen.has_gap) == (True, False, False)


def test_the_descriptor_reads_the_bytes_and_blocks_nobody(root: Path) -> None:
    path = root / "a.safetensors"
    write_lora(path)
    source = folder_source(root)
    descriptor = source.open(candidate_at(source, path))
    try:
        assert os.read(descriptor, 1 << 20) == path.read_bytes()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(descriptor, b"x")
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)


def test_reading_leaves_the_access_time_alone(root: Path) -> None:
    path = root / "a.safetensors"
    write_lora(path)
    os.utime(path, ns=(1, path.stat().st_mtime_ns))  # older than mtime: relatime would move it
    source = folder_source(root)
    candidate = candidate_at(source, path)
    source.observe(candidate)
    descriptor = source.open(candidate)
    os.read(descriptor, 100)
    os.close(descriptor)
    assert path.stat().st_atime_ns == 1


@pytest.mark.parametrize("change", [lambda p: p.write_bytes(b"x"), lambda p: os.utime(p, ns=(1, 1))])
def test_another_version_is_not_opened(root: Path, change: Callable[[Path], object]) -> None:
    path = root / "a.safetensors"
    write_lora(path)
    source = folder_source(root)
    candidate = candidate_at(source, path)
    change(path)
    with pytest.raises(FileChangedError):
        source.open(candidate)


def test_a_replaced_file_of_same_size_and_time_is_another_version(root: Path) -> None:
    path = root / "a.safetensors"
    write_lora(path)
    source = folder_source(root)
    candidate = candidate_at(source, path)
    other = root / ".new"
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(candidate.version.mtime_ns, candidate.version.mtime_ns))
    other.replace(path)
    with pytest.raises(FileChangedError):
        source.open(candidate)


def test_a_file_that_is_gone_is_gone(root: Path) -> None:
    path = root / "job" / "a.safetensors"
    write_lora(path)
    source = folder_source(root)
    candidate = candidate_at(source, path)
    path.unlink()
    assert source.look(str(path)) is None
    with pytest.raises(FileVanishedError):
        source.observe(candidate)
    path.parent.rmdir()
    path.parent.write_bytes(b"")  # a file where the directory was
    assert source.look(str(path)) is None
    with pytest.raises(FileVanishedError):
        source.open(candidate)


@pytest.mark.parametrize(
    "path", ["../a.safetensors", ".a.safetensors", ".cache/a.safetensors", "b/.c/a.safetensors", "a.txt", "."]
)
def test_what_is_not_wanted_is_not_looked_at(root: Path, path: str) -> None:
    write_lora(os.path.normpath(root / path) if path != "." else root / "x.txt")
    assert folder_source(root).look(os.path.join(root, path)) is None


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's address holds 107 bytes at most
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def make_link_outside(path: Path) -> None:
    write_lora(path.parent.parent / "elsewhere.safetensors")
    path.symlink_to("../elsewhere.safetensors")


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("make", "code"),
    [
        (os.mkdir, "not-a-regular-file"),
        (make_fifo, "not-a-regular-file"),
        (make_socket, "not-a-regular-file"),
        (lambda path: path.symlink_to("/dev/null"), "not-a-regular-file"),
        (lambda path: path.symlink_to("."), "not-a-regular-file"),
        (lambda path: path.symlink_to("nowhere"), "symlink-dangling"),
        (make_loop, "symlink-dangling"),
        (make_link_outside, "symlink-outside"),
    ],
    ids=["directory", "fifo", "socket", "link to a device", "link to a directory", "dangling", "loop", "outside"],
)
def test_what_can_never_be_delivered_is_a_candidate_that_is_rejected(
    root: Path, make: Callable[[Path], object], code: str
) -> None:
    path = root / "x.safetensors"
    make(path)
    source = folder_source(root)
    (scanned,) = source.scan()
    assert scanned == candidate_at(source, path)
    for ask in (source.observe, source.open):
        with pytest.raises(FileRejectedError) as caught:
            ask(scanned)
        assert caught.value.code == code
        assert str(path) in caught.value.message


def test_an_odd_one_keeps_its_version_whatever_happens_inside(root: Path) -> None:
    odd = root / "x.safetensors"
    odd.mkdir()
    source = folder_source(root)
    before = candidate_at(source, odd).version
    write_lora(odd / "real.safetensors")
    os.utime(odd, ns=(7, 7))
    assert candidate_at(source, odd).version == before
    assert paths(source) == {"x.safetensors", "x.safetensors/real.safetensors"}


def test_an_odd_one_that_became_a_file_is_another_version(root: Path) -> None:
    path = root / "x.safetensors"
    os.mkfifo(path)
    source = folder_source(root)
    candidate = candidate_at(source, path)
    path.unlink()
    write_lora(path)
    with pytest.raises(FileChangedError):
        source.observe(candidate)


def test_a_link_within_the_root_is_delivered_with_the_version_of_its_target(root: Path) -> None:
    sha_target = root / "blobs" / "b.bin"
    write_lora(sha_target)
    link = root / "x.safetensors"
    link.symlink_to("blobs/b.bin")
    source = folder_source(root)
    (candidate,) = source.scan()
    assert candidate.version.inode == sha_target.stat().st_ino
    assert source.observe(candidate).expected_bytes == candidate.version.size_bytes
    sha_target.unlink()
    assert candidate_at(source, link).version != candidate.version


def test_a_file_swapped_for_a_link_outside_is_not_opened(root: Path) -> None:
    path = root / "x.safetensors"
    write_lora(path)
    source = folder_source(root)
    candidate = candidate_at(source, path)
    path.rename(root.parent / "elsewhere")  # the very same inode, size and mtime, but outside
    path.symlink_to("../elsewhere")
    with pytest.raises((FileRejectedError, FileChangedError)):
        source.open(candidate)


@pytest.mark.parametrize("make", [make_fifo, make_link_outside, lambda path: path.symlink_to("/dev/null")])
def test_what_is_no_file_of_its_own_is_never_opened_for_real(
    root: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object]
) -> None:
    path = root / "x.safetensors"
    make(path)
    source = folder_source(root)
    candidate = candidate_at(source, path)
    flags: list[int] = []
    real = os.open

    def recorded(path: str, how: int) -> int:
        flags.append(how)
        return real(path, how)

    monkeypatch.setattr("lorawatch.sources.looking.os.open", recorded)
    with pytest.raises(FileRejectedError):
        source.open(candidate)
    monkeypatch.undo()
    assert flags
    assert all(each & (os.O_PATH | os.O_NOFOLLOW) for each in flags)


def test_a_root_may_be_a_link_to_a_directory(root: Path) -> None:
    write_lora(root / "a.safetensors")
    link = root.parent / "link"
    link.symlink_to(root)
    source = folder_source(link)
    (candidate,) = source.scan()
    assert candidate.path == str(link / "a.safetensors")
    assert source.observe(candidate).expected_bytes is not None


def test_a_name_that_is_no_text_is_looked_at_like_any_other(root: Path) -> None:
    raw = os.fsencode(root) + b"/caf\xe9\n.safetensors"
    with open(raw, "wb") as file:
        file.write(lora_bytes())
    source = folder_source(root)
    (candidate,) = source.scan()
    assert os.fsencode(candidate.path) == raw
    assert source.look(candidate.path) == candidate
    assert source.observe(candidate).is_held_open is False


def test_another_process_that_holds_the_file_open_is_noticed(root: Path) -> None:
    path = root / "a.safetensors"
    write_lora(path)
    source = folder_source(root)
    candidate = candidate_at(source, path)
    hold = [
        sys.executable,
        "-c",
        "import sys; f = open(sys.argv[1], 'ab'); print('open', flush=True); input()",
        str(path),
    ]
    with subprocess.Popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        assert source.observe(candidate).is_held_open is True
        assert source.observe(replace(candidate, is_closed=True)).is_held_open is None  # nobody needs to know
        writer.communicate(b"\n")
    assert source.observe(candidate).is_held_open is False


def test_somebody_who_only_reads_does_not_count_as_a_writer(root: Path) -> None:
    path = root / "a.safetensors"
    write_lora(path)
    source = folder_source(root)
    with open(path, "rb"):
        assert source.observe(candidate_at(source, path)).is_held_open is False


def test_a_writer_that_arrives_while_we_ask_is_not_harmed_and_does_not_end_us(root: Path) -> None:
    path = root / "a.safetensors"
    write_lora(path)
    asking = (
        "import os, signal, sys\n"
        "from lorawatch.sources.writers import is_held_open\n"
        "signal.signal(signal.SIGIO, signal.SIG_DFL)  # whoever started us may ignore it\n"
        "print('asking', flush=True)\n"
        "while os.getppid() == int(sys.argv[2]):\n"
        "    descriptor = os.open(sys.argv[1], os.O_RDONLY)\n"
        "    is_held_open(descriptor)\n"
        "    os.close(descriptor)\n"
    )
    command = [sys.executable, "-c", asking, str(path), str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(20_000):
            with open(path, "ab"):
                pass
        assert process.poll() is None
        process.terminate()


def preallocating_writer(path: Path) -> subprocess.Popen[bytes]:
    """Start a process that reserves the whole length first and fills it only when told."""
    code = (
        "import os, sys\n"
        "content = sys.stdin.buffer.read(int(sys.argv[2]))\n"
        "descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
        "os.posix_fallocate(descriptor, 0, len(content))\n"
        "half = 8 + int.from_bytes(content[:8], 'little') + 100\n"
        "os.pwrite(descriptor, content[:half], 0)\n"
        "print('reserved', flush=True)\n"
        "sys.stdin.buffer.read(1)\n"
        "os.pwrite(descriptor, content[half:], half)\n"
        "os.close(descriptor)\n"
        "print('done', flush=True)\n"
        "sys.stdin.buffer.read(1)\n"
    )
    content = lora_bytes(size_bytes=2_000_000)
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(path), str(len(content))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert writer.stdin is not None
    writer.stdin.write(content)
    return writer


def test_a_slow_writer_that_reserved_all_first_is_not_taken_for_done(root: Path) -> None:
    path = root / "a.safetensors"
    source = folder_source(root)
    with preallocating_writer(path) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdout.readline()
        seen = source.observe(candidate_at(source, path))
        assert seen.candidate.version.size_bytes == seen.expected_bytes, "its length alone would pass"
        assert seen.has_gap
        assert seen.is_held_open is True
        writer.stdin.write(b"x")
        writer.stdout.readline()
        seen = source.observe(candidate_at(source, path))
        assert (seen.has_gap, seen.is_held_open) == (False, False)
        writer.stdin.write(b"x")


def test_a_writer_that_ends_while_we_look_is_not_judged_by_the_length_before(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "a.safetensors"
    path.write_bytes(lora_bytes()[:-100])
    source = folder_source(root)
    candidate = candidate_at(source, path)

    def end_and_let_go(_: int) -> bool:
        path.write_bytes(lora_bytes())
        return False

    monkeypatch.setattr("lorawatch.sources.folder.is_held_open", end_and_let_go)
    with pytest.raises(FileChangedError):
        source.observe(candidate)


def test_where_leases_are_refused_the_open_files_of_all_processes_are_asked(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, command: int, argument: int) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    path = root / "a.safetensors"
    write_lora(path)
    source = folder_source(root)
    candidate = candidate_at(source, path)
    monkeypatch.setattr("fcntl.fcntl", refuse)
    alone = source.observe(candidate).is_held_open
    assert alone is not True
    if os.geteuid() != 0:  # the processes of others cannot be looked into: nothing is proved
        assert alone is None
    with open(path, "ab"):
        assert source.observe(candidate).is_held_open is True


def test_a_failing_disk_is_unreadable_not_rejected(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "a.safetensors"
    write_lora(path)
    source = folder_source(root)
    candidate = candidate_at(source, path)

    def fail(_: str, **__: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(looking, "_open_to_read", fail)
    with pytest.raises(FileUnreadableError):
        source.open(candidate)


def test_no_descriptor_is_left_behind(root: Path) -> None:
    write_lora(root / "a.safetensors")
    (root / "b.safetensors").symlink_to("nowhere")
    os.mkfifo(root / "c.safetensors")
    source = folder_source(root)
    before = os.listdir("/proc/self/fd")
    for candidate in source.scan():
        look_at(source.observe, candidate)
        look_at(source.observe, replace(candidate, ctime_ns=0, version=replace(candidate.version, inode=1)))
    assert os.listdir("/proc/self/fd") == before


def look_at(ask: Callable[[Candidate], object], candidate: Candidate) -> None:
    try:
        ask(candidate)
    except (FileRejectedError, FileChangedError):
        pass
