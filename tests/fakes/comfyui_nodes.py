"""The nodes that the ComfyUI of the tests knows, each with its required inputs: a models folder, a choice, or a type.

Taken from ComfyUI's nodes.py and comfy_extras. An input that is a folder's name is a choice among its files.
"""

from collections.abc import Collection
from typing import Any

# Another node's output: any link will do.
LINK = "LINK"
FOLDERS = (
    "checkpoints", "loras", "vae", "text_encoders", "diffusion_models", "clip_vision", "controlnet", "embeddings",
    "upscale_models",
)  # fmt: skip
_SAMPLER = {
    "model": LINK, "positive": LINK, "negative": LINK, "latent_image": LINK, "steps": "INT", "cfg": "FLOAT",
    "sampler_name": ["euler", "dpmpp_2m", "res_multistep", "uni_pc"],
    "scheduler": ["normal", "karras", "simple", "beta"],
}  # fmt: skip
_SIZE = {"width": "INT", "height": "INT", "batch_size": "INT"}
_CLIP_TYPES = ["stable_diffusion", "sd3", "flux", "wan", "qwen_image", "lumina2", "flux2"]

NODES: dict[str, dict[str, Any]] = {
    "CheckpointLoaderSimple": {"ckpt_name": "checkpoints"},
    "UNETLoader": {
        "unet_name": "diffusion_models", "weight_dtype": ["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"],
    },
    "CLIPLoader": {"clip_name": "text_encoders", "type": _CLIP_TYPES},
    "DualCLIPLoader": {"clip_name1": "text_encoders", "clip_name2": "text_encoders", "type": _CLIP_TYPES},
    "VAELoader": {"vae_name": "vae"},
    "LoraLoader": {
        "model": LINK, "clip": LINK, "lora_name": "loras", "strength_model": "FLOAT", "strength_clip": "FLOAT",
    },
    "LoraLoaderModelOnly": {"model": LINK, "lora_name": "loras", "strength_model": "FLOAT"},
    "CLIPTextEncode": {"clip": LINK, "text": "STRING"},
    "FluxGuidance": {"conditioning": LINK, "guidance": "FLOAT"},
    "ConditioningZeroOut": {"conditioning": LINK},
    "ModelSamplingAuraFlow": {"model": LINK, "shift": "FLOAT"},
    "ModelSamplingSD3": {"model": LINK, "shift": "FLOAT"},
    "EmptyLatentImage": _SIZE,
    "EmptySD3LatentImage": _SIZE,
    "EmptyHunyuanLatentVideo": {**_SIZE, "length": "INT"},
    "KSampler": {**_SAMPLER, "seed": "INT", "denoise": "FLOAT"},
    "KSamplerAdvanced": {
        **_SAMPLER, "noise_seed": "INT", "add_noise": ["enable", "disable"], "start_at_step": "INT",
        "end_at_step": "INT", "return_with_leftover_noise": ["disable", "enable"],
    },
    "VAEDecode": {"samples": LINK, "vae": LINK},
    "CreateVideo": {"images": LINK, "fps": "FLOAT"},
    "SaveImage": {"images": LINK, "filename_prefix": "STRING"},
    "SaveAnimatedWEBP": {
        "images": LINK, "filename_prefix": "STRING", "fps": "FLOAT", "lossless": "BOOLEAN", "quality": "INT",
        "method": ["default", "fastest", "slowest"],
    },
    "SaveVideo": {
        "video": LINK, "filename_prefix": "STRING", "format": ["auto", "mp4"], "codec": ["auto", "h264"],
    },
    "PreviewAny": {"source": LINK},
}  # fmt: skip
OUTPUTS = frozenset({"SaveImage", "SaveAnimatedWEBP", "SaveVideo", "PreviewAny"})
_PYTHON: dict[str, Any] = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool}

Listing = dict[str, list[str]]


def described(class_type: str, listing: Listing) -> dict[str, Any]:
    """What /object_info says of a node."""
    required: dict[str, Any] = {}
    for name, kind in NODES[class_type].items():
        choices = listing.get(kind) if isinstance(kind, str) else kind
        required[name] = [kind if choices is None else choices, {}]
    return {"input": {"required": required}, "name": class_type, "output_node": class_type in OUTPUTS}


def refusal(graph: dict[str, Any], listing: Listing, *, lacks: Collection[str] = ()) -> dict[str, Any] | None:
    """What POST /prompt answers to a graph that it does not take; None if it takes it."""
    for node_id, node in graph.items():
        class_type = node.get("class_type")
        if class_type not in NODES or class_type in lacks:
            message = f"Cannot execute because node {class_type} does not exist."
            return _answer("invalid_prompt", message, {}, details=f"Node ID '#{node_id}'")
    outputs = [node_id for node_id, node in graph.items() if node["class_type"] in OUTPUTS]
    if not outputs:
        return _answer("prompt_no_outputs", "Prompt has no outputs", [])
    found: dict[str, Any] = {}
    for output in outputs:
        _look(graph, output, listing, found, output)
    return _answer("prompt_outputs_failed_validation", "Prompt outputs failed validation", found) if found else None


def _look(graph: dict[str, Any], node_id: str, listing: Listing, found: dict[str, Any], output: str) -> None:
    node = graph[node_id]
    errors = []
    for name, kind in NODES[node["class_type"]].items():
        value = node.get("inputs", {}).get(name)
        if isinstance(value, list):
            if value[0] in graph:
                _look(graph, value[0], listing, found, output)
            continue
        error = _error(name, kind, value, listing)
        if error is not None:
            errors.append(error)
    if errors:
        found[node_id] = {"errors": errors, "dependent_outputs": [output], "class_type": node["class_type"]}


def _error(name: str, kind: Any, value: Any, listing: Listing) -> dict[str, Any] | None:
    if value is None:
        return _said("required_input_missing", "Required input is missing", name, {"input_name": name})
    choices = listing.get(kind) if isinstance(kind, str) else kind
    extra = {"input_name": name, "input_config": [choices or kind, {}], "received_value": value}
    if choices is not None:
        if value in choices:
            return None
        # Longer lists are not written out, so the words change with their length.
        shown = f"{choices}" if len(choices) <= 20 else f"(list of length {len(choices)})"
        return _said("value_not_in_list", "Value not in list", f"{name}: '{value}' not in {shown}", extra)
    if kind == LINK or not isinstance(value, _PYTHON[kind]):
        return _said("invalid_input_type", "Failed to convert an input value", f"{name}, {value}", extra)
    return None


def _said(kind: str, message: str, details: str, extra: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


def _answer(kind: str, message: str, node_errors: object, *, details: str = "") -> dict[str, Any]:
    error = {"type": kind, "message": message, "details": details, "extra_info": {}}
    return {"error": error, "node_errors": node_errors}
