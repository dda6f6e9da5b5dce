"""The table of workflows: what a graph for each family of base models is made of. Data only; graph.py reads it.

Samplers, sizes and names of models are those of ComfyUI's own templates (github.com/Comfy-Org/workflow_templates, as
of its package comfyui-workflow-templates-json 0.1.123), named at each row. Of several rows of a family the first whose
models ComfyUI has counts. A new family is a new row, with its source.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lorawatch.workflows.models import Slot
from lorawatch.workflows.slots import (
    CLIP_L,
    FLUX_CHECKPOINT,
    FLUX_MODEL,
    FLUX_VAE,
    QWEN_2_5_VL_7B,
    QWEN_3_4B,
    QWEN_IMAGE_MODEL,
    QWEN_IMAGE_VAE,
    SD_1_5_CHECKPOINT,
    SDXL_CHECKPOINT,
    T5_XXL,
    UMT5_XXL,
    WAN_2_2_HIGH_MODEL,
    WAN_2_2_LOW_MODEL,
    WAN_VAE,
    Z_IMAGE_MODEL,
    Z_IMAGE_TURBO_MODEL,
)

# For each role of a model the node that loads it, and the input in which that node names the file.
LOADERS: Mapping[str, tuple[str, str]] = {
    "checkpoint": ("CheckpointLoaderSimple", "ckpt_name"),
    "unet": ("UNETLoader", "unet_name"),
    "unet_low": ("UNETLoader", "unet_name"),
    "clip": ("CLIPLoader", "clip_name"),
    "clip_2": ("CLIPLoader", "clip_name"),
    "vae": ("VAELoader", "vae_name"),
}


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a picture is drawn out of the noise."""

    steps: int
    cfg: float  # 1.0: the negative prompt has no effect
    sampler: str
    scheduler: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """One graph. `models` holds a checkpoint, or the parts: unet (and unet_low), clip (and clip_2), vae."""

    family: str
    source: str
    models: Mapping[str, Slot]
    sampling: Sampling
    latent: str  # the class of the node that makes the empty latent
    size: tuple[int, int]  # in pixels
    clip_type: str = ""
    guidance: float | None = None  # of FluxGuidance
    shift: tuple[str, float] | None = None  # the class of the node that shifts the noise schedule, and its value
    frames: int | None = None  # of a video
    frames_per_second: float = 16.0

    @property
    def is_video(self) -> bool:
        """Whether it makes a video instead of a picture."""
        return self.frames is not None

    @property
    def has_experts(self) -> bool:
        """Whether one model draws the first half and another one the second."""
        return "unet_low" in self.models

    @property
    def main_model(self) -> str:
        """The role of the model that the LoRA changes."""
        return "checkpoint" if "checkpoint" in self.models else "unet"


_FLUX_SAMPLING = Sampling(steps=20, cfg=1.0, sampler="euler", scheduler="simple")

RECIPES: tuple[Recipe, ...] = (
    Recipe(
        family="flux.1",
        source="flux_dev_full_text_to_image.json; its guidance of 3.5 is written out as a FluxGuidance node",
        models={"unet": FLUX_MODEL, "clip": CLIP_L, "clip_2": T5_XXL, "vae": FLUX_VAE},
        clip_type="flux",
        sampling=_FLUX_SAMPLING,
        latent="EmptySD3LatentImage",
        size=(1024, 1024),
        guidance=3.5,
    ),
    Recipe(
        family="flux.1",
        source="flux_dev_checkpoint_example.json, in its form with flux1-dev-fp8 as one checkpoint",
        models={"checkpoint": FLUX_CHECKPOINT},
        sampling=_FLUX_SAMPLING,
        latent="EmptySD3LatentImage",
        size=(1024, 1024),
        guidance=3.5,
    ),
    Recipe(
        family="sdxl_1.0",
        source="image_sdxl_simple.json",
        models={"checkpoint": SDXL_CHECKPOINT},
        sampling=Sampling(steps=25, cfg=7.0, sampler="dpmpp_2m", scheduler="karras"),
        latent="EmptyLatentImage",
        size=(1024, 1024),
    ),
    Recipe(
        family="sd_1.5",
        source="the graph that ComfyUI opens with (ComfyUI_frontend, defaultGraph.ts); docs.comfy.org, text-to-image",
        models={"checkpoint": SD_1_5_CHECKPOINT},
        sampling=Sampling(steps=20, cfg=8.0, sampler="euler", scheduler="normal"),
        latent="EmptyLatentImage",
        size=(512, 512),
    ),
    Recipe(
        family="zimage",
        source="image_z_image_turbo.json",
        models={
            "unet": Z_IMAGE_TURBO_MODEL,
            "clip": QWEN_3_4B,
            "vae": FLUX_VAE,
        },
        clip_type="lumina2",
        sampling=Sampling(steps=8, cfg=1.0, sampler="res_multistep", scheduler="simple"),
        latent="EmptySD3LatentImage",
        size=(1024, 1024),
        shift=("ModelSamplingAuraFlow", 3.0),
    ),
    Recipe(
        family="zimage",
        source="image_z_image.json",
        models={
            "unet": Z_IMAGE_MODEL,
            "clip": QWEN_3_4B,
            "vae": FLUX_VAE,
        },
        clip_type="lumina2",
        sampling=Sampling(steps=25, cfg=4.0, sampler="res_multistep", scheduler="simple"),
        latent="EmptySD3LatentImage",
        size=(1024, 1024),
        shift=("ModelSamplingAuraFlow", 3.0),
    ),
    Recipe(
        family="qwen_image",
        source="image_qwen_image.json, without its Lightning LoRA",
        models={
            "unet": QWEN_IMAGE_MODEL,
            "clip": QWEN_2_5_VL_7B,
            "vae": QWEN_IMAGE_VAE,
        },
        clip_type="qwen_image",
        sampling=Sampling(steps=20, cfg=4.0, sampler="euler", scheduler="simple"),
        latent="EmptySD3LatentImage",
        size=(1328, 1328),
        shift=("ModelSamplingAuraFlow", 3.1),
    ),
    Recipe(
        family="wan_2.2_14b",
        source="video_wan2_2_14B_t2v.json, without its Lightning LoRAs",
        models={
            "unet": WAN_2_2_HIGH_MODEL,
            "unet_low": WAN_2_2_LOW_MODEL,
            "clip": UMT5_XXL,
            "vae": WAN_VAE,
        },
        clip_type="wan",
        sampling=Sampling(steps=20, cfg=3.5, sampler="euler", scheduler="simple"),
        latent="EmptyHunyuanLatentVideo",
        size=(640, 640),
        shift=("ModelSamplingSD3", 5.0),
        frames=81,
    ),
)
FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(recipe.family for recipe in RECIPES))


def recipes_for(family: str) -> tuple[Recipe, ...]:
    """Return the recipes of a family, the best first; none if there is no graph for it."""
    return tuple(recipe for recipe in RECIPES if recipe.family == family)
