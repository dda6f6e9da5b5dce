"""Which destination gets which file, under which name, and when a verdict is thought over again."""

import signal
import sys
from pathlib import Path

import pytest

from tests.factories import Tensor, aitoolkit_metadata, lora_bytes
from tests.process import Lorawatch
from tests.scenes import Scene, contents, names, save_in_place, scene, small_lora

__all__ = ["scene"]

MORE_FAMILIES = """
from lorawatch.cli import main
from lorawatch.inspection import rules

rules.table_version = lambda: "with one row more"
main()
"""


def embedding() -> bytes:
    """An embedding as AI Toolkit writes it for Flux.1: one vector per token."""
    return lora_bytes(tensors={"clip_l": Tensor("F32", (4, 768)), "clip_g": Tensor("F32", (4, 1280))}, metadata={})


def unknown_lora() -> bytes:
    """A LoRA for layers that no model has."""
    layer = "diffusion_model.hall_of_mirrors.0.reflect"
    tensors = {f"{layer}.lora_A.weight": Tensor("BF16", (4, 100)), f"{layer}.lora_B.weight": Tensor("BF16", (100, 4))}
    return lora_bytes(tensors=tensors, metadata={"format": "pt"})


def read_bytes(daemon: Lorawatch) -> int:
    counters = Path(f"/proc/{daemon.pid}/io").read_text().split()
    return int(counters[counters.index("rchar:") + 1])


def test_the_name_template_is_filled_with_what_is_known_of_the_file(scene: Scene) -> None:
    template = 'name_template = "{family}/{job}/{trigger}-r{rank}-{step}"'
    metadata = aitoolkit_metadata(trigger="p3r/son")
    with scene.daemon(destination=template) as daemon:
        save_in_place(scene.outputs / "cat" / "cat_000000250.safetensors", lora_bytes(metadata=metadata))
        save_in_place(scene.outputs / "cat" / "cat.safetensors", lora_bytes(metadata=metadata, seed=1))
        save_in_place(scene.outputs / "odd" / "odd.safetensors", unknown_lora())
        daemon.wait_for("delivery.delivered", count=3)
        unknown = daemon.wait_for("file.accepted", file=scene.outputs / "odd" / "odd.safetensors")
        assert unknown["family"] is None
    assert names(scene.loras) == [
        "flux.1/cat/p3r_son-r4-250.safetensors",
        "flux.1/cat/p3r_son-r4-final.safetensors",
        "unsorted/odd/none-r4-final.safetensors",
    ]


def test_each_destination_gets_the_kinds_that_it_names(scene: Scene) -> None:
    embeddings = scene.tmp_path / "embeddings"
    tables = scene.second_destination(embeddings, 'kinds = ["embedding"]')
    lora, vectors = scene.outputs / "cat" / "cat.safetensors", scene.outputs / "cat" / "tok_000000500.safetensors"
    vae = scene.outputs / "some_vae.safetensors"
    with scene.daemon(tables=tables) as daemon:
        save_in_place(lora, small_lora())
        save_in_place(vectors, embedding())
        vae_tensors = {
            "decoder.conv_in.weight": Tensor("F16", (8, 4, 3, 3)),
            "encoder.conv_in.bias": Tensor("F16", (8,)),
        }
        save_in_place(vae, lora_bytes(tensors=vae_tensors, metadata={}))
        daemon.wait_for("delivery.delivered", count=2)
        skipped = daemon.wait_for("file.skipped", file=vae)
        assert (skipped["kind"], skipped["code"]) == ("vae", "kind-not-wanted")
        assert daemon.wait_for("file.accepted", file=vectors)["kind"] == "embedding"
        checked = daemon.command("check", "--json", f"--config={scene.tmp_path}/lorawatch.toml", str(vae), str(vectors))
        verdicts = [(each["kind"], each["accepted"], each["code"]) for each in checked.json()["files"]]
        assert verdicts == [("vae", False, "kind-not-wanted"), ("embedding", True, None)]
    assert contents(scene.loras) == {"cat.safetensors": small_lora()}
    assert contents(embeddings) == {"tok_000000500.safetensors": embedding()}


def test_each_destination_gets_the_families_that_it_names_and_one_may_take_the_unsorted(scene: Scene) -> None:
    other = scene.tmp_path / "other"
    tables = scene.second_destination(other, 'families = ["unsorted", "qwen_image"]')
    with scene.daemon(destination='families = ["flux.1"]', tables=tables) as daemon:
        save_in_place(scene.outputs / "flux.safetensors", small_lora())
        save_in_place(scene.outputs / "qwen.safetensors", lora_bytes(family="qwen_image"))
        save_in_place(scene.outputs / "odd.safetensors", unknown_lora())
        save_in_place(scene.outputs / "wan.safetensors", lora_bytes(family="wan_2.2_14b"))
        daemon.wait_for("delivery.delivered", count=3)
        skipped = daemon.wait_for("file.skipped", file=scene.outputs / "wan.safetensors")
        assert (skipped["kind"], skipped["code"]) == ("lora", "family-not-wanted")
    assert names(scene.loras) == ["flux.safetensors"]
    assert names(other) == ["odd.safetensors", "qwen.safetensors"]


@pytest.mark.parametrize("is_restarted", [True, False], ids=["after a restart", "by SIGHUP"])
def test_changed_kinds_have_skipped_files_looked_at_again_and_no_others(scene: Scene, is_restarted: bool) -> None:
    lora, vectors = scene.outputs / "cat.safetensors", scene.outputs / "tok.safetensors"
    save_in_place(lora, lora_bytes(size_bytes=30_000_000))
    save_in_place(vectors, embedding())
    daemon = scene.daemon()
    with daemon:
        daemon.wait_for("delivery.delivered", file=lora)
        daemon.wait_for("file.skipped", file=vectors)
        daemon.config = scene.config(tables='[inspect]\nkinds = ["lora", "embedding"]')
        if is_restarted:
            assert daemon.stop() == 0
            daemon.start()
            daemon.wait_for("daemon.ready")
            read_before = 0
        else:
            read_before = read_bytes(daemon)
            (scene.tmp_path / "lorawatch.toml").write_text(daemon.config)
            daemon.signal(signal.SIGHUP)
        daemon.wait_for("delivery.delivered", file=vectors)
        assert read_bytes(daemon) - read_before < 15_000_000  # the accepted one has 30 MB
        assert daemon.stop() == 0
        assert len(daemon.of("file.accepted", file=lora)) == (0 if is_restarted else 1)
    assert names(scene.loras) == ["cat.safetensors", "tok.safetensors"]


def test_a_destination_that_is_enabled_later_gets_what_was_skipped_before(scene: Scene) -> None:
    embeddings = scene.tmp_path / "embeddings"
    table = scene.second_destination(embeddings, 'kinds = ["embedding"]\nenabled = false')
    vectors = scene.outputs / "tok.safetensors"
    save_in_place(vectors, embedding())
    daemon = scene.daemon(tables=table)
    with daemon:
        daemon.wait_for("file.skipped", file=vectors)
        (scene.tmp_path / "lorawatch.toml").write_text(scene.config(tables=table.replace("enabled = false", "")))
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("delivery.delivered", file=vectors, destination="other")
    assert names(embeddings) == ["tok.safetensors"]


def test_a_skipped_file_is_said_once_across_restarts_and_again_when_the_family_table_has_a_new_row(
    scene: Scene,
) -> None:
    odd, lora = scene.outputs / "odd.safetensors", scene.outputs / "cat.safetensors"
    save_in_place(odd, unknown_lora())
    save_in_place(lora, small_lora())
    daemon = scene.daemon(destination='families = ["flux.1"]')
    with daemon:
        daemon.wait_for("file.skipped", file=odd)
        daemon.wait_for("delivery.delivered", file=lora)
        assert daemon.stop() == 0
    with daemon:
        assert daemon.stop() == 0
        assert not daemon.of("file.detected")
    daemon.program = (sys.executable, "-c", MORE_FAMILIES)
    with daemon:
        daemon.wait_for("file.detected", file=odd)
        assert daemon.stop() == 0
        assert not daemon.of("file.detected", file=lora)
        assert not daemon.of("file.skipped")  # the same verdict is no news


def test_a_destination_that_wants_more_than_before_gets_what_others_have_got_already(scene: Scene) -> None:
    other = scene.tmp_path / "other"
    flux, qwen = scene.outputs / "flux.safetensors", scene.outputs / "qwen.safetensors"
    save_in_place(flux, small_lora())
    save_in_place(qwen, lora_bytes(family="qwen_image"))
    daemon = scene.daemon(tables=scene.second_destination(other, 'families = ["flux.1"]'))
    with daemon:
        daemon.wait_for("delivery.delivered", count=3)
        (other / "flux.safetensors").unlink()  # a person did not want it there
        wider = scene.config(tables=scene.second_destination(other, 'families = ["flux.1", "qwen_image"]'))
        (scene.tmp_path / "lorawatch.toml").write_text(wider)
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("delivery.delivered", file=qwen, destination="other")
        assert daemon.stop() == 0
        assert len(daemon.of("file.accepted")) == 2  # nothing was read again
    assert names(other) == ["qwen.safetensors"]
    assert names(scene.loras) == ["flux.safetensors", "qwen.safetensors"]


def test_a_file_with_broken_weights_is_rejected_as_what_it_is(scene: Scene) -> None:
    layer = "transformer.transformer_blocks.0.attn.to_q"
    content = lora_bytes(
        tensors={
            f"{layer}.lora_A.weight": Tensor("F16", (4, 3072), b"\0\x7e" * (4 * 3072)),
            f"{layer}.lora_B.weight": Tensor("F16", (3072, 4)),
        }
    )
    with scene.daemon() as daemon:
        save_in_place(scene.outputs / "nan.safetensors", content)
        rejected = daemon.wait_for("file.rejected", code="nonfinite")
    assert rejected["kind"] == "lora"
    assert names(scene.loras) == []
