"""How files come into the watched folder, and that each arrives whole: both write styles, slow writers, bursts."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.factories import Tensor, lora_bytes, write_lora
from tests.scenes import Scene, contents, eventually, names, save_by_rename, save_in_place, scene, sha256, small_lora

__all__ = ["scene"]

MEGABYTE = 1_000_000


def tiny_lora() -> bytes:
    prefix = "transformer.transformer_blocks.0.attn.to_q"
    shapes = {"A": (1, 8), "B": (8, 1)}
    tensors = {f"{prefix}.lora_{part}.weight": Tensor("BF16", shape) for part, shape in shapes.items()}
    return lora_bytes(tensors=tensors, metadata={"format": "pt"})


@pytest.mark.parametrize("save", [save_in_place, save_by_rename])
def test_either_way_of_saving_arrives_once_and_so_does_saving_again(
    scene: Scene, save: Callable[[Path, bytes], None]
) -> None:
    path = scene.outputs / "cat" / "cat.safetensors"
    with scene.daemon() as daemon:
        for version in range(3):
            save(path, small_lora(version))
            arrived = daemon.wait_for("delivery.delivered", count=version + 1, file=path)
            assert arrived["replaced"] is (version > 0)
            assert arrived["evidence"] == "sha256"
            assert contents(scene.loras) == {"cat.safetensors": small_lora(version)}
        assert daemon.stop() == 0
        assert len(daemon.of("delivery.delivered")) == len(daemon.of("file.accepted")) == 3
    assert (scene.loras / "cat.safetensors").stat().st_mode & 0o777 == 0o664


def test_the_installed_safetensors_library_saves_and_it_arrives(scene: Scene) -> None:
    writer = textwrap.dedent(
        """
        import sys
        import numpy
        from safetensors.numpy import save_file
        prefix = "transformer.transformer_blocks.0.attn.to_q"
        for step in (250, 500):
            tensors = {f"{prefix}.lora_{part}.weight": numpy.full(shape, step, dtype=numpy.float16)
                       for part, shape in (("A", (4, 3072)), ("B", (3072, 4)))}
            save_file(tensors, f"{sys.argv[1]}/cat_{step:09}.safetensors", metadata={"format": "pt"})
        """
    )
    with scene.daemon() as daemon:
        subprocess.run([sys.executable, "-c", writer, scene.outputs], check=True, cwd=scene.tmp_path)
        daemon.wait_for("delivery.delivered", count=2)
    assert contents(scene.loras) == contents(scene.outputs)
    assert names(scene.loras) == ["cat_000000250.safetensors", "cat_000000500.safetensors"]


def test_a_slow_writer_that_preallocates_is_waited_for(scene: Scene) -> None:
    path, content = scene.outputs / "slow.safetensors", small_lora()
    with scene.daemon() as daemon, path.open("wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, len(content))
        half = len(content) // 2
        for start in range(0, half, half // 5):
            os.pwrite(file.fileno(), content[start : min(half, start + half // 5)], start)
            time.sleep(2 * 0.3 / 5)
        time.sleep(0.9)  # stands still for three times quiet_seconds, full length, valid header
        assert not daemon.of("file.accepted")
        assert names(scene.loras) == []
        os.pwrite(file.fileno(), content[half:], half)
        file.close()
        arrived = daemon.wait_for("delivery.delivered")
        assert arrived["sha256"] == sha256(content)
    assert contents(scene.loras) == {"slow.safetensors": content}


def test_a_writer_that_appends_slowly_and_reopens_is_not_delivered_in_parts(scene: Scene) -> None:
    path, content = scene.outputs / "parts.safetensors", small_lora()
    with scene.daemon() as daemon:
        for start in range(0, len(content), len(content) // 4 + 1):
            with path.open("ab") as file:
                file.write(content[start : start + len(content) // 4 + 1])
            time.sleep(0.1)  # less than quiet_seconds: a closed, truncated file may still be added to
        daemon.wait_for("delivery.delivered", file=path)
        assert not daemon.of("file.rejected")
    assert contents(scene.loras) == {"parts.safetensors": content}


def test_a_trainer_that_deletes_and_rewrites_while_we_copy_gets_its_last_version_delivered(scene: Scene) -> None:
    path = scene.outputs / "busy.safetensors"
    versions = [scene.tmp_path / f"version-{seed}" for seed in range(4)]
    shas = [write_lora(version, size_bytes=30 * MEGABYTE, seed=seed) for seed, version in enumerate(versions)]
    with scene.daemon() as daemon:
        for number in range(12):
            path.unlink(missing_ok=True)
            path.write_bytes(versions[number % 4].read_bytes())
            time.sleep(0.03 * (number % 3))
            for seen in scene.loras.glob("*.safetensors"):
                assert sha256(seen.read_bytes()) in shas
        daemon.wait_for("delivery.delivered", sha256=shas[11 % 4])
        assert eventually(lambda: sha256((scene.loras / path.name).read_bytes()) == shas[11 % 4])
        assert daemon.stop() == 0
        assert not daemon.of("delivery.failed")
        assert not daemon.of("file.rejected")
    assert names(scene.loras) == ["busy.safetensors"]


def test_the_watched_tree_is_untouched_after_a_hundred_deliveries(scene: Scene) -> None:
    for number in range(50):
        save_in_place(scene.outputs / f"job{number % 5}" / f"old{number}.safetensors", small_lora(number % 3))

    def tree() -> dict[str, tuple[int, ...]]:
        paths = [scene.outputs, *scene.outputs.rglob("*")]
        status = {str(path): path.stat() for path in paths}
        return {
            path: (each.st_ino, each.st_mode, each.st_nlink, each.st_size, each.st_mtime_ns, each.st_ctime_ns)
            for path, each in status.items()
        }

    with scene.daemon() as daemon:
        for number in range(50):
            save_by_rename(scene.outputs / f"job{number % 5}" / f"new{number}.safetensors", small_lora(number % 3))
        before = tree(), contents(scene.outputs)
        daemon.wait_for("delivery.delivered", count=100)
        assert daemon.stop() == 0
    assert (tree(), contents(scene.outputs)) == before
    assert len(names(scene.loras)) == 100


def test_file_names_that_are_no_text_arrive_as_they_are(scene: Scene) -> None:
    wild = [
        b"caf\xe9.safetensors",
        b"new\nline.safetensors",
        "猫 'quoted' $(x).safetensors".encode(),
        b"-rf.safetensors",
    ]
    with scene.daemon() as daemon:
        for name in wild:
            save_in_place(scene.outputs / os.fsdecode(b"job\xff") / os.fsdecode(name), small_lora())
        daemon.wait_for("delivery.delivered", count=len(wild))
        shown = {each["file"] for each in daemon.of("delivery.delivered")}
        assert str(scene.outputs / "job\\xff" / "caf\\xe9.safetensors") in shown
        status = daemon.status()
        assert {each["file"] for each in status["deliveries"]} == shown
        assert daemon.stop() == 0
        assert daemon.stderr == ""
    assert sorted(os.listdir(os.fsencode(scene.loras))) == sorted(wild)


def test_thousands_of_files_written_while_the_process_was_stopped_all_arrive(scene: Scene) -> None:
    """Each file makes two events. Inotify's queue holds 16,384 of them by default: here some are lost."""
    count, content = 8300, tiny_lora()
    with scene.daemon() as daemon:
        daemon.signal(signal.SIGSTOP)
        for number in range(count):
            (scene.outputs / f"n{number:04}.safetensors").write_bytes(content)
        daemon.signal(signal.SIGCONT)
        while len(daemon.of("delivery.delivered")) < count:
            daemon.wait_for("delivery.delivered", count=len(daemon.of("delivery.delivered")) + 1)
            time.sleep(0.5)
        assert daemon.status()["counts"]["delivered"] == count
        assert daemon.stop() == 0
        queue_length = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
        assert len(daemon.of("watch.overflow")) == (1 if queue_length < 2 * count else 0)
        assert len(daemon.of("delivery.delivered")) == count
    assert set(contents(scene.loras).values()) == {content}
    assert names(scene.loras) == names(scene.outputs)


def test_a_small_new_file_does_not_wait_behind_a_backlog_of_large_ones(scene: Scene) -> None:
    large = scene.outputs / "large0.safetensors"
    write_lora(large, size_bytes=320 * MEGABYTE)
    for number in (1, 2):
        subprocess.run(["cp", large, scene.outputs / f"large{number}.safetensors"], check=True)
    small = scene.outputs / "small.safetensors"
    content = small_lora()
    with scene.daemon() as daemon:
        daemon.wait_for("file.detected")
        save_in_place(small, content)
        arrived = scene.loras / small.name
        assert eventually(arrived.exists)
        assert arrived.read_bytes() == content
        is_backlog_left = not all((scene.loras / f"large{number}.safetensors").exists() for number in range(3))
        assert is_backlog_left, "the backlog was gone already: this test shows nothing"
        daemon.wait_for("delivery.delivered", count=4, timeout=60)
    for number in range(3):
        (scene.outputs / f"large{number}.safetensors").unlink()
        (scene.loras / f"large{number}.safetensors").unlink()


def test_files_in_new_nested_and_in_moved_in_directories_arrive(scene: Scene) -> None:
    elsewhere = scene.tmp_path / "elsewhere"
    save_in_place(elsewhere / "deep" / "er" / "moved.safetensors", small_lora(1))
    with scene.daemon(watch="reconcile_seconds = 600") as daemon:
        for depth in range(1, 6):
            save_in_place(scene.outputs.joinpath(*["nested"] * depth) / f"n{depth}.safetensors", small_lora(depth))
        os.rename(elsewhere, scene.outputs / "elsewhere")
        daemon.wait_for("delivery.delivered", count=6, timeout=5)
        save_in_place(scene.outputs / "elsewhere" / "deep" / "later.safetensors", small_lora(2))
        daemon.wait_for(
            "delivery.delivered", timeout=5, file=scene.outputs / "elsewhere" / "deep" / "later.safetensors"
        )
        assert daemon.stop() == 0
        assert len(daemon.of("scan.finished")) == 1  # hints led there, not the full scan
    assert names(scene.loras) == [
        "later.safetensors",
        "moved.safetensors",
        *(f"n{depth}.safetensors" for depth in range(1, 6)),
    ]


def test_only_what_is_included_and_not_excluded_is_looked_at(scene: Scene) -> None:
    with scene.daemon(
        watch='include = ["keep/**/*.safetensors", "*_final.safetensors"]\nexclude = ["**/samples/**"]'
    ) as daemon:
        for path in ("other/a", "keep/samples/b", "samples/c_final", "keep/.hidden", "keep/.dir/x"):
            save_in_place(scene.outputs / f"{path}.safetensors", small_lora())
        for path in ("keep/d", "keep/deep/e", "other/f_final"):
            save_in_place(scene.outputs / f"{path}.safetensors", small_lora())
        daemon.wait_for("delivery.delivered", count=3)
        assert daemon.stop() == 0
        assert len(daemon.of("file.detected")) == 3
    assert names(scene.loras) == ["d.safetensors", "e.safetensors", "f_final.safetensors"]
