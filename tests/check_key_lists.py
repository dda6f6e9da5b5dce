"""Lets diffusers' own converters take the original names back, and compares: `python -m tests.check_key_lists`.

A developer runs it by hand in the environment that make_key_lists.py describes. It answers whether the naming rules
in key_lists/rules.py are those of the real world: a LoRA in a model's own names must come out of diffusers' LoRA
converter with exactly the names and sizes that peft gives. For Z-Image and AuraFlow the converter of whole checkpoints
answers; models that have neither, or whose checkpoint converter wants the norms too, are named as unchecked.
"""

import importlib
import sys

from tests.key_lists.model import Model
from tests.key_lists.names import Layers, original_layers
from tests.key_lists.neighbours import NEIGHBOURS
from tests.make_key_lists import MODELS, TARGETS, build, layers_of

RANK = 6  # divisible by 2 and 3: converters that split fused layers ask for it
# naming → the converter's name and how it wants the keys: prefix and suffixes
CONVERTERS = {
    "flux": ("_convert_kohya_flux_lora_to_diffusers", "lora_unet_", "lora_down", "lora_up"),
    "flux2": ("_convert_non_diffusers_flux2_lora_to_diffusers", "diffusion_model.", "lora_A", "lora_B"),
    "lumina2": ("_convert_non_diffusers_lumina2_lora_to_diffusers", "diffusion_model.", "lora_A", "lora_B"),
    "wan": ("_convert_non_diffusers_wan_lora_to_diffusers", "diffusion_model.", "lora_A", "lora_B"),
    "ltx": ("_convert_non_diffusers_ltxv_lora_to_diffusers", "diffusion_model.", "lora_A", "lora_B"),
    "ltx2": ("_convert_non_diffusers_ltx2_lora_to_diffusers", "diffusion_model.", "lora_A", "lora_B"),
    "hunyuan": ("_convert_hunyuan_video_lora_to_diffusers", "", "lora_A", "lora_B"),
    "cosmos": ("_convert_non_diffusers_anima_lora_to_diffusers", "diffusion_model.", "lora_A", "lora_B"),
    "krea2": ("_convert_non_diffusers_krea2_lora_to_diffusers", "diffusion_model.", "lora_A", "lora_B"),
    "ideogram4": ("_convert_non_diffusers_ideogram4_lora_to_diffusers", "diffusion_model.", "lora_A", "lora_B"),
}


# These checkpoint converters take the weights of the layers alone, with what AuraFlow's asks for besides.
CHECKPOINTS = {
    "zimage": ("convert_z_image_transformer_checkpoint_to_diffusers", ()),
    "auraflow": ("convert_auraflow_transformer_checkpoint_to_diffusers", ("positional_encoding", "init_x_linear.bias")),
}


def checkpoint_differences(model: Model) -> set[tuple[str, tuple[int, ...]]]:
    """Return the (name, shape) pairs in which the checkpoint converter's answer and the model differ."""
    torch = importlib.import_module("torch")
    converter, extras = CHECKPOINTS[model.naming]
    layers = _trained(layers_of(build(model)))
    tensors = {
        f"{name}.weight": torch.ones(outputs, inputs, device="meta")
        for name, (outputs, inputs, _) in original_layers(model.naming, layers).items()
    }
    tensors |= {name: torch.ones(1, device="meta") for name in extras}
    tensors.setdefault("init_x_linear.weight", torch.ones(1, device="meta"))
    answer = getattr(importlib.import_module("diffusers.loaders.single_file_utils"), converter)(tensors)
    got = {
        (key, tuple(tensor.shape))
        for key, tensor in answer.items()
        if _trained({key: (0, 0, 0)}) and tensor is not None
    }
    return got ^ {(f"{name}.weight", (outputs, inputs)) for name, (outputs, inputs, _) in layers.items()}


def differences(model: Model) -> set[tuple[str, tuple[int, ...]]]:
    """Return the (name, shape) pairs in which the converter's answer and peft's form differ."""
    torch = importlib.import_module("torch")
    converter, prefix, down, up = CONVERTERS[model.naming]
    layers = _trained(layers_of(build(model)))
    tensors = {}
    for name, (outputs, inputs, _) in original_layers(model.naming, layers).items():
        key = prefix + (name.replace(".", "_") if prefix == "lora_unet_" else name)
        tensors[f"{key}.{down}.weight"] = torch.ones(RANK, inputs, dtype=torch.bfloat16)
        tensors[f"{key}.{up}.weight"] = torch.ones(outputs, RANK, dtype=torch.bfloat16)
    converters = importlib.import_module("diffusers.loaders.lora_conversion_utils")
    answer = getattr(converters, converter)(tensors)
    got = {(key.removeprefix("transformer."), _size(key, tuple(tensor.shape))) for key, tensor in answer.items()}
    return got ^ _expected(layers)


def _trained(layers: Layers) -> Layers:
    return {name: shape for name, shape in layers.items() if TARGETS["blocks"](name, shape[2])}


def _size(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the size without the rank: HunyuanVideo's converter divides that of the text refiner by three."""
    return shape[1:] if ".lora_A." in key else shape[:1]


def _expected(layers: Layers) -> set[tuple[str, tuple[int, ...]]]:
    pairs: set[tuple[str, tuple[int, ...]]] = set()
    for name, (outputs, inputs, _) in layers.items():
        pairs |= {(f"{name}.lora_A.weight", (inputs,)), (f"{name}.lora_B.weight", (outputs,))}
    return pairs


def main() -> int:
    """Check every model; exit code 1 if any differs."""
    has_differences = False
    for model in MODELS + NEIGHBOURS:
        if not model.naming or not model.is_listed:
            continue
        if model.naming not in CONVERTERS and model.naming not in CHECKPOINTS:
            print(f"{model.slug}: unchecked")
            continue
        different = sorted(differences(model) if model.naming in CONVERTERS else checkpoint_differences(model))
        has_differences = has_differences or bool(different)
        print(f"{model.slug}: {f'{len(different)} differences, first {different[:3]}' if different else 'same'}")
    return int(has_differences)


if __name__ == "__main__":
    sys.exit(main())
