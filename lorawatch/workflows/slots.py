"""The model files that the recipes need, with the names and the places that ComfyUI's own templates give them.

Data only; recipes.py puts them together. Addresses are those in the templates (github.com/Comfy-Org/workflow_templates)
and on docs.comfy.org.
"""

from lorawatch.workflows.models import ModelFile, Slot

_HUB = "https://huggingface.co"
_COMFY = f"{_HUB}/Comfy-Org"

FLUX_VAE = Slot(
    "vae",
    (ModelFile("ae.safetensors", f"{_COMFY}/Lumina_Image_2.0_Repackaged/resolve/main/split_files/vae/ae.safetensors"),),
    like=r"^flux.*(vae|ae)$|^ae-",
)
FLUX_MODEL = Slot(
    "diffusion_models",
    (ModelFile("flux1-dev.safetensors", f"{_COMFY}/flux1-dev/resolve/main/flux1-dev.safetensors"),),
    like=r"flux(-?1)?-(krea-)?dev",
    unlike=r"fill|canny|depth|redux|kontext|schnell|uso|control|inpaint|flux-?2",
)
FLUX_CHECKPOINT = Slot(
    "checkpoints",
    (ModelFile("flux1-dev-fp8.safetensors", f"{_COMFY}/flux1-dev/resolve/main/flux1-dev-fp8.safetensors"),),
    like=FLUX_MODEL.like,
    unlike=FLUX_MODEL.unlike,
)
CLIP_L = Slot(
    "text_encoders",
    (ModelFile("clip_l.safetensors", f"{_HUB}/comfyanonymous/flux_text_encoders/resolve/main/clip_l.safetensors"),),
    like=r"^(clip-l|vit-l)\b",
)
T5_XXL = Slot(
    "text_encoders",
    tuple(
        ModelFile(name, f"{_HUB}/comfyanonymous/flux_text_encoders/resolve/main/{name}")
        for name in ("t5xxl_fp16.safetensors", "t5xxl_fp8_e4m3fn_scaled.safetensors", "t5xxl_fp8_e4m3fn.safetensors")
    ),
    like=r"^t5-?(v1-1-)?xxl",
    unlike=r"umt5|old",
)

QWEN_3_4B = Slot(
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
UMT5_XXL = Slot(
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


SDXL_CHECKPOINT = Slot(
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
SD_1_5_CHECKPOINT = Slot(
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
QWEN_IMAGE_MODEL = Slot(
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
)
QWEN_2_5_VL_7B = Slot(
    "text_encoders",
    (
        ModelFile(
            "qwen_2.5_vl_7b_fp8_scaled.safetensors",
            f"{_COMFY}/Qwen-Image_ComfyUI/resolve/main/split_files/text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors",
        ),
    ),
    like=r"qwen-?2-5-vl-7b",
)
QWEN_IMAGE_VAE = Slot(
    "vae",
    (
        ModelFile(
            "qwen_image_vae.safetensors",
            f"{_COMFY}/Qwen-Image_ComfyUI/resolve/main/split_files/vae/qwen_image_vae.safetensors",
        ),
    ),
    like=r"qwen-?image-vae",
    unlike=r"layered|2-[01]",
)
WAN_VAE = Slot(
    "vae",
    (
        ModelFile(
            "wan_2.1_vae.safetensors",
            f"{_COMFY}/Wan_2.2_ComfyUI_Repackaged/resolve/main/split_files/vae/wan_2.1_vae.safetensors",
        ),
    ),
    like=r"wan-?2-1-vae",
)
Z_IMAGE_TURBO_MODEL = _z_image(
    "z_image_turbo_bf16.safetensors", like=r"z-?image.*turbo", unlike=r"control|edit|distill"
)
Z_IMAGE_MODEL = _z_image("z_image_bf16.safetensors", like=r"z-?image", unlike=r"turbo|control|edit|distill")
WAN_2_2_HIGH_MODEL = _wan_2_2("high")
WAN_2_2_LOW_MODEL = _wan_2_2("low")
