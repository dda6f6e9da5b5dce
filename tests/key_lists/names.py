"""Turns diffusers' layer names into those of each model's own code.

`make_key_lists.py` uses it; `check_key_lists.py` lets diffusers' converters take the names back, so that a wrong rule
is noticed.
"""

import re

from tests.key_lists.rules import RULES

Shape = tuple[int, int, int]  # out features, in features, elements of the kernel (0: no convolution)
Layers = dict[str, Shape]


def original_layers(naming: str, layers: Layers) -> Layers:
    """Rename diffusers' layers to the model's own names; layers that get one name are fused into one."""
    result: Layers = {}
    for name, (outputs, inputs, kernel) in layers.items():
        new_name = _original_name(naming, name)
        before = result.get(new_name, (0, inputs, kernel))
        result[new_name] = (before[0] + outputs, inputs, kernel)
    if naming == "unet":
        return {_place_upsampler(name, result): shape for name, shape in result.items()}
    return result


def _original_name(naming: str, name: str) -> str:
    if naming == "unet":
        return _unet_name(name)
    for pattern, replacement in RULES[naming]:
        name = re.sub(pattern, replacement, name)
    return name


def _place_upsampler(name: str, layers: Layers) -> str:
    """The upsampler comes last in its entry: after the attention where there is one."""
    if ".UP." not in name:
        return name
    has_attention = any(other.startswith(name.partition("UP")[0] + "1.") for other in layers)
    return name.replace(".UP.", ".2." if has_attention else ".1.")


_RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}


def _unet_name(name: str) -> str:
    """Translate to the names of the original latent-diffusion UNet: three entries per block, counted through."""
    if name in _UNET_ENDS:
        return _UNET_ENDS[name]
    if match := re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)$", name):
        kind, index, rest = match.groups()
        return _unet_part("middle_block", 2 * int(index) + (kind == "attentions"), kind, rest)
    match = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)$", name)
    if match is None:
        raise ValueError(f"no rule for the UNet layer {name}")
    way, block, kind, index, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    if kind == "downsamplers":
        return f"input_blocks.{3 * block + 3}.0.op"
    if kind == "upsamplers":
        return f"output_blocks.{3 * block + 2}.UP.conv"
    stack = f"input_blocks.{3 * block + index + 1}" if way == "down" else f"output_blocks.{3 * block + index}"
    return _unet_part(stack, int(kind == "attentions"), kind, rest)


def _unet_part(stack: str, place: int, kind: str, rest: str) -> str:
    return f"{stack}.{place}.{_RESNET[rest] if kind == 'resnets' else rest}"
