"""Simulated fields that the core is taught on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .families import FAMILIES
from .textures import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FLAT = 1e-9  # spread below which a field says nothing
SHARES = np.array([share for _, share in FAMILIES.values()])
NAMES = tuple(FAMILIES)


@dataclass(frozen=True, eq=False)
class Simulated:
    """A field on one or several dates.

    Parameters
    ----------
    values : array (dates, size, size)
        Of the field.
    positive : bool
        Whether values are never negative.
    family : str
        One of `FAMILIES`.
    """

    values: Array
    positive: bool
    family: str


def simulate(
    rng: np.random.Generator, size: int = 32, *, dates: int = 1, family: str | None = None
) -> Simulated:
    """Return a field of a random family, on its own or mixed with others.

    Parameters
    ----------
    rng : Generator
        Of everything.
    size : int
        Cells a side.
    dates : int
        One after the other; they remember each other as much as chance says.
    family : str, optional
        One of `FAMILIES`.

    Examples
    --------
    >>> simulate(np.random.default_rng(0), 16, dates=2).values.shape
    (2, 16, 16)
    """
    while True:
        name = family or NAMES[int(rng.choice(len(NAMES), p=SHARES / SHARES.sum()))]
        memory = 0.0 if dates == 1 else float(rng.beta(3, 1)) * 0.98
        source = Source(int(rng.integers(2**62)), rng, size, memory)
        fine = Source(int(rng.integers(2**62)), rng, 2 * size, memory)
        made = []
        for _ in range(dates):
            source.restart()
            fine.restart()
            made.append(_one(source, fine, name))
        values = np.stack([f for f, _ in made])
        if np.isfinite(values).all() and values[0].std() > FLAT * (abs(values[0]).max() + 1e-300):
            return Simulated(values, made[0][1], name)


def _one(s: Source, fine: Source, name: str) -> tuple[Array, bool]:
    """Return a field and its kind; now and then of means, of two families, shifted, or noisy."""
    if s.chance(0.12):
        f, positive = FAMILIES[name][0](fine)
        f = f.reshape(s.size, 2, s.size, 2).mean(axis=(1, 3))
    else:
        f, positive = FAMILIES[name][0](s)
    if s.chance(0.08):
        other, also = FAMILIES[NAMES[s.whole(0, len(NAMES))]][0](s)
        if also >= positive and f.std() > 0 and other.std() > 0:
            if positive and s.chance(0.4):
                f = f * (other / (np.abs(other).mean() + 1e-9) + 0.1)
            else:
                f = f / f.std() + s.between(0.2, 1) * other / other.std()
    if not positive and name != "gaussian" and s.chance(0.15):
        f, positive = f - f.min() + s.between(0, 0.5) * f.std(), True
    if s.chance(0.12):
        f = f + f.std() * s.between(0, 0.35) * s.white()
        f = np.maximum(f, 0) if positive else f
    return np.asarray(f), positive
