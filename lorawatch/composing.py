"""Compose a workflow for one LoRA: what it is, what ComfyUI has for it, and the graph of the two. Behind `workflow`.

Runs on the main thread, beside a daemon or without one. It asks ComfyUI for lists only, and writes nothing.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lorawatch.config import Config
from lorawatch.domain.errors import ComfyUIError, WorkflowError
from lorawatch.domain.model import Facts
from lorawatch.inspection.families_table import family_table
from lorawatch.journal.database import Database
from lorawatch.locating import Located, Locator
from lorawatch.workflows.graph import Lora, Wishes, Workflow, build, prompt_with
from lorawatch.workflows.models import Choice, same_name
from lorawatch.workflows.picking import Pick, pick
from lorawatch.workflows.recipes import FAMILIES, LOADERS, Recipe, recipes_for

if TYPE_CHECKING:
    from lorawatch.comfyui.client import ComfyUI

DEFAULT_URL = "http://127.0.0.1:8188"  # where ComfyUI listens unless it is told otherwise
_MOST_SHOWN = 5
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asked for."""

    lora: str  # a path, or the name of something delivered
    wishes: Wishes  # its prompt as it was written
    family: str | None = None
    model: str | None = None
    comfyui_url: str = ""
    must_run: bool = False  # without ComfyUI the graph is of no use


@dataclass(frozen=True, slots=True)
class Composed:
    """A workflow, what a person should know about it, and the ComfyUI that was asked."""

    workflow: Workflow
    pick: Pick
    notes: tuple[str, ...]
    comfyui: "ComfyUI | None"


@dataclass(slots=True)
class Inventory:
    """What a ComfyUI has; it is asked once for each kind of file, and no more after it has failed to answer."""

    comfyui: "ComfyUI | None"
    must_answer: bool
    notes: list[str]
    _lists: dict[tuple[str, str], list[str] | None] = field(default_factory=dict)

    def listed(self, role: str) -> list[str] | None:
        """Return the names it has for a role of a recipe; None if nobody knows. Raises ComfyUIError if it must answer.

        These are the lists against which it checks a graph, so what is in them is accepted.
        """
        return self.choices(*LOADERS[role])

    def choices(self, node: str, input_name: str) -> list[str] | None:
        """Return what an input of a node may be. As `listed`."""
        if self.comfyui is None:
            return None
        if (node, input_name) not in self._lists:
            try:
                self._lists[node, input_name] = self.comfyui.choices(node, input_name)
            except ComfyUIError as error:
                if self.must_answer:
                    raise
                self.notes.append(f"{error.message}; the names are ComfyUI's usual ones instead ({error.code})")
                self.comfyui = None
                return None
        return self._lists[node, input_name]


def compose(request: Request, config: Config, journal: Database | None) -> Composed:
    """Return the workflow. Raises WorkflowError where there is none; ComfyUIError only if it must run."""
    locator = Locator(config, journal)
    located = locator.locate(request.lora)
    recipes = recipes_for(_family_of(located, request.family))
    notes = [f"{finding.code}: {finding.detail}" for finding in located.facts.findings]
    if request.model is not None and recipes[0].has_experts:
        raise WorkflowError(
            f"--model names one file, and {recipes[0].family} draws with two",
            fix="change unet_name in the graph instead",
        )
    comfyui = _comfyui_for(request, located, config)
    inventory = Inventory(comfyui, request.must_run, notes)
    found = pick(recipes, inventory.listed, model=request.model)
    notes += [_missing(choice, inventory) for choice in found.missing]
    loras = _loras(located, found.recipe, locator, inventory, notes)
    if request.wishes.negative and found.recipe.sampling.cfg == 1.0:
        notes.append(f"{found.recipe.family} is drawn with cfg 1.0, where a negative prompt has no effect")
    workflow = build(found.recipe, found.files, loras, _wishes(request.wishes, located))
    return Composed(workflow, found, tuple(notes), comfyui)


def _family_of(located: Located, wanted: str | None) -> str:
    """Return the family to make a graph for. Raises WorkflowError where that would be a guess, or there is none."""
    facts, name = located.facts, os.path.basename(located.origin)
    if facts.kind != "lora":
        raise WorkflowError(f"{name} is of kind {facts.kind}, not a LoRA", code="not-a-lora")
    family = facts.family if wanted is None else _chosen(name, facts, wanted)
    if family is None and facts.families:
        possible = [each for each in facts.families if recipes_for(each)]
        raise WorkflowError(
            f"{name} may be for {' or '.join(facts.families)}: its layers do not tell which",
            fix=f"if it is for that one, say so with --family {' or --family '.join(possible)}" if possible else "",
        )
    if family is None:
        raise WorkflowError(
            f"the family of {name} is not known", fix=f"if you know it, say so with --family: {', '.join(FAMILIES)}"
        )
    if not recipes_for(family):
        raise WorkflowError(f"there is no workflow for {family}; there is one for {', '.join(FAMILIES)}")
    return family


def _chosen(name: str, facts: Facts, wanted: str) -> str:
    """Return the family that a person chose, if the file can be of it."""
    table = family_table()
    families = table.aliases.get(wanted.lower(), (wanted.lower(),))
    possible = {facts.family} if facts.family else set(facts.families)
    possible |= {table.variants[each] for each in possible if each in table.variants}
    matching = [family for family in families if not possible or family in possible]
    if len(matching) != 1:
        is_what = f"is for {facts.family}" if facts.family else f"may be for {' or '.join(facts.families)}"
        raise WorkflowError(
            f"{name} {is_what}, not for {wanted}: ComfyUI would load it and change nothing",
            fix="leave out --family, or name one of these" if facts.family is None else "leave out --family",
        )
    return matching[0]


def _comfyui_for(request: Request, located: Located, config: Config) -> "ComfyUI | None":
    """Return the ComfyUI that was named, else the one where the file was delivered, else the first configured one."""
    configured = [located.destination, *(each for each in config.destinations if each.enabled)]
    urls = [request.comfyui_url, *(each.comfyui_url for each in configured if each is not None)]
    url = next(filter(None, urls), DEFAULT_URL if request.must_run else "")
    if not url:
        return None
    from lorawatch.comfyui.client import ComfyUI  # it loads HTTP, which is not needed where nobody is asked

    return ComfyUI(url.rstrip("/"))


def _missing(choice: Choice, inventory: Inventory) -> str:
    """Say which file to get from where; of checkpoints also which there are, for nobody's name says what it is."""
    words = "; ".join(filter(None, (choice.lack, choice.cure)))
    there = inventory.listed("checkpoint") if choice.slot.folder == "checkpoints" else None
    if there:
        more = f", and {len(there) - _MOST_SHOWN} more" if len(there) > _MOST_SHOWN else ""
        words += f", or take one that it has with --model: {', '.join(there[:_MOST_SHOWN])}{more}"
    return f"{words} (model-missing)"


def _loras(
    located: Located, recipe: Recipe, locator: Locator, inventory: Inventory, notes: list[str]
) -> Sequence[Lora]:
    """Return the LoRA as ComfyUI calls it; for a model of two experts both halves, as far as they are there."""
    if not recipe.has_experts:
        return [_lora(located, None, inventory, notes)]
    half = located.facts.pair
    if half is None:
        notes.append("its name says neither high nor low noise: it is put into both models")
        return [_lora(located, None, inventory, notes)]
    other = locator.other_half(located)
    if other is None:
        notes.append(f"it is the {half}-noise half alone; the other one was not found (pair-incomplete)")
        return [_lora(located, half, inventory, notes)]
    halves = sorted([(half, located), (other.facts.pair or "", other)], key=lambda each: each[0])
    return [_lora(each, name, inventory, notes) for name, each in halves]


def _lora(located: Located, half: str | None, inventory: Inventory, notes: list[str]) -> Lora:
    listed = inventory.choices("LoraLoaderModelOnly", "lora_name")
    name = located.name if listed is None else same_name(located.name, listed)
    if name is None:
        notes.append(f"ComfyUI does not list {located.name}, or more than once (comfyui-not-listed)")
    return Lora(name or located.name, changes_text_encoder=located.changes_text_encoder, half=half)


def _wishes(wishes: Wishes, located: Located) -> Wishes:
    """Return the wishes with the trigger words in the prompt, and the LoRA's name in that of the picture."""
    stem = os.path.splitext(os.path.basename(located.name))[0]
    return replace(
        wishes,
        prompt=prompt_with(located.facts.trigger_words, wishes.prompt) or "a photo",
        file_prefix=f"lorawatch/{_UNSAFE.sub('-', stem).strip('.-') or 'lora'}",
    )
