"""From a survey to what is known of its field on each date."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_edt

from ..errors import NoObservations
from ..field.choice import Raw, choose
from ..field.covariance import Sites
from ..field.field import Field
from ..field.large import LargeField
from .belief import days_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..grid import NestedGrid
    from .belief import Frame
    from .survey import Survey

    Array = NDArray[np.float64]

EXACT = 2000  # readings up to which every one counts everywhere
FEWEST = 3
HOLES, PER_HOLE = 8, 1000  # shifted sets of holes, and cells of each
DEPTHS = 8  # ranges of the distance to what is seen


def learn_field(
    survey: Survey,
    frame: Frame,
    days: Array,
    grid: NestedGrid,
    kind: str,
    transforms: tuple[str, ...] | None,
    factor: int = 1,
) -> dict[int, Field | LargeField]:
    """Return the field of each date: one for all where the readings are few.

    With a `factor`, readings are means of so many cells a side, and dates are by themselves.
    """
    raw = merged(survey, frame)
    dates = raw.sites.days
    if factor > 1 and survey.grid is not None:
        within = frame.within(survey.grid, factor)
        sites = replace(raw.sites, within=within, days=None)
        raw = replace(raw, sites=sites, repeats=np.full(len(raw.values), float(factor**2)))
        every = (
            [np.arange(len(raw.values))]
            if dates is None
            else [np.flatnonzero(dates == day) for day in days]
        )
        return {k: _of_blocks(raw[rows], kind, transforms) for k, rows in enumerate(every)}
    if dates is None:
        return {0: _large(raw, survey, grid, kind, transforms)}
    if len(days) == 1:
        return {0: _large(_undated(raw), survey, grid, kind, transforms)}
    counts = np.array([(dates == day).sum() for day in days])
    if counts.max() <= EXACT:
        rows = _taught(raw)
        choice = choose(raw[rows], kind=kind, transforms=transforms)
        if choice.together is not None:
            together = [(rows[away], rows[rest]) for away, rest in choice.together]
            choice = replace(choice, together=together)
        field = Field(raw, choice, rows)
        return dict.fromkeys(range(len(days)), field)
    found: dict[int, Field | LargeField] = {}
    for k, day in enumerate(days):
        rows = np.flatnonzero(dates == day)
        if len(rows) < FEWEST:
            raise NoObservations(f"Only {len(rows)} readings on one of the dates; leave it out.")
        found[k] = _large(_undated(raw[rows]), survey, grid, kind, transforms)
    return found


def _of_blocks(raw: Raw, kind: str, transforms: tuple[str, ...] | None) -> Field:
    if not FEWEST <= len(raw.values) <= EXACT:
        raise NoObservations(
            f"{len(raw.values):,} cells of the raster have a value on a date; cells are split into "
            f"finer ones from {FEWEST} to {EXACT:,} of them. Leave out --resolution, or cut the "
            "raster first."
        )
    return Field(raw, choose(raw, kind=kind, transforms=transforms), np.arange(len(raw.values)))


def _undated(raw: Raw) -> Raw:
    return Raw(Sites(raw.sites.xy, raw.sites.features), raw.values, raw.repeats, raw.error)


def _taught(raw: Raw) -> NDArray[np.int64]:
    """Return what covariances are learnt on: all readings, or of many dates the middle ones."""
    days, count = raw.sites.days, len(raw.values)
    if count <= EXACT or days is None:
        return np.arange(count)
    low = (count - EXACT) // 2
    return np.sort(np.argsort(days, kind="stable")[low : low + EXACT])


def _large(
    raw: Raw,
    survey: Survey,
    grid: NestedGrid,
    kind: str,
    transforms: tuple[str, ...] | None,
) -> Field | LargeField:
    if len(raw.values) <= EXACT:
        every = np.arange(len(raw.values))
        return Field(raw, choose(raw, kind=kind, transforms=transforms), every)
    hidden = None if survey.grid is None else shifted_holes(survey, grid)
    return LargeField.of(raw, kind=kind, transforms=transforms, hidden=hidden)


def shifted_holes(
    survey: Survey, grid: NestedGrid
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]] | None:
    """Return sets of seen cells to hide, shaped as the holes of a raster, and those around them."""
    row, col, _ = grid.cell_of(survey.x, survey.y, level="coarse")
    position = np.full(grid.shape, -1)
    position[row, col] = np.arange(len(row))
    if len(row) != int((position >= 0).sum()):  # several dates
        return None
    holes = position < 0
    if holes.mean() < 0.005:
        return None
    depth = distance_transform_edt(holes)[holes]
    edges = np.unique(np.quantile(depth, np.linspace(0, 1, DEPTHS + 1)))
    rng = np.random.default_rng(0)
    found = []
    for k in range(HOLES):
        shift = [int((0.2 + 0.6 * rng.random()) * size) for size in grid.shape]
        turned = holes[::-1] if k % 2 else holes
        away = np.roll(turned, shift, axis=(0, 1)) & ~holes
        if not 0.002 < away.sum() / len(row) < 0.8:
            continue
        own = distance_transform_edt(holes | away)[away]
        hidden = _as_deep(position[away], own, edges, rng)
        if len(hidden):
            found.append((np.sort(hidden), position[~holes & ~away]))
    return found if len(found) >= 2 else None


def _as_deep(
    cells: NDArray[np.int64], depth: Array, edges: Array, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return some cells, as many from each range of depths: as deep as what is to be filled."""
    which = np.digitize(depth, edges[1:-1])
    each = PER_HOLE // max(len(edges) - 1, 1)
    parts = [rng.permutation(cells[which == k])[:each] for k in range(max(len(edges) - 1, 1))]
    return np.concatenate(parts)


def merged(survey: Survey, frame: Frame) -> Raw:
    """Return readings with those of one place and date averaged, by their errors if given."""
    keys = [survey.x, survey.y]
    days = None if survey.time is None else days_of(survey.time)
    if days is not None:
        keys.append(days)
    _, first, group = np.unique(
        np.column_stack(keys), axis=0, return_index=True, return_inverse=True
    )
    group = group.ravel()
    count = np.bincount(group).astype(np.float64)
    value = survey.value
    weight = np.ones(len(value))
    if survey.error is not None:
        weight = 1 / np.maximum(survey.error, 1e-6 * (np.ptp(value) or 1.0)) ** 2
    total = np.bincount(group, weight)
    mean = np.bincount(group, weight * value) / total
    error = None
    if survey.error is not None:
        single = count == 1
        error = np.where(single, survey.error[first], 1 / np.sqrt(total))
    when = None if days is None else days[first]
    sites = frame.sites(survey.x[first], survey.y[first], when)
    return Raw(sites, mean, count, error)
