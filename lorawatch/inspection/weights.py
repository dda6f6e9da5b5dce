"""Broken weights: NaN and Inf, a LoRA that changes nothing, zeros where the end of the file should be.

It rides on the read that computes the sha256 (a sink of `sha256_of`), on whatever thread that runs, and sees
every byte once, in order. It never reads, never keeps a piece, and needs a few MiB whatever the file's size.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lorawatch.domain.errors import FileChangedError
from lorawatch.domain.model import Finding
from lorawatch.inspection.document import TensorInfo
from lorawatch.inspection.dtypes import FLOAT_FORMS, RAW_FORM, FloatForm, Integers
from lorawatch.inspection.header import Header
from lorawatch.inspection.keys import Role
from lorawatch.inspection.layout import Layout, derived
from lorawatch.inspection.lean_numpy import np
from lorawatch.inspection.wholeness import zero_tail

if TYPE_CHECKING:
    import numpy.typing as npt

# A reader may hand over more at once; the temporaries of a count are as large as one step.
_STEP_BYTES = 4 << 20
_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class _Span:
    """Neighbouring tensors of one number type: they are looked at together, a thousand small ones as one."""

    begin: int
    end: int
    form: FloatForm


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to look at the files of one layout."""

    tensors: Sequence[tuple[str, TensorInfo]]  # those that have bytes, in file order
    begins: Sequence[int]
    spans: Sequence[_Span]
    unit_of: Mapping[str, str]  # matrix → what it can only change something together with: its layer, or itself
    unit_sizes: Mapping[str, int]  # how many matrices that is


class WeightsScan:
    """Looks at the bytes of one file. Feed all of them, in order, then ask for the result."""

    def __init__(self, header: Header) -> None:
        self._header = header
        plan = _plan(header.layout)
        self._tensors = plan.tensors
        self._begins = plan.begins
        self._spans = iter(plan.spans)
        self._span = next(self._spans, None)
        self._fed_bytes = 0
        self._carry = b""  # the first bytes of a value that the last piece cut
        self._last_byte = -1  # position in the data of the last byte that is not zero
        self._nonfinite: dict[str, tuple[int, int]] = {}
        self._effect = _Effect(plan)

    def feed(self, piece: memoryview) -> None:
        """Look at the next bytes of the file, from its very first on."""
        for start in range(0, len(piece), _STEP_BYTES):
            step = piece[start : start + _STEP_BYTES]
            begin = self._fed_bytes - self._header.data_offset
            self._fed_bytes += len(step)
            self._feed_data(max(0, begin), np.frombuffer(step[max(0, -begin) :], dtype=np.uint8))

    def result(self) -> tuple[Finding, ...]:
        """Return what is wrong with the weights: `nonfinite`, `zero-effect`, `zero-tail`, or nothing.

        Raises FileChangedError if the bytes were not those of the whole file that the header belongs to.
        """
        if self._fed_bytes != self._header.total_bytes:
            raise FileChangedError(
                f"the file had {self._header.total_bytes:,} bytes with its header, and {self._fed_bytes:,} were read"
            )
        findings: list[Finding] = []
        if self._nonfinite:
            findings.append(Finding("nonfinite", self._describe_nonfinite()))
        if self._effect.is_none:
            findings.append(Finding("zero-effect", self._effect.description))
        tail = zero_tail(self._header.tensors, last_byte=self._last_byte)
        if tail:
            findings.append(Finding("zero-tail", tail))
        return tuple(findings)

    def _feed_data(self, begin: int, data: "npt.NDArray[np.uint8]") -> None:
        filled_bytes = len(data.tobytes().rstrip(b"\0")) if data.size and not data[-1] else data.size
        if filled_bytes:
            self._last_byte = begin + filled_bytes - 1
        while data.size and self._span is not None:
            length = min(data.size, self._span.end - begin)
            self._feed_span(self._span.form, begin, data[:length])
            begin, data = begin + length, data[length:]
            if begin == self._span.end:
                self._span = next(self._spans, None)

    def _feed_span(self, form: FloatForm, begin: int, data: "npt.NDArray[np.uint8]") -> None:
        """Look at bytes of one number type; a value that two pieces share is put together first."""
        if self._carry:
            missing = form.width_bytes - len(self._carry)
            value = self._carry + data[:missing].tobytes()
            begin, data = begin + min(missing, data.size), data[missing:]
            if len(value) < form.width_bytes:
                self._carry = value
                return
            self._look(form, begin - len(value), np.frombuffer(value, dtype=f"<u{form.width_bytes}"))
        whole_bytes = data.size - data.size % form.width_bytes
        self._carry = data[whole_bytes:].tobytes()
        if whole_bytes:
            self._look(form, begin, data[:whole_bytes].view(f"<u{form.width_bytes}"))

    def _look(self, form: FloatForm, begin: int, values: Integers) -> None:
        if form.has_nonfinite(values):
            for name, part in self._by_tensor(begin, values):
                nan_before, inf_before = self._nonfinite.get(name, (0, 0))
                nan, inf = form.count_nonfinite(part)
                if nan or inf:
                    self._nonfinite[name] = (nan_before + nan, inf_before + inf)
        if self._effect.is_none:
            for name, part in self._by_tensor(begin, values):
                if self._effect.awaits(name) and form.has_nonzero(part):
                    self._effect.note_nonzero(name)

    def _by_tensor(self, begin: int, values: Integers) -> Iterator[tuple[str, Integers]]:
        end = begin + values.nbytes
        for index in range(bisect_right(self._begins, begin) - 1, len(self._tensors)):
            name, tensor = self._tensors[index]
            if tensor.begin >= end:
                return
            first, last = max(tensor.begin, begin) - begin, min(tensor.end, end) - begin
            yield name, values[first // values.itemsize : last // values.itemsize]

    def _describe_nonfinite(self) -> str:
        shown = [
            f"{name} ({nan:,} NaN, {inf:,} Inf of {_value_count(self._header.tensors[name]):,})"
            for name, (nan, inf) in list(self._nonfinite.items())[:_NAMES_SHOWN]
        ]
        more = len(self._nonfinite) - len(shown)
        if more:
            shown.append(f"and {more:,} more")
        return f"{len(self._nonfinite):,} tensors hold NaN or Inf: {', '.join(shown)}"


class _Effect:
    """Whether any layer of a LoRA can change anything: one does, whose matrices are all not zero."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._nonzero: set[str] = set()
        self._missing: dict[str, int] = {}  # of the units of which some matrix is not zero: how many still are
        self.is_none = bool(plan.unit_sizes)

    @property
    def description(self) -> str:
        count = len(self._plan.unit_sizes)
        return f"each of the {count:,} layers has a matrix of nothing but zeros: the LoRA changes nothing"

    def awaits(self, name: str) -> bool:
        return self.is_none and name in self._plan.unit_of and name not in self._nonzero

    def note_nonzero(self, name: str) -> None:
        self._nonzero.add(name)
        unit = self._plan.unit_of[name]
        self._missing[unit] = self._missing.get(unit, self._plan.unit_sizes[unit]) - 1
        self.is_none = self._missing[unit] > 0


@derived
def _plan(layout: Layout) -> _Plan:
    filled = [(name, tensor) for name, tensor in layout.tensors.items() if tensor.end > tensor.begin]
    tensors = sorted(filled, key=lambda pair: pair[1].begin)
    unit_of = {
        # The matrices of a layer are multiplied; a bias and a full difference are added.
        name: name if key.role is Role.FULL or name.endswith(".bias") else key.layer
        for name, key in layout.keys.items()
        if key.role not in (Role.ALPHA, Role.DORA_SCALE, Role.OTHER)
    }
    return _Plan(
        tensors=tensors,
        begins=[tensor.begin for _, tensor in tensors],
        spans=tuple(_spans([tensor for _, tensor in tensors])),
        unit_of=unit_of,
        unit_sizes=Counter(unit_of.values()),
    )


def _spans(tensors: list[TensorInfo]) -> Iterator[_Span]:
    """Yield the spans in file order; the official parser has seen to it that tensors leave no gap."""
    begin = end = 0
    form = RAW_FORM
    for tensor in tensors:
        tensor_form = FLOAT_FORMS.get(tensor.dtype, RAW_FORM)
        if tensor_form != form and end > begin:
            yield _Span(begin, end, form)
            begin = tensor.begin
        form, end = tensor_form, tensor.end
    if end > begin:
        yield _Span(begin, end, form)


def _value_count(tensor: TensorInfo) -> int:
    count = 1
    for length in tensor.shape:
        count *= length
    return count
