"""Which cells are seen: any, clusters, one side, an even net, where there is more, along roads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from .textures import Source, network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

KINDS = {"random": 0.45, "clusters": 0.2, "half": 0.15, "even": 0.06, "more": 0.07, "roads": 0.07}


def pattern(
    rng: np.random.Generator, values: Array, count: int, kind: str | None = None
) -> NDArray[np.int64]:
    """Return the flat indices, rising, of `count` cells that are seen.

    Parameters
    ----------
    rng : Generator
        Of the choice.
    values : array (rows, cols)
        The field: "more" looks where it is high.
    count : int
        How many.
    kind : str, optional
        One of `KINDS`.

    Examples
    --------
    >>> len(pattern(np.random.default_rng(0), np.zeros((8, 8)), 5))
    5
    """
    kind = kind or str(rng.choice(list(KINDS), p=list(KINDS.values())))
    if kind == "even":
        return _even(rng, values.shape, count)
    weight = _weights(rng, values, kind).ravel() + 1e-9
    # Gumbel keys: sampling without replacement in proportion to the weights
    keys = np.log(weight) + rng.gumbel(size=weight.size)
    return np.sort(np.argpartition(-keys, count - 1)[:count])


def _weights(rng: np.random.Generator, values: Array, kind: str) -> Array:
    """Return how readily each cell (rows, cols) is seen."""
    rows, cols = values.shape
    y, x = np.indices(values.shape)
    if kind == "clusters":
        weight = np.zeros(values.shape)
        for _ in range(int(rng.integers(1, 7))):
            far = (y - rng.uniform(0, rows)) ** 2 + (x - rng.uniform(0, cols)) ** 2
            weight += np.exp(-far / (2 * np.exp(rng.uniform(np.log(1.5), np.log(6))) ** 2))
        return weight + rng.uniform(0, 0.03)
    if kind == "half":
        angle = rng.uniform(0, 2 * np.pi)
        side = np.cos(angle) * (x - cols / 2) + np.sin(angle) * (y - rows / 2)
        return np.where(side > rng.uniform(-0.3, 0.3) * rows, 1.0, rng.choice([0.0, 0.01]))
    if kind == "more":
        rank = values.ravel().argsort().argsort().reshape(values.shape) / values.size
        return np.asarray(np.exp(rng.uniform(1, 4) * rank))
    if kind == "roads":
        source = Source(int(rng.integers(2**62)), rng, max(values.shape))
        net = network(source, int(rng.integers(3, 12)))[:rows, :cols]
        return gaussian_filter((net > 0).astype(np.float64), 0.5) + rng.uniform(0, 0.02)
    return np.ones(values.shape)


def _even(rng: np.random.Generator, shape: tuple[int, int], count: int) -> NDArray[np.int64]:
    """Return cells of a jittered lattice, and a few more or fewer at random to make the number."""
    step = np.sqrt(shape[0] * shape[1] / count)
    start = rng.uniform(0, step, 2)
    axes = [np.arange(s, n, step) for s, n in zip(start, shape, strict=True)]
    at = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    at = np.clip(np.floor(at + 0.2 * step * rng.standard_normal(at.shape)), 0, np.array(shape) - 1)
    chosen = np.unique(np.ravel_multi_index(at.astype(np.int64).T, shape))
    chosen = rng.permutation(chosen)[:count]
    rest = np.setdiff1d(np.arange(shape[0] * shape[1]), chosen)
    return np.sort(np.concatenate([chosen, rng.permutation(rest)[: count - len(chosen)]]))
