"""Which stations are hidden together, and which are left out so that nothing near tells of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist

from ..errors import InvalidParameter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .network import StationNetwork
    from .places import Places

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]

LEAST_GIVEN = 3
CURVE_BITS = 16
BLOCKS_PER_FOLD = 3
ROUNDS = 50


@dataclass(frozen=True, eq=False)
class Fold:
    """One fold of stations.

    Parameters
    ----------
    held : bool, (S,)
        Stations that are predicted and in nothing else.
    given : bool, (S,)
        Stations that the fold learns and predicts from; those in neither are left out.

    Raises
    ------
    InvalidParameter
        If fewer than three stations are left to learn from.
    """

    held: Mask
    given: Mask

    def __post_init__(self) -> None:
        if self.given.sum() < LEAST_GIVEN:
            raise InvalidParameter(
                f"A fold hides {int(self.held.sum())} of {len(self.held)} stations and is left "
                f"with {int(self.given.sum())}; ask for more folds or a smaller buffer."
            )


def station_folds(network: StationNetwork, folds: int, seed: int) -> list[Mask]:
    """Return masks (S,) of the stations that each fold holds out; each station in one of them.

    Stations are ordered along a Hilbert curve through their ranks in x and y, so that neighbours
    in the order are neighbours in space. Each run of `folds` stations is dealt out by the seed,
    one to a fold: every fold samples the whole network, its dense and its empty parts.

    Parameters
    ----------
    network : StationNetwork
        With S stations.
    folds : int
        Two or more, at most S.
    seed : int
        Of the dealing.

    Raises
    ------
    InvalidParameter
        If the number of folds does not fit the stations.
    """
    count = len(network.names)
    _check_folds(folds, count)
    rng = np.random.default_rng([seed, 71])
    order = np.argsort(_along_curve(network.x, network.y), kind="stable")
    fold = np.empty(count, dtype=np.int64)
    for first in range(0, count, folds):
        run = order[first : first + folds]
        fold[run] = rng.permutation(folds)[: len(run)]
    return [fold == number for number in range(folds)]


def block_folds(
    network: StationNetwork, places: Places, folds: int, buffer_km: float, seed: int
) -> list[Fold]:
    """Return folds of whole spatial blocks, with a buffer around what they hold out.

    Stations are grouped into compact blocks, three for each fold where there are enough
    stations, and blocks are dealt out, the largest first, to the fold with the fewest stations.

    Parameters
    ----------
    network : StationNetwork
        With S stations.
    places : Places
        To kilometres.
    folds : int
        Two or more, at most S.
    buffer_km : float
        Stations nearer than this to one that is held out are left out of the fold.
    seed : int
        Of the first block centre and of the order of equal blocks.

    Raises
    ------
    InvalidParameter
        If folds or buffer do not fit the stations.

    References
    ----------
    Roberts, D. R. et al. (2017). Cross-validation strategies for data with temporal, spatial,
    hierarchical, or phylogenetic structure. Ecography 40.
    """
    count = len(network.names)
    _check_folds(folds, count)
    if not buffer_km >= 0:
        raise InvalidParameter(f"The buffer must be 0 km or more, not {buffer_km}.")
    km = places.km(network.x, network.y)
    rng = np.random.default_rng([seed, 72])
    blocks = _blocks(km, min(BLOCKS_PER_FOLD * folds, max(folds, count // 2)), rng)
    sizes = np.bincount(blocks)
    fold_of = np.zeros(len(sizes), dtype=np.int64)
    held_by = np.zeros(folds, dtype=np.int64)
    for block in np.lexsort((rng.random(len(sizes)), -sizes)):
        fold_of[block] = held_by.argmin()
        held_by[fold_of[block]] += sizes[block]
    apart = cdist(km, km)
    found = []
    for number in np.flatnonzero(held_by):
        held = fold_of[blocks] == number
        near = apart[:, held].min(axis=1) < buffer_km
        found.append(Fold(held, ~held & ~near))
    return found


def _check_folds(folds: int, count: int) -> None:
    if not 2 <= folds <= count:
        raise InvalidParameter(
            f"{count} stations can be split into 2 to {count} folds, not {folds}."
        )


def _along_curve(x: Array, y: Array) -> NDArray[np.int64]:
    """Return the position of each point on a Hilbert curve through ranks; free of any scale."""
    step = (2**CURVE_BITS - 1) / max(len(x) - 1, 1)
    across = (_ranks(x) * step).astype(np.int64)
    up = (_ranks(y) * step).astype(np.int64)
    position = np.zeros(len(x), dtype=np.int64)
    for bit in range(CURVE_BITS - 1, -1, -1):
        size = 1 << bit
        right, upper = (across & size) > 0, (up & size) > 0
        position += size * size * ((3 * right) ^ upper)
        # The quadrant is turned so that the curve enters where the one before left.
        mirror = ~upper & right
        across = np.where(mirror, size - 1 - (across & (size - 1)), across & (size - 1))
        up = np.where(mirror, size - 1 - (up & (size - 1)), up & (size - 1))
        across, up = np.where(upper, across, up), np.where(upper, up, across)
    return position


def _ranks(values: Array) -> NDArray[np.int64]:
    """Return ranks from 0; equal values share one, whatever the order of stations."""
    return np.searchsorted(np.sort(values), values)


def _blocks(km: Array, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the block (S,) of each station: k-means from centres far from each other."""
    chosen = [int(rng.integers(len(km)))]
    while len(chosen) < count:
        chosen.append(int(cdist(km, km[chosen]).min(axis=1).argmax()))
    centres = km[chosen]
    label = cdist(km, centres).argmin(axis=1)
    for _ in range(ROUNDS):
        centres = np.stack(
            [km[label == n].mean(axis=0) if (label == n).any() else centres[n]
             for n in range(count)]
        )  # fmt: skip
        moved = cdist(km, centres).argmin(axis=1)
        if (moved == label).all():
            break
        label = moved
    return np.unique(label, return_inverse=True)[1]
