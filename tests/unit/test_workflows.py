"""Every recipe becomes a graph that ComfyUI takes: closed, complete, typed, and with the LoRA where it takes effect."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from lorawatch.workflows.graph import Lora, Wishes, Workflow, build, prompt_with
from lorawatch.workflows.models import choose, same_name
from lorawatch.workflows.picking import Pick, pick
from lorawatch.workflows.recipes import FAMILIES, LOADERS, RECIPES, Recipe, recipes_for
from tests.comfyui_definitions import NODES, File, Number

CAT = Lora("people/cat.safetensors")
WISHES = Wishes(prompt="c4t on a sofa", strength=0.9)
SAMPLERS = {"KSampler", "KSamplerAdvanced"}
LORA_LOADERS = {"LoraLoader", "LoraLoaderModelOnly"}


def recipe_id(recipe: Recipe) -> str:
    return f"{recipe.family}-{recipe.main_model}-{recipe.sampling.steps}"


every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=recipe_id)
every_kind_of_lora = pytest.mark.parametrize("changes_text", [False, True], ids=["model-only", "with-text-encoder"])


def graph_of(recipe: Recipe, *loras: Lora, wishes: Wishes = WISHES) -> Workflow:
    files = {role: slot.default.name for role, slot in recipe.models.items()}
    return build(recipe, files, loras or (CAT,), wishes)


def inputs_of(graph: Workflow, *classes: str) -> list[dict[str, Any]]:
    return [dict(node["inputs"]) for node in graph.values() if node["class_type"] in classes]  # type: ignore[call-overload]


def way_back(graph: Workflow, node_id: str, name: str) -> Iterator[str]:
    """The classes of the nodes from which this input comes, following the same kind of thing to its loader."""
    while True:
        inputs: Any = graph[node_id]["inputs"]
        if name not in inputs:
            return
        node_id = inputs[name][0]
        yield str(graph[node_id]["class_type"])


@every_recipe
@every_kind_of_lora
def test_every_node_is_complete_and_every_link_leads_to_what_is_expected(recipe: Recipe, changes_text: bool) -> None:
    graph = graph_of(recipe, Lora(CAT.name, changes_text_encoder=changes_text))
    for node in graph.values():
        definition = NODES[str(node["class_type"])]
        inputs: Any = node["inputs"]
        assert set(inputs) == set(definition.inputs), node
        for name, expected in definition.inputs.items():
            assert is_right(graph, inputs[name], expected), (node["class_type"], name, inputs[name])


def is_right(graph: Workflow, value: Any, expected: object) -> bool:
    match expected:
        case Number(least, most, is_whole):
            return isinstance(value, int if is_whole else int | float) and least <= value <= most
        case File():
            return isinstance(value, str) and value.endswith(".safetensors")
        case tuple():
            return value in expected
        case "STRING":
            return isinstance(value, str)
    source = graph[value[0]]
    given: object = NODES[str(source["class_type"])].outputs[value[1]]
    return given == expected


@every_recipe
def test_nothing_in_it_is_null_and_it_survives_json(recipe: Recipe) -> None:
    graph = graph_of(recipe)
    text = json.dumps(graph)
    assert "null" not in text
    assert json.loads(text) == graph


@every_recipe
def test_exactly_one_node_saves_and_every_other_one_leads_to_it(recipe: Recipe) -> None:
    graph = graph_of(recipe)
    saving = [node_id for node_id, node in graph.items() if NODES[str(node["class_type"])].is_output]
    assert len(saving) == 1
    reached, waiting = set(), [*saving]
    while waiting:
        node_id = waiting.pop()
        reached.add(node_id)
        inputs: Any = graph[node_id]["inputs"]
        waiting += [value[0] for value in inputs.values() if isinstance(value, list)]
    assert reached == set(graph)


@every_recipe
@every_kind_of_lora
def test_the_lora_stands_between_the_loader_and_every_sampler(recipe: Recipe, changes_text: bool) -> None:
    graph = graph_of(recipe, Lora(CAT.name, changes_text_encoder=changes_text))
    samplers = [node_id for node_id, node in graph.items() if node["class_type"] in SAMPLERS]
    assert len(samplers) == (2 if recipe.has_experts else 1)
    for sampler in samplers:
        way = list(way_back(graph, sampler, "model"))
        assert len(LORA_LOADERS & set(way)) == 1
        assert way[-1] in {"CheckpointLoaderSimple", "UNETLoader"}
    for inputs in inputs_of(graph, *LORA_LOADERS):
        assert (inputs["lora_name"], inputs["strength_model"]) == (CAT.name, 0.9)


@every_recipe
@every_kind_of_lora
def test_the_text_encoder_goes_through_the_lora_only_if_the_lora_changes_it(recipe: Recipe, changes_text: bool) -> None:
    graph = graph_of(recipe, Lora(CAT.name, changes_text_encoder=changes_text))
    assert len(inputs_of(graph, "LoraLoader")) == int(changes_text)  # once, also where two models share the encoder
    for node_id, node in graph.items():
        if node["class_type"] == "CLIPTextEncode":
            assert ("LoraLoader" in way_back(graph, node_id, "clip")) is changes_text


@every_recipe
def test_the_negative_prompt_is_there_and_empty(recipe: Recipe) -> None:
    graph = graph_of(recipe)
    for inputs in inputs_of(graph, *SAMPLERS):
        negative = graph[inputs["negative"][0]]
        assert negative["class_type"] == "CLIPTextEncode"
        assert dict(negative["inputs"])["text"] == ""  # type: ignore[call-overload]
    said = [inputs["text"] for inputs in inputs_of(graph, "CLIPTextEncode")]
    assert said == ["c4t on a sofa", ""]


@pytest.mark.parametrize("recipe", recipes_for("flux.1"), ids=recipe_id)
def test_flux_has_its_guidance_and_no_other(recipe: Recipe) -> None:
    graph = graph_of(recipe)
    sampler = inputs_of(graph, "KSampler")[0]
    assert sampler["cfg"] == 1.0
    assert graph[sampler["positive"][0]]["class_type"] == "FluxGuidance"
    assert inputs_of(graph, "FluxGuidance")[0]["guidance"] == 3.5


def test_the_families_of_the_readme_have_a_graph() -> None:
    assert set(FAMILIES) >= {"flux.1", "sdxl_1.0", "sd_1.5", "zimage", "qwen_image", "wan_2.2_14b"}
    assert recipes_for("hidream_i1") == ()


def test_every_family_with_a_graph_is_one_that_files_can_have() -> None:
    from lorawatch.inspection.families_table import family_table

    assert set(FAMILIES) <= family_table().families


@every_recipe
def test_every_official_name_fits_its_own_slot_and_has_its_address(recipe: Recipe) -> None:
    for role, slot in recipe.models.items():
        class_type, name = LOADERS[role]
        assert NODES[class_type].inputs[name] == File(slot.folder)
        for model in slot.official:
            assert model.url.endswith(f"/{model.name}")
            assert choose(slot, [f"sub/{model.name}"]).name == f"sub/{model.name}"
            renamed = model.name.replace(".safetensors", "_copy.safetensors")
            assert choose(slot, [renamed]).name == renamed


def test_wan_puts_each_half_into_its_own_expert() -> None:
    (recipe,) = recipes_for("wan_2.2_14b")
    graph = graph_of(
        recipe, Lora("cat_high_noise.safetensors", half="high"), Lora("cat_low_noise.safetensors", half="low")
    )
    first, second = (node_id for node_id, node in graph.items() if node["class_type"] == "KSamplerAdvanced")
    assert models_before(graph, first) == [
        "cat_high_noise.safetensors",
        "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors",
    ]
    assert models_before(graph, second) == [
        "cat_low_noise.safetensors",
        "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors",
    ]
    high, low = inputs_of(graph, "KSamplerAdvanced")
    assert (high["start_at_step"], high["end_at_step"], low["start_at_step"], low["end_at_step"]) == (0, 10, 10, 20)
    assert (high["add_noise"], high["return_with_leftover_noise"]) == ("enable", "enable")
    assert (low["add_noise"], low["return_with_leftover_noise"]) == ("disable", "disable")
    assert low["latent_image"] == [first, 0]


def models_before(graph: Workflow, node_id: str) -> list[str]:
    found = []
    inputs: Any = graph[node_id]["inputs"]
    while "model" in inputs:
        inputs = graph[inputs["model"][0]]["inputs"]
        found += [inputs[name] for name in ("lora_name", "unet_name") if name in inputs]
    return found


def test_one_half_alone_leaves_the_other_expert_as_it_is() -> None:
    (recipe,) = recipes_for("wan_2.2_14b")
    graph = graph_of(recipe, Lora("cat_low_noise.safetensors", half="low"))
    assert len(inputs_of(graph, "LoraLoaderModelOnly")) == 1


@pytest.mark.parametrize("steps", [1, 2, 3, 9])
def test_two_experts_share_any_number_of_steps(steps: int) -> None:
    (recipe,) = recipes_for("wan_2.2_14b")
    high, low = inputs_of(graph_of(recipe, wishes=Wishes("x", steps=steps)), "KSamplerAdvanced")
    assert 0 < high["end_at_step"] == low["start_at_step"] < low["end_at_step"]


@every_recipe
def test_wishes_are_granted(recipe: Recipe) -> None:
    wishes = Wishes(
        "x", negative="blurry", strength=0.8, seed=7, steps=12, size=(640, 832), file_prefix="lorawatch/cat"
    )
    graph = graph_of(recipe, wishes=wishes)
    for sampler in inputs_of(graph, *SAMPLERS):
        assert (sampler.get("seed", sampler.get("noise_seed")), sampler["steps"]) == (7, 12)
    assert [(each["width"], each["height"]) for each in inputs_of(graph, recipe.latent)] == [(640, 832)]
    assert [each["text"] for each in inputs_of(graph, "CLIPTextEncode")] == ["x", "blurry"]
    assert [each["filename_prefix"] for each in inputs_of(graph, "SaveImage", "SaveVideo")] == ["lorawatch/cat"]


@pytest.mark.parametrize(
    ("words", "prompt", "whole"),
    [
        (("p3rson",), "", "p3rson"),
        (("p3rson",), "a portrait", "p3rson, a portrait"),
        (("p3rson",), "a portrait of P3rson", "a portrait of P3rson"),
        (("p3rson", "sks"), "sks dog", "p3rson, sks dog"),
        (("man", "c++"), "a woman reads of c++, twice", "man, a woman reads of c++, twice"),
        ((), "  a portrait ", "a portrait"),
        ((), "", ""),
    ],
)
def test_trigger_words_stand_in_the_prompt_once(words: Sequence[str], prompt: str, whole: str) -> None:
    assert prompt_with(words, prompt) == whole


# Which files are taken.

FLUX_PARTS = {
    "unet": ["flux1-dev.safetensors"],
    "clip": ["clip_l.safetensors", "t5xxl_fp8_e4m3fn.safetensors"],
    "clip_2": ["clip_l.safetensors", "t5xxl_fp8_e4m3fn.safetensors"],
    "vae": ["ae.safetensors"],
}


def picked(family: str, listed: dict[str, list[str]] | None, *, model: str | None = None) -> Pick:
    return pick(recipes_for(family), lambda role: None if listed is None else listed.get(role, []), model=model)


def test_without_a_comfyui_the_official_names_are_taken_and_nothing_is_missing() -> None:
    found = picked("flux.1", None)
    assert found.files == {
        "unet": "flux1-dev.safetensors",
        "clip": "clip_l.safetensors",
        "clip_2": "t5xxl_fp16.safetensors",
        "vae": "ae.safetensors",
    }
    assert found.missing == []


def test_the_form_is_the_one_whose_models_are_there() -> None:
    assert picked("flux.1", FLUX_PARTS).files["clip_2"] == "t5xxl_fp8_e4m3fn.safetensors"
    assert picked("flux.1", {"checkpoint": ["FLUX\\flux1-dev-fp8.safetensors"]}).files == {
        "checkpoint": "FLUX\\flux1-dev-fp8.safetensors"
    }


def test_what_is_missing_is_named_with_where_to_have_it_from() -> None:
    found = picked("flux.1", {**FLUX_PARTS, "vae": []})
    assert [(each.name, each.slot.folder) for each in found.missing] == [("ae.safetensors", "vae")]
    assert len(picked("qwen_image", {}).missing) == 3


def test_the_sampler_is_the_one_for_the_model_that_is_there() -> None:
    shared = {"clip": ["qwen_3_4b.safetensors"], "vae": ["ae.safetensors"]}
    turbo = picked("zimage", {**shared, "unet": ["z_image_bf16.safetensors", "z_image_turbo_bf16.safetensors"]})
    base = picked("zimage", {**shared, "unet": ["z_image_bf16.safetensors"]})
    assert (turbo.files["unet"], turbo.recipe.sampling.steps, turbo.recipe.sampling.cfg) == (
        "z_image_turbo_bf16.safetensors", 8, 1.0,
    )  # fmt: skip
    assert (base.files["unet"], base.recipe.sampling.steps, base.recipe.sampling.cfg) == (
        "z_image_bf16.safetensors", 25, 4.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("family", "role", "listed", "taken"),
    [
        ("flux.1", "unet", ["flux1-fill-dev.safetensors", "flux1-dev-kontext_fp8_scaled.safetensors"], None),
        ("flux.1", "unet", ["flux1-schnell.safetensors", "flux2_dev_fp8mixed.safetensors"], None),
        ("flux.1", "unet", ["flux/flux1-dev-fp8-e4m3fn.safetensors"], "flux/flux1-dev-fp8-e4m3fn.safetensors"),
        ("flux.1", "unet", ["flux1-krea-dev.safetensors", "a/flux1-dev-x.safetensors"], "a/flux1-dev-x.safetensors"),
        ("sdxl_1.0", "checkpoint", ["sd_xl_refiner_1.0.safetensors", "sd_xl_turbo_1.0.safetensors"], None),
        ("sdxl_1.0", "checkpoint", ["v1-5-pruned-emaonly.safetensors", "juggernaut.safetensors"], None),
        ("sdxl_1.0", "checkpoint", ["sdXL_v10VAEFix.safetensors", "SDXL_base.safetensors"], "SDXL_base.safetensors"),
        ("sd_1.5", "checkpoint", ["v1-5-pruned.ckpt", "sd_xl_base_1.0.safetensors"], "v1-5-pruned.ckpt"),
        ("sd_1.5", "checkpoint", ["sd-v1-5-inpainting.ckpt"], None),
        ("qwen_image", "unet", ["qwen_image_edit_2509_fp8.safetensors", "qwen_image_layered_bf16.safetensors"], None),
        ("qwen_image", "unet", ["qwen_image_2_1_bf16.safetensors"], None),
        ("qwen_image", "unet", ["qwen_image_2512_bf16.safetensors"], "qwen_image_2512_bf16.safetensors"),
        ("wan_2.2_14b", "unet", ["wan2.2_i2v_high_noise_14B_fp16.safetensors"], None),
        ("wan_2.2_14b", "unet", ["wan2.2_t2v_low_noise_14B_fp16.safetensors"], None),
        ("wan_2.2_14b", "unet", ["Wan2_2-T2V-A14B_HIGH_fp8.safetensors"], "Wan2_2-T2V-A14B_HIGH_fp8.safetensors"),
        ("wan_2.2_14b", "unet_low", ["Wan2_2-T2V-A14B-LOW_fp8.safetensors"], "Wan2_2-T2V-A14B-LOW_fp8.safetensors"),
    ],
)  # fmt: skip
def test_only_a_file_whose_name_speaks_for_it_is_taken(
    family: str, role: str, listed: list[str], taken: str | None
) -> None:
    slot = next(recipe.models[role] for recipe in recipes_for(family) if role in recipe.models)
    choice = choose(slot, listed)
    assert (None if choice.is_missing else choice.name) == taken


def test_a_model_that_was_asked_for_is_taken_as_it_is_listed() -> None:
    listed = {"checkpoint": ["sd_xl_base_1.0.safetensors", "real\\juggernaut.safetensors"]}
    assert (
        picked("sdxl_1.0", listed, model="juggernaut.safetensors").files["checkpoint"] == "real\\juggernaut.safetensors"
    )
    assert picked("sdxl_1.0", None, model="juggernaut.safetensors").files["checkpoint"] == "juggernaut.safetensors"
    missing = picked("sdxl_1.0", listed, model="nowhere.safetensors").missing
    assert [each.name for each in missing] == ["nowhere.safetensors"]


def test_a_model_that_was_asked_for_decides_the_recipe() -> None:
    listed = {"unet": ["z_image_bf16.safetensors", "z_image_turbo_bf16.safetensors", "my_zit.safetensors"]}
    assert picked("zimage", listed, model="z_image_bf16.safetensors").recipe.sampling.steps == 25
    assert picked("zimage", listed, model="z_image_turbo_bf16.safetensors").recipe.sampling.steps == 8
    assert picked("zimage", listed, model="my_zit.safetensors").recipe.sampling.steps == 8


@pytest.mark.parametrize(
    ("name", "listed", "found"),
    [
        ("cat.safetensors", ["cat.safetensors", "old/cat.safetensors"], "cat.safetensors"),
        ("cat.safetensors", ["old/cat.safetensors"], "old/cat.safetensors"),
        ("flux/cat.safetensors", ["mine\\flux\\cat.safetensors"], "mine\\flux\\cat.safetensors"),
        ("cat.safetensors", ["bobcat.safetensors"], None),
        ("cat.safetensors", ["a/cat.safetensors", "b/cat.safetensors"], None),
        ("cat.safetensors", [], None),
    ],
)
def test_a_name_is_found_below_directories_unless_two_have_it(name: str, listed: list[str], found: str | None) -> None:
    assert same_name(name, listed) == found
