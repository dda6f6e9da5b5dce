"""The table of workflows: what a graph for each family of base models is made of. Data only; graph.py reads it.

Samplers, sizes and names of models are those of ComfyUI's own templates (github.com/Comfy-Org/workflow_templates,
July to November 2025 and their present form), named at each row. Of several rows of a family the first counts whose
models ComfyUI has. A new family is a new row, with its source.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lorawatch.workflows.models import ModelFile, Slot

_HUB = "https://huggingface.co"
_COMFY = f"{_HUB}/Comfy-Org"

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


_FLUX_VAE = Slot(
    "vae",
    (ModelFile("ae.safetensors", f"{_COMFY}/Lumina_Image_2.0_Repackaged/resolve/main/split_files/vae/ae.safetensors"),),
    like=r"^flux.*(vae|ae)$|^ae-",
)
_FLUX_MODEL = Slot(
    "diffusion_models",
    (ModelFile("flux1-dev.safetensors", f"{_COMFY}/flux1-dev/resolve/main/flux1-dev.safetensors"),),
    like=r"flux(-?1)?-(krea-)?dev",
    unlike=r"fill|canny|depth|redux|kontext|schnell|uso|control|inpaint|flux-?2",
)
_FLUX_CHECKPOINT = Slot(
    "checkpoints",
    (ModelFile("flux1-dev-fp8.safetensors", f"{_COMFY}/flux1-dev/resolve/main/flux1-dev-fp8.safetensors"),),
    like=_FLUX_MODEL.like,
    unlike=_FLUX_MODEL.unlike,
)
_CLIP_L = Slot(
    "text_encoders",
    (ModelFile("clip_l.safetensors", f"{_HUB}/comfyanonymous/flux_text_encoders/resolve/main/clip_l.safetensors"),),
    like=r"^(clip-l|vit-l)\b",
)
_T5_XXL = Slot(
    "text_encoders",
    tuple(
        ModelFile(name, f"{_HUB}/comfyanonymous/flux_text_encoders/resolve/main/{name}")
        for name in ("t5xxl_fp16.safetensors", "t5xxl_fp8_e4m3fn_scaled.safetensors", "t5xxl_fp8_e4m3fn.safetensors")
    ),
    like=r"^t5-?(v1-1-)?xxl",
    unlike=r"umt5|old",
)
_FLUX_SAMPLING = Sampling(steps=20, cfg=1.0, sampler="euler", scheduler="simple")

_QWEN_3_4B = Slot(
    "text_encoders",
    (
        ModelFile(
            "qwen_3_4b.safetensors",
            f"{_COMFY}/z_image_turbo/resolve/main/split_files/text_encoders/qwen_3_4b.safetensors",
        ),
    ),
    like=r"^qwen-?3-4b",
    unlike=r"vl",
)
_UMT5_XXL = Slot(
    "text_encoders",
    (
        ModelFile(
            "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
            f"{_COMFY}/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files/text_encoders"
            "/umt5_xxl_fp8_e4m3fn_scaled.safetensors",
        ),
    ),
    like=r"umt5-?xxl",
    unlike=r"enc",  # umt5-xxl-enc-…: for another program's loader
)


def _z_image(name: str, *, like: str, unlike: str) -> Slot:
    folder = name.removesuffix("_bf16.safetensors")
    file = ModelFile(name, f"{_COMFY}/{folder}/resolve/main/split_files/diffusion_models/{name}")
    return Slot("diffusion_models", (file,), like=like, unlike=unlike)


def _wan_2_2(noise: str) -> Slot:
    name = f"wan2.2_t2v_{noise}_noise_14B_fp8_scaled.safetensors"
    file = ModelFile(name, f"{_COMFY}/Wan_2.2_ComfyUI_Repackaged/resolve/main/split_files/diffusion_models/{name}")
    other = "low" if noise == "high" else "high"
    return Slot(
        "diffusion_models", (file,), like=rf"wan-?2-2.*t2v.*{noise}|wan-?2-2.*{noise}.*t2v", unlike=rf"i2v|{other}"
    )


RECIPES: tuple[Recipe, ...] = (
    Recipe(
        family="flux.1",
        source="flux_dev_full_text_to_image.json; its guidance of 3.5 is written out as a FluxGuidance node",
        models={"unet": _FLUX_MODEL, "clip": _CLIP_L, "clip_2": _T5_XXL, "vae": _FLUX_VAE},
        clip_type="flux",
        sampling=_FLUX_SAMPLING,
        latent="EmptySD3LatentImage",
        size=(1024, 1024),
        guidance=3.5,
    ),
    Recipe(
        family="flux.1",
        source="flux_dev_checkpoint_example.json, in its form with flux1-dev-fp8 as one checkpoint",
        models={"checkpoint": _FLUX_CHECKPOINT},
        sampling=_FLUX_SAMPLING,
        latent="EmptySD3LatentImage",
        size=(1024, 1024),
        guidance=3.5,
    ),
    Recipe(
        family="sdxl_1.0",
        source="image_sdxl_simple.json",
        models={
            "checkpoint": Slot(
                "checkpoints",
                (
                    ModelFile(
                        "sd_xl_base_1.0.safetensors",
                        f"{_HUB}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors",
                    ),
                ),
                like=r"sd-?xl",
                unlike=r"refiner|inpaint|turbo|lightning|hyper|lcm|vae",
            )
        },
        sampling=Sampling(steps=25, cfg=7.0, sampler="dpmpp_2m", scheduler="karras"),
        latent="EmptyLatentImage",
        size=(1024, 1024),
    ),
    Recipe(
        family="sd_1.5",
        source="the graph that ComfyUI opens with (ComfyUI_frontend, defaultGraph.ts); docs.comfy.org, text-to-image",
        models={
            "checkpoint": Slot(
                "checkpoints",
                (
                    ModelFile(
                        "v1-5-pruned-emaonly-fp16.safetensors",
                        f"{_COMFY}/stable-diffusion-v1-5-archive/resolve/main/v1-5-pruned-emaonly-fp16.safetensors",
                    ),
                ),
                like=r"\bv1-5\b|sd-?v?1-?5",
                unlike=r"inpaint|lcm|lightning|hyper|vae",
            )
        },
        sampling=Sampling(steps=20, cfg=8.0, sampler="euler", scheduler="normal"),
        latent="EmptyLatentImage",
        size=(512, 512),
    ),
    Recipe(
        family="zimage",
        source="image_z_image_turbo.json",
        models={
            "unet": _z_image(
                "z_image_turbo_bf16.safetensors", like=r"z-?image.*turbo", unlike=r"control|edit|distill|int8"
            ),
            "clip": _QWEN_3_4B,
            "vae": _FLUX_VAE,
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
            "unet": _z_image("z_image_bf16.safetensors", like=r"z-?image", unlike=r"turbo|control|edit|distill|int8"),
            "clip": _QWEN_3_4B,
            "vae": _FLUX_VAE,
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
            "unet": Slot(
                "diffusion_models",
                tuple(
                    ModelFile(name, f"{_COMFY}/Qwen-Image_ComfyUI/resolve/main/split_files/diffusion_models/{name}")
                    for name in (
                        "qwen_image_fp8_e4m3fn.safetensors",
                        "qwen_image_bf16.safetensors",
                        "qwen_image_2512_fp8_e4m3fn.safetensors",
                    )
                ),
                like=r"qwen-?image",
                unlike=r"edit|layered|control|lightning|distill|image-2-[01]|inpaint",
            ),
            "clip": Slot(
                "text_encoders",
                (
                    ModelFile(
                        "qwen_2.5_vl_7b_fp8_scaled.safetensors",
                        f"{_COMFY}/Qwen-Image_ComfyUI/resolve/main/split_files/text_encoders"
                        "/qwen_2.5_vl_7b_fp8_scaled.safetensors",
                    ),
                ),
                like=r"qwen-?2-5-vl-7b",
            ),
            "vae": Slot(
                "vae",
                (
                    ModelFile(
                        "qwen_image_vae.safetensors",
                        f"{_COMFY}/Qwen-Image_ComfyUI/resolve/main/split_files/vae/qwen_image_vae.safetensors",
                    ),
                ),
                like=r"qwen-?image-vae",
                unlike=r"layered|2-[01]",
            ),
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
            "unet": _wan_2_2("high"),
            "unet_low": _wan_2_2("low"),
            "clip": _UMT5_XXL,
            "vae": Slot(
                "vae",
                (
                    ModelFile(
                        "wan_2.1_vae.safetensors",
                        f"{_COMFY}/Wan_2.2_ComfyUI_Repackaged/resolve/main/split_files/vae/wan_2.1_vae.safetensors",
                    ),
                ),
                like=r"wan-?2-1-vae",
            ),
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
