"""The styles in which LoRAs are found in the wild: each is a LoRA to us, and never of a wrong family.

The layers are those of the key lists; the names follow the trainer that is named beside each style.
"""

import re
from collections.abc import Callable, Mapping

import pytest

from lorawatch.domain.model import Facts
from tests.key_lists.patterns import read_key_lists
from tests.unit.test_inspection_facts import facts

Shapes = Mapping[str, tuple[int, ...]]
KEY_LISTS = {key_list.name: key_list.shapes for key_list in read_key_lists()}


def renamed(key_list: str, *rules: tuple[str, str | Callable[[re.Match[str]], str]]) -> dict[str, tuple[int, ...]]:
    """Return the tensors of a key list under other names."""
    shapes: dict[str, tuple[int, ...]] = {}
    for key, shape in KEY_LISTS[key_list].items():
        name = key
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        shapes[name] = shape
    return shapes


def only(key_list: str, beginning: str) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in KEY_LISTS[key_list].items() if name.startswith(beginning)}


def pair(layer: str, rank: int, outputs: int, inputs: int, *, down: str, up: str) -> dict[str, tuple[int, ...]]:
    return {f"{layer}.{down}.weight": (rank, inputs), f"{layer}.{up}.weight": (outputs, rank)}


def xlabs(layer: str, number: int, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return pair(f"{layer.format(number)}", 16, outputs, inputs, down="down", up="up")


XLABS: Shapes = {
    name: shape
    for number in range(19)
    for stream in "12"
    for part, outputs in (("qkv", 9216), ("proj", 3072))
    for name, shape in xlabs(f"double_blocks.{{}}.processor.{part}_lora{stream}", number, outputs, 3072).items()
}
USO: Shapes = {
    **XLABS,
    **{
        name: shape
        for number in range(38)
        for part, outputs, inputs in (("qkv", 9216, 3072), ("proj", 3072, 15360))
        for name, shape in xlabs(f"single_blocks.{{}}.processor.{part}_lora", number, outputs, inputs).items()
    },
}
OLD_DIFFUSERS_TEXT: Shapes = {
    name: shape
    for number in range(12)
    for part in ("q_proj", "k_proj", "v_proj", "out_proj")
    for name, shape in pair(
        f"text_encoder.text_model.encoder.layers.{number}.self_attn.{part}.lora_linear_layer",
        4,
        768,
        768,
        down="down",
        up="up",
    ).items()
}
FIRST_TEXT_ENCODER = only("sdxl-kohya-attention-and-text-encoders", "lora_te1")


def underscored(key_list: str, prefix: str) -> dict[str, tuple[int, ...]]:
    """Return a list of PEFT in kohya's manner: underscores for dots, lora_down and lora_up, an alpha for each layer."""
    shapes: dict[str, tuple[int, ...]] = {}
    for key, shape in KEY_LISTS[key_list].items():
        layer, _, end = key.partition(".")[2].rpartition(".lora_")
        name = f"{prefix}{layer.replace('.', '_')}"
        shapes |= {f"{name}.lora_{'down' if end[0] == 'A' else 'up'}.weight": shape, f"{name}.alpha": ()}
    return shapes


WAN_5B_WITH_NORMS: Shapes = {
    **KEY_LISTS["wan22-5b-comfyui-blocks"],
    **{
        f"diffusion_model.blocks.{number}.{part}": shape
        for number in range(30)
        for part, shape in {"norm3.diff": (3072,), "norm3.diff_b": (3072,), "modulation.diff": (1, 6, 3072)}.items()
    },
}
CONTROL: Shapes = {
    **renamed("flux1-comfyui-blocks", (r"^diffusion_model\.", "")),
    **pair("img_in", 128, 3072, 128, down="lora_A", up="lora_B"),
    "img_in.lora_B.bias": (3072,),
    **{f"single_blocks.{number}.norm.key_norm.scale": (128,) for number in range(38)},
}

# (who writes it, tensors, family, families)
STYLES: list[tuple[str, Shapes, str | None, tuple[str, ...]]] = [
    ("XLabs, Flux, double blocks", XLABS, None, ("chroma", "flux.1", "hunyuan_video")),
    ("USO, Flux", USO, None, ("chroma", "flux.1")),
    ("BFL's control LoRA: its img_in takes a second image", CONTROL, "flux.1", ()),
    (
        "VideoX-Fun, Wan 2.1",
        renamed("wan21-14b-kohya-linear", ("^lora_unet_", "lora_unet__")),
        None,
        ("wan_2.1", "wan_2.2_14b"),
    ),
    ("extracted, with norms and modulation", WAN_5B_WITH_NORMS, "wan_2.2_5b", ()),
    (
        "DiffSynth",
        renamed("wan22-5b-comfyui-blocks", (r"^diffusion_model\.", ""), (r"(lora_[AB])", r"\1.default")),
        "wan_2.2_5b",
        (),
    ),
    ("DiffSynth, older", renamed("wan22-5b-comfyui-blocks", (r"^diffusion_model\.", "pipe.dit.")), "wan_2.2_5b", ()),
    ("Mochi's own trainer", renamed("mochi-diffusers-blocks", (r"\.weight$", "")), "mochi", ()),
    (
        "HunyuanVideo-I2V's own trainer",
        renamed("hunyuan-video-kohya-linear", ("^lora_unet_", "Hunyuan_video_I2V_lora_")),
        "hunyuan_video",
        (),
    ),
    ("OneTrainer, Flux", underscored("flux1-diffusers-blocks", "lora_transformer_"), "flux.1", ()),
    (
        "OneTrainer, Flux attention, text encoder and an embedding",
        {
            **underscored("flux1-diffusers-attention", "lora_transformer_"),
            **FIRST_TEXT_ENCODER,
            "bundle_emb.cat.clip_l": (4, 768),
        },
        "flux.1",
        (),
    ),
    (
        "OneTrainer, OMI",
        {
            **KEY_LISTS["flux1-diffusers-blocks"],
            **renamed("sdxl-kohya-attention-and-text-encoders", ("^lora_unet_.*", ""), ("^lora_te._", "clip_l.")),
        },
        "flux.1",
        (),
    ),
    ("OneTrainer, SDXL", underscored("sdxl-diffusers-blocks", "lora_unet_"), None, ("kolors", "sdxl_1.0")),
    (
        "OneTrainer, SDXL with text encoders",
        {**underscored("sdxl-diffusers-blocks", "lora_unet_"), **FIRST_TEXT_ENCODER},
        "sdxl_1.0",
        (),
    ),
    ("SD 1.5, text encoder alone", only("sd15-kohya-attention-and-text-encoders", "lora_te"), "sd_1.5", ()),
    (
        "SDXL, text encoders alone",
        only("sdxl-kohya-attention-and-text-encoders", "lora_te"),
        None,
        ("sd_3", "sdxl_1.0"),
    ),
    ("one CLIP alone", FIRST_TEXT_ENCODER, None, ("flux.1", "sd_3", "sdxl_1.0")),
    ("diffusers before PEFT, text encoder alone", OLD_DIFFUSERS_TEXT, None, ("flux.1", "sd_1.5", "sd_3", "sdxl_1.0")),
]


def dora(shapes: Shapes) -> Shapes:
    scales = {
        f"{name.rpartition('.lora_')[0]}.dora_scale": (shape[0], 1)
        for name, shape in shapes.items()
        if re.search(r"\.lora_(?:B|up)\.weight$", name)
    }
    return {**shapes, **scales}


@pytest.mark.parametrize(("shapes", "family", "families"), [style[1:] for style in STYLES], ids=[s[0] for s in STYLES])
def test_each_style_is_a_lora_of_its_family_or_of_one_that_has_the_same_layers(
    shapes: Shapes, family: str | None, families: tuple[str, ...]
) -> None:
    found = facts({name: shape for name, shape in shapes.items() if name})
    assert (found.kind, found.algorithm, found.family, found.families) == ("lora", "lora", family, families)
    assert found.findings == ()
    assert found.rank is not None


@pytest.mark.parametrize(
    "name",
    [name for name in KEY_LISTS if re.search(r"(sdxl|sd15|flux1|qwen-image|z-image|wan22-14b)-(?!lycoris)", name)],
)
def test_dora_changes_nothing_in_the_family(name: str) -> None:
    plain, with_scales = facts(KEY_LISTS[name]), facts(dora(KEY_LISTS[name]))
    assert with_scales.algorithm == "dora"
    assert (with_scales.family, with_scales.families) == (plain.family, plain.families)


@pytest.mark.parametrize(
    ("parts", "algorithm"), [(("oft_blocks",), "oft"), (("a1.weight", "a2.weight", "b1.weight", "b2.weight"), None)]
)
def test_what_only_the_trainers_names_show_to_be_a_lora_is_one(parts: tuple[str, ...], algorithm: str | None) -> None:
    layers = {name.partition(".")[0] for name in KEY_LISTS["sdxl-kohya-attention"]}
    found = facts({f"{layer}.{part}": (4, 8, 8) for layer in layers for part in parts})
    assert (found.kind, found.algorithm) == ("lora", algorithm)


def said(key_list: str, **metadata: str) -> Facts:
    return facts(KEY_LISTS[key_list], {key.replace("__", "."): value for key, value in metadata.items()})


@pytest.mark.parametrize(
    ("key_list", "metadata", "family"),
    [
        # OneTrainer: resources/sd_model_spec, and what it adds for A1111
        ("sdxl-diffusers-blocks", {"ss_base_model_version": "sdxl_"}, "sdxl_1.0"),
        (
            "sdxl-diffusers-blocks",
            {
                "ss_base_model_version": "sdxl_",
                "modelspec__architecture": "stable-diffusion-xl-v1-base-inpainting/lora",
            },
            "sdxl_1.0",
        ),
        ("sd15-diffusers-blocks", {"modelspec__architecture": "stable-diffusion-v1-inpainting/lora"}, "sd_1.5"),
        ("sd21-diffusers-blocks", {"modelspec__architecture": "stable-diffusion-v2/lora"}, "sd_2.1"),
        ("sd3-medium-diffusers-blocks", {"modelspec__architecture": "stable-diffusion-v3-medium/lora"}, "sd_3"),
        ("sd35-medium-diffusers-blocks", {"modelspec__architecture": "stable-diffusion-v3.5/lora"}, "sd_3"),
        ("flux1-diffusers-attention", {"modelspec__architecture": "Flux.1-dev/lora"}, "flux.1"),
        ("flux1-diffusers-attention", {"modelspec__architecture": "Flux.1-fill-dev/lora"}, "flux.1"),
        ("flux2-klein-4b-diffusers-blocks", {"modelspec__architecture": "Flux.2/lora"}, "flux2_klein_4b"),
        ("flux2-dev-diffusers-blocks", {"modelspec__architecture": "Flux.2-dev/lora"}, "flux2"),
        ("chroma-diffusers-attention", {"modelspec__architecture": "Chroma1/lora"}, "chroma"),
        ("krea2-diffusers-attention", {"modelspec__architecture": "Krea-2/lora"}, "krea2"),
        ("anima-diffusers-attention", {"modelspec__architecture": "Anima/lora"}, "anima"),
        # sd-scripts and musubi-tuner
        ("sdxl-kohya-attention", {"ss_base_model_version": "sdxl_base_v1-0"}, "sdxl_1.0"),
        ("flux1-kohya-linear", {"ss_base_model_version": "flux_kontext"}, "flux.1_kontext"),
        ("hunyuan-image-diffusers-blocks", {"modelspec__architecture": "hunyuan-image-2.1/lora"}, "hunyuan_image"),
        ("hunyuan-video-1.5-diffusers-blocks", {"ss_base_model_version": "hunyuan_video_1_5"}, "hunyuan_video_1.5"),
        ("qwen-image-kohya-linear", {"modelspec__architecture": "Qwen-Image-Edit-2511/lora"}, "qwen_image"),
        ("z-image-kohya-linear", {"ss_base_model_version": "z_image"}, "zimage"),
        ("wan22-5b-kohya-linear", {"ss_base_model_version": "wan"}, "wan_2.2_5b"),
        # AI Toolkit
        ("sdxl-diffusers-attention", {"ss_base_model_version": "sdxl_1.0"}, "sdxl_1.0"),
        ("wan22-14b-comfyui-blocks", {"ss_base_model_version": "wan_2.2_14b"}, "wan_2.2_14b"),
        ("ssd-diffusers-attention", {"ss_base_model_version": "ssd"}, "ssd"),
    ],
)
def test_what_trainers_say_is_brought_to_one_name_and_agrees_with_the_layers(
    key_list: str, metadata: dict[str, str], family: str
) -> None:
    found = said(key_list, **metadata)
    assert (found.family, found.findings) == (family, ())


@pytest.mark.parametrize(
    ("version", "software"),
    [("flux1", "sd-scripts"), ("sdxl_base_v1-0", "sd-scripts"), ("wan", "musubi-tuner"), ("z_image", "musubi-tuner")],
)
def test_the_two_trainers_of_kohya_are_told_apart(version: str, software: str) -> None:
    found = said("sd15-kohya-attention", ss_network_module="networks.lora", ss_base_model_version=version)
    assert found.software == software
