"""What a file is and what people want to know about it: kind, algorithm, rank, step, trigger words."""

import json
from collections.abc import Mapping

import pytest

from lorawatch.domain.model import Facts
from lorawatch.inspection.document import TensorInfo
from lorawatch.inspection.facts import facts_of
from lorawatch.inspection.header import Header
from lorawatch.inspection.keys import Role, changes_text_encoder, split_key
from lorawatch.inspection.layout import Layout
from tests.factories import aitoolkit_metadata, lora_tensors

Shapes = Mapping[str, tuple[int, ...]]


def facts(named_shapes: Shapes, metadata: Mapping[str, str] | None = None, *, name: str = "x.safetensors") -> Facts:
    tensors: dict[str, TensorInfo] = {}
    offset = 0
    for tensor_name, shape in named_shapes.items():
        size_bytes = 2
        for length in shape:
            size_bytes *= length
        tensors[tensor_name] = TensorInfo("BF16", shape, offset, offset + size_bytes)
        offset += size_bytes
    return facts_of(Header(Layout(tensors), metadata or {}, data_offset=8, total_bytes=8 + offset), name=name)


PEFT: Shapes = {name: tensor.shape for name, tensor in lora_tensors(rank=16).items()}
KOHYA: Shapes = {
    "lora_unet_down_blocks_0_attentions_0_proj_in.alpha": (),
    "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": (8, 320, 1, 1),
    "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight": (320, 8, 1, 1),
    "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha": (),
    "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (8, 768),
    "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": (3072, 8),
}
FULL_MODEL = {f"double_blocks.{n}.img_attn.qkv.weight": (9216, 3072) for n in range(19)}
CLIP = {f"text_model.encoder.layers.{n}.mlp.fc1.weight": (3072, 768) for n in range(12)}


def shapes(*lines: str) -> Shapes:
    """Each line: a tensor name, then its shape as 3x4; without one it is a scalar."""
    named = (line.partition(" ") for line in lines)
    return {name: tuple(map(int, shape.split("x"))) if shape else () for name, _, shape in named}


LORAS = [
    (PEFT, "lora"),
    (KOHYA, "lora"),
    (shapes("unet.mid.attn1.to_q.lora.down.weight 4x64", "unet.mid.attn1.to_q.lora.up.weight 64x4"), "lora"),
    (shapes("to_q_lora.down.weight 4x64", "to_q_lora.up.weight 64x4"), "lora"),
    (shapes("base_model.model.q.lora_A.default.weight 4x64", "base_model.model.q.lora_B.default.weight 64x4"), "lora"),
    ({**PEFT, **shapes("transformer.transformer_blocks.0.attn.to_q.dora_scale 3072x1")}, "dora"),
    ({**PEFT, **shapes("transformer.transformer_blocks.0.attn.to_q.lora_magnitude_vector.weight 3072")}, "dora"),
    (shapes("lycoris_q.lokr_w1 8x8", "lycoris_q.lokr_w2 384x384", "lycoris_q.alpha"), "lokr"),
    (shapes("lora_unet_q.hada_w1_a 9x4", "lora_unet_q.hada_w1_b 4x9", "lora_unet_q.hada_w2_a 9x4"), "loha"),
    (shapes("diffusion_model.blocks.0.q.diff 64x64", "diffusion_model.blocks.0.q.diff_b 64"), "full"),
]
OTHERS = [
    (shapes("emb_params 4x768"), "embedding"),
    (shapes("clip_l 2x768", "clip_g 2x1280"), "embedding"),
    (shapes("<cat-toy> 768"), "embedding"),
    (shapes("clip_l 4x768", "t5 4x4096", "t5_out 4x4096"), "embedding"),
    (shapes("lllite_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.down.0.weight 32x640"), "controlnet"),
    ({**shapes("control_model.input_blocks.0.0.weight 320x4x3x3"), **FULL_MODEL}, "controlnet"),
    (shapes("controlnet_blocks.0.weight 8x8", "transformer_blocks.0.attn.to_q.weight 8x8"), "controlnet"),
    (shapes("lora_controlnet", "input_blocks.1.0.in_layers.2.down 8x320"), "controlnet"),
    (shapes("adapter.body.0.resnets.0.block1.weight 320x320x3x3"), "t2i-adapter"),
    (shapes("body.0.block1.weight 320x320x3x3", "conv_in.weight 320x192x3x3"), "t2i-adapter"),
    (shapes("image_proj.proj.weight 3072x1024", "ip_adapter.1.to_k_ip.weight 320x768"), "ip-adapter"),
    (
        shapes(
            *(f"double_blocks.{n}.processor.ip_adapter_double_stream_k_proj.weight 3072x4096" for n in range(19)),
            "ip_adapter_proj_model.proj.weight 16384x768",
        ),
        "ip-adapter",  # XLabs, Flux.1
    ),
    (
        shapes("image_proj.p.weight 8x8", "ip_adapter.0.q_lora.down.weight 4x8", "ip_adapter.0.q_lora.up.weight 8x4"),
        "ip-adapter",
    ),
    (shapes("encoder.down_blocks.0.resnets.0.conv1.weight 9x9x3x3", "decoder.conv_in.weight 512x16x3x3"), "vae"),
    (shapes("encoder.conv1.weight 96x3x3x3x3", "decoder.middle.0.residual.0.gamma 384x1x1x1"), "vae"),
    (CLIP, "text-encoder"),
    (shapes("encoder.block.0.layer.0.SelfAttention.q.weight 4096x4096", "shared.weight 32128x4096"), "text-encoder"),
    (shapes("model.embed_tokens.weight 9999x2560", "model.layers.0.self_attn.q_proj.weight 4096x2560"), "text-encoder"),
    (FULL_MODEL, "model"),
    (shapes("transformer_blocks.0.attn.to_q.weight 3072x3072"), "model"),
    (shapes("model.diffusion_model.out.weight 4x4", "first_stage_model.decoder.conv_in.weight 512x4x3x3"), "model"),
    (shapes("latent 16x128x128"), "latent-cache"),
    (shapes("text_embed 1x512x4096", "pooled_embed 1x768", "attention_mask 1x512"), "latent-cache"),
    (shapes("main.0.weight 64x16x3x3", "main.0.bias 64"), "unknown"),
    (shapes("x.alpha", "x.other 3"), "unknown"),
    (shapes("token 4x16"), "unknown"),
]


@pytest.mark.parametrize(("tensors", "algorithm"), LORAS)
def test_a_lora_is_known_by_its_tensors_and_so_is_its_algorithm(tensors: Shapes, algorithm: str) -> None:
    found = facts(tensors)
    assert (found.kind, found.algorithm) == ("lora", algorithm)


@pytest.mark.parametrize(("tensors", "kind"), OTHERS)
def test_what_is_no_lora_is_known_by_its_tensors(tensors: Shapes, kind: str) -> None:
    found = facts(tensors)
    assert (found.kind, found.algorithm, found.rank) == (kind, None, None)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("CRITIC_portrait_000000250.safetensors", "critic"),
        ("portrait_cn_000000250.safetensors", "controlnet"),
        ("portrait_t2i.safetensors", "t2i-adapter"),
        ("portrait_ip_000000250.safetensors", "ip-adapter"),
        ("portrait_refiner.safetensors", "model"),
        ("portrait_adapter_000000250.safetensors", "unknown"),
        ("portrait_LoRA.safetensors", "unknown"),
    ],
)
def test_the_name_decides_only_where_the_tensors_do_not(name: str, kind: str) -> None:
    assert facts({"main.0.weight": (64, 16, 3, 3)}, name=name).kind == kind
    assert facts(PEFT, name=name).kind == "lora"


def test_what_ai_toolkit_writes_is_read_back() -> None:
    found = facts(PEFT, aitoolkit_metadata(step=250, epoch=7, trigger="p3rson"), name="portrait_000000250.safetensors")
    assert (found.kind, found.family, found.rank, found.alpha) == ("lora", "flux.1", 16, None)
    assert (found.step, found.epoch, found.trigger_words) == (250, 7, ("p3rson",))
    assert (found.tensor_count, found.dtypes, found.software) == (8, ("BF16",), "ai-toolkit 0.5.10")
    assert found.parameter_count == 4 * 2 * 16 * 3072
    assert found.findings == ()


def test_what_kohya_writes_is_read_back() -> None:
    metadata = {
        "ss_network_module": "networks.lora",
        "ss_network_alpha": "4.0",
        "ss_steps": "1600",
        "ss_epoch": "8",
        "ss_tag_frequency": json.dumps({"10_ohwx": {"ohwx": 20, "hat": 3, "outdoors": 7}}),
    }
    found = facts(KOHYA, metadata)
    assert (found.rank, found.alpha, found.step, found.epoch) == (8, 4.0, 1600, 8)
    assert (found.trigger_words, found.software) == (("ohwx",), "sd-scripts")


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("portrait_000000250.safetensors", 250),
        ("portrait_000000250_high_noise.safetensors", 250),
        ("portrait.safetensors", None),
        (f"portrait_{'9' * 40}.safetensors", None),
    ],
)
def test_the_step_comes_from_the_name_when_the_metadata_has_none(name: str, step: int | None) -> None:
    assert facts(PEFT, name=name).step == step


@pytest.mark.parametrize(
    ("settings", "alpha"),
    [
        ('{"transformer.r": 16, "transformer.lora_alpha": 32}', 32.0),
        ('{"lora_alpha": 8.5}', 8.5),
        ('{"transformer.r": 16}', None),
        ('{"transformer.lora_alpha": null}', None),
        ('{"transformer.lora_alpha": "a"}', None),
        ("[16]", None),
        ("{", None),
    ],
)
def test_alpha_is_also_read_where_diffusers_writes_the_settings_of_peft(settings: str, alpha: float | None) -> None:
    assert facts(PEFT, {"lora_adapter_metadata": settings}).alpha == alpha
    assert facts(PEFT, {"lora_adapter_metadata": settings, "ss_network_alpha": "4"}).alpha == 4.0


@pytest.mark.parametrize(
    ("name", "pair"),
    [
        ("surf_000000100_high_noise.safetensors", "high"),
        ("surf_low_noise.safetensors", "low"),
        ("Wan2.2-HighNoise-surf.safetensors", "high"),
        ("highnoised.safetensors", None),
        ("surf.safetensors", None),
    ],
)
def test_the_halves_of_a_pair_are_known_by_their_names(name: str, pair: str | None) -> None:
    layer = "diffusion_model.blocks.0.self_attn.q"
    wan = shapes(f"{layer}.lora_A.weight 16x5120", f"{layer}.lora_B.weight 5120x16")
    assert facts(wan, name=name).pair == pair
    assert facts(shapes("a.b.lora_A.weight 16x7", "a.b.lora_B.weight 7x16"), name=name).pair == pair
    assert facts(PEFT, name=name).pair is None  # no other model comes in halves


@pytest.mark.parametrize(
    ("tensors", "rank"),
    [
        ({**PEFT, **shapes("transformer.x.lora_A.weight 64x8", "transformer.x.lora_B.weight 8x64")}, 16),
        (shapes("a.hada_w1_a 64x4", "a.hada_w1_b 4x64", "a.hada_w2_a 64x4", "a.hada_w2_b 4x64"), 4),
        (shapes("a.lokr_w1 8x8", "a.lokr_w2_a 384x32", "a.lokr_w2_b 32x384"), 32),
        (shapes("a.lokr_w1 8x8", "a.lokr_w2 384x384"), None),
    ],
)
def test_the_rank_is_the_most_common_inner_dimension(tensors: Shapes, rank: int | None) -> None:
    assert facts(tensors).rank == rank


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (
            {"modelspec.trigger_phrase": "ohwx man, blue hat", "ss_tag_frequency": '{"1_x":{"x":1}}'},
            ("ohwx man", "blue hat"),
        ),
        ({"ss_tag_frequency": '{"1_a":{"a":1},"1_b":{"b":1}}'}, ("a", "b")),
        ({"ss_tag_frequency": '{"img":{"a photo of a cat":1,"a cat, sitting":1,"a cat on a mat":1}}'}, ()),
        ({"ss_tag_frequency": json.dumps({"img": {"a photo of " + "very " * 40 + "old cat": 1}})}, ()),
        ({"ss_tag_frequency": '{"1_x":{"two\\nlines\\u0007 \\ud800":1}}'}, ("two lines",)),
        ({}, ()),
    ],
)
def test_trigger_words_are_named_only_where_they_are_known(metadata: dict[str, str], words: tuple[str, ...]) -> None:
    assert facts(PEFT, metadata).trigger_words == words


def test_the_trigger_of_an_embedding_is_its_name() -> None:
    found = facts({"emb_params": (4, 768)}, {"name": '"p3rson"', "step": "500"})
    assert (found.kind, found.trigger_words, found.step) == ("embedding", ("p3rson",), 500)


@pytest.mark.parametrize(
    "junk", ["", "null", "[]", "3", '"x"', '{"step": "x"}', "{" * 5000, "[" * 100_000, '{"a":', "1" * 9999]
)
def test_metadata_of_any_other_form_counts_as_absent(junk: str) -> None:
    keys = ("training_info", "ss_tag_frequency", "ss_steps", "ss_epoch", "ss_network_alpha", "name")
    found = facts(PEFT, dict.fromkeys(keys, junk))
    assert (found.kind, found.trigger_words) == ("lora", ())
    assert found.epoch in (None, 3)


def test_numbers_that_no_database_can_hold_count_as_absent() -> None:
    metadata = {"training_info": json.dumps({"step": 10**30, "epoch": -1}), "ss_network_alpha": "inf"}
    found = facts(PEFT, metadata)
    assert (found.step, found.epoch, found.alpha) == (None, None, None)


def test_what_is_said_about_software_stays_on_one_printable_line() -> None:
    assert facts(PEFT, {"software": "my\n\x1b[31mtrainer " + "x" * 1000}).software == "my [31mtrainer " + "x" * 85


def test_the_name_of_a_tensor_is_split_into_layer_and_part() -> None:
    key = split_key("lora_unet_attn1_to_k.lora_down.weight")
    assert key is not None
    assert (key.layer, key.part, key.role) == ("lora_unet_attn1_to_k", "lora_down", Role.DOWN)
    assert split_key("transformer.blocks.0.attn.to_q.weight") is None


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", True),
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha", True),
        ("text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight", True),
        ("text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight", True),
        ("text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.lora_up.weight", True),
        ("base_model.model.text_encoder.layers.0.mlp.fc1.lora_A.weight", True),
        ("lora_unet_mid_block_attentions_0_proj_in.lora_down.weight", False),
        ("transformer.context_embedder.lora_A.weight", False),
        ("diffusion_model.text_embedding.0.lora_A.weight", False),
    ],
)
def test_a_lora_changes_the_text_encoder_if_one_of_its_layers_is_there(name: str, changes: bool) -> None:
    assert changes_text_encoder(["transformer.proj_out.lora_A.weight", name]) is changes
