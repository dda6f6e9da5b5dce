"""What kind of file the names and shapes of its tensors make it, and only then its own name.

`facts` calls it for every file; pure. It answers `unknown` rather than guess: an unknown file is reported, never
delivered by mistake.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping

from lorawatch.inspection.keys import Key, Role

Shapes = Mapping[str, tuple[int, ...]]

_WEIGHT_ROLES = frozenset({Role.DOWN, Role.UP, Role.LOKR, Role.LOHA, Role.OFT, Role.FULL})


def _any_key(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"^(?:{pattern})", re.MULTILINE)


# What AI Toolkit caches beside a data set (`latent`; text_embed, pooled_embed, attention_mask…) and what kohya and
# musubi cache (latents_<size>, varlen_…): a file of nothing but these.
_CACHED = re.compile(
    r"(?:latents?|text_embeds?|prompt_embeds?|pooled_(?:prompt_)?embeds?|varlen)(?:_.*)?|attention_mask"
)
# AI Toolkit and A1111 write emb_params, and clip_l with clip_g for SDXL; diffusers one tensor named by its token.
# OneTrainer adds those of other encoders, and vectors that come out of them.
_EMBEDDING_KEY = re.compile(
    r"emb_params|string_to_param\.\*|\*|(?:clip_[lg]|t5(?:xxl)?|llama|qwen\w*|gemma\w*)(?:_out)?"
)
_EMBEDDING_MAX_TOKENS = 128
_EMBEDDING_MIN_WIDTH = 256

# Tried before LoRA: IP-Adapter FaceID brings LoRA layers along.
_IP_ADAPTER = _any_key(
    r"(?:image_proj(?:_model)?|ip_adapter(?:_proj_model)?|adapter_modules)\.|.*\.to_k_ip\.|.*\.ip_adapter_double_stream_"
)
# Tried with LoRA: so kohya and LyCORIS name what they train, whatever the algorithm (GLoRA and IA3 among them).
_TRAINERS_NAME = _any_key(r"(?:lora_(?:unet|te\d?|transformer|prior_unet)_|lycoris_)\w+\.")
# Tried after it, in this order: a checkpoint holds a VAE and a text encoder as well.
_BACKBONES = (
    r"double_blocks|single_blocks|joint_blocks|transformer_blocks|single_transformer_blocks|double_layers|single_layers"
    r"|double_stream_blocks|single_stream_blocks|joint_transformer_blocks|layers|blocks|down_blocks|input_blocks"
    r"|noise_refiner|context_refiner"
)
_LAYOUTS = (
    # ComfyUI tells these apart by the same names: comfy/controlnet.py, comfy/t2i_adapter/adapter.py.
    (
        "controlnet",
        _any_key(
            r"(?:control_model|zero_convs|input_hint_block|control_layers|controlnet\w*|lllite_\w+)\.|lora_controlnet$"
        ),
    ),
    ("t2i-adapter", _any_key(r"(?:adapter\.)?body\.\d+\.(?:resnets\.\d+\.)?(?:block1|block2|in_conv)\.")),
    ("model", _any_key(r"model\.diffusion_model\.")),
    (
        "vae",
        _any_key(
            r"(?:first_stage_model\.|vae\.)?(?:encoder|decoder)\."
            r"(?:conv_in|conv_out|conv1|down\.|up\.|mid\.|mid_block|down_blocks|up_blocks|middle\.|downsamples|upsamples)"
        ),
    ),
    (
        "text-encoder",
        _any_key(
            r"text_model\.(?:encoder\.layers|embeddings)\.|encoder\.block\.\d+\.layer\.|shared\.weight$|token_embedding\.weight$"
            r"|(?:model\.|language_model\.|model\.language_model\.)?embed_tokens\.weight$"
            r"|model\.(?:language_model\.)?layers\.\d+\.(?:self_attn|mlp)\.|transformer\.resblocks\.|embeddings\.word_embeddings"
        ),
    ),
    ("model", _any_key(rf"(?:diffusion_model\.|transformer\.|unet\.)?(?:{_BACKBONES})\.\d+\.")),
)

# How AI Toolkit names what it trains beside LoRAs; `_adapter` can be any of several kinds and decides nothing.
_NAMES = (
    ("critic", re.compile(r"CRITIC_.*")),
    ("controlnet", re.compile(r".*_cn(?:_\d+)?")),
    ("t2i-adapter", re.compile(r".*_t2i(?:_\d+)?")),
    ("ip-adapter", re.compile(r".*_ip(?:_\d+)?")),
    ("model", re.compile(r".*_refiner(?:_\d+)?")),
)


def kind_of(shapes: Shapes, keys: Collection[Key]) -> str | None:
    """Return the kind of a file with these tensors, of which `keys` are a LoRA's; None if they do not tell."""
    if all(_CACHED.fullmatch(name) for name in shapes):
        return "latent-cache"
    if _is_embedding(shapes):
        return "embedding"
    names = "\n".join(shapes)
    if _IP_ADAPTER.search(names):
        return "ip-adapter"
    if 2 * len(keys) >= len(shapes) and any(key.role in _WEIGHT_ROLES for key in keys):
        return "lora"
    if 2 * len(_TRAINERS_NAME.findall(names)) > len(shapes) and any(len(shape) > 1 for shape in shapes.values()):
        return "lora"
    return next((kind for kind, pattern in _LAYOUTS if pattern.search(names)), None)


def kind_by_name(stem: str) -> str:
    """Return the kind of a file of this name whose tensors do not tell it."""
    return next((kind for kind, pattern in _NAMES if pattern.fullmatch(stem)), "unknown")


def algorithm_of(keys: Collection[Key]) -> str | None:
    """Return how most of a LoRA's layers change their weights: lora, dora, lokr, loha, oft or full."""
    counts = Counter(key.role for key in keys)
    roles = ((Role.LOKR, "lokr"), (Role.LOHA, "loha"), (Role.OFT, "oft"), (Role.DOWN, "lora"), (Role.FULL, "full"))
    role, algorithm = max(roles, key=lambda pair: counts[pair[0]])
    if not counts[role]:
        return None
    return "dora" if algorithm == "lora" and counts[Role.DORA_SCALE] else algorithm


def _is_embedding(shapes: Shapes) -> bool:
    """Return whether these are a few vectors, each as wide as a text encoder."""
    is_named = all(_EMBEDDING_KEY.fullmatch(name) for name in shapes)
    is_alone = len(shapes) == 1 and not any("." in name for name in shapes)
    return (is_named or is_alone) and all(
        len(shape) in (1, 2)
        and shape[-1] >= _EMBEDDING_MIN_WIDTH
        and (len(shape) == 1 or shape[0] <= _EMBEDDING_MAX_TOKENS)
        for shape in shapes.values()
    )
