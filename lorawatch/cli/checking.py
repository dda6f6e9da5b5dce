"""`check`: what is this file, would it be delivered, and why not."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from lorawatch.cli import EXIT_ATTENTION, options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lorawatch.config import Config
    from lorawatch.domain.model import Facts
    from lorawatch.looking import Refusal, Verdict


def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Files to look at; nothing is changed.")],
    as_json: options.Json = False,
    config: options.Config = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
) -> None:
    """Say what a file is, whether it would be delivered, and why not.

    Example: lorawatch check cat_v2.safetensors
    """
    from lorawatch.looking import examiner_of, look_at_all

    loaded = options.configuration_or_defaults(config, log_format, log_level)
    accepted: list[bool] = []

    def verdicts() -> "Iterator[Verdict]":
        for verdict in look_at_all(files, examiner_of(loaded), _refusal_of(loaded)):
            accepted.append(verdict.is_accepted)
            yield verdict

    if as_json:
        options.print_json({"files": map(_document, verdicts())})
    else:
        for verdict in verdicts():
            typer.echo(_sentences(verdict))
    if not all(accepted):
        raise typer.Exit(EXIT_ATTENTION)


def _refusal_of(config: "Config") -> "Refusal":
    """Return a function that says why a file would not be delivered anywhere, or None if it would."""
    from lorawatch.domain.planning import CheckpointPolicy, step_of
    from lorawatch.looking import name_filter_of

    wanted = [(each.kinds or config.inspect.kinds, each.families) for each in config.destinations if each.enabled]
    checkpoints = CheckpointPolicy.parse(config.watch.checkpoints)
    is_wanted_name = name_filter_of(config)

    def refusal(path: str, facts: "Facts") -> tuple[str, str] | None:
        if os.path.basename(path).startswith("."):
            return "name-refused", "its name begins with a dot: hidden files are never looked at"
        if not is_wanted_name(path):
            return "name-refused", "a file with this name is not looked at: see watch.include and watch.exclude"
        if refused := checkpoints.refusal(step_of(path)):
            return refused
        options_ = wanted or [(config.inspect.kinds, ())]
        kinds = sorted({kind for kinds, _ in options_ for kind in kinds})
        if facts.kind not in kinds:
            return "kind-not-wanted", f"it is of kind {facts.kind}; wanted: {', '.join(kinds)}"
        family = facts.family or "unsorted"
        if not any(facts.kind in kinds and (not families or family in families) for kinds, families in options_):
            return "family-not-wanted", f"it is of family {family}, which no destination wants"
        return None

    return refusal


def _document(verdict: "Verdict") -> dict[str, object]:
    facts = verdict.facts
    return {
        "file": verdict.file,
        "accepted": verdict.is_accepted,
        "code": verdict.code,
        "reason": verdict.reason,
        "kind": facts.kind,
        "algorithm": facts.algorithm,
        "family": facts.family,
        "families": list(facts.families),
        "rank": facts.rank,
        "alpha": facts.alpha,
        "trigger_words": list(facts.trigger_words),
        "step": facts.step,
        "epoch": facts.epoch,
        "pair": facts.pair,
        "software": facts.software,
        "tensor_count": facts.tensor_count,
        "parameter_count": facts.parameter_count,
        "dtypes": list(facts.dtypes),
        "size_bytes": verdict.size_bytes,
        "sha256": verdict.sha256,
        "findings": [{"code": finding.code, "detail": finding.detail} for finding in facts.findings],
    }


def _facts(facts: "Facts") -> list[str]:
    """Return what is known of a file's contents; what is not known is left out, except what people look for."""
    from lorawatch import humanize

    kind = facts.kind if facts.algorithm in {None, facts.kind} else f"{facts.kind} ({facts.algorithm})"
    family = facts.family or (f"one of {', '.join(facts.families)}" if facts.families else "unknown")
    numbers = [
        f"{word} {value:g}" if isinstance(value, float) else f"{word} {value}"
        for word, value in (
            ("rank", facts.rank),
            ("alpha", facts.alpha),
            ("step", facts.step),
            ("epoch", facts.epoch),
        )
        if value is not None
    ]
    half = f"the {facts.pair}-noise half of a pair" if facts.pair else ""
    tensors = humanize.count(facts.tensor_count, "tensor")
    return [
        ", ".join(filter(None, (kind, f"family {family}", half))),
        *filter(None, [", ".join(numbers)]),
        f"trigger words: {', '.join(facts.trigger_words) or 'none found'}",
        f"{tensors} of {', '.join(facts.dtypes)}, {humanize.count(facts.parameter_count, 'parameter')}",
        *([f"trained with {facts.software}"] if facts.software else []),
    ]


def _sentences(verdict: "Verdict") -> str:
    from lorawatch import humanize
    from lorawatch.domain.codes import cure_of, words_for

    facts = verdict.facts
    mark = "accepted" if verdict.is_accepted else f"not delivered ({verdict.code})"
    lines = [f"{options.name(verdict.file)}: {mark}"]
    if facts.tensor_count:
        lines += [f"  {options.name(line)}" for line in _facts(facts)]
    if verdict.size_bytes is not None:
        lines.append(
            f"  {humanize.size(verdict.size_bytes)}" + (f", sha256 {verdict.sha256}" if verdict.sha256 else "")
        )
    if verdict.reason and verdict.code not in {finding.code for finding in facts.findings}:
        lines.append(f"  {options.name(verdict.reason)}")
    for finding in facts.findings:
        lines.append(f"  {finding.code}: {options.name(finding.detail)}")
        if advice := cure_of(finding.code, words_for(os.path.abspath(verdict.file))):
            lines.append(f"    what to do: {options.name(advice)}")
    return "\n".join(lines)
