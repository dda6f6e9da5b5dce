"""The names of the tensors of LoRAs, split into the layer they change and the part they play in it.

`kinds`, `facts`, the weights scan and workflows use it. The suffixes are those that ComfyUI's loader maps
(comfy/lora.py and comfy/weight_adapter, 0.3.64), PEFT's, kohya's, LyCORIS's and those of older diffusers.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache


class Role(StrEnum):
    """What a tensor does in the LoRA of one layer."""

    DOWN = "down"
    UP = "up"
    MID = "mid"
    ALPHA = "alpha"
    DORA_SCALE = "dora-scale"
    LOKR = "lokr"
    LOHA = "loha"
    OFT = "oft"
    FULL = "full"
    OTHER = "other"


# How the part is written → its role. The text between the last "." or "_" of the layer and the end.
_PARTS = {
    **dict.fromkeys(("lora_A", "lora_down", "lora.down", "lora_linear_layer.down", "lora_embedding_A"), Role.DOWN),
    **dict.fromkeys(("lora_B", "lora_up", "lora.up", "lora_linear_layer.up", "lora_embedding_B"), Role.UP),
    **dict.fromkeys(("lora_mid", "lora.mid"), Role.MID),
    **dict.fromkeys(("alpha", "lora_alpha", "lora.alpha"), Role.ALPHA),
    **dict.fromkeys(("dora_scale", "lora_magnitude_vector"), Role.DORA_SCALE),
    **dict.fromkeys(("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"), Role.LOKR),
    **dict.fromkeys(("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"), Role.LOHA),
    **dict.fromkeys(("diff", "diff_b", "set_weight"), Role.FULL),
    **dict.fromkeys(("oft_blocks", "oft_diag", "oft_R"), Role.OFT),
    **dict.fromkeys(("w_norm", "b_norm", "reshape_weight"), Role.OTHER),
}
_RANDOM_AT_FIRST = frozenset({"hada_w1_a", "hada_w1_b"})
_KEY_END = re.compile(
    r"[._]("
    + "|".join(re.escape(part) for part in sorted(_PARTS, key=len, reverse=True))
    + r")(?:\.default(?:_\d+)?)?(?:\.(?:weight|bias))?$"
)

# How the layers of text encoders are called: kohya (lora_te, lora_te1_ …), diffusers, ComfyUI, Stable Cascade.
_TEXT_ENCODER = re.compile(r"(?:base_model\.model\.)?(?:lora_te\d?_|lora_prior_te_|text_encoders?(?:_\d)?\.)")


# What XLabs hung on Flux's attention, and the layers that ComfyUI takes it for (comfy/lora_convert.py, USO).
_XLABS = re.compile(r"\.processor\.(qkv|proj)_lora([12]?)\.(down|up)\.")
_XLABS_LAYERS = {
    "qkv1": "img_attn.qkv",
    "proj1": "img_attn.proj",
    "qkv2": "txt_attn.qkv",
    "proj2": "txt_attn.proj",
    "qkv": "linear1_qkv",
    "proj": "linear2",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One tensor name of a LoRA: the layer it changes, the part as it is written, and what that part does."""

    layer: str
    part: str
    role: Role


# The files of one training have the same names, and each file is asked twice: the facts and the scan.
@lru_cache(maxsize=8192)
def split_key(name: str) -> Key | None:
    """Return what a tensor name stands for, or None if it belongs to no LoRA."""
    name = usual_name(name)
    found = _KEY_END.search(name)
    return Key(name[: found.start()], found[1], _PARTS[found[1]]) if found else None


def usual_name(name: str) -> str:
    """Return the name that everybody but XLabs gives to a tensor."""
    if ".processor." not in name:
        return name
    return _XLABS.sub(lambda match: f".{_XLABS_LAYERS[match[1] + match[2]]}.lora_{match[3]}.", name)


def is_never_zero(name: str, shape: tuple[int, ...]) -> bool:
    """Return whether no training leaves this tensor at nothing but zeros.

    Of a LoRA these are the matrices that begin with random values. The others begin with zeros, so that the LoRA
    changes nothing at first, or stay there where a layer does not change (LoKr: which ones depends on the trainer).
    Of other models a bias may well be zero, a matrix hardly.
    """
    key = split_key(name)
    if key is None:
        return len(shape) > 1
    return key.role is Role.DOWN or key.part in _RANDOM_AT_FIRST


def changes_text_encoder(names: Iterable[str]) -> bool:
    """Return whether a LoRA with these tensors changes the text encoder too, and not only the model itself."""
    return any(_TEXT_ENCODER.match(name) for name in names)
