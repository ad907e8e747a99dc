"""Cases to learn from: a simulated field, some cells of it seen, and what the belief makes of them.

The belief is the one that maps use: covariances, transform and calibration are chosen from the seen
cells as they are for a user's readings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..field.choice import Raw, choose
from ..field.circulant import free_draws
from ..field.covariance import Sites
from ..field.field import Field
from ..field.predictive import parts_of_draws, shaped
from .bridge import CURVE
from .context import Lattice, context_of
from .fields import simulate
from .patterns import draw_count, pattern

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from ..field.transform import Transform

    Array = NDArray[np.float64]

KNOTS = 161
LEAK = 0.05  # slope of the curve below the floor, of its slope in the middle: gradients pass there
WILD = 40.0  # working units beyond which a case teaches nothing
DRAWS = 6
LARGE = 48  # side of every fifth shard; the others have 32


@dataclass(frozen=True, eq=False)
class Case:
    """One map, as arrays of `Lessons` without the leading axis; `family` names its field."""

    maps: NDArray[np.float32]
    numbers: NDArray[np.float32]
    location: Array
    scale: Array
    draws: Array
    truth: Array
    curve: Array
    raw: Array
    family: str


def simulated_case(rng: np.random.Generator, size: int = 32) -> Case:
    """Return a case of a random family, pattern and number of seen cells."""
    while True:
        made = simulate(rng, size)
        values = made.values[0]
        seen = pattern(rng, values, draw_count(rng, values.size))
        found = case_of(values, seen, rng, family=made.family)
        if found is not None:
            return found


def case_of(
    values: Array, seen: NDArray[np.int64], rng: np.random.Generator, *, family: str = ""
) -> Case | None:
    """Return the case of a whole map (rows, cols) of which the cells `seen` are known.

    None where they are all equal, or where the truth is beyond all that the belief can say.
    """
    known = values.ravel()[seen]
    if np.ptp(known) <= 1e-9 * max(abs(float(known.max())), 1e-300):
        return None
    field, lattice = believed(known, seen, values.shape)
    context = context_of(field, lattice)
    transform = field.choice.transform
    truth = transform.forward(values.ravel())
    drawn = draws_of(field, lattice, rng, DRAWS)
    drawn[:, seen] = truth[seen]
    if max(np.abs(truth).max(), np.abs(drawn).max()) > WILD or not np.isfinite(drawn).all():
        return None
    unit = float(values.std())
    curve = curve_of(transform, float(values.max()), float(values.min()))
    return Case(
        context.maps, context.numbers, context.location.reshape(values.shape),
        context.scale.reshape(values.shape), drawn.reshape(-1, *values.shape),
        truth.reshape(values.shape), curve / unit, values / unit, family,
    )  # fmt: skip


def believed(
    known: Array, seen: NDArray[np.int64], shape: tuple[int, int]
) -> tuple[Field, Lattice]:
    """Return what readings in the middle of cells of 1 km say of a lattice."""
    row, col = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    xy = np.column_stack([col, row]).astype(np.float64)
    spread = xy[seen].std(axis=0)
    features = (xy - xy[seen].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    sites = Sites(xy, features)
    raw = Raw(sites[seen], known, np.ones(len(known)))
    every = np.arange(len(known))
    field = Field(raw, choose(raw, kind="auto"), every)
    return field, Lattice(shape, sites, 1.0, seen, every)


def draws_of(field: Field, lattice: Lattice, rng: np.random.Generator, count: int) -> Array:
    """Return joint draws (count, cells) in working units whose margins are calibrated.

    The law of `Field.draws`, by transforms of the lattice instead of a dense factor.
    """
    work = np.empty((count, len(lattice.sites)))
    rows_of = parts_of_draws([weight for weight, _ in field.parts], count)
    for (_, factor), rows in zip(field.parts, rows_of, strict=True):
        if len(rows):
            free = free_draws(
                factor.known, rng, lattice.shape, (1.0, 1.0), lattice.sites.features, len(rows)
            )
            work[rows] = factor.conditioned(lattice.sites, 0, free, free[:, lattice.seen])
    told = field.predict(lattice.sites)
    return np.asarray(told.location + told.scale * shaped(work, told))


def curve_of(transform: Transform, highest: float, lowest: float) -> Array:
    """Return raw values (knots,) at even working units; they rise a little below the floor too."""
    work = np.linspace(*CURVE, KNOTS)
    reach = highest - lowest
    raw = np.clip(transform.inverse(work), lowest - 20 * reach, highest + 20 * reach)
    middle = np.abs(work) <= 1
    slope = LEAK * float(np.ptp(raw[middle])) / 2
    flat = int((raw <= transform.floor).sum())
    if flat:
        raw[:flat] -= slope * (work[flat - 1] - work[:flat])
    return np.asarray(raw)


def write_shards(folder: Path, seed: int, first: int, count: int, cases: int) -> Iterator[Path]:
    """Write shards of simulated cases, one by one; those that are there already stay.

    Parameters
    ----------
    folder : Path
        Where.
    seed, first, count : int
        Shard k of `first` to `first + count - 1` has the random numbers of (seed, k).
    cases : int
        In each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(first, first + count):
        path = folder / f"{k:05d}.npz"
        if not path.exists():
            rng = np.random.default_rng([seed, k])
            size = LARGE if k % 5 == 4 else 32
            number = cases * 32**2 // size**2
            made = [simulated_case(rng, size) for _ in range(number)]
            part = path.with_suffix(".part.npz")
            np.savez(part, **packed(made))  # type: ignore[arg-type]
            part.replace(path)
        yield path


def packed(cases: list[Case]) -> dict[str, NDArray[Any]]:
    """Return the arrays of cases side by side, as shards hold them."""
    found: dict[str, NDArray[Any]] = {
        name: np.stack([getattr(case, name) for case in cases]).astype(np.float16)
        for name in ("maps", "location", "scale", "draws", "truth")
    }
    for name in ("numbers", "curve", "raw"):
        found[name] = np.stack([getattr(case, name) for case in cases]).astype(np.float32)
    found["family"] = np.array([case.family for case in cases])
    return found
