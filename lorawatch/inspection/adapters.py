"""Which layers an adapter changes, and their sizes, told from the names and shapes of its tensors.

`families.py` calls it for every file; pure. It knows the prefixes that ComfyUI maps and the tensors of LoRA, DoRA,
LoHa, LoKr and full differences; it never judges whether they belong together.
"""

import re
from collections.abc import Mapping
from math import prod

from lorawatch.inspection.keys import usual_name

Shape = tuple[int, ...]
Sizes = tuple[int | None, int | None]  # outputs, inputs; None: the file does not tell

# PEFT wraps whatever it saved: base_model.model.transformer.…; transformer_2 is the second expert of Wan 2.2. pipe.dit
# is DiffSynth's, net the Cosmos code's, Hunyuan_video_I2V_lora_ its own trainer's, and VideoX-Fun writes lora_unet__.
_PREFIX = re.compile(
    r"(?:base_model\.model\.)?"
    r"(?:model\.diffusion_model\.|diffusion_model\.|transformer\.|transformer_2\.|unet\.|pipe\.(?:dit|unet)\.|dit\.|net\."
    r"|lora_unet__?|lora_transformer_|lora_prior_unet_|lycoris_|Hunyuan_video_I2V_lora_)?"
)
_DOWN = frozenset({"lora_A", "lora_down"})
_UP = frozenset({"lora_B", "lora_up"})
# A difference of one of these is no layer's: they are parameters of their own.
_NO_LAYERS = ("modulation", "scale_shift_table", "_token", "linear1_qkv")
_OLD_DIFFUSERS = re.compile(r"[._]lora(?:_linear_layer)?$")
_FACTORS = frozenset(
    {f"hada_w{half}_{side}" for half in "12" for side in "ab"}
    | {"hada_t1", "hada_t2", "lokr_t2", "lokr_w1", "lokr_w2"}
    | {f"lokr_w{half}_{side}" for half in "12" for side in "ab"}
)


def adapted_layers(shapes: Mapping[str, Shape]) -> dict[str, Sizes]:
    """Return each layer's name, without prefix and with "_" for ".", and its sizes.

    Tensors that tell nothing about sizes (alpha, DoRA scales, biases, norms) and unknown ones are left out.
    """
    layers: dict[str, dict[str, Shape]] = {}
    for key, shape in shapes.items():
        layer, _, role = usual_name(key).rpartition(".")
        if role == "weight":
            layer, role = _weight(layer)
        elif role in _DOWN or role in _UP:  # Mochi's own trainer leaves the last word out
            role = "down" if role in _DOWN else "up"
        if layer.endswith(_NO_LAYERS):
            continue
        if role in _FACTORS or (role in {"down", "up"}) or (role in {"diff", "weight"} and len(shape) > 1):
            layers.setdefault(layer, {})[role] = shape
    return {_name(layer): _sizes(tensors) for layer, tensors in layers.items()}


def _weight(stem: str) -> tuple[str, str]:
    """Split what stands before `.weight` into the layer and the role of this tensor in it."""
    layer, _, role = stem.rpartition(".")
    if role not in _DOWN and role not in _UP:
        before, _, adapter = layer.rpartition(".")
        if adapter in _DOWN or adapter in _UP:  # peft with the adapter's name: lora_A.default.weight
            layer, role = before, adapter
        elif role in {"down", "up"} and (found := _OLD_DIFFUSERS.search(layer)):  # to_q_lora.down, to_q.lora.down
            return layer[: found.start()], role
        else:
            return (layer, "lora_mid") if role in {"lora_mid", "lora_magnitude_vector"} else (stem, "weight")
    return layer, "down" if role in _DOWN else "up"


def _name(layer: str) -> str:
    if ".processor." in layer:  # diffusers before peft hung its LoRA on the attention processor
        layer = layer.replace(".processor.to_out", ".to_out.0").replace(".processor.", ".")
    match = _PREFIX.match(layer)
    return (layer[match.end() :] if match else layer).replace(".", "_")


def _sizes(tensors: dict[str, Shape]) -> Sizes:
    if "down" in tensors or "up" in tensors:
        down, up = tensors.get("down", ()), tensors.get("up", ())
        return (up[0] if up else None, down[1] if len(down) > 1 else None)
    if whole := tensors.get("diff") or tensors.get("weight"):
        return whole[0], whole[1]
    if "hada_w1_a" in tensors or "hada_w1_b" in tensors:
        return _product(tensors.get("hada_w1_a"), tensors.get("hada_w1_b"), is_tucker="hada_t1" in tensors)
    first = _factor(tensors, "lokr_w1")
    second = _factor(tensors, "lokr_w2")
    outputs = first[0] * second[0] if first[0] and second[0] else None
    return outputs, first[1] * second[1] if first[1] and second[1] else None


def _factor(tensors: dict[str, Shape], name: str) -> Sizes:
    """Return the sizes of one factor of a Kronecker product, given whole or as a product itself."""
    if (whole := tensors.get(name)) and len(whole) > 1:
        return whole[0], whole[1]
    return _product(
        tensors.get(f"{name}_a"), tensors.get(f"{name}_b"), is_tucker="lokr_t2" in tensors and name == "lokr_w2"
    )


def _product(left: Shape | None, right: Shape | None, *, is_tucker: bool) -> Sizes:
    """Return outputs and inputs of left @ right.

    LyCORIS flattens a convolution's kernel into the inputs; with a Tucker core the left matrix is transposed.
    """
    outputs = None if not left or len(left) < 2 else left[1 if is_tucker else 0]
    return outputs, prod(right[1:]) if right and len(right) > 1 else None
