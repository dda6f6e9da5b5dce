"""How the number types of safetensors store NaN, Inf and zero, as facts about integers.

The weights scan uses it on whatever thread the read runs. numpy knows neither bf16 nor fp8, and casting would
cost memory and time: a float whose exponent is all ones is a large integer, and that can be asked for directly.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from lorawatch.inspection.lean_numpy import np

if TYPE_CHECKING:
    import numpy.typing as npt


Integers: TypeAlias = "npt.NDArray[np.unsignedinteger]"
_FIRST_VALUES = 64


@dataclass(frozen=True, slots=True)
class FloatForm:
    """A float type seen as unsigned integers of `width_bytes`.

    `infinity` and `nan` are integers without the sign bit: Inf, and the least that is NaN. E8M0 has no sign;
    the FNUZ types have one NaN, where the others have minus zero.
    """

    width_bytes: int
    nan: int
    infinity: int | None = None
    has_sign: bool = True

    @property
    def sign(self) -> int:
        """The sign bit."""
        return 1 << (8 * self.width_bytes - 1)

    def has_nonfinite(self, values: Integers) -> bool:
        """Return whether any value is NaN or Inf.

        Of a type with a sign these are the greatest integers of each sign. Two maxima need no temporary: 20 GB/s,
        where shifting the sign out first has 15 (150 MB of bf16, reference machine: 7.5 ms).
        """
        least = self.nan if self.infinity is None else self.infinity
        if not self.has_sign:
            return bool(values.max() >= least)
        if self.nan == self.sign:
            return bool((values == self.sign).any())
        signed = values.view(f"<i{self.width_bytes}")
        return bool(signed.max() >= least or values.max() >= least | self.sign)

    def count_nonfinite(self, values: Integers) -> tuple[int, int]:
        """Return how many values are NaN, and how many are Inf."""
        if not self.has_sign or self.nan == self.sign:
            return int(np.count_nonzero(values == self.nan)), 0
        magnitudes = values & values.dtype.type(self.sign - 1)
        infinite = 0 if self.infinity is None else int(np.count_nonzero(magnitudes == self.infinity))
        return int(np.count_nonzero(magnitudes >= self.nan)), infinite

    def has_nonzero(self, values: Integers) -> bool:
        """Return whether any value is neither zero nor minus zero; trained weights show it by their first ones."""
        return self._has_nonzero(values[:_FIRST_VALUES]) or self._has_nonzero(values[_FIRST_VALUES:])

    def _has_nonzero(self, values: Integers) -> bool:
        is_magnitude = self.has_sign and self.nan != self.sign
        return bool((values & values.dtype.type(self.sign - 1) if is_magnitude else values).any())


# The floats that safetensors 0.8 knows. A complex number is two of them. F4 and the F6 types have neither NaN nor
# Inf (OCP Microscaling Formats 1.0, 5.3), integers none either.
FLOAT_FORMS: Mapping[str, FloatForm] = {
    "F64": FloatForm(8, nan=0x7FF0_0000_0000_0001, infinity=0x7FF0_0000_0000_0000),
    "F32": FloatForm(4, nan=0x7F80_0001, infinity=0x7F80_0000),
    "C64": FloatForm(4, nan=0x7F80_0001, infinity=0x7F80_0000),
    "F16": FloatForm(2, nan=0x7C01, infinity=0x7C00),
    "BF16": FloatForm(2, nan=0x7F81, infinity=0x7F80),
    "F8_E5M2": FloatForm(1, nan=0x7D, infinity=0x7C),
    "F8_E4M3": FloatForm(1, nan=0x7F),
    "F8_E5M2FNUZ": FloatForm(1, nan=0x80),
    "F8_E4M3FNUZ": FloatForm(1, nan=0x80),
    "F8_E8M0": FloatForm(1, nan=0xFF, has_sign=False),
}
# Everything else is bytes: only whether they are zero can matter.
RAW_FORM = FloatForm(1, nan=0x100, has_sign=False)
