"""Real safetensors bytes for every test: LoRAs as AI Toolkit writes them, and files that are broken in one known way.

Deterministic: the same arguments give the same bytes. Two seeds give two versions of one LoRA: same name,
same tensors, same size, other weights.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

ITEM_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64,
    "I64": 64, "U64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor; without data it is filled with finite random values."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes | None = None

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * ITEM_BITS[self.dtype] // 8


def _modules(
    prefix: str, blocks: Mapping[str, int], layers: Mapping[str, tuple[int, int]]
) -> Iterator[tuple[str, int, int]]:
    for block, count in blocks.items():
        for number, (layer, (inputs, outputs)) in product(range(count), layers.items()):
            yield f"{prefix}{block}.{number}.{layer}", inputs, outputs


def _square(width: int, *layers: str) -> dict[str, tuple[int, int]]:
    return dict.fromkeys(layers, (width, width))


# (module path, inputs, outputs), with the names and the widths of the real models.
_FLUX_DOUBLE = {
    **_square(3072, "attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
    **_square(3072, "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out"),
    "ff.net.0.proj": (3072, 12288),
    "ff.net.2": (12288, 3072),
    "ff_context.net.0.proj": (3072, 12288),
    "ff_context.net.2": (12288, 3072),
    "norm1.linear": (3072, 18432),
    "norm1_context.linear": (3072, 18432),
}
_FLUX_SINGLE = {
    **_square(3072, "attn.to_q", "attn.to_k", "attn.to_v"),
    "proj_mlp": (3072, 12288),
    "proj_out": (15360, 3072),
    "norm.linear": (3072, 9216),
}
_WAN_14B = {
    **_square(5120, *(f"{attention}.{part}" for attention in ("self_attn", "cross_attn") for part in "qkvo")),
    "ffn.0": (5120, 13824),
    "ffn.2": (13824, 5120),
}
_QWEN = {
    **_square(3072, "attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
    **_square(3072, "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out"),
    "img_mlp.net.0.proj": (3072, 12288),
    "img_mlp.net.2": (12288, 3072),
    "txt_mlp.net.0.proj": (3072, 12288),
    "txt_mlp.net.2": (12288, 3072),
    "img_mod.1": (3072, 18432),
    "txt_mod.1": (3072, 18432),
}
MODULES: dict[str, list[tuple[str, int, int]]] = {
    "flux.1": [
        *_modules("transformer.", {"transformer_blocks": 19}, _FLUX_DOUBLE),
        *_modules("transformer.", {"single_transformer_blocks": 38}, _FLUX_SINGLE),
    ],
    "wan_2.2_14b": [*_modules("diffusion_model.", {"blocks": 40}, _WAN_14B)],
    "qwen_image": [*_modules("transformer.", {"transformer_blocks": 60}, _QWEN)],
}
DEFAULT_RANK = 4
DEFAULT_MODULE_COUNT = 4


def _lora_modules(family: str, size_bytes: int | None, rank: int | None) -> tuple[list[tuple[str, int, int]], int]:
    """Return the modules and the rank whose bf16 tensors come nearest to the wanted size from below."""
    modules = MODULES[family]
    if size_bytes is None:
        return modules[:DEFAULT_MODULE_COUNT], rank or DEFAULT_RANK
    if rank is None:
        rank = next((rank for rank in (16, 8, 4, 2) if rank * 2 * _width(modules[:4]) <= size_bytes), 1)
        while rank * 2 * _width(modules) < size_bytes:
            rank *= 2
    taken: list[tuple[str, int, int]] = []
    used_bytes = 0
    for module in modules:
        used_bytes += rank * 2 * _width([module]) + 200  # about what two tensors cost in the header
        if taken and used_bytes > size_bytes:
            break
        taken.append(module)
    return taken, rank


def _width(modules: Iterable[tuple[str, int, int]]) -> int:
    return sum(inputs + outputs for _, inputs, outputs in modules)


def lora_tensors(
    *, family: str = "flux.1", size_bytes: int | None = None, rank: int | None = None
) -> dict[str, Tensor]:
    """The tensors of a LoRA in the PEFT form that AI Toolkit writes: lora_A and lora_B, no alpha."""
    modules, rank = _lora_modules(family, size_bytes, rank)
    tensors: dict[str, Tensor] = {}
    for path, inputs, outputs in modules:
        tensors[f"{path}.lora_A.weight"] = Tensor("BF16", (rank, inputs))
        tensors[f"{path}.lora_B.weight"] = Tensor("BF16", (outputs, rank))
    return tensors


def aitoolkit_metadata(
    *, family: str = "flux.1", name: str = "portrait", step: int = 1000, epoch: int = 3, trigger: str = "p3rson"
) -> dict[str, str]:
    """The metadata that AI Toolkit writes: every value is a string, some of them hold JSON."""
    return {
        "format": "pt",
        "software": '{"name": "ai-toolkit", "repo": "https://github.com/ostris/ai-toolkit", "version": "0.5.10"}',
        "ss_base_model_version": family,
        "ss_output_name": name,
        "ss_tag_frequency": json.dumps({f"1_{trigger}": {trigger: 1}}),
        "sshs_model_hash": hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest(),
        "training_info": json.dumps({"step": step, "epoch": epoch}),
    }


def header_bytes(document: object) -> bytes:
    """Eight bytes of length and the document as JSON, padded with spaces to a multiple of 8 as the library does."""
    text = document if isinstance(document, bytes) else json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def finite_bytes(size_bytes: int, *, seed: int = 0) -> bytes:
    """Random bytes that hold no NaN, no Inf and few zeros, read as any of the float types."""
    words = np.frombuffer(np.random.default_rng(seed).bytes(size_bytes + -size_bytes % 8), dtype=np.uint64).copy()
    words &= np.uint64(0xBFBFBFBFBFBFBFBF)  # the top bit of every exponent: nothing reaches all ones
    words |= np.uint64(0x0101010101010101)  # no byte is zero, and none is the NaN of the FNUZ types
    return words.tobytes()[:size_bytes]


def lora_bytes(
    *,
    tensors: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, str] | None = None,
    size_bytes: int | None = None,
    seed: int = 0,
    family: str = "flux.1",
) -> bytes:
    """A whole file. `metadata` replaces AI Toolkit's; `size_bytes` is approached from below."""
    named = lora_tensors(family=family, size_bytes=size_bytes) if tensors is None else tensors
    # The library writes wide types first, then by name.
    ordered = sorted(named.items(), key=lambda pair: (-ITEM_BITS[pair[1].dtype], pair[0]))
    document: dict[str, object] = {
        "__metadata__": aitoolkit_metadata(family=family) if metadata is None else dict(metadata)
    }
    offset = 0
    for name, tensor in ordered:
        end = offset + tensor.size_bytes
        document[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    data: bytearray | bytes = finite_bytes(offset, seed=seed)
    if any(tensor.data is not None for tensor in named.values()):
        data = bytearray(data)
        position = 0
        for _, tensor in ordered:
            if tensor.data is not None:
                data[position : position + tensor.size_bytes] = tensor.data
            position += tensor.size_bytes
    return b"".join((header_bytes(document), data))


def write_lora(
    path: str | os.PathLike[str],
    *,
    tensors: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, str] | None = None,
    size_bytes: int | None = None,
    seed: int = 0,
    family: str = "flux.1",
) -> str:
    """Write the file in place, as safetensors up to 0.7 does, and return its sha256. Missing directories are made."""
    content = lora_bytes(tensors=tensors, metadata=metadata, size_bytes=size_bytes, seed=seed, family=family)
    os.makedirs(os.path.dirname(os.fspath(path)) or ".", exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()


_FOUR_BYTES = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
_INFO = b'{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
_DATA = b"\x01\x02\x03\x04"


def _broken_files() -> dict[str, tuple[str, bytes]]:
    whole = lora_bytes()
    return {
        "empty": ("empty-file", b""),
        "seven-bytes": ("truncated", whole[:7]),
        "header-cut": ("truncated", whole[:100]),
        "data-cut": ("truncated", whole[:-1]),
        "trailing-byte": ("trailing-bytes", whole + b"x"),
        "nul-padding": ("trailing-bytes", whole + bytes(512)),
        "html": ("html-page", b"<!DOCTYPE html>\n<html><head><title>404</title></head></html>\n"),
        "html-bare": ("html-page", b"\n<HTML><body>Sign in to continue</body></HTML>"),
        "lfs-pointer": ("lfs-pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
        "zip": ("pickle-file", b"PK\x03\x04\x00\x00\x08\x08" + bytes(64)),
        "pickle": ("pickle-file", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."),
        "gguf": ("gguf-file", b"GGUF\x03\x00\x00\x00" + bytes(64)),
        "text": ("not-safetensors", b"Proxy error: the upstream server did not answer.\n"),
        "preallocated": ("not-safetensors", bytes(4096)),
        "huge-header": ("header-too-large", struct.pack("<Q", 200_000_000) + b"{}" + bytes(4096)),
        "not-json": ("header-invalid", header_bytes(b'{"a":') + _DATA),
        "not-utf8": ("header-invalid", header_bytes(b'{"\xff":' + _INFO + b"}") + _DATA),
        "unknown-dtype": ("header-invalid", header_bytes({"a": {**_FOUR_BYTES, "dtype": "F31"}}) + _DATA),
        "wrong-shape": ("header-invalid", header_bytes({"a": {**_FOUR_BYTES, "shape": [2]}}) + _DATA),
        "overlap": ("header-invalid", header_bytes({"a": _FOUR_BYTES, "b": _FOUR_BYTES}) + _DATA),
        "hole": ("header-invalid", header_bytes({"a": {**_FOUR_BYTES, "data_offsets": [4, 8]}}) + _DATA * 2),
        "negative-offset": ("header-invalid", header_bytes({"a": {**_FOUR_BYTES, "data_offsets": [-4, 4]}}) + _DATA),
        "float-shape": ("header-invalid", header_bytes({"a": {**_FOUR_BYTES, "shape": [1.0]}}) + _DATA),
        "metadata-number": ("header-invalid", header_bytes({"__metadata__": {"a": 1}, "a": _FOUR_BYTES}) + _DATA),
        "leading-space": ("header-invalid", header_bytes(b' {"a":' + _INFO + b"}") + _DATA),
        "tensor-as-list": ("header-invalid", header_bytes({"a": ["F32", [1], [0, 4]]}) + _DATA),
        "duplicate-tensor": ("duplicate-keys", header_bytes(b'{"a":' + _INFO + b',"a":' + _INFO + b"}") + _DATA),
        "duplicate-metadata": (
            "duplicate-keys",
            header_bytes(b'{"__metadata__":{"k":"1","k":"2"},"a":' + _INFO + b"}") + _DATA,
        ),
        "no-tensors": ("no-tensors", header_bytes({})),
        "only-metadata": ("no-tensors", header_bytes({"__metadata__": {"format": "pt"}})),
        "name-with-nul": ("unsafe-tensor-name", header_bytes({"a\0b": _FOUR_BYTES}) + _DATA),
        "name-with-parent": ("unsafe-tensor-name", header_bytes({"../../etc/passwd": _FOUR_BYTES}) + _DATA),
    }


_BROKEN = _broken_files()
BROKEN_CODES = {kind: code for kind, (code, _) in _BROKEN.items()}


def broken(kind: str) -> bytes:
    """A file that is broken in one way; BROKEN_CODES names the ways, each with the code of its rejection."""
    return _BROKEN[kind][1]
