"""Which of a family's recipes fits a ComfyUI, and with which of its files. Pure but for what `listed` does.

composing.py calls it, on the main thread.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from lorawatch.workflows.models import Choice, choose, fits, same_name
from lorawatch.workflows.recipes import Recipe

Listed = Callable[[str], Sequence[str] | None]  # of a role: the names that ComfyUI has for it; None: nobody knows


@dataclass(frozen=True, slots=True)
class Pick:
    """A recipe, and a file for each of its roles."""

    recipe: Recipe
    choices: Mapping[str, Choice]

    @property
    def files(self) -> dict[str, str]:
        """The names alone."""
        return {role: choice.name for role, choice in self.choices.items()}

    @property
    def missing(self) -> list[Choice]:
        """What ComfyUI does not have, each file once."""
        return list({choice.name: choice for choice in self.choices.values() if choice.is_missing}.values())


def pick(recipes: Sequence[Recipe], listed: Listed, *, model: str | None = None) -> Pick:
    """Return the first recipe whose files ComfyUI all has, else the first whose main model it has, else the first.

    `model` is the main model that somebody asked for, of which the recipe is the one for models of that name.
    """
    picks = [Pick(recipe, {role: _choose(recipe, role, listed) for role in recipe.models}) for recipe in recipes]
    if model is not None:
        return _with_model(picks, listed, model)
    whole = [each for each in picks if not each.missing]
    usable = [each for each in picks if not each.choices[each.recipe.main_model].is_missing]
    return (whole or usable or picks)[0]


def _choose(recipe: Recipe, role: str, listed: Listed) -> Choice:
    return choose(recipe.models[role], listed(role))


def _with_model(picks: Sequence[Pick], listed: Listed, model: str) -> Pick:
    """Take the model as it is listed; as it was written where ComfyUI has no such file, or nobody could ask."""
    found = []
    for each in picks:
        role = each.recipe.main_model
        names = listed(role)
        name = same_name(model, names) if names is not None else model
        choice = replace(each.choices[role], name=name or model, is_missing=name is None)
        found.append(Pick(each.recipe, {**each.choices, role: choice}))
    there = [each for each in found if not each.choices[each.recipe.main_model].is_missing] or found
    alike = [each for each in there if fits(each.recipe.models[each.recipe.main_model], model)]
    return (alike or there)[0]
