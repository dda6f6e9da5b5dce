"""Makes the key lists under tests/data/key_lists, and the rows of the family table, from real model definitions.

A developer runs it by hand, in an environment of its own, from the repository's root:

    python3 -m venv /tmp/key-lists
    /tmp/key-lists/bin/pip install torch==2.13.0 diffusers==0.42.1 peft==0.21.2 transformers==5.23.0 accelerate
    /tmp/key-lists/bin/python -m tests.make_key_lists lists    # writes tests/data/key_lists/*.json
    /tmp/key-lists/bin/python -m tests.make_key_lists rows     # prints the [[row]] part of families.toml
    /tmp/key-lists/bin/python -m tests.check_key_lists         # lets diffusers convert the original names back

Every model is built on torch's meta device: names and shapes without weights, nothing is downloaded. The
diffusers form is what peft itself writes after `add_adapter`; the other forms follow from it by the naming
rules of key_lists/rules.py and the suffixes of each trainer. The tests do not need any of these packages.
"""

import importlib
import json
import re
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tests.key_lists.image_models import IMAGE_MODELS
from tests.key_lists.model import TEXT_ENCODERS, Model
from tests.key_lists.names import Layers, original_layers
from tests.key_lists.neighbours import NEIGHBOURS
from tests.key_lists.patterns import KEY_LISTS, by_shape, compress
from tests.key_lists.video_models import VIDEO_MODELS

if TYPE_CHECKING:
    from types import ModuleType

MODELS = IMAGE_MODELS + VIDEO_MODELS
RANK = 16
Shapes = dict[str, tuple[int, ...]]
TARGETS: dict[str, Callable[[str, int], bool]] = {
    "attention": lambda name, kernel: kernel == 0 and re.search(r"att(n|ention)", name) is not None,
    "blocks": lambda name, kernel: kernel == 0 and re.search(r"(blocks|layers)\.\d+\.", name) is not None,
    "linear": lambda _name, kernel: kernel == 0,
    "linear and convolution": lambda _name, kernel: kernel in {0, 1, 9},
}


def build(model: Model) -> object:
    """Return the model on the meta device."""
    torch, diffusers = importlib.import_module("torch"), importlib.import_module("diffusers")
    with torch.device("meta"):
        return getattr(diffusers, model.class_name)(**model.config)


def layers_of(network: object) -> Layers:
    """Return every layer that an adapter can be put on, with its sizes."""
    torch: ModuleType = importlib.import_module("torch")
    layers: Layers = {}
    for name, module in network.named_modules():  # type: ignore[attr-defined]  # torch is not typed here
        if isinstance(module, torch.nn.Linear):
            layers[name] = (module.out_features, module.in_features, 0)
        elif isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d):
            kernel = 1
            for size in module.kernel_size:
                kernel *= size
            layers[name] = (module.out_channels, module.in_channels, kernel)
    return layers


def text_layers(prefix: str, encoder: str) -> Layers:
    """Return the layers of a CLIP text encoder; their names are those of transformers' CLIPTextModel."""
    hidden, count, inner = TEXT_ENCODERS[encoder]
    layers: Layers = {}
    for index in range(count):
        block = f"{prefix}text_model.encoder.layers.{index}."
        layers |= {
            f"{block}self_attn.{name}": (hidden, hidden, 0) for name in ("q_proj", "k_proj", "v_proj", "out_proj")
        }
        layers |= {f"{block}mlp.fc1": (inner, hidden, 0), f"{block}mlp.fc2": (hidden, inner, 0)}
    return layers


def peft_shapes(network: object, names: Iterable[str]) -> Shapes:
    """Put a LoRA on these layers and return what peft would save."""
    peft = importlib.import_module("peft")
    wanted = re.compile("|".join(re.escape(name) for name in names))
    config = peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=f"(?:{wanted.pattern})")
    adapted = peft.inject_adapter_in_model(config, network)
    return {name: tuple(tensor.shape) for name, tensor in peft.get_peft_model_state_dict(adapted).items()}


def lora(name: str, shape: tuple[int, int, int], down: str, up: str) -> Shapes:
    """Return the two matrices of a LoRA on one layer."""
    outputs, inputs, kernel = shape
    side = {0: (), 1: (1, 1), 9: (3, 3)}[kernel]
    return {f"{name}.{down}.weight": (RANK, inputs, *side), f"{name}.{up}.weight": (outputs, RANK, *(1 for _ in side))}


def kohya(name: str, shape: tuple[int, int, int]) -> Shapes:
    """Return what kohya's sd-scripts saves for one layer."""
    return lora(name, shape, "lora_down", "lora_up") | {f"{name}.alpha": ()}


def loha(name: str, shape: tuple[int, int, int]) -> Shapes:
    """Return what LyCORIS' LoHa saves for one layer: two products, the kernel flattened into the inputs."""
    outputs, inputs, kernel = shape
    halves = {}
    for half in ("w1", "w2"):
        halves[f"{name}.hada_{half}_a"] = (outputs, RANK)
        halves[f"{name}.hada_{half}_b"] = (RANK, inputs * max(kernel, 1))
    return {f"{name}.alpha": (), **halves}


def lokr(name: str, shape: tuple[int, int, int]) -> Shapes:
    """Return what LyCORIS' LoKr saves for one layer: a Kronecker product, the second factor full or as a product."""
    outputs, inputs, kernel = shape
    small_out, small_in = _factor(outputs), _factor(inputs)
    large_out, large_in = outputs // small_out, inputs // small_in * max(kernel, 1)
    second = (
        {f"{name}.lokr_w2_a": (large_out, RANK), f"{name}.lokr_w2_b": (RANK, large_in)}
        if min(large_out, large_in) > 2 * RANK
        else {f"{name}.lokr_w2": (large_out, large_in)}
    )
    return {f"{name}.alpha": (), f"{name}.lokr_w1": (small_out, small_in), **second}


def _factor(size: int) -> int:
    """Return the largest divisor up to 8, as LyCORIS' factorization with factor=8."""
    return max(divisor for divisor in range(1, 9) if size % divisor == 0)


def adapt(layers: Layers, targets: str, name: Callable[[str], str], adapter: Callable[..., Shapes]) -> Shapes:
    """Return an adapter's tensors on the layers that are its targets."""
    shapes: Shapes = {}
    for layer, shape in layers.items():
        if TARGETS[targets](layer, shape[2]):
            shapes |= adapter(name(layer), shape)
    return shapes


def peft_suffixes(name: str, shape: tuple[int, int, int]) -> Shapes:
    """Return the suffixes of diffusers, peft and AI Toolkit."""
    return lora(name, shape, "lora_A", "lora_B")


def flat(prefix: str) -> Callable[[str], str]:
    """Return kohya's way with names: a prefix, then underscores for dots."""
    return lambda name: prefix + name.replace(".", "_")


def dotted(prefix: str) -> Callable[[str], str]:
    """Return the naming that keeps the dots."""
    return lambda name: prefix + name


def lists_of(model: Model) -> Iterable[tuple[str, str, str, Shapes]]:
    """Yield (style, targets, how it was made, tensors) for each list of a model.

    Neighbours and the further sizes of a family get the forms that peft writes; the others every form.
    """
    layers = layers_of(build(model))
    part = "unet" if model.naming == "unet" else "transformer"
    for targets in ("attention", "blocks"):
        names = [name for name, shape in layers.items() if TARGETS[targets](name, shape[2])]
        saved = peft_shapes(build(model), names)
        yield (
            "diffusers",
            targets,
            "peft on the diffusers model",
            {f"{part}.{key}": size for key, size in saved.items()},
        )
    if model in NEIGHBOURS or model.is_variant:
        return
    own = original_layers(model.naming, layers) if model.naming else layers
    rules = "peft's layers, renamed by key_lists/rules.py"
    yield "peft", "attention", rules, adapt(layers, "attention", dotted("base_model.model."), peft_suffixes)
    yield "comfyui", "blocks", rules, adapt(own, "blocks", dotted("diffusion_model."), peft_suffixes)
    yield "lycoris", "blocks", rules, adapt(layers, "blocks", flat("lycoris_"), lokr)
    if model.naming == "unet":
        yield from unet_lists(model, layers, own, rules)
    else:
        yield "comfyui", "attention", rules, adapt(own, "attention", dotted("diffusion_model."), peft_suffixes)
        yield "kohya", "linear", rules, adapt(own, "blocks", flat("lora_unet_"), kohya) | text_lora(model)


def unet_lists(model: Model, layers: Layers, own: Layers, rules: str) -> Iterable[tuple[str, str, str, Shapes]]:
    """Yield the forms that exist for UNets only: with and without text encoders and convolutions."""
    is_sdxl = "addition_embed_type" in model.config
    kohya_layers = own if is_sdxl else layers  # sd-scripts keeps SDXL's original names, and diffusers' for SD 1 and 2
    unet = adapt(kohya_layers, "attention", flat("lora_unet_"), kohya)
    yield "kohya", "attention", rules, unet
    yield "kohya", "attention and text encoders", rules, unet | text_lora(model)
    yield "lycoris", "linear and convolution", rules, adapt(layers, "linear and convolution", flat("lora_unet_"), loha)


def text_lora(model: Model) -> Shapes:
    """Return kohya's text encoder part."""
    shapes: Shapes = {}
    for prefix, encoder in model.text_encoders:
        if prefix.startswith("lora_te"):
            name = flat(prefix.replace(".", "_"))
            text = {layer.removeprefix(prefix): size for layer, size in text_layers(prefix, encoder).items()}
            shapes |= adapt(text, "linear", name, kohya)
    return shapes


def write_lists() -> None:
    """Write every list; files of lists that are no longer made are removed."""
    KEY_LISTS.mkdir(parents=True, exist_ok=True)
    for path in KEY_LISTS.glob("*.json"):
        path.unlink()
    for model in MODELS + NEIGHBOURS:
        if not model.is_listed:
            continue
        for style, targets, made_by, shapes in lists_of(model):
            data = {
                "family": model.family,
                "style": style,
                "targets": targets,
                "made_by": f"{model.class_name}: {model.source}; {made_by}",
                "tensors": by_shape(shapes),
            }
            name = f"{model.slug}-{style}-{targets.replace(' ', '-')}.json"
            (KEY_LISTS / name).write_text(json.dumps(data, indent=0) + "\n", encoding="utf-8")


def print_rows() -> None:
    """Print the table's rows: each model in diffusers' names and, where they differ, in its own."""
    texts: dict[str, Layers] = {}
    for model in MODELS + NEIGHBOURS:
        layers = layers_of(build(model))
        for prefix, encoder in model.text_encoders:
            texts.setdefault(model.family, {}).update(text_layers(prefix, encoder))
        if model.slug != "hunyuan-video-comfy":
            _print_row(model, "diffusers", layers)
        if model.naming:
            _print_row(model, "original", original_layers(model.naming, layers))
        is_last = (
            model.family not in {other.family for other in MODELS[MODELS.index(model) + 1 :]}
            if model in MODELS
            else False
        )
        if is_last and model.family in texts:
            _print_row(model, "text encoders", texts[model.family])


def _print_row(model: Model, names: str, layers: Layers) -> None:
    print(f'[[row]]\nfamily = "{model.family}"\nmodel = "{model.slug}"\nnames = "{names}"')
    print(f"source = {json.dumps(model.source)}\nlayers = '''")
    print(*_lines(layers), "'''", "", sep="\n")


def _lines(layers: Layers) -> list[str]:
    """Return one line for each stack and shape: the stack, the layers in it, the shape."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for shape in sorted(set(layers.values())):
        size = "x".join(str(number) for number in shape if number not in {0, 1} or number is shape[0])
        for pattern in compress(name for name, other in layers.items() if other == shape):
            stack, brace, rest = pattern.rpartition("}.")
            grouped.setdefault((f"{stack}." if brace else "", size), []).append(rest)
    lines = [f"{stack} {' '.join(names)} {size}".strip() for (stack, size), names in sorted(grouped.items())]
    return [line.replace("{", "").replace("}", "") for line in lines]


if __name__ == "__main__":
    {"lists": write_lists, "rows": print_rows}[sys.argv[1]]()
