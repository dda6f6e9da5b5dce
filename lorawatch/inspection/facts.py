"""From a valid header to the facts that people, filters and names work with.

The inspector calls it; pure. What cannot be known stays None or empty.
"""

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from lorawatch.domain.model import Facts
from lorawatch.domain.pairing import half_of, without_half
from lorawatch.domain.planning import step_of
from lorawatch.inspection.families import Evidence, FamilyVerdict, judge, weigh
from lorawatch.inspection.header import Header
from lorawatch.inspection.keys import Key, Role
from lorawatch.inspection.kinds import algorithm_of, kind_by_name, kind_of
from lorawatch.inspection.layout import Layout, derived
from lorawatch.inspection.metadata import alpha_in, epoch_in, software_in, step_in, trigger_words_in

# The tensors whose first dimension is the rank.
_RANK_PARTS = frozenset({"hada_w1_b", "lokr_w1_b", "lokr_w2_b"})


@dataclass(frozen=True, slots=True)
class _Anatomy:
    """What the tensors alone tell."""

    kind: str | None
    algorithm: str | None
    rank: int | None
    parameter_count: int
    dtypes: tuple[str, ...]
    evidence: Evidence


def facts_of(header: Header, *, name: str) -> Facts:
    """Return what a header and a file's name say about the file."""
    stem = os.path.splitext(os.path.basename(name))[0]
    anatomy = _anatomy(header.layout)
    kind = anatomy.kind or kind_by_name(stem)
    is_lora = kind == "lora"
    step = step_in(header.metadata)
    verdict = judge(anatomy.evidence, header.metadata, name=name)
    return Facts(
        kind=kind,
        algorithm=anatomy.algorithm,
        family=verdict.family,
        families=verdict.families,
        rank=anatomy.rank,
        alpha=alpha_in(header.metadata) if is_lora else None,
        step=_step_in_name(stem) if step is None else step,
        epoch=epoch_in(header.metadata),
        trigger_words=trigger_words_in(header.metadata, is_embedding=kind == "embedding"),
        tensor_count=len(header.tensors),
        parameter_count=anatomy.parameter_count,
        dtypes=anatomy.dtypes,
        software=software_in(header.metadata),
        pair=half_of(stem) if is_lora and _may_be_wan(verdict) else None,
        findings=verdict.findings,
    )


def _may_be_wan(verdict: FamilyVerdict) -> bool:
    """Return whether it may be of the models that come in two halves; names of others also say high or low noise."""
    families = verdict.families if verdict.family is None else (verdict.family,)
    return not families or any(family.startswith("wan") for family in families)


@derived
def _anatomy(layout: Layout) -> _Anatomy:
    kind = kind_of(layout.shapes, layout.keys.values())
    is_lora = kind == "lora"
    return _Anatomy(
        kind=kind,
        algorithm=algorithm_of(layout.keys.values()) if is_lora else None,
        rank=_rank(layout.shapes, layout.keys) if is_lora else None,
        parameter_count=sum(map(math.prod, layout.shapes.values())),
        dtypes=_dtypes(layout),
        evidence=weigh(layout.shapes),
    )


def _rank(shapes: Mapping[str, tuple[int, ...]], keys: Mapping[str, Key]) -> int | None:
    """Return the rank that most layers have; LoKr with whole matrices has none."""
    ranks = Counter(
        shapes[name][0]
        for name, key in keys.items()
        if (key.role is Role.DOWN or key.part in _RANK_PARTS) and len(shapes[name]) >= 2
    )
    return max(ranks, key=lambda rank: (ranks[rank], rank), default=None)


def _dtypes(layout: Layout) -> tuple[str, ...]:
    """Return the number types, the one with the most bytes first."""
    sizes: Counter[str] = Counter()
    for tensor in layout.tensors.values():
        sizes[tensor.dtype] += tensor.end - tensor.begin
    return tuple(dtype for dtype, _ in sizes.most_common())


def _step_in_name(stem: str) -> int | None:
    """Return the step of <job>_<step> or, of a pair, <job>_<step>_high_noise."""
    step = step_of(f"{without_half(stem)}.safetensors")
    return step if step is not None and step < 10**12 else None
