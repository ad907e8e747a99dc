"""Between raw values and the units in which a field is nearest to Gaussian.

All transforms keep their shape when the data change their unit by a factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

KINDS = ("none", "sqrt", "log", "scores")
WORDS = {
    "none": "the values",
    "sqrt": "the square root",
    "log": "the logarithm",
    "scores": "the normal scores",
}
KNOTS = 200  # of the normal scores
BENT = 3.0  # spreads from zero beyond which roots and logarithms are as good as straight
LEAST_SHARE = 0.05  # of the median: what zeros are lifted by before the logarithm
TAIL = 0.25  # of the scores, on either side, whose slope goes on beyond the data
STEEP = 1e-9


@dataclass(frozen=True, eq=False)
class Transform:
    """One of "none", "sqrt", "log" and "scores", standardised.

    Parameters
    ----------
    kind : str
        Which.
    centre, spread : float
        Working units are ``(t(raw) - centre) / spread``.
    shift : float
        Added before a logarithm where there are zeros.
    floor : float
        Least value that can come back: 0 for values that end there, else minus infinity.
    knots : (array (k,), array (k,)), optional
        Raw values and normal scores, both rising.
    """

    kind: str
    centre: float
    spread: float
    shift: float = 0.0
    floor: float = -np.inf
    knots: tuple[Array, Array] | None = None

    @classmethod
    def of(cls, kind: str, values: Array, *, floor: float) -> Transform:
        """Return the transform that standardises `values`."""
        shift, knots = 0.0, None
        if kind == "log" and values.min() < 1e-3 * np.median(values):
            shift = LEAST_SHARE * float(np.median(values[values > 0]))
        if kind == "scores":
            knots = _knots(values)
        bare = cls(kind, 0.0, 1.0, shift, floor, knots)
        worked = bare.forward(values)
        spread = float(worked.std()) or 1.0
        return cls(kind, float(worked.mean()), spread, shift, floor, knots)

    def forward(self, raw: Array) -> Array:
        """Return working units."""
        if self.kind == "sqrt":
            raw = np.sqrt(np.maximum(raw, 0))
        elif self.kind == "log":
            raw = np.log(np.maximum(raw + self.shift, 1e-300))
        elif self.knots is not None:
            raw = _line(raw, *self.knots)
        return np.asarray((raw - self.centre) / self.spread)

    def inverse(self, work: Array) -> Array:
        """Return raw values, never below the floor."""
        value = work * self.spread + self.centre
        if self.kind == "sqrt":
            value = np.maximum(value, 0) ** 2
        elif self.kind == "log":
            value = np.exp(np.minimum(value, 700)) - self.shift
        elif self.knots is not None:
            value = _line(value, *self.knots[::-1])
        return np.maximum(value, self.floor)

    def slope(self, raw: Array) -> Array:
        """Return the change (n,) of working units with the raw value, for errors of readings."""
        if self.kind == "none":
            return np.full(len(raw), 1 / self.spread)
        step = 1e-4 * (float(np.std(raw)) or 1.0)
        low = np.maximum(raw - step, 0) if self.kind != "scores" else raw - step
        return np.asarray((self.forward(raw + step) - self.forward(low)) / (raw + step - low))


def usable(values: Array, kind: str) -> list[str]:
    """Return the transforms that `values` allow; `kind` is "auto", "real" or "positive".

    Values far from zero are left as they are: kelvin are mapped as degrees are.

    Examples
    --------
    >>> usable(np.array([-1.0, 2.0]), "auto")
    ['none']
    """
    found = ["none"]
    if 0 <= values.min() <= BENT * values.std() and kind != "real":
        found.append("sqrt")
        if np.mean(values > 0) > 0.9:
            found.append("log")
    if len(values) >= 40 and len(np.unique(values)) > 0.6 * len(values):
        found.append("scores")
    return found


def floor_of(values: Array, kind: str) -> float:
    """Return 0 for values that are positive and come near to zero, else minus infinity."""
    if kind == "real" or values.min() < 0:
        return -np.inf
    near = values.min() <= max(2 * values.std(), 0.0)
    return 0.0 if kind == "positive" or near else -np.inf


def _knots(values: Array) -> tuple[Array, Array]:
    """Return raw values and scores between which the normal scores are straight lines."""
    raw, counts = np.unique(values, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / len(values)
    score = ndtri(middle)
    if len(raw) > KNOTS:
        chosen = np.unique(np.linspace(0, len(raw) - 1, KNOTS).round().astype(int))
        raw, score = raw[chosen], score[chosen]
    return raw, score


def _line(x: Array, at: Array, value: Array) -> Array:
    """Return the straight lines through knots, going on beyond them as their outer parts do."""
    if len(at) < 2:
        return np.full_like(x, value[0])
    reach = max(1, int(TAIL * len(at)))
    inner = np.interp(x, at, value)
    low = (value[reach] - value[0]) / max(at[reach] - at[0], STEEP)
    high = (value[-1] - value[-1 - reach]) / max(at[-1] - at[-1 - reach], STEEP)
    below, above = np.minimum(x - at[0], 0), np.maximum(x - at[-1], 0)
    return np.asarray(inner + low * below + high * above)
