"""The family table against key lists made from real model definitions: open is allowed, wrong is not."""

import random
import re

import pytest

from lorawatch.inspection.families import FamilyVerdict, recognise
from lorawatch.inspection.families_table import FamilyTable, family_table
from lorawatch.inspection.rules import table_version
from tests.key_lists.patterns import KeyList, compress, expand, read_key_lists

KEY_LISTS = {key_list.name: key_list for key_list in read_key_lists()}
BLOCK = re.compile(r"(?:blocks|layers)[._](\d+)[._]")
FLUX = {"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": (16, 3072)}

# Models that have the same layers, or of which one has those that these lists adapt of the other: only metadata tells
# them apart.
ALIKE = (
    {"wan_2.1", "wan_2.2_14b"},
    {"flux.1", "chroma", "hunyuan_video", "flux2_klein_4b"},
    {"ltx_video", "ltx2"},
    {"sdxl_1.0", "ssd", "vega", "kolors"},
    {"anima", "cosmos_predict2"},
    {"cogview4", "glm_image", "ltx2", "ltx_video"},
    {"bria", "bria_fibo"},
    {"bria_fibo", "chroma", "flux.1"},
    {"cogvideox", "mochi"},
    {"hunyuan_video_1.5", "minimax_music3"},
    {"hunyuan_video_1.5", "nucleus_image"},
    {"pixart", "sana"},
    {"sana", "sana_video"},
    {"kandinsky5", "kandinsky6_sr"},
    {"hunyuan_video", "motif_video"},
)


def shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    return KEY_LISTS[name].shapes


def is_not_wrong(verdict: FamilyVerdict, key_list: KeyList) -> bool:
    return verdict.family == key_list.family or (verdict.family is None and key_list.family in verdict.families)


def test_there_are_lists_of_every_family_and_style() -> None:
    assert len(KEY_LISTS) >= 60
    assert {key_list.family for key_list in KEY_LISTS.values()} == family_table().families
    assert {key_list.style for key_list in KEY_LISTS.values()} == {"diffusers", "peft", "kohya", "comfyui", "lycoris"}


@pytest.mark.parametrize("name", KEY_LISTS)
def test_a_whole_list_is_its_family_or_left_open_among_models_that_are_alike(name: str) -> None:
    verdict = recognise(shapes_of(name), {})
    assert is_not_wrong(verdict, KEY_LISTS[name])
    if verdict.family is None:
        assert any(set(verdict.families) <= group for group in ALIKE)
    assert verdict.findings == ()


def test_seven_lists_in_ten_are_named_without_any_metadata() -> None:
    named = [recognise(key_list.shapes, {}).family for key_list in KEY_LISTS.values()]
    assert sum(family is not None for family in named) >= 0.7 * len(named)


@pytest.mark.parametrize("name", KEY_LISTS)
def test_any_few_keys_of_a_list_never_give_another_family(name: str) -> None:
    key_list = KEY_LISTS[name]
    chance = random.Random(name)
    keys = sorted(key_list.shapes)
    for count in (1, 2, 5, 20, len(keys) // 2) * 6:
        chosen = {key: key_list.shapes[key] for key in chance.sample(keys, min(count, len(keys)))}
        verdict = recognise(chosen, {})
        assert is_not_wrong(verdict, key_list) or verdict == FamilyVerdict(None)


@pytest.mark.parametrize("name", KEY_LISTS)
def test_one_block_or_the_first_blocks_of_a_list_never_give_another_family(name: str) -> None:
    key_list = KEY_LISTS[name]
    numbered = {key: int(match[1]) for key in key_list.shapes if (match := BLOCK.search(key))}
    for last in sorted(set(numbered.values())):
        one = {key: key_list.shapes[key] for key, number in numbered.items() if number == last}
        up_to = {key: key_list.shapes[key] for key, number in numbered.items() if number <= last}
        doubles = {key: shape for key, shape in up_to.items() if "single" not in key}
        for chosen in (one, up_to, doubles):
            verdict = recognise(chosen, {})
            assert is_not_wrong(verdict, key_list) or verdict == FamilyVerdict(None)


@pytest.mark.parametrize(
    ("key", "value", "family"),
    [
        ("ss_base_model_version", "sdxl_base_v1-0", "sdxl_1.0"),
        ("ss_base_model_version", "sd_v1", "sd_1.5"),
        ("ss_base_model_version", "flux1", "flux.1"),
        ("ss_base_model_version", "wan_2.2_14b", "wan_2.2_14b"),
        ("ss_base_model_version", "flux.1_kontext", "flux.1_kontext"),
        ("modelspec.architecture", "stable-diffusion-xl-v1-base/lora", "sdxl_1.0"),
        ("modelspec.architecture", "flux-1-dev/lora", "flux.1"),
        ("modelspec.architecture", "stable-diffusion-3-5-large/lora", "sd_3"),
        ("ss_base_model_version", "Brand New/../Model 7", "brand-new-..-model-7"),
        ("ss_base_model_version", "../../etc", "etc"),
    ],
)
def test_metadata_alone_names_the_family_by_one_identifier_that_is_safe_in_a_path(
    key: str, value: str, family: str
) -> None:
    assert recognise({}, {key: value}) == FamilyVerdict(family)


@pytest.mark.parametrize("value", ["", "...", "///"])
def test_metadata_without_a_usable_character_says_nothing(value: str) -> None:
    assert recognise({}, {"ss_base_model_version": value}) == FamilyVerdict(None)


def test_metadata_decides_where_the_layers_leave_it_open() -> None:
    shapes = shapes_of("wan22-14b-comfyui-blocks")
    assert recognise(shapes, {}).families == ("wan_2.1", "wan_2.2_14b")
    assert recognise(shapes, {"ss_base_model_version": "wan_2.2_14b"}).family == "wan_2.2_14b"
    assert recognise(shapes, {"ss_base_model_version": "wan_2.1"}).family == "wan_2.1"


def test_a_metadata_value_that_stands_for_several_families_is_decided_by_the_layers() -> None:
    said = {"modelspec.architecture": "wan2.1/lora"}  # musubi-tuner writes it for Wan 2.2 as well
    assert recognise(shapes_of("wan22-5b-kohya-linear"), said).family == "wan_2.2_5b"
    assert recognise(shapes_of("wan22-14b-kohya-linear"), said).families == ("wan_2.1", "wan_2.2_14b")


def test_the_name_of_a_high_or_low_noise_half_tells_wan_2_2_from_wan_2_1() -> None:
    shapes = shapes_of("wan22-14b-comfyui-blocks")
    assert recognise(shapes, {}, name="job_000000250_high_noise.safetensors").family == "wan_2.2_14b"
    assert recognise(shapes, {"ss_output_name": "job_low_noise"}).family == "wan_2.2_14b"
    assert recognise(shapes_of("flux1-kohya-linear"), {}, name="a_high_noise.safetensors").family == "flux.1"


@pytest.mark.parametrize("name", ["sdxl-kohya-attention", "wan22-5b-comfyui-blocks", "z-image-diffusers-blocks"])
def test_metadata_against_the_layers_is_a_finding_and_no_family(name: str) -> None:
    verdict = recognise(shapes_of(name), {"ss_base_model_version": "flux.1"})
    assert verdict.family is None
    assert verdict.families == tuple(sorted({"flux.1", KEY_LISTS[name].family}))
    assert [finding.code for finding in verdict.findings] == ["family-conflict"]
    assert KEY_LISTS[name].family in verdict.findings[0].detail


def lora_on(outputs: int, inputs: int, *layers: str) -> dict[str, tuple[int, ...]]:
    ups: dict[str, tuple[int, ...]] = {f"{layer}.lora_B.weight": (outputs, 16) for layer in layers}
    return ups | {f"{layer}.lora_A.weight": (16, inputs) for layer in layers}


@pytest.mark.parametrize(("embedder", "channels"), [("x_embedder", 128), ("x_embedder", 384)])
def test_a_control_lora_of_flux_is_not_taken_for_a_model_with_as_many_channels(embedder: str, channels: int) -> None:
    control = lora_on(3072, channels, f"transformer.{embedder}")
    first = lora_on(3072, 3072, *(f"transformer.transformer_blocks.{number}.attn.to_q" for number in range(3)))
    single = (f"transformer.single_transformer_blocks.{number}.attn.to_q" for number in range(38))
    double = (f"transformer.transformer_blocks.{number}.attn.to_q" for number in range(19))
    few = recognise(control | first, {})
    assert few.family in {None, "flux.1"}
    assert "flux.1" in {few.family, *few.families}
    whole = control | lora_on(3072, 3072, *single, *double)
    assert recognise(whole, {}) == recognise(whole, {"ss_base_model_version": "flux.1"}) == FamilyVerdict("flux.1")


@pytest.mark.parametrize("layer", ["vace_blocks.{}.self_attn.q", "blocks.{}.cross_attn.k_img"])
def test_vace_and_image_layers_are_of_both_wans_until_name_or_metadata_decide(layer: str) -> None:
    layers = lora_on(5120, 5120, *(layer.format(number) for number in range(8)))
    assert recognise(layers, {}).families == ("wan_2.1", "wan_2.2_14b")
    assert recognise(layers, {}, name="fun_high_noise.safetensors") == FamilyVerdict("wan_2.2_14b")
    for family in ("wan_2.1", "wan_2.2_14b"):
        assert recognise(layers, {"ss_base_model_version": family}) == FamilyVerdict(family)


def test_layers_of_two_models_in_one_file_are_no_family() -> None:
    shapes = shapes_of("sdxl-kohya-attention") | shapes_of("flux1-kohya-linear")
    assert recognise(shapes, {}) == FamilyVerdict(None)
    assert [finding.code for finding in recognise(shapes, {"ss_base_model_version": "flux1"}).findings] == [
        "family-conflict"
    ]


def test_a_family_that_the_table_does_not_know_is_believed() -> None:
    assert recognise(shapes_of("flux1-kohya-linear"), {"ss_base_model_version": "boogu_image"}).family == "boogu_image"


def test_of_two_metadata_values_the_one_that_the_table_knows_counts() -> None:
    said = {"ss_base_model_version": "my_illustrious", "modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}
    assert recognise({}, said) == FamilyVerdict("sdxl_1.0")
    assert recognise({}, said | {"ss_base_model_version": "flux.1"}) == FamilyVerdict("flux.1")


def test_metadata_is_confirmed_by_layers_that_would_rather_be_a_smaller_models() -> None:
    shapes = shapes_of("longcat-image-diffusers-attention")  # as a Flux.1 LoRA on its first blocks would be
    assert recognise(shapes, {}) == FamilyVerdict("longcat_image")
    assert recognise(shapes, {"ss_base_model_version": "flux.1"}) == FamilyVerdict("flux.1")


def test_one_unknown_layer_leaves_the_family_open_but_is_no_conflict() -> None:
    shapes = shapes_of("flux1-kohya-linear") | {"lora_unet_new_thing.lora_up.weight": (7, 4)}
    assert recognise(shapes, {}) == FamilyVerdict(None)
    assert recognise(shapes, {"ss_base_model_version": "flux1"}) == FamilyVerdict("flux.1")


def test_a_layer_of_the_wrong_size_is_not_that_family() -> None:
    assert "flux.1" in recognise(FLUX, {}).families
    assert recognise(dict.fromkeys(FLUX, (16, 3073)), {}) == FamilyVerdict(None)


@pytest.mark.parametrize(
    "key",
    [
        "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora.down.weight",
        "unet.mid_block.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora.down.weight",
        "base_model.model.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.default.weight",
        "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.lora_down.weight",
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight",
        "lycoris_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight",
    ],
)
def test_one_cross_attention_layer_tells_stable_diffusion_1_from_2_in_every_style(key: str) -> None:
    assert recognise({key: (8, 768)}, {}).family == "sd_1.5"
    assert recognise({key: (8, 1024)}, {}).family == "sd_2.1"


@pytest.mark.parametrize(
    ("tensors", "family"),
    [
        ({"lokr_w1": (8, 8), "lokr_w2": (160, 96)}, "sd_1.5"),
        ({"lokr_w1_a": (8, 2), "lokr_w1_b": (2, 8), "lokr_w2_a": (160, 4), "lokr_w2_b": (4, 128)}, "sd_2.1"),
        ({"hada_w1_a": (1280, 4), "hada_w1_b": (4, 768), "hada_w2_a": (1280, 4), "hada_w2_b": (4, 768)}, "sd_1.5"),
        ({"diff": (1280, 1024)}, "sd_2.1"),
        ({"lora_down.weight": (8, 768), "lora_up.weight": (1280, 8), "dora_scale": (1280, 1), "alpha": ()}, "sd_1.5"),
        ({"unheard_of": (1280, 768)}, None),
    ],
)
def test_the_sizes_of_a_layer_are_read_from_every_kind_of_adapter(
    tensors: dict[str, tuple[int, ...]], family: str | None
) -> None:
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    assert recognise({f"{layer}.{role}": shape for role, shape in tensors.items()}, {}).family == family


@pytest.mark.parametrize(
    ("tensors", "family"),
    [
        ({"hada_t1": (4, 4, 3, 3), "hada_w1_a": (4, 320), "hada_w1_b": (4, 640)}, True),
        ({"hada_w1_a": (320, 4), "hada_w1_b": (4, 640 * 9)}, True),
        ({"hada_w1_a": (320, 4), "hada_w1_b": (4, 640 * 4)}, False),
        ({"lokr_w1": (8, 8), "lokr_w2_a": (4, 40), "lokr_w2_b": (4, 80), "lokr_t2": (4, 4, 3, 3)}, True),
        ({"lokr_w1": (8, 8), "lokr_w2": (40, 80, 3, 3)}, True),
    ],
)
def test_convolutions_are_known_flattened_and_with_a_tucker_core(
    tensors: dict[str, tuple[int, ...]], *, family: bool
) -> None:
    layer = "lora_unet_up_blocks_3_resnets_1_conv1"
    verdict = recognise({f"{layer}.{role}": shape for role, shape in tensors.items()}, {})
    assert bool(verdict.families) == family


def test_a_text_encoder_narrows_what_the_unet_leaves_open_and_never_overrules_it() -> None:
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight"
    text = "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight"
    assert {"sd_1.5", "sd_2.1"} <= set(recognise({layer: (8, 1280)}, {}).families)
    assert recognise({layer: (8, 1280), text: (8, 1024)}, {}).family == "sd_2.1"
    assert recognise(shapes_of("sdxl-kohya-attention") | {text: (8, 1024)}, {}).family == "sdxl_1.0"


def test_strange_names_and_shapes_are_left_open_without_an_error() -> None:
    shapes: dict[str, tuple[int, ...]] = {
        "": (),
        ".": (1,),
        ".weight": (2, 2),
        "lora_unet_": (3,),
        "lora_A.weight": (),
        "a.lora_A.weight": (4,),
        "\udcff\x00/../x.lora_B.weight": (0, 0),
        "x.lokr_w1": (),
        "x.hada_w1_a": (1,),
        "transformer_blocks.99999999999999999999.attn.to_q.lora_A.weight": (8, 3072),
        "transformer_blocks.\u0663.attn.to_q.lora_A.weight": (8, 3072),
    }
    assert recognise(shapes, {}) == FamilyVerdict(None)


def test_the_version_of_the_table_is_short_and_fit_for_a_column() -> None:
    assert re.fullmatch(r"[0-9a-f]{12}", table_version())


def test_a_row_written_by_hand_is_matched_in_its_ranges_only() -> None:
    table = FamilyTable(
        '[metadata]\n[variants]\n[[row]]\nfamily = "new"\nmodel = "n"\nnames = "own"\nsource = "s"\n'
        "layers = '''\nblocks.0-5. attn.q attn.k 8x4\nhead 3x8x9\n'''\n"
    )
    assert table.rows_with("blocks_5_attn_q", 8, 4) == 1
    assert table.rows_with("blocks_6_attn_q", 8, 4) == 0
    assert table.rows_with("blocks_5_attn_k", None, 5) == 0
    assert table.rows_with("head", 3, 72) == 1
    assert table.complete_families(1, [f"blocks_{number}_attn_q" for number in range(6)]) == {"new"}
    assert table.complete_families(1, ["blocks_0_attn_q"]) == frozenset()


def test_every_alias_leads_to_a_family_of_the_table() -> None:
    table = family_table()
    named = {family for families in table.aliases.values() for family in families}
    assert named | set(table.variants.values()) <= table.families | set(table.variants)


def test_the_first_blocks_of_a_larger_model_are_not_taken_for_all_of_a_smaller_one() -> None:
    first = {
        key: shape
        for key, shape in shapes_of("glm-image-diffusers-attention").items()
        if (match := BLOCK.search(key)) and int(match[1]) < 28  # of 30; CogView4 has 28
    }
    assert {"cogview4", "glm_image"} <= set(recognise(first, {}).families)
    assert recognise(shapes_of("flux1-diffusers-blocks"), {}).family == "flux.1"  # HunyuanVideo has 20 and 40 blocks


def test_patterns_stand_for_exactly_the_names_they_were_made_from() -> None:
    names = {name for key_list in list(KEY_LISTS.values())[:20] for name in key_list.shapes}
    assert sorted(name for pattern in compress(names) for name in expand(pattern)) == sorted(names)
