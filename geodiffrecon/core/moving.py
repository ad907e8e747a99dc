"""From draws of a belief to the core's, and what that changes in means, spreads and quantiles.

Statistics are those of the belief in closed form plus the difference between the same draws after
and before: the noise of a few draws falls out, and a core that moves nothing changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from .context import Lattice, context_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from ..field.blocks import Blocks
    from ..field.covariance import Sites
    from ..field.field import Field
    from .context import Context
    from .network import CoreNetwork
    from .weights import Card

    Array = NDArray[np.float64]

COUNTED = 32  # draws that statistics are made of
TOGETHER = 8  # draws that pass the network at once; fixed, so that results do not depend on memory
LARGEST = 64  # nodes a side, and cells of a window
DOUBT = 4.0  # how fast the core is trusted less outside what it was taught on
OUTERMOST = 3.0  # spreads, to which the core may move a draw
FEWEST = 4  # readings that the core needs
NEAR = 0.75  # of a node's width, within which a reading belongs to it


@dataclass(frozen=True)
class Nodes:
    """Every so many cells of a map, so that no side has more than 64 nodes.

    Parameters
    ----------
    shape : (rows, cols)
        Of the map.
    stride : int
        Cells from node to node.
    """

    shape: tuple[int, int]
    stride: int

    @classmethod
    def of(cls, shape: tuple[int, int]) -> Nodes:
        """Return the nodes of a map."""
        return cls(shape, -(-max(shape) // LARGEST))

    @property
    def cells(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of the cells that are nodes."""
        rows, cols = (np.arange(self.stride // 2, n, self.stride) for n in self.shape)
        return rows, cols

    @property
    def count(self) -> tuple[int, int]:
        """Nodes along rows and columns."""
        rows, cols = self.cells
        return len(rows), len(cols)

    def spread(self, values: Array) -> Array:
        """Return values (..., rows, cols) of all cells from those (..., n) of the nodes."""
        lead = values.shape[:-1]
        nodes = values.reshape(-1, *self.count)
        if self.stride == 1:
            return np.asarray(nodes.reshape(*lead, *self.shape))
        where = [(np.arange(n) - self.stride // 2) / self.stride for n in self.shape]
        at = np.meshgrid(*where, indexing="ij")
        full = [map_coordinates(layer, at, order=1, mode="nearest") for layer in nodes]
        return np.stack(full).reshape(*lead, *self.shape)


@dataclass(frozen=True, eq=False)
class Mover:
    """The shipped core for one map.

    Parameters
    ----------
    network : CoreNetwork
        Of the velocity.
    context : Context
        What is known at the nodes.
    shape : (rows, cols)
        Of the nodes.
    strength : float
        How far draws go, from 0 to 1.
    """

    network: CoreNetwork
    context: Context
    shape: tuple[int, int]
    strength: float

    def change(self, r: Array, noise: Callable[[int, int], Array]) -> Array:
        """Return by how much draws (K, nodes) in units of the spread move.

        Parameters
        ----------
        r : array (K, nodes)
            Draws of the belief.
        noise : callable
            White noise of the nodes (rows, cols), of a draw and a step.
        """
        from .bridge import STEPS

        found = np.zeros((len(r), *self.shape))
        for low in range(0, len(r), TOGETHER):
            part = np.clip(r[low : low + TOGETHER], -8, 8).reshape(-1, *self.shape)
            white = np.stack([
                [noise(k, step) for k in range(low, low + len(part))] for step in range(STEPS)
            ])  # fmt: skip
            total = np.zeros(self.shape)
            for window, weight in windows(self.shape):
                change = self._inside(window, part[:, *window], white[:, :, *window])
                found[low : low + TOGETHER, *window] += weight * change
                total[window] += weight
            found[low : low + TOGETHER] /= total
        # no draw goes further out than draws do: a logarithm would make a monster of it
        most = np.maximum(np.abs(r), OUTERMOST)
        return np.asarray(np.clip(r + self.strength * found.reshape(r.shape), -most, most) - r)

    def _inside(self, window: tuple[slice, slice], r: Array, white: Array) -> Array:
        """Return the change (K, rows, cols) of draws in a window."""
        import torch

        from .bridge import Cases, moved

        def tensor(values: Array | NDArray[np.float32]) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(values, np.float32))[None]

        context, maps = self.context, self.context.maps[:, *window]
        cases = Cases(
            tensor(maps), tensor(context.numbers),
            tensor(context.location.reshape(self.shape)[window]),
            tensor(context.scale.reshape(self.shape)[window]),
        )  # fmt: skip
        start = tensor(r)
        with torch.inference_mode():
            noise = torch.from_numpy(white.astype(np.float32))[:, None]
            end = moved(self.network, cases, start, noise)
        return np.asarray((end - start)[0].double().numpy())


def windows(shape: tuple[int, int]) -> Iterator[tuple[tuple[slice, slice], Array]]:
    """Yield windows of at most 64 cells a side, half over each other, and the weights in them."""
    along = []
    for size in shape:
        wide = min(size, LARGEST)
        count = 1 if size <= LARGEST else -(-(size - wide) // (LARGEST // 2)) + 1
        starts = np.linspace(0, size - wide, count).round().astype(int)
        hat = np.minimum(np.arange(wide) + 1, wide - np.arange(wide)) / wide
        along.append([(slice(k, k + wide), hat if count > 1 else np.ones(wide)) for k in starts])
    for (rows, down), (cols, across) in product(*along):
        yield (rows, cols), np.outer(down, across)


def mover(field: Field, sites: Sites, nodes: Nodes, *, strength: float | None) -> Mover | None:
    """Return the core for a map, or None where it has nothing to say.

    Parameters
    ----------
    field : Field
        What is known on the date.
    sites : Sites
        Of the nodes, row by row.
    nodes : Nodes
        Of the map.
    strength : float, optional
        How far draws go; by default less the more a case is unlike those that the core was taught
        on.

    Raises
    ------
    IncompatibleModel
        If the weights cannot be read.
    """
    from .weights import load_core

    rows, cols = nodes.count
    seen, readings, width = _seen(field, sites, (rows, cols))
    if strength == 0 or len(readings) < FEWEST or min(rows, cols) < 2:
        return None
    network, card = load_core("completion")
    context = context_of(field, Lattice((rows, cols), sites, width, seen, readings))
    far = trust(context.numbers, card) if strength is None else strength
    return Mover(network, context, (rows, cols), far)


def block_mover(
    field: Field, sites: Sites, blocks: Blocks, factor: int, *, strength: float | None
) -> Mover | None:
    """Return the core for a map whose readings are means of blocks; as `mover`.

    Parameters
    ----------
    field : Field
        What the means say.
    sites : Sites
        All cells, row by row.
    blocks : Blocks
        Which of them the readings are means of.
    factor : int
        Cells along a side of a block.
    strength : float, optional
        How far draws go.
    """
    from .weights import load_core

    if strength == 0 or len(blocks.readings) < FEWEST:
        return None
    network, card = load_core("refinement")
    width = math.sqrt(abs(blocks.step[0] * blocks.step[1]))
    none, every = np.empty(0, np.int64), np.arange(len(blocks.readings))
    lattice = Lattice(blocks.shape, sites, width, none, every, blocks.index, factor)
    context = context_of(field, lattice)
    far = trust(context.numbers, card) if strength is None else strength
    return Mover(network, context, blocks.shape, far)


def trust(numbers: NDArray[np.float32], card: Card) -> float:
    """Return how far draws may go, 0 to 1: less where a case is unlike those of the training."""
    low, high = np.array(card.lowest), np.array(card.highest)
    outside = np.maximum(low - numbers, numbers - high) / np.maximum(high - low, 1e-6)
    return math.exp(-DOUBT * max(float(outside.max()), 0.0))


def _seen(
    field: Field, sites: Sites, shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], float]:
    """Return which node each reading of the date belongs to, which readings those are, and km."""
    readings = field.raw.sites
    of_date = np.ones(len(readings), bool)
    if readings.days is not None and sites.days is not None:
        of_date = readings.days == sites.days[0]
    across = np.linalg.norm(sites.xy[1] - sites.xy[0])
    down = np.linalg.norm(sites.xy[shape[1] % len(sites)] - sites.xy[0])
    width = float(max(np.sqrt(across * down), 1e-12))
    far, near = cKDTree(sites.xy).query(readings.xy)
    rows = np.flatnonzero(of_date & (far <= NEAR * max(across, down)))
    return near[rows].astype(np.int64), rows, width


@dataclass(frozen=True, eq=False)
class Moved:
    """The same draws in raw units before and after the core, at the nodes of a map.

    Parameters
    ----------
    before, after : array (K, nodes)
        Of the belief and of the core.
    floor : float
        Least value that can be.
    cells : callable
        From values (nodes,) to those (m,) of the cells that are mapped.
    """

    before: Array
    after: Array
    floor: float
    cells: Callable[[Array], Array]

    def mean(self, told: Array) -> Array:
        """Return the mean (m,) that a mean in closed form becomes.

        The highest and the lowest draw are left out: how far they move is chance. Amounts that fall
        do so in proportion, and stay above the least value.
        """
        before, after = (draws.mean(axis=0) for draws in self._inner)
        change = self.cells(after - before)
        if not np.isfinite(self.floor):
            return np.asarray(told + change)
        above, left = before - self.floor, after - self.floor
        share = np.divide(left, above, out=np.ones_like(above), where=above > 0)
        fallen = self.floor + (told - self.floor) * self.cells(share)
        return np.asarray(np.where(change < 0, fallen, told + change))

    def std(self, told: Array) -> Array:
        """Return the standard deviation (m,), in the proportion of the draws' own."""
        before, after = (draws.std(axis=0) for draws in self._inner)
        ratio = np.divide(after, before, out=np.ones_like(before), where=before > 0)
        return np.asarray(told * self.cells(ratio))

    @cached_property
    def _inner(self) -> tuple[Array, Array]:
        """Draws of every node without the highest and the lowest, before and after."""
        before, after = (np.sort(draws, axis=0)[1:-1] for draws in (self.before, self.after))
        return before, after

    def quantiles(self, told: dict[str, Array], levels: dict[str, float]) -> dict[str, Array]:
        """Return quantiles (m,) by name; they do not cross."""
        found = []
        for name in sorted(told, key=levels.__getitem__):
            after, before = (
                np.quantile(d, levels[name], axis=0) for d in (self.after, self.before)
            )
            found.append(np.maximum(told[name] + self.cells(after - before), self.floor))
        ordered = np.sort(np.stack(found), axis=0)
        return dict(zip(sorted(told, key=levels.__getitem__), ordered, strict=True))

    def above(self, told: Array, limit: float) -> Array:
        """Return the chance (m,) of more than `limit`."""
        change = (self.after > limit).mean(axis=0) - (self.before > limit).mean(axis=0)
        return np.clip(told + self.cells(change), 0.0, 1.0)
