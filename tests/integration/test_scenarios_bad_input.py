"""What can never be delivered as it is: one event with a code, once, also across restarts, until the file changes."""

import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.factories import Tensor, broken, lora_bytes, lora_tensors
from tests.process import Lorawatch
from tests.scenes import QUIET_SECONDS, Scene, contents, names, save_in_place, scene, small_lora

__all__ = ["scene"]

NAME = "bad.safetensors"


def with_bytes(content: bytes) -> Callable[[Scene, Path], None]:
    return lambda _, path: save_in_place(path, content)


def outside(scene: Scene, path: Path) -> None:
    save_in_place(scene.tmp_path / "outside.safetensors", small_lora())
    path.symlink_to(scene.tmp_path / "outside.safetensors")


def with_nan() -> bytes:
    tensors = lora_tensors()
    name = next(name for name in tensors if "lora_B" in name)
    shape = tensors[name].shape
    tensors[name] = Tensor("BF16", shape, struct.pack("<H", 0x7FC0) * (shape[0] * shape[1]))
    return lora_bytes(tensors=tensors)


BAD: dict[str, tuple[str, Callable[[Scene, Path], None]]] = {
    "truncated": ("truncated", with_bytes(broken("data-cut"))),
    "empty": ("empty-file", with_bytes(b"")),
    "html": ("html-page", with_bytes(broken("html"))),
    "lfs-pointer": ("lfs-pointer", with_bytes(broken("lfs-pointer"))),
    "huge-header": ("header-too-large", with_bytes(broken("huge-header"))),
    "duplicate-keys": ("duplicate-keys", with_bytes(broken("duplicate-tensor"))),
    "trailing": ("trailing-bytes", with_bytes(broken("trailing-byte"))),
    "pickle": ("pickle-file", with_bytes(broken("pickle"))),
    "not-a-number": ("nonfinite", with_bytes(with_nan())),
    "symlink-outside": ("symlink-outside", outside),
    "symlink-dangling": ("symlink-dangling", lambda _, path: path.symlink_to("nowhere")),
    "directory": ("not-a-regular-file", lambda _, path: path.mkdir()),
    "fifo": ("not-a-regular-file", lambda _, path: os.mkfifo(path)),
}


def verdicts(daemon: Lorawatch, path: Path) -> list[dict[str, object]]:
    return [each for each in daemon.events if each.get("file") == str(path) and each.get("code")]


def test_every_kind_of_bad_input_gets_one_event_with_its_code_and_never_another(scene: Scene) -> None:
    """All kinds at once, some there before the start, some dropped while it runs; scans every 0.2 s in between."""
    daemon = scene.daemon(watch="reconcile_seconds = 0.2")
    paths = {kind: scene.outputs / kind / NAME for kind in BAD}
    for path in paths.values():
        path.parent.mkdir()
    for kind in list(BAD)[::2]:
        BAD[kind][1](scene, paths[kind])
    with daemon:
        for kind in list(BAD)[1::2]:
            BAD[kind][1](scene, paths[kind])
        for kind, path in paths.items():
            daemon.wait_for("file.rejected", file=path, code=BAD[kind][0])
        time.sleep(1.0 + QUIET_SECONDS)
        for path in paths.values():
            (said,) = verdicts(daemon, path)
            assert said["reason"]
            assert len(daemon.of("file.detected", file=path)) == 1
        status = {each["file"]: (each["state"], each["code"]) for each in daemon.status()["files"]}
        assert status == {str(path): ("rejected", BAD[kind][0]) for kind, path in paths.items()}
        assert daemon.stop() == 0
    with daemon:
        time.sleep(1.0)
        assert daemon.stop() == 0
        assert [each for each in daemon.events if str(each["event"]).startswith(("file.", "delivery."))] == []
    assert names(scene.loras) == []


@pytest.mark.parametrize("kind", ["html", "huge-header", "pickle"])
def test_a_bad_file_that_is_written_slowly_gets_its_one_event_when_it_is_done(scene: Scene, kind: str) -> None:
    path = scene.outputs / NAME
    with scene.daemon() as daemon:
        with path.open("wb", buffering=0) as file:
            for _ in range(3):
                file.write(broken(kind))
                time.sleep(QUIET_SECONDS + 0.2)
            assert not daemon.of("file.rejected")
        daemon.wait_for("file.rejected", file=path, code=BAD[kind][0])
        time.sleep(1.0)
        assert len(verdicts(daemon, path)) == 1


@pytest.mark.parametrize("kind", ["truncated", "html", "symlink-outside", "fifo", "directory"])
def test_a_bad_file_that_is_made_good_is_delivered(scene: Scene, kind: str) -> None:
    path = scene.outputs / NAME
    BAD[kind][1](scene, path)
    with scene.daemon() as daemon:
        daemon.wait_for("file.rejected", file=path)
        if path.is_dir():
            path.rmdir()
        elif not path.is_file() or path.is_symlink():
            path.unlink()
        save_in_place(path, small_lora())
        daemon.wait_for("delivery.delivered", file=path)
        assert daemon.status()["files"] == []
    assert contents(scene.loras) == {NAME: small_lora()}


def test_a_bad_file_that_changes_into_another_bad_file_is_reported_again(scene: Scene) -> None:
    path = scene.outputs / NAME
    with scene.daemon() as daemon:
        save_in_place(path, broken("html"))
        daemon.wait_for("file.rejected", code="html-page")
        save_in_place(path, broken("pickle"))
        daemon.wait_for("file.rejected", code="pickle-file")


def test_a_bad_file_that_is_removed_is_forgotten(scene: Scene) -> None:
    path = scene.outputs / NAME
    with scene.daemon() as daemon:
        save_in_place(path, broken("html"))
        daemon.wait_for("file.rejected")
        path.unlink()
        daemon.wait_for("file.vanished", timeout=3, file=path)
        assert daemon.status()["files"] == []


def test_other_settings_have_it_inspected_again_and_the_same_verdict_is_not_repeated(scene: Scene) -> None:
    bad, vae = scene.outputs / NAME, scene.outputs / "embedding.safetensors"
    with scene.daemon() as daemon:
        save_in_place(bad, broken("html"))
        save_in_place(vae, lora_bytes(tensors={"emb_params": Tensor("F32", (1, 768))}, metadata={}))
        daemon.wait_for("file.rejected")
        assert daemon.wait_for("file.skipped")["code"] == "kind-not-wanted"
        assert daemon.stop() == 0
    with scene.daemon(tables='[inspect]\nkinds = ["lora", "embedding"]') as daemon:
        daemon.wait_for("delivery.delivered", file=vae)
        time.sleep(QUIET_SECONDS + 0.5)
        assert daemon.stop() == 0
        assert not daemon.of("file.rejected")
    assert names(scene.loras) == ["embedding.safetensors"]


def test_a_link_to_a_file_within_the_root_is_delivered_under_its_own_name(scene: Scene) -> None:
    save_in_place(scene.outputs / "deep" / "real.safetensors", small_lora())
    (scene.outputs / "latest.safetensors").symlink_to("deep/real.safetensors")
    with scene.daemon() as daemon:
        daemon.wait_for("delivery.delivered", count=2)
    assert contents(scene.loras) == dict.fromkeys(("latest.safetensors", "real.safetensors"), small_lora())
