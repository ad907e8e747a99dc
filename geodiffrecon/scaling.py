"""From raw units to the space in which anomalies are close to Gaussian, and back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

import numpy as np

from .errors import InvalidParameter

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    Array = TypeVar("Array", NDArray[np.float64], torch.Tensor)

Kind = Literal["real", "positive", "count"]
Aggregation = Literal["mean", "sum"]
CONCENTRATION = re.compile(
    r"\bpm_?\d|(?<![a-z])(no2|nox|o3|ozone|so2|nh3|h2s|benzene|black_?carbon)(?![a-z0-9])"
    r"|^(co|no|bc)\b|[uµμmn]g\W*m\W*3|\bpp[bm]v?\b"
)
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Transform:
    """Identity for real fields, square root for positive fields and counts.

    The square root is inverted with exact moments: for ``z ~ N(m, v)`` the mean of ``z**2`` is
    ``m**2 + v``. Maps are therefore conditional means in raw units, not squared medians.

    Parameters
    ----------
    kind : {"real", "positive", "count"}
        What values the field can take.

    Examples
    --------
    >>> float(Transform("positive").mean(np.float64(3.0), np.float64(0.5)))
    9.5
    """

    kind: Kind

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidParameter(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}.")

    @property
    def root(self) -> bool:
        """Whether values are taken to their square root."""
        return self.kind != "real"

    def forward(self, values: Array) -> Array:
        """Transform raw `values`; values below zero are clipped where the kind has a bound."""
        return values.clip(0) ** 0.5 if self.root else values

    def inverse(self, z: Array) -> Array:
        """Return raw values of `z`; monotone, so it carries quantiles over."""
        return z.clip(0) ** 2 if self.root else z

    def mean(self, mean: Array, variance: Array) -> Array:
        """Return the raw mean of a Gaussian of `mean` and `variance` in transformed space."""
        return mean**2 + variance if self.root else mean

    def variance(self, mean: Array, variance: Array) -> Array:
        """Return the raw variance of a Gaussian of `mean` and `variance`."""
        return 2 * variance**2 + 4 * mean**2 * variance if self.root else variance

    def slope(self, raw: Array) -> Array:
        """Return d z / d raw at `raw`, to carry small raw errors into transformed space."""
        return 0.5 / (raw.clip(0.25) ** 0.5) if self.root else raw * 0 + 1


def is_concentration(name: str, units: str = "") -> bool:
    """Tell by its name or unit whether a variable is a concentration in air, never below zero.

    Examples
    --------
    >>> is_concentration("PM2.5 (ug/m3)"), is_concentration("temperature", "degC")
    (True, False)
    """
    text = f"{name} {units}".lower()
    return bool(CONCENTRATION.search(text))


def propose_kind(values: NDArray[np.floating], aggregation: Aggregation) -> Kind:
    """Propose the kind of a field from training `values` (NaN = missing).

    Whole non-negative numbers under ``sum`` are counts, other non-negative numbers are positive.

    Examples
    --------
    >>> propose_kind(np.array([0.0, 3.0, 7.0]), "sum")
    'count'
    """
    known = values[np.isfinite(values)]
    if known.size == 0:
        raise InvalidParameter("The history has no value at all, so its kind cannot be told.")
    if known.min() < 0:
        return "real"
    whole = bool(np.all(known == np.round(known)))
    if whole and aggregation == "sum":
        return "count"
    # A field far from zero (temperature in kelvin) gains nothing from a square root.
    return "real" if known.min() > 3 * known.std() else "positive"
