"""A LoRA that is too large for the express lane: full fine-tunes and video models are."""

from lorawatch.engine.settings import SMALL_BYTES
from tests.factories import write_lora
from tests.scenes import Scene, scene

__all__ = ["scene"]


def test_a_lora_beyond_the_express_lane_s_limit_is_delivered_all_the_same(scene: Scene) -> None:
    with scene.daemon() as daemon:
        path = scene.outputs / "large.safetensors"
        write_lora(path, size_bytes=SMALL_BYTES + (32 << 20))
        assert path.stat().st_size >= SMALL_BYTES
        daemon.wait_for("delivery.delivered", file=path)
        assert (scene.loras / path.name).stat().st_size == path.stat().st_size
