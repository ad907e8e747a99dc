"""Simulated fields on which a network learns to correct kriging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import InvalidParameter
from . import amounts, families
from .source import Array, Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from .families import Drawn


@dataclass(frozen=True)
class Simulated:
    """A simulated field, or a sequence of them.

    Attributes
    ----------
    values : numpy.ndarray
        (dates, size, size).
    positive : bool
        Whether the values are amounts, none of them below zero.
    family : str
        What it was drawn from, a key of :data:`FAMILIES`.
    """

    values: Array
    positive: bool
    family: str


class Family(NamedTuple):
    """How a kind of field is drawn, and how often among all.

    Attributes
    ----------
    function : callable
        From a source of randomness to one date's raster and whether it is of amounts.
    share : float
        Its weight.
    """

    function: Callable[[Source], Drawn]
    share: float


#: All families by name.
FAMILIES: dict[str, Family] = {
    "gaussian": Family(families.gaussian, 0.10),
    "nonstationary": Family(families.nonstationary, 0.08),
    "front": Family(families.front, 0.06),
    "vortex": Family(families.vortex, 0.04),
    "temperature": Family(families.temperature, 0.05),
    "waves": Family(families.waves, 0.03),
    "seabed": Family(families.seabed, 0.03),
    "patches": Family(families.patches, 0.05),
    "relief": Family(families.relief, 0.03),
    "leaves": Family(families.leaves, 0.03),
    "noisy stations": Family(families.noisy_stations, 0.05),
    "skewed": Family(amounts.skewed, 0.08),
    "rain": Family(amounts.rain, 0.13),
    "convection": Family(amounts.convection, 0.05),
    "blobs": Family(amounts.blobs, 0.03),
    "plumes": Family(amounts.plumes, 0.05),
    "air quality": Family(amounts.air_quality, 0.05),
    "ore": Family(amounts.ore, 0.04),
    "river": Family(amounts.river, 0.04),
    "ridges": Family(amounts.ridges, 0.03),
    "urban": Family(amounts.urban, 0.09),
    "roads": Family(amounts.roads, 0.05),
    "docks": Family(amounts.docks, 0.05),
}

_NAMES = list(FAMILIES)
_CUMULATED = np.cumsum([family.share for family in FAMILIES.values()])

FINER_SHARE = 0.12  # fields whose cells are means of a raster twice as fine
PAIR_SHARE = 0.08  # fields of two families together
RAISED_SHARE = 0.15  # fields of either sign that are raised to amounts
NOISE_SHARE = 0.12  # fields with noise added in each cell
LONGEST_MEMORY = 0.98
DRIFT_SHARE = 0.5  # sequences whose noise moves steadily
LEVEL_SHARE = 0.5  # sequences whose level goes up and down as a whole
FEWEST_CELLS = 4  # that are unlike the rest, on average over the dates
TRIES = 100


class _Motion(NamedTuple):
    """How the noise of a sequence evolves: see :class:`Source`."""

    memory: float
    drift: tuple[float, float]


def simulate(
    rng: np.random.Generator, size: int = 32, *, dates: int = 1, family: str | None = None
) -> Simulated:
    """Draw a field, or a sequence that goes from date to date.

    Parameters
    ----------
    rng : numpy.random.Generator
        What everything is drawn from.
    size : int
        Rows and columns, at least 8.
    dates : int
        How many.
    family : str, optional
        One of :data:`FAMILIES`; drawn by their shares if not given.

    Returns
    -------
    Simulated
        Finite values that are not all the same.

    Raises
    ------
    InvalidParameter
        For a family that there is not, a size below 8 or no dates.

    Examples
    --------
    >>> drawn = simulate(np.random.default_rng(1), dates=3, family="rain")
    >>> drawn.values.shape, drawn.positive
    ((3, 32, 32), True)
    """
    _check(size, dates, family)
    for _ in range(TRIES):  # counts may be zero everywhere
        name = _draw_name(rng) if family is None else family
        values, positive = _draw(rng, name, size, dates)
        if _varies(values):
            return Simulated(values, positive, name)
    raise RuntimeError(f"family {name!r} gave {TRIES} constant fields of size {size}")


def _check(size: int, dates: int, family: str | None) -> None:
    if size < 8:
        raise InvalidParameter(f"simulated fields have at least 8 rows and columns, not {size}")
    if dates < 1:
        raise InvalidParameter(f"simulated fields have at least one date, not {dates}")
    if family is not None and family not in FAMILIES:
        known = ", ".join(_NAMES)
        raise InvalidParameter(f"no family of fields is called {family!r}; there are {known}")


def _varies(values: Array) -> bool:
    """Tell whether there is something to learn from: not one value nearly everywhere."""
    unlike = np.count_nonzero(values != np.median(values))
    return bool(unlike >= FEWEST_CELLS * len(values) and np.isfinite(values).all())


def _draw_name(rng: np.random.Generator) -> str:
    return _NAMES[int(np.searchsorted(_CUMULATED, rng.random() * _CUMULATED[-1], side="right"))]


def _draw(rng: np.random.Generator, name: str, size: int, dates: int) -> Drawn:
    """Draw a sequence of a family, alone or with another, finished in one of several ways."""
    motion = _draw_motion(rng, dates)
    values, positive = _sequence(rng, name, size, dates, motion)
    if rng.random() < PAIR_SHARE:
        other, amount = _sequence(rng, _draw_name(rng), size, dates, motion)
        if amount or not positive:
            values = _together(rng, values, other, positive)
    if dates > 1 and rng.random() < LEVEL_SHARE:
        values = _with_levels(rng, values, positive, motion.memory)
    if not positive and name != "gaussian" and rng.random() < RAISED_SHARE:
        values = values - values.min() + rng.uniform(0.0, 0.5) * values.std()
        positive = True
    if rng.random() < NOISE_SHARE:
        noise = rng.standard_normal(values.shape)
        values = values + rng.uniform(0.0, 0.35) * values.std() * noise
        values = np.maximum(values, 0.0) if positive else values
    return values, positive


def _draw_motion(rng: np.random.Generator, dates: int) -> _Motion:
    if dates == 1:
        return _Motion(0.0, (0.0, 0.0))
    memory = LONGEST_MEMORY * np.sqrt(rng.random())  # more often long than short
    drift = rng.normal(0.0, 1.2, 2) if rng.random() < DRIFT_SHARE else np.zeros(2)
    return _Motion(float(memory), (float(drift[0]), float(drift[1])))


def _sequence(rng: np.random.Generator, name: str, size: int, dates: int, motion: _Motion) -> Drawn:
    """Run a family once a date, on a raster that may be finer than the one asked for."""
    finer = 2 if rng.random() < FINER_SHARE else 1
    drift = (finer * motion.drift[0], finer * motion.drift[1])
    source = Source(rng, finer * size, memory=motion.memory, drift=drift)
    rasters = []
    for date in range(dates):
        if date > 0:
            source.next_date()
        values, positive = FAMILIES[name].function(source)
        rasters.append(values)
    stack = np.stack(rasters)
    if finer > 1:
        stack = stack.reshape(dates, size, finer, size, finer).mean(axis=(2, 4))
    return stack, positive


def _with_levels(rng: np.random.Generator, values: Array, positive: bool, memory: float) -> Array:
    """Let all cells of a date be higher or lower together, as by a season or a busy day."""
    source = Source(rng, values.shape[-1], memory=memory)
    levels = np.empty((len(values), 1, 1))
    for date in range(len(values)):
        if date > 0:
            source.next_date()
        levels[date] = source.between(0.1, 0.8) * source.evolving(1)
    return np.asarray(values * np.exp(levels) if positive else values + levels * values.std())


def _together(rng: np.random.Generator, first: Array, second: Array, positive: bool) -> Array:
    """Add the second field to the first, or multiply them where both are amounts."""
    if first.std() == 0.0 or second.std() == 0.0:
        return first
    if positive and rng.random() < 0.4:
        return np.asarray(first * (second / (second.mean() + 1e-9) + 0.1))
    return first / first.std() + rng.uniform(0.2, 1.0) * second / second.std()
