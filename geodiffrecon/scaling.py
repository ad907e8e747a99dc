"""From raw units to the space in which anomalies are close to Gaussian, and back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

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
TELLING = 2.0**20  # single precision has three more binary digits below it
KINDS: tuple[str, ...] = get_args(Kind)
SMALLEST = 1e-30  # variance; keeps the ratio of mean and spread finite
FAR = 30.0  # spreads from zero beyond which the normal distribution is 0 or 1
UNCUT = 6.0  # spreads above zero from which nothing is cut off


@dataclass(frozen=True)
class Transform:
    """Identity for real fields, square root for positive fields and counts.

    The square root is inverted with exact moments: those of ``max(z, 0)**2`` for ``z ~ N(m, v)``,
    which is what quantiles and draws are of. Maps are therefore conditional means in raw units,
    not squared medians, also where much of the distribution is zero.

    Parameters
    ----------
    kind : {"real", "positive", "count"}
        What values the field can take.

    Examples
    --------
    >>> float(Transform("positive").mean(np.float64(3.0), np.float64(0.0)))
    9.0
    >>> float(Transform("positive").mean(np.float64(0.0), np.float64(1.0)))
    0.5
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
        return censored_square(mean, variance)[0] if self.root else mean

    def variance(self, mean: Array, variance: Array) -> Array:
        """Return the raw variance of a Gaussian of `mean` and `variance`."""
        return censored_square(mean, variance)[1] if self.root else variance

    def relative(self, raw: Array) -> Array:
        """Return ``raw * dz / draw``, to carry small relative errors into transformed space."""
        return raw.clip(0) ** 0.5 / 2 if self.root else raw


def censored_square(mean: Array, variance: Array) -> tuple[Array, Array]:
    """Return mean and variance of ``max(z, 0)**2`` for ``z ~ N(mean, variance)``.

    With ``u = mean / s`` the moments of the square and of its square are ``(m^2 + v) P + m s p``
    and ``(m^4 + 6 m^2 v + 3 v^2) P + (m^3 s + 5 m v s) p``, where ``P`` and ``p`` are distribution
    function and density of the standard normal at ``u``.

    Examples
    --------
    >>> [round(float(part), 3) for part in censored_square(np.float64(0.0), np.float64(1.0))]
    [0.5, 1.25]
    """
    spread = (variance + SMALLEST) ** 0.5
    u = (mean / spread).clip(-FAR, FAR)
    above, density = _normal(u)
    square, product = mean**2, mean * spread * density
    first = (square + variance) * above + product
    fourth = (square**2 + 6 * square * variance + 3 * variance**2) * above
    second = (fourth + (square + 5 * variance) * product - first**2).clip(0)
    # far above zero nothing is cut off, and the difference of two large numbers loses digits
    plain = 2 * variance**2 + 4 * square * variance
    return first, _where(u > UNCUT, plain, second)


def censored_centre(mean: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the centre of normal distributions of which ``max(z, 0)`` has the `mean`.

    Examples
    --------
    >>> float(censored_centre(np.array([0.398942]), np.array([1.0]))[0].round(4))
    0.0
    """
    u = np.linspace(-UNCUT, UNCUT, 1201)
    above, density = _normal(u)
    ratio = mean / np.maximum(spread, SMALLEST)
    found = np.interp(ratio, u * above + density, u)
    return np.where(ratio > UNCUT, mean, found * spread)


def _normal(u: Array) -> tuple[Array, Array]:
    """Return distribution function and density of the standard normal."""
    import torch

    if isinstance(u, np.ndarray | np.generic):
        above = torch.special.ndtr(torch.as_tensor(u)).numpy()
        return above, np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
    return torch.special.ndtr(u), torch.exp(-(u**2) / 2) / (2 * torch.pi) ** 0.5


def _where(chosen: Any, first: Array, second: Array) -> Array:
    if isinstance(first, np.ndarray | np.generic):
        return np.where(chosen, first, second)
    import torch

    return torch.where(chosen, first, second)


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
    # large numbers of single precision are all whole, which says nothing of what they count
    told = known[(known > 0) & (known < TELLING)]
    whole = bool(np.all(known == np.round(known))) and (told.size > 0 or known.max() == 0)
    if whole and aggregation == "sum":
        return "count"
    # A field far from zero (temperature in kelvin) gains nothing from a square root.
    return "real" if known.min() > 3 * known.std(dtype=np.float64) else "positive"
