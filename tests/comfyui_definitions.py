"""The nodes that our workflows use, as ComfyUI defines them: what each takes, and what it gives.

Recorded from ComfyUI's nodes.py (commit 02217e36) and comfy_extras/nodes_{flux,sd3,model_advanced,hunyuan,video}.py,
November 2026; the same in 0.3.64 where not said otherwise. Required inputs only; of what is optional nothing is used,
but `codec` of SaveVideo, which was required before it became part of `format`.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Number:
    """A whole number or a float, within limits."""

    least: float
    most: float
    is_whole: bool = False


@dataclass(frozen=True)
class File:
    """A name of the list of this folder."""

    folder: str


@dataclass(frozen=True)
class NodeDefinition:
    """`inputs`: the type of a link, a Number, "STRING", a File, or the tuple of what may be chosen."""

    inputs: Mapping[str, object]
    outputs: tuple[str, ...] = ()
    is_output: bool = False


_RESOLUTION = 16384
_SEED = Number(0, 0xFFFFFFFFFFFFFFFF, is_whole=True)
_STRENGTH = Number(-100, 100)  # -20 to 20 in earlier versions
_STEPS = Number(1, 10000, is_whole=True)
_AT_STEP = Number(0, 10000, is_whole=True)
_CFG = Number(0, 100)
_SHIFT = Number(0, 100)
_SIDE = Number(16, _RESOLUTION, is_whole=True)
_BATCH = Number(1, 4096, is_whole=True)
# comfy/samplers.py: KSampler.SAMPLERS and SCHEDULERS, those that every version has.
_SAMPLERS = (
    "euler", "euler_ancestral", "heun", "dpm_2", "lms", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m", "dpmpp_2m_sde",
    "ddpm", "lcm", "ipndm", "deis", "res_multistep", "ddim", "uni_pc",
)  # fmt: skip
_SCHEDULERS = ("simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "kl_optimal")
_CLIP_TYPES = (
    "stable_diffusion", "stable_cascade", "sd3", "stable_audio", "mochi", "ltxv", "pixart", "cosmos", "lumina2", "wan",
    "hidream", "chroma", "ace", "omnigen2", "qwen_image", "hunyuan_image",
)  # fmt: skip
_LATENT = {"width": _SIDE, "height": _SIDE, "batch_size": _BATCH}

NODES: Mapping[str, NodeDefinition] = {
    "CheckpointLoaderSimple": NodeDefinition({"ckpt_name": File("checkpoints")}, ("MODEL", "CLIP", "VAE")),
    "UNETLoader": NodeDefinition(
        {
            "unet_name": File("diffusion_models"),
            "weight_dtype": ("default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"),
        },
        ("MODEL",),
    ),
    "CLIPLoader": NodeDefinition({"clip_name": File("text_encoders"), "type": _CLIP_TYPES}, ("CLIP",)),
    "DualCLIPLoader": NodeDefinition(
        {
            "clip_name1": File("text_encoders"),
            "clip_name2": File("text_encoders"),
            "type": ("sdxl", "sd3", "flux", "hunyuan_video", "hidream", "hunyuan_image"),
        },
        ("CLIP",),
    ),
    "VAELoader": NodeDefinition({"vae_name": File("vae")}, ("VAE",)),
    "LoraLoader": NodeDefinition(
        {
            "model": "MODEL",
            "clip": "CLIP",
            "lora_name": File("loras"),
            "strength_model": _STRENGTH,
            "strength_clip": _STRENGTH,
        },
        ("MODEL", "CLIP"),
    ),
    "LoraLoaderModelOnly": NodeDefinition(
        {"model": "MODEL", "lora_name": File("loras"), "strength_model": _STRENGTH}, ("MODEL",)
    ),
    "ModelSamplingAuraFlow": NodeDefinition({"model": "MODEL", "shift": _SHIFT}, ("MODEL",)),
    "ModelSamplingSD3": NodeDefinition({"model": "MODEL", "shift": _SHIFT}, ("MODEL",)),
    "CLIPTextEncode": NodeDefinition({"text": "STRING", "clip": "CLIP"}, ("CONDITIONING",)),
    "FluxGuidance": NodeDefinition({"conditioning": "CONDITIONING", "guidance": Number(0, 100)}, ("CONDITIONING",)),
    "EmptyLatentImage": NodeDefinition(_LATENT, ("LATENT",)),
    "EmptySD3LatentImage": NodeDefinition(_LATENT, ("LATENT",)),
    "EmptyHunyuanLatentVideo": NodeDefinition(
        {**_LATENT, "length": Number(1, _RESOLUTION, is_whole=True)}, ("LATENT",)
    ),
    "KSampler": NodeDefinition(
        {
            "model": "MODEL",
            "seed": _SEED,
            "steps": _STEPS,
            "cfg": _CFG,
            "sampler_name": _SAMPLERS,
            "scheduler": _SCHEDULERS,
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "latent_image": "LATENT",
            "denoise": Number(0, 1),
        },
        ("LATENT",),
    ),
    "KSamplerAdvanced": NodeDefinition(
        {
            "model": "MODEL",
            "add_noise": ("enable", "disable"),
            "noise_seed": _SEED,
            "steps": _STEPS,
            "cfg": _CFG,
            "sampler_name": _SAMPLERS,
            "scheduler": _SCHEDULERS,
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "latent_image": "LATENT",
            "start_at_step": _AT_STEP,
            "end_at_step": _AT_STEP,
            "return_with_leftover_noise": ("disable", "enable"),
        },
        ("LATENT",),
    ),
    "VAEDecode": NodeDefinition({"samples": "LATENT", "vae": "VAE"}, ("IMAGE",)),
    "SaveImage": NodeDefinition({"images": "IMAGE", "filename_prefix": "STRING"}, is_output=True),
    "CreateVideo": NodeDefinition({"images": "IMAGE", "fps": Number(1, 120)}, ("VIDEO",)),
    "SaveVideo": NodeDefinition(
        {"video": "VIDEO", "filename_prefix": "STRING", "format": ("auto", "mp4"), "codec": ("auto", "h264")},
        is_output=True,
    ),
}
