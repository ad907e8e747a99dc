"""What is said of the values at sites: a distribution for every step and site, in raw units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy.special import ndtr, ndtri

from ..errors import InvalidParameter
from ..limits import level_of, threshold_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Values = TypeVar("Values", NDArray[np.float64], torch.Tensor)

HALF = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45)
LEVELS: tuple[float, ...] = (*HALF, 0.5, *(round(1 - level, 6) for level in HALF[::-1]))
MID_LEVELS = (np.arange(199) + 0.5) / 199
TINY = 1e-9


@dataclass(frozen=True)
class Power:
    """A power that makes errors alike at all levels, or the identity for fields with a sign.

    Parameters
    ----------
    exponent : float
        In (0, 1]; 0.5 is the square root.
    signed : bool
        Values may be negative: nothing is transformed.

    Raises
    ------
    InvalidParameter
        If the exponent lies outside (0, 1].

    Examples
    --------
    >>> Power(0.5).forward(np.array([-1.0, 9.0]))
    array([0., 3.])
    >>> Power(0.5).inverse(np.array([-1.0, 3.0]))
    array([0., 9.])
    """

    exponent: float = 0.5
    signed: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.exponent <= 1:
            raise InvalidParameter(
                f"The exponent of the transformation must lie in (0, 1], not {self.exponent}; "
                "0.5 is the square root."
            )

    def forward(self, values: Values) -> Values:
        """Transform raw `values`; negative ones are clipped at zero unless they have a sign."""
        return values if self.signed else values.clip(0) ** self.exponent

    def inverse(self, z: Values) -> Values:
        """Return raw values of `z`; monotone, so it carries quantiles over."""
        return z if self.signed else z.clip(0) ** (1 / self.exponent)


@dataclass(frozen=True, eq=False)
class SiteForecast:
    """Distributions at sites: one shape, moved and stretched per step and site.

    Parameters
    ----------
    times : datetime64, (F,)
        UTC starts of the steps.
    location, scale : float64, (F, P)
        In units transformed by `power`; NaN where nothing is said.
    power : Power
        To and from raw units.
    shape : tuple of float
        Quantiles at `LEVELS` of the distribution with location 0 and scale 1, linear between
        them and with exponential tails beyond; empty for the Gaussian.
    draws : float, (K, F, P), optional
        Raw units, correlated in time and between sites.
    distance_km : float64, (F, P), optional
        To the nearest station that reported in that step; infinite where none did.
    information : bool, (F, P), optional
        False where the site is farther from data than data say anything about.

    Raises
    ------
    InvalidParameter
        If arrays do not fit each other, or quantiles of the shape are not in order.

    Examples
    --------
    >>> times = np.array(["2024-01-01T00"], "M8[ns]")
    >>> found = SiteForecast(times, np.array([[5.0]]), np.array([[1.0]]), Power(0.5))
    >>> float(found.median[0, 0]), round(float(found.mean[0, 0]), 1)
    (25.0, 26.0)
    >>> round(float(found.exceedance(36.0)[0, 0]), 3)
    0.159
    """

    times: NDArray[np.datetime64]
    location: Array
    scale: Array
    power: Power
    shape: tuple[float, ...] = ()
    draws: NDArray[np.floating] | None = None
    distance_km: Array | None = None
    information: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        expected = (len(self.times), self.location.shape[-1])
        for array in (self.location, self.scale, self.distance_km, self.information):
            if array is not None and array.shape != expected:
                raise InvalidParameter(
                    f"An array of a forecast at sites has the shape {array.shape}, but its times "
                    f"and sites make {expected}; give one value per step and site."
                )
        if self.shape and (len(self.shape) != len(LEVELS) or np.any(np.diff(self.shape) < 0)):
            raise InvalidParameter(
                f"The shape of a forecast needs {len(LEVELS)} quantiles in ascending order, not "
                f"{len(self.shape)} as given; fit it with fit_shape."
            )

    def quantile(self, level: float) -> Array:
        """Return the quantile (F, P) of `level`, in raw units."""
        z = float(standard_quantile(np.array([level_of(level)]), self.shape)[0])
        return self.power.inverse(self.location + self.scale * z)

    @property
    def median(self) -> Array:
        """The median (F, P), in raw units."""
        return self.quantile(0.5)

    @cached_property
    def mean(self) -> Array:
        """The mean (F, P), in raw units."""
        return self._average(lambda value, level: value)

    @cached_property
    def std(self) -> Array:
        """The standard deviation (F, P), in raw units."""
        # About the mean, since a difference of two large squares would lose digits.
        return np.sqrt(self._average(lambda value, level: (value - self.mean) ** 2))

    def cdf(self, values: Array) -> Array:
        """Return the distribution function (F, P) at raw `values` (F, P) or one value."""
        values = np.asarray(values, dtype=np.float64)
        z = (self.power.forward(values) - self.location) / np.maximum(self.scale, TINY)
        found = standard_cdf(z, self.shape)
        return found if self.power.signed else np.where(values < 0, 0.0, found)

    def exceedance(self, threshold: float) -> Array:
        """Return the probability (F, P) of a value above `threshold` (raw units)."""
        return 1 - self.cdf(np.full(self.location.shape, threshold_of(threshold)))

    def pit(self, truth: Array, seed: int) -> Array:
        """Return the distribution function at `truth` (F, P); NaN where it is unknown.

        Where the truth is the lower bound, the mass there is drawn from uniformly.

        References
        ----------
        Czado, C., Gneiting, T. and Held, L. (2009). Predictive model assessment for count data.
        Biometrics 65.
        """
        found = self.cdf(truth)
        if self.power.signed:
            return found
        position = np.random.default_rng(seed).random(truth.shape)
        return np.where(truth <= 0, position * found, found)

    def crps(self, truth: Array) -> Array:
        """Return the CRPS (F, P) at `truth` (F, P); NaN where it is unknown.

        Twice the mean pinball loss over 199 levels.

        References
        ----------
        Gneiting, T. and Ranjan, R. (2011). Comparing density forecasts using threshold- and
        quantile-weighted scoring rules. J. Bus. Econ. Stat. 29. Eq 14.
        """
        return 2 * self._average(
            lambda value, level: np.maximum(level * (truth - value), (level - 1) * (truth - value))
        )

    def with_draws(self, draws: NDArray[np.floating]) -> SiteForecast:
        """Return the same forecast with `draws` (K, F, P) in raw units."""
        return replace(self, draws=draws)

    def only(self, steps: NDArray[np.integer]) -> SiteForecast:
        """Return the forecast of some `steps` (indices into its times), without its draws."""
        return replace(
            self,
            times=self.times[steps],
            location=self.location[steps],
            scale=self.scale[steps],
            draws=None,
            distance_km=None if self.distance_km is None else self.distance_km[steps],
            information=None if self.information is None else self.information[steps],
        )

    def _average(self, of: Callable[[Array, float], Array]) -> Array:
        """Return the mean over the distribution of a function of value and level."""
        total = np.zeros(self.location.shape)
        levels = standard_quantile(MID_LEVELS, self.shape)
        for level, z in zip(MID_LEVELS, levels, strict=True):
            total += of(self.power.inverse(self.location + self.scale * float(z)), float(level))
        return total / len(MID_LEVELS)


@dataclass(frozen=True, eq=False)
class JoinedForecast:
    """Forecasts of folds side by side: each its own shape, together all stations.

    Parameters
    ----------
    parts : tuple of SiteForecast
        Of the same times.
    columns : tuple of int64 arrays
        Where the sites of each part stand among all P; together 0 … P - 1, each once.

    Examples
    --------
    >>> times = np.array(["2024-01-01T00"], "M8[ns]")
    >>> one = SiteForecast(times, np.array([[1.0]]), np.array([[0.1]]), Power(0.5))
    >>> two = SiteForecast(times, np.array([[2.0]]), np.array([[0.1]]), Power(0.5))
    >>> JoinedForecast((one, two), (np.array([1]), np.array([0]))).median.tolist()
    [[4.0, 1.0]]
    """

    parts: tuple[SiteForecast, ...]
    columns: tuple[NDArray[np.int64], ...]

    @property
    def times(self) -> NDArray[np.datetime64]:
        """UTC starts of the steps (F,)."""
        return self.parts[0].times

    @property
    def median(self) -> Array:
        """The median (F, P), in raw units."""
        return self._joined([part.median for part in self.parts])

    @cached_property
    def mean(self) -> Array:
        """The mean (F, P), in raw units."""
        return self._joined([part.mean for part in self.parts])

    @cached_property
    def std(self) -> Array:
        """The standard deviation (F, P), in raw units."""
        return self._joined([part.std for part in self.parts])

    @property
    def distance_km(self) -> Array | None:
        """Distance (F, P) to the nearest station that reported, where every part knows it."""
        found = [part.distance_km for part in self.parts if part.distance_km is not None]
        return self._joined(found) if len(found) == len(self.parts) else None

    def quantile(self, level: float) -> Array:
        """Return the quantile (F, P) of `level`, in raw units."""
        return self._joined([part.quantile(level) for part in self.parts])

    def exceedance(self, threshold: float) -> Array:
        """Return the probability (F, P) of a value above `threshold` (raw units)."""
        return self._joined([part.exceedance(threshold) for part in self.parts])

    def pit(self, truth: Array, seed: int) -> Array:
        """Return the distribution function at `truth` (F, P), as `SiteForecast.pit` does."""
        pairs = zip(self.parts, self.columns, strict=True)
        return self._joined([part.pit(truth[:, at], seed) for part, at in pairs])

    def crps(self, truth: Array) -> Array:
        """Return the CRPS (F, P) at `truth` (F, P); NaN where it is unknown."""
        pairs = zip(self.parts, self.columns, strict=True)
        return self._joined([part.crps(truth[:, at]) for part, at in pairs])

    def _joined(self, found: Sequence[Array]) -> Array:
        order = np.argsort(np.concatenate(self.columns))
        return np.concatenate(found, axis=1)[:, order]


def standard_quantile(levels: Array, shape: tuple[float, ...]) -> Array:
    """Return quantiles at `levels` of the distribution with location 0 and scale 1.

    Examples
    --------
    >>> float(standard_quantile(np.array([0.5]), ())[0])
    0.0
    """
    if not shape:
        return np.asarray(ndtri(levels))
    found = np.interp(levels, LEVELS, shape)
    low, high = _tails(shape)
    with np.errstate(divide="ignore"):
        found = np.where(levels < LEVELS[0], shape[0] + low * np.log(levels / LEVELS[0]), found)
        above = shape[-1] - high * np.log((1 - levels) / (1 - LEVELS[-1]))
    return np.where(levels > LEVELS[-1], above, found)


def standard_cdf(z: Array, shape: tuple[float, ...]) -> Array:
    """Return the distribution function at `z`, the inverse of `standard_quantile`."""
    if not shape:
        return np.asarray(ndtr(z))
    found = np.interp(z, shape, LEVELS)
    low, high = _tails(shape)
    below = LEVELS[0] * np.exp(np.minimum(z - shape[0], 0) / low)
    above = 1 - (1 - LEVELS[-1]) * np.exp(-np.maximum(z - shape[-1], 0) / high)
    return np.where(z < shape[0], below, np.where(z > shape[-1], above, found))


def fit_shape(errors: Array) -> tuple[float, ...]:
    """Return the quantiles at `LEVELS` of standardised `errors` (NaN = unknown), as a shape.

    Raises
    ------
    InvalidParameter
        If no error is known.

    Examples
    --------
    >>> shape = fit_shape(np.random.default_rng(0).standard_normal(100_000))
    >>> round(shape[LEVELS.index(0.95)], 1)
    1.6
    """
    known = errors[np.isfinite(errors)]
    if not known.size:
        raise InvalidParameter(
            "The shape of a forecast needs known errors, but all are missing; give more data."
        )
    found = np.quantile(known, LEVELS)
    # A hair apart, so that the function can be read both ways where many errors are equal.
    return tuple(map(float, found + TINY * np.arange(len(LEVELS))))


def _tails(shape: tuple[float, ...]) -> tuple[float, float]:
    """Return the scales of both exponential tails, that go on with the slope of the last step."""
    low = (shape[1] - shape[0]) / np.log(LEVELS[1] / LEVELS[0])
    high = (shape[-1] - shape[-2]) / np.log((1 - LEVELS[-2]) / (1 - LEVELS[-1]))
    return max(float(low), TINY), max(float(high), TINY)
