"""Which of a file's values the network sees as black and which as white; exactly inverted in the result."""

import math
from dataclasses import dataclass

import numpy as np

from gramgan.errors import UserError

_KINDS = ("auto", "full", "reflectance", "sentinel-2", "minmax", "percentile")
"""Names that `--radiometry` knows, besides `LOW,HIGH`."""
QUANTIFICATION = 10_000
"""Of reflectance products: the stored integer that is a reflectance of 1 (Sentinel-2 and harmonised Landsat)."""
SENTINEL_2_OFFSET = 1_000
"""What processing baseline 04.00 of Sentinel-2 (January 2022) adds to stored values, so that none is negative."""
PERCENTILES = (2.0, 98.0)


@dataclass(frozen=True)
class Radiometry:
    """What was asked for: one of `_KINDS`, or `values` with black and white in the file's own numbers."""

    kind: str = "auto"
    values: tuple[float, float] | None = None

    def __str__(self) -> str:
        return self.kind if self.values is None else ",".join(f"{value:.17g}" for value in self.values)


def parse_radiometry(text: str | None) -> Radiometry:
    """One of `_KINDS` or `LOW,HIGH`; None is `auto`.

    Raises:
        UserError: neither, or two values that are the same.
    """
    if text is None or text in _KINDS:
        return Radiometry(text or "auto")
    parts = text.split(",")
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        raise UserError(
            f"radiometry {text!r}: unknown; use {', '.join(_KINDS)}, or LOW,HIGH: the values that are black and white"
        ) from None
    if not (math.isfinite(low) and math.isfinite(high)) or low == high:
        raise UserError(f"radiometry {text!r}: black and white must be two different numbers, such as 0,4095")
    return Radiometry("values", (low, high))


@dataclass(frozen=True)
class ValueRange:
    """The stored values that become 0 and 1; `low` above `high` for pictures that are stored inverted."""

    low: float
    high: float

    def to_unit(self, values: np.ndarray) -> np.ndarray:
        """Stored values in [0, 1], float32; those outside of the range are clipped."""
        unit = (values - np.float32(self.low)) / np.float32(self.high - self.low)
        return np.clip(unit, 0, 1).astype(np.float32, copy=False)

    def from_unit(self, unit: np.ndarray) -> np.ndarray:
        """The inverse, float64."""
        return self.low + unit.astype(np.float64) * (self.high - self.low)

    def covers(self, dtype: np.dtype) -> bool:
        """Whether no value of an integer type lies outside."""
        if dtype.kind == "f":
            return False
        limits = np.iinfo(dtype)
        return min(self.low, self.high) <= limits.min and max(self.low, self.high) >= limits.max

    def excess(self, values: np.ndarray) -> np.ndarray:
        """How far stored values are outside of the range: what `to_unit` clips away."""
        return values - np.clip(values, min(self.low, self.high), max(self.low, self.high))


def whole_type(dtype: np.dtype) -> ValueRange | None:
    """All that an unsigned integer type can hold; None for types that no picture fills."""
    return ValueRange(0, float(np.iinfo(dtype).max)) if dtype.kind == "u" else None


def choose_range(
    asked: Radiometry,
    *,
    dtype: np.dtype,
    natural: ValueRange | None,
    scale: float,
    offset: float,
    values: np.ndarray,
    name: str,
) -> ValueRange:
    """The range of one layer.

    Args:
        asked: what the user wants.
        dtype: of the stored values.
        natural: what the file says of itself, for `auto`; None where it says nothing.
        scale: physical value = stored value × scale + offset.
        offset: see `scale`.
        values: valid stored values, for `minmax` and `percentile`; a sample will do.
        name: of file and layer, for messages.

    Raises:
        UserError: it has no such range.
    """
    if asked.values is not None:
        return ValueRange(*asked.values)
    if asked.kind == "sentinel-2":
        return ValueRange(SENTINEL_2_OFFSET, SENTINEL_2_OFFSET + QUANTIFICATION)
    if asked.kind == "reflectance":
        if (scale, offset) == (1.0, 0.0):
            return ValueRange(0, 1) if dtype.kind == "f" else ValueRange(0, QUANTIFICATION)
        return ValueRange(-offset / scale, (1 - offset) / scale)
    if asked.kind in ("minmax", "percentile"):
        return _of_values(asked.kind, values, name)
    found = whole_type(dtype) if asked.kind == "full" else natural or whole_type(dtype)
    if found is None and dtype.kind == "f" and values.size and values.min() >= 0 and values.max() <= 1:
        found = ValueRange(0, 1)
    if found is None:
        raise UserError(
            f"{name}: nothing says which of its {dtype.name} values are black and white; give --radiometry LOW,HIGH "
            "(or reflectance, sentinel-2, minmax, percentile)"
        )
    return found


def _of_values(kind: str, values: np.ndarray, name: str) -> ValueRange:
    if values.size == 0:
        return ValueRange(0, 1)  # nothing is valid, so nothing will be seen of it
    shares = (0.0, 100.0) if kind == "minmax" else PERCENTILES
    low, high = (float(value) for value in np.percentile(values.astype(np.float64), shares))
    if low == high:
        low, high = float(values.min()), float(values.max())
    return ValueRange(low, high) if low < high else ValueRange(low, low + 1)
