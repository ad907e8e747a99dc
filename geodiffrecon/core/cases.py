"""Cases to learn from: a simulated field, some cells of it seen, and what the belief makes of them.

The belief is the one that maps use: covariances, transform and calibration are chosen from the seen
cells as they are for a user's readings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..field.blocks import WITHIN, Blocks, block_draws
from ..field.choice import Raw, choose
from ..field.circulant import is_short, lattice_draws
from ..field.covariance import Sites
from ..field.field import Field, root_of
from ..field.predictive import parts_of_draws, shaped
from .bridge import CURVE
from .context import COVARIATES, Lattice, context_of
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
LIFTED, HIGHEST = 0.3, 5.0  # share of signed fields, and spreads that zero lies below them
DATED, EXPLAINED = 0.15, 0.3  # shares of the cases with several dates, and with covariates
MOST_DATES, MOST_READINGS = 6, 120
LARGE = 48  # side of every eighth shard; the others have 32
WHOLE, MOST_HIDDEN = 0.35, 0.85  # share of rasters without holes; most that is hidden of others
FEWEST_BLOCKS = 4
BLOCKS = ((32, 4), (32, 2), (64, 8), (32, 4))  # side and factor of shards in turn


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
    blocks: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """A map, and what is known of it.

    Parameters
    ----------
    truth : array (rows, cols)
        Of the date that is mapped.
    known : array (n,)
        Readings of all dates.
    cells : array (n,)
        Flat index of their cells.
    when : array (n,), optional
        Their dates in days.
    date : float
        The one that is mapped.
    covariates : array (c, rows, cols)
        Known everywhere.
    """

    truth: Array
    known: Array
    cells: NDArray[np.int64]
    when: Array | None = None
    date: float = 0.0
    covariates: Array | None = None

    @property
    def own(self) -> NDArray[np.int64]:
        """Which readings are of the date that is mapped."""
        if self.when is None:
            return np.arange(len(self.known))
        return np.flatnonzero(self.when == self.date)


def simulated_case(rng: np.random.Generator, size: int = 32) -> Case:
    """Return a case of a random family, pattern, number of seen cells, dates and covariates."""
    while True:
        dated = size <= 32 and rng.random() < DATED
        made = simulate(rng, size, dates=int(rng.integers(2, MOST_DATES + 1)) if dated else 1)
        found = case_of(scene_of(lifted(made.values, rng), rng), rng, family=made.family)
        if found is not None:
            return found


def lifted(values: Array, rng: np.random.Generator) -> Array:
    """Return a share of signed maps on a scale that begins below them, as kelvin and metres do."""
    if values.min() >= 0 or rng.random() > LIFTED:
        return values
    return np.asarray(values - values.min() + rng.uniform(0, HIGHEST) * values.std())


def scene_of(values: Array, rng: np.random.Generator) -> Scene:
    """Return what is seen of maps (dates, rows, cols): at the same places each date, or at new."""
    dates, size = len(values), values[0].size
    count = draw_count(rng, size)
    if dates > 1:
        count = min(count, max(MOST_READINGS // dates, 3))
    same = rng.random() < 0.6
    first = pattern(rng, values[0], count)
    seen = [first if same or k == 0 else pattern(rng, values[k], count) for k in range(dates)]
    date = int(rng.integers(dates))
    known = np.concatenate([v.ravel()[s] for v, s in zip(values, seen, strict=True)])
    when = np.repeat(np.arange(dates, dtype=np.float64), count) if dates > 1 else None
    covariates = None
    if rng.random() < EXPLAINED:
        number = int(rng.integers(1, COVARIATES + 1))
        covariates = np.stack([_covariate(values.mean(axis=0), rng) for _ in range(number)])
    return Scene(values[date], known, np.concatenate(seen), when, float(date), covariates)


def _covariate(values: Array, rng: np.random.Generator) -> Array:
    """Return a map that explains a part of `values` (rows, cols), be it nothing."""
    other = simulate(rng, len(values)).values[0]
    share = rng.uniform(0, 0.9)
    shown = np.tanh(rng.uniform(0.1, 1.5) * (values - values.mean()) / values.std())
    return np.asarray(
        share * shown / shown.std() + (1 - share) * (other - other.mean()) / other.std()
    )


def case_of(scene: Scene, rng: np.random.Generator, *, family: str = "") -> Case | None:
    """Return the case of a scene.

    None where its readings are all equal, or where the truth is beyond all that the belief can say.
    """
    known, values = scene.known, scene.truth
    if np.ptp(known) <= 1e-9 * max(abs(float(known.max())), 1e-300) or values.std() == 0:
        return None
    field, lattice = believed(scene)
    context = context_of(field, lattice)
    transform = field.choice.transform
    truth = transform.forward(values.ravel())
    drawn = draws_of(field, lattice, rng, DRAWS)
    drawn[:, lattice.seen] = truth[lattice.seen]
    if max(np.abs(truth).max(), np.abs(drawn).max()) > WILD or not np.isfinite(drawn).all():
        return None
    unit = float(values.std())
    curve = curve_of(transform, float(values.max()), float(values.min()))
    return Case(
        context.maps, context.numbers, context.location.reshape(values.shape),
        context.scale.reshape(values.shape), drawn.reshape(-1, *values.shape),
        truth.reshape(values.shape), curve / unit, values / unit, family,
    )  # fmt: skip


def believed(scene: Scene) -> tuple[Field, Lattice]:
    """Return what readings in the middle of cells of 1 km say of the lattice of a date."""
    shape = scene.truth.shape
    row, col = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    xy = np.column_stack([col, row]).astype(np.float64)
    columns = xy
    if scene.covariates is not None:
        columns = np.hstack([xy, scene.covariates.reshape(len(scene.covariates), -1).T])
    at = columns[scene.cells]
    spread = at.std(axis=0)
    features = (columns - at.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    places, day = Sites(xy, features), None
    if scene.when is not None:
        day = np.full(len(xy), scene.date)
    sites = Sites(xy[scene.cells], features[scene.cells], scene.when)
    every = np.arange(len(scene.known))
    raw = Raw(sites, scene.known, np.ones(len(every)))
    field = Field(raw, choose(raw, kind="auto"), every)
    lattice = Lattice(shape, replace(places, days=day), 1.0, scene.cells[scene.own], scene.own)
    return field, lattice


def simulated_blocks(rng: np.random.Generator, size: int, factor: int) -> Case:
    """Return a case of a random family whose readings are means of blocks of cells."""
    while True:
        made = simulate(rng, size)
        values = lifted(made.values, rng)[0]
        covariates = None
        if rng.random() < EXPLAINED:
            number = int(rng.integers(1, COVARIATES + 1))
            covariates = np.stack([_covariate(values, rng) for _ in range(number)])
        index = blocks_seen(values, factor, rng)
        found = blocks_case(values, index, covariates, factor, rng, family=made.family)
        if found is not None:
            return found


def blocks_seen(values: Array, factor: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the number (rows, cols) of the block of each cell; -1 where it is not seen."""
    rows, cols = (n // factor for n in values.shape)
    count = rows * cols
    seen = np.arange(count)
    if rng.random() > WHOLE:
        hidden = rng.uniform(0.05, MOST_HIDDEN)
        means = values.reshape(rows, factor, cols, factor).mean(axis=(1, 3))
        seen = pattern(rng, means, max(int((1 - hidden) * count), FEWEST_BLOCKS))
    index = np.full(count, -1)
    index[np.sort(seen)] = np.arange(len(seen))
    return np.asarray(np.kron(index.reshape(rows, cols), np.ones((factor, factor), np.int64)))


def blocks_case(
    values: Array,
    index: NDArray[np.int64],
    covariates: Array | None,
    factor: int,
    rng: np.random.Generator,
    *,
    family: str = "",
) -> Case | None:
    """Return the case of a map (rows, cols) of which means of blocks are known; as `case_of`."""
    if values.std() == 0:
        return None
    field, lattice, blocks = believed_blocks(values, index, covariates, factor)
    known = blocks.readings
    if np.ptp(known) <= 1e-9 * max(abs(float(known.max())), 1e-300):
        return None
    transform = field.choice.transform
    told = field.predict(lattice.sites)
    drawn = block_draws(field, blocks, lattice.sites, told, rng.spawn(DRAWS))
    draws = told.location + told.scale * drawn.held(drawn.errors)
    truth = transform.forward(values.ravel())
    if max(np.abs(truth).max(), np.abs(draws).max()) > WILD or not np.isfinite(draws).all():
        return None
    context = context_of(field, lattice)
    unit = float(values.std())
    curve = curve_of(transform, float(values.max()), float(values.min()))
    return Case(
        context.maps, context.numbers, context.location.reshape(values.shape),
        context.scale.reshape(values.shape), draws.reshape(-1, *values.shape),
        truth.reshape(values.shape), curve / unit, values / unit, family, index,
    )  # fmt: skip


def believed_blocks(
    values: Array, index: NDArray[np.int64], covariates: Array | None, factor: int
) -> tuple[Field, Lattice, Blocks]:
    """Return what means of blocks of cells of 1 km say of the cells."""
    shape, flat = values.shape, index.ravel()
    row, col = np.divmod(np.arange(values.size), shape[1])
    xy = np.column_stack([col, row]).astype(np.float64)
    columns = xy
    if covariates is not None:
        columns = np.hstack([xy, covariates.reshape(len(covariates), -1).T])
    blocks = Blocks(shape, (1.0, 1.0), flat, np.zeros(int(flat.max()) + 1))
    at = blocks.means(columns.T).T  # (n, p)
    blocks = replace(blocks, readings=blocks.means(values.ravel()[None])[0])
    spread = at.std(axis=0)
    features = (columns - at.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    side = min(factor, WITHIN)
    part = (np.arange(side) + 0.5) * factor / side - factor / 2
    within = np.stack(np.meshgrid(part, part), axis=-1).reshape(-1, 2)
    sites = Sites(at[:, :2], blocks.means(features.T).T, None, within)
    every = np.arange(len(at))
    raw = Raw(sites, blocks.readings, np.full(len(every), float(factor**2)))
    field = Field(raw, choose(raw, kind="auto"), every)
    none = np.empty(0, np.int64)
    lattice = Lattice(shape, Sites(xy, features), 1.0, none, every, flat, factor)
    return field, lattice, blocks


def draws_of(field: Field, lattice: Lattice, rng: np.random.Generator, count: int) -> Array:
    """Return joint draws (count, cells) in working units whose margins are calibrated.

    The law of `Field.draws`; of one date and a short range by transforms of the
    lattice instead of a dense factor.
    """
    told = field.predict(lattice.sites)
    if lattice.sites.days is not None:
        white = rng.standard_normal((count, field.own + len(lattice.sites)))
        return np.asarray(told.location + told.scale * field.errors(lattice.sites, white, told))
    work = np.empty((count, len(lattice.sites)))
    rows_of = parts_of_draws([weight for weight, _ in field.parts], count)
    for (_, factor), rows in zip(field.parts, rows_of, strict=True):
        if not len(rows):
            continue
        if is_short(factor.known, lattice.shape, (1.0, 1.0)):
            free = lattice_draws(
                factor.known, [rng] * len(rows), lattice.shape, (1.0, 1.0), lattice.sites.features
            )
            work[rows] = factor.conditioned(lattice.sites, 0, free, free[:, lattice.seen])
        else:
            mean, covariance = factor.joint(lattice.sites, 0)
            white = rng.standard_normal((len(rows), len(mean)))
            work[rows] = mean + white @ root_of(covariance).T
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


def write_shards(
    folder: Path, seed: int, first: int, count: int, cases: int, *, stage: str
) -> Iterator[Path]:
    """Write shards of simulated cases, one by one; those that are there already stay.

    Parameters
    ----------
    folder : Path
        Where.
    seed, first, count : int
        Shard k of `first` to `first + count - 1` has the random numbers of (seed, k).
    cases : int
        In each, of 32 × 32 cells.
    stage : str
        "completion" of seen cells, or "refinement" of means of blocks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(first, first + count):
        path = folder / f"{k:05d}.npz"
        if not path.exists():
            rng = np.random.default_rng([seed, k])
            if stage == "completion":
                size = LARGE if k % 8 == 7 else 32
                made = [simulated_case(rng, size) for _ in range(cases * 32**2 // size**2)]
            else:
                size, factor = BLOCKS[k % len(BLOCKS)]
                number = cases * 32**2 // size**2
                made = [simulated_blocks(rng, size, factor) for _ in range(number)]
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
    blocks = [case.blocks for case in cases if case.blocks is not None]
    if blocks:
        found["blocks"] = np.stack(blocks).astype(np.float16)
    found["family"] = np.array([case.family for case in cases])
    return found
