"""From a recipe to the JSON that ComfyUI's POST /prompt takes. Pure; composing.py calls it, on the main thread.

The order is that of the picture's way: loaders, LoRA, prompts, sampler, decoder, saving. No input is ever null: what
ComfyUI calls "NoneType not iterable" is a missing prompt.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lorawatch.workflows.recipes import Recipe

Link = tuple[str, int]  # a node and one of its outputs; a list in JSON
Value = str | int | float | Link
Node = dict[str, object]
Workflow = dict[str, Node]


@dataclass(frozen=True, slots=True)
class Lora:
    """One LoRA, by the name that ComfyUI lists."""

    name: str
    changes_text_encoder: bool = False
    half: str | None = None  # "high" or "low": only for that expert; None: for every model of the graph


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person may want otherwise than the recipe has it. None: as the recipe has it."""

    prompt: str
    negative: str = ""
    strength: float = 1.0
    seed: int = 42  # that of AI Toolkit's own samples
    steps: int | None = None
    size: tuple[int, int] | None = None
    file_prefix: str = "lorawatch/picture"


def prompt_with(trigger_words: Sequence[str], prompt: str) -> str:
    """Return the prompt with the trigger words before it, without those that it has already."""
    missing = [word for word in trigger_words if not _says(prompt, word)]
    return ", ".join(filter(None, (*missing, prompt.strip())))


def _says(prompt: str, word: str) -> bool:
    """Return whether a word stands in a prompt by itself: a woman is no man."""
    return re.search(rf"(?<!\w){re.escape(word.casefold())}(?!\w)", prompt.casefold()) is not None


def build(recipe: Recipe, files: Mapping[str, str], loras: Sequence[Lora], wishes: Wishes) -> Workflow:
    """Return the whole graph. `files` holds a file name for each role in `recipe.models`."""
    nodes = _Nodes()
    models, clip, vae = _load(nodes, recipe, files)
    for lora in loras:
        clip = _apply(nodes, lora, models, clip, wishes.strength)
    if recipe.shift is not None:
        class_type, shift = recipe.shift
        models = {
            half: nodes.add(class_type, f"Noise schedule {half}".strip(), model=model, shift=shift)
            for half, model in models.items()
        }
    positive = nodes.add("CLIPTextEncode", "Prompt", clip=clip, text=wishes.prompt)
    negative = nodes.add("CLIPTextEncode", "Negative prompt", clip=clip, text=wishes.negative)
    if recipe.guidance is not None:
        positive = nodes.add("FluxGuidance", "Guidance", conditioning=positive, guidance=recipe.guidance)
    latent = _sample(nodes, recipe, models, _Canvas(positive, negative, _empty(nodes, recipe, wishes)), wishes)
    images = nodes.add("VAEDecode", "Decoding", samples=latent, vae=vae)
    _save(nodes, recipe, images, wishes.file_prefix)
    return nodes.workflow


def title_of(node: Node) -> str:
    """Return what a person calls a node."""
    meta = node.get("_meta")
    return str(meta["title"]) if isinstance(meta, dict) else str(node["class_type"])


@dataclass(slots=True)
class _Nodes:
    """The graph as it grows."""

    workflow: Workflow = field(default_factory=dict)

    def add(self, class_type: str, title: str, **inputs: Value) -> Link:
        """Add a node; return its first output."""
        number = str(len(self.workflow) + 1)
        stated = {name: list(value) if isinstance(value, tuple) else value for name, value in inputs.items()}
        self.workflow[number] = {"class_type": class_type, "inputs": stated, "_meta": {"title": title}}
        return number, 0


@dataclass(frozen=True, slots=True)
class _Canvas:
    """What every sampler draws by, and on."""

    positive: Link
    negative: Link
    latent: Link


def _output(link: Link, number: int) -> Link:
    return link[0], number


def _load(nodes: _Nodes, recipe: Recipe, files: Mapping[str, str]) -> tuple[dict[str, Link], Link, Link]:
    """Return the models by the half of the drawing that they do, the text encoder, and the decoder."""
    if "checkpoint" in files:
        checkpoint = nodes.add("CheckpointLoaderSimple", "Base model", ckpt_name=files["checkpoint"])
        return {"": checkpoint}, _output(checkpoint, 1), _output(checkpoint, 2)
    halves = {"high": "unet", "low": "unet_low"} if recipe.has_experts else {"": "unet"}
    models = {
        half: nodes.add("UNETLoader", f"Base model {half}".strip(), unet_name=files[role], weight_dtype="default")
        for half, role in halves.items()
    }
    if "clip_2" in files:
        clip = nodes.add(
            "DualCLIPLoader",
            "Text encoders",
            clip_name1=files["clip"],
            clip_name2=files["clip_2"],
            type=recipe.clip_type,
        )
    else:
        clip = nodes.add("CLIPLoader", "Text encoder", clip_name=files["clip"], type=recipe.clip_type)
    return models, clip, nodes.add("VAELoader", "Decoder", vae_name=files["vae"])


def _apply(nodes: _Nodes, lora: Lora, models: dict[str, Link], clip: Link, strength: float) -> Link:
    """Put the LoRA behind each model that it is for; return the text encoder, changed if the LoRA changes it."""
    is_text_due = lora.changes_text_encoder
    for half, model in models.items():
        if half and lora.half not in {None, half}:
            continue
        title = f"LoRA {half}".strip()
        if is_text_due:
            models[half] = nodes.add(
                "LoraLoader",
                title,
                model=model,
                clip=clip,
                lora_name=lora.name,
                strength_model=strength,
                strength_clip=strength,
            )
            clip, is_text_due = _output(models[half], 1), False
        else:
            models[half] = nodes.add(
                "LoraLoaderModelOnly", title, model=model, lora_name=lora.name, strength_model=strength
            )
    return clip


def _empty(nodes: _Nodes, recipe: Recipe, wishes: Wishes) -> Link:
    width, height = wishes.size or recipe.size
    inputs: dict[str, Value] = {"width": width, "height": height}
    if recipe.frames is not None:
        inputs["length"] = recipe.frames
    return nodes.add(recipe.latent, "Size", **inputs, batch_size=1)


def _sample(nodes: _Nodes, recipe: Recipe, models: Mapping[str, Link], canvas: _Canvas, wishes: Wishes) -> Link:
    """Return the drawn latent; of two experts the second goes on where the first stops, half-way."""
    steps = wishes.steps or recipe.sampling.steps
    shared: dict[str, Value] = {
        "steps": steps,
        "cfg": recipe.sampling.cfg,
        "sampler_name": recipe.sampling.sampler,
        "scheduler": recipe.sampling.scheduler,
        "positive": canvas.positive,
        "negative": canvas.negative,
    }
    if not recipe.has_experts:
        return nodes.add(
            "KSampler",
            "Sampler",
            model=models[""],
            seed=wishes.seed,
            **shared,
            latent_image=canvas.latent,
            denoise=1.0,
        )
    turn = max(1, steps // 2)
    drawn = nodes.add(
        "KSamplerAdvanced",
        "Sampler high noise",
        model=models["high"],
        add_noise="enable",
        noise_seed=wishes.seed,
        **shared,
        latent_image=canvas.latent,
        start_at_step=0,
        end_at_step=turn,
        return_with_leftover_noise="enable",
    )
    return nodes.add(
        "KSamplerAdvanced",
        "Sampler low noise",
        model=models["low"],
        add_noise="disable",
        noise_seed=wishes.seed,
        **shared,
        latent_image=drawn,
        start_at_step=turn,
        end_at_step=max(steps, turn + 1),
        return_with_leftover_noise="disable",
    )


def _save(nodes: _Nodes, recipe: Recipe, images: Link, prefix: str) -> None:
    if not recipe.is_video:
        nodes.add("SaveImage", "Saving", images=images, filename_prefix=prefix)
        return
    video = nodes.add("CreateVideo", "Video", images=images, fps=recipe.frames_per_second)
    nodes.add("SaveVideo", "Saving", video=video, filename_prefix=prefix, format="auto", codec="auto")
