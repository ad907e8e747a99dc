"""A survey and what it says of the field: maps, draws and left-out readings follow from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from ..field.blocks import WITHIN
from ..field.covariance import Sites
from ..field.transform import WORDS
from .metric import Metric

if TYPE_CHECKING:
    from collections.abc import Callable

    import geopandas as gpd
    from numpy.typing import NDArray

    from ..field.field import Field
    from ..field.large import LargeField
    from ..field.predictive import Predictive
    from ..grid import NestedGrid
    from .survey import Survey

    Array = NDArray[np.float64]

QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
FEW = 12  # readings that say little
DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, eq=False)
class Frame:
    """From coordinates to what the field is a function of.

    Parameters
    ----------
    metric : Metric
        To kilometres.
    middle, spread : array (p,)
        Of the features at the readings.
    covariates : tuple of (name, function)
        Each gives values (n,) at x, y of the readings' CRS.
    """

    metric: Metric
    middle: Array
    spread: Array
    covariates: tuple[tuple[str, Callable[[Array, Array], Array]], ...] = ()

    @classmethod
    def of(
        cls,
        survey: Survey,
        covariates: tuple[tuple[str, Callable[[Array, Array], Array]], ...],
    ) -> Frame:
        """Return the frame of a survey."""
        metric = Metric.about(survey.x, survey.y, survey.crs)
        raw = cls(metric, np.zeros(1), np.ones(1), covariates)._raw(survey.x, survey.y)
        spread = np.nanstd(raw, axis=0)
        return cls(metric, np.nanmean(raw, axis=0), np.where(spread > 0, spread, 1.0), covariates)

    def within(self, grid: NestedGrid, factor: int) -> Array:
        """Return cells of a cell of a raster, in km from its middle (at most 4 a side).

        The cell is the one in the middle of the raster.
        """
        a, _, west, _, e, north = grid.coarse.affine[:6]
        row, col = (n // 2 for n in grid.shape)
        side = min(factor, WITHIN)
        part = (np.arange(side) + 0.5) / side
        x, y = np.meshgrid(west + a * (col + part), north + e * (row + part))
        middle = self.metric.km(
            np.array([west + a * (col + 0.5)]), np.array([north + e * (row + 0.5)])
        )
        return np.asarray(self.metric.km(x.ravel(), y.ravel()) - middle)

    def sites(self, x: Array, y: Array, days: Array | None = None) -> Sites:
        """Return places in the units of the field; an unknown covariate is its average."""
        scaled = (self._raw(x, y) - self.middle) / self.spread
        return Sites(self.metric.km(x, y), np.nan_to_num(scaled), days)

    def _raw(self, x: Array, y: Array) -> Array:
        columns = [function(x, y)[:, None] for _, function in self.covariates]
        return np.hstack([self.metric.km(x, y), *columns])


@dataclass(frozen=True, eq=False)
class Interpolation:
    """A survey, what it says of the field, and the maps, sites and zones that follow.

    Parameters
    ----------
    survey : Survey
        The readings.
    frame : Frame
        To kilometres and features.
    days : array (d,)
        Dates in days since 1970, rising; one 0 where there are none.
    fields : dict of int to Field or LargeField
        One for every date; with few readings all share one.
    grid : NestedGrid
        Of the maps.
    inside : array (rows, cols)
        Cells that are mapped.
    seed : int
        Of the draws.
    core : float, optional
        How far the diffusion core moves the draws, 0 to 1; by default as far as it is trusted.
    factor : int
        Cells of the maps along a side of a cell of the raster that is read; 1 else.
    """

    survey: Survey
    frame: Frame
    days: Array
    fields: dict[int, Field | LargeField]
    grid: NestedGrid
    inside: NDArray[np.bool_]
    seed: int
    core: float | None = None
    factor: int = 1

    @cached_property
    def dated(self) -> bool:
        """Whether the readings have dates."""
        return self.survey.time is not None

    def field(self, date: int) -> Field | LargeField:
        """Return what is known on a date."""
        return self.fields[date].at_day(float(self.days[date]))

    @cached_property
    def all_centres(self) -> tuple[Array, Array]:
        """X and y (rows · cols,) of all cells, row by row, in the CRS of the readings."""
        a, _, west, _, e, north = self.grid.coarse.affine[:6]
        row, col = np.indices(self.grid.shape).reshape(2, -1)
        return self._of_grid(west + a * (col + 0.5), north + e * (row + 0.5))

    @cached_property
    def centres(self) -> tuple[Array, Array]:
        """X and y (m,) of the cells that are mapped, in the CRS of the readings."""
        x, y = self.all_centres
        return x[self.inside.ravel()], y[self.inside.ravel()]

    def _of_grid(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Return grid coordinates in the CRS of the readings."""
        own, grid = self.survey.crs, self.grid.crs
        if own is None or grid is None or own == grid:
            return x, y
        from pyproj import Transformer

        return Transformer.from_crs(grid.proj, own.proj, always_xy=True).transform(x, y)

    @cached_property
    def sites(self) -> Sites:
        """The cells that are mapped."""
        return self.frame.sites(*self.centres)

    def dated_sites(self, sites: Sites, date: int) -> Sites:
        """Return places with a date."""
        return Sites(sites.xy, sites.features, np.full(len(sites), self.days[date]))

    def predict(self, date: int) -> Predictive:
        """Return the distribution of a reading in the middle of every mapped cell."""
        return self.field(date).predict(self.dated_sites(self.sites, date))

    def seen(self, date: int) -> tuple[Array, NDArray[np.bool_]]:
        """Return values of the mapped cells of a raster, and which of them are exactly known."""
        values = np.full(self.grid.shape, np.nan)
        if self.survey.grid is not None and self.survey.error is None and self.factor == 1:
            rows = self.of_date(date)
            row, col, _ = self.grid.cell_of(
                self.survey.x[rows], self.survey.y[rows], level="coarse"
            )
            values[row, col] = self.survey.value[rows]
        cells = values[self.inside]
        return cells, np.isfinite(cells)

    def of_date(self, date: int) -> NDArray[np.int64]:
        """Return the readings of a date."""
        if self.survey.time is None:
            return np.arange(len(self.survey))
        return np.flatnonzero(days_of(self.survey.time) == self.days[date])


def days_of(time: NDArray[np.datetime64]) -> Array:
    """Return days since 1970 of UTC times."""
    return np.asarray((time - np.datetime64(0, "ns")) / DAY, dtype=np.float64)


def described(made: Interpolation) -> list[str]:
    """Return the sentences that say what was chosen and how far off it was."""
    choice = made.fields[0].choice
    best = choice.best
    noise = f"{100 * choice.noise_share:.0f} % of the variance"
    told = [f"Covariance: {best.told(WORDS[choice.transform.kind])}, noise {noise}."]
    scores = left_out_scores(made)
    units = f" {made.survey.units}" if made.survey.units else ""
    how = "Left out with their neighbours" if choice.together else "Left out in turn"
    told.append(
        f"{how}: MAE {scores['mae']:.3g}{units} (inverse distance {scores['idw']:.3g}, the mean "
        f"{scores['constant']:.3g}); the 90 % interval holds {100 * scores['inside']:.0f} %."
    )
    if len(made.survey) < FEW:
        told.append(
            f"{len(made.survey)} readings say little of range and noise: the intervals are wide."
        )
    return told


def left_out_scores(made: Interpolation) -> dict[str, float]:
    """Return the errors of readings that were left out, beside two plain methods."""
    field = made.fields[0]
    told = field.choice.left_out
    rows = field.checked
    values = field.raw.values[rows]
    mean, _ = told.moments()
    low, high = told.quantile(0.05), told.quantile(0.95)
    inside = (values >= low) & (values <= high)
    return {
        "mae": float(np.abs(values - mean).mean()),
        "crps": float(told.crps(values).mean()),
        "idw": _idw_error(field),
        "constant": float(np.abs(values - field.raw.values.mean()).mean()),
        "inside": float(inside.mean()),
    }


def _idw_error(field: Field | LargeField) -> float:
    """Return the MAE of inverse distances on what the field was tried on."""
    raw = field.raw
    places = raw.sites.xy
    if raw.sites.days is not None:  # other dates are infinitely far
        places = np.column_stack([places, 1e6 * raw.sites.days])
    rows = field.checked
    if field.choice.together is None:
        far, near = cKDTree(places).query(places[rows], min(13, len(places)))
        return float(np.abs(_idw(raw.values[near[:, 1:]], far[:, 1:]) - raw.values[rows]).mean())
    errors = []
    for away, rest in field.choice.together:
        far, near = cKDTree(places[rest]).query(places[away], min(12, len(rest)))
        guess = _idw(raw.values[rest][near.reshape(len(away), -1)], far.reshape(len(away), -1))
        errors.append(np.abs(guess - raw.values[away]))
    return float(np.concatenate(errors).mean())


def _idw(values: Array, far: Array) -> Array:
    weights = 1 / np.maximum(far, 1e-9) ** 2
    return np.asarray((weights * values).sum(axis=1) / weights.sum(axis=1))


def chosen(made: Interpolation) -> str:
    """Return what was chosen as JSON, for the attributes of the maps."""
    choice = made.fields[0].choice
    parts = [
        {
            "weight": round(weight, 4), "nu": known.nu, "scale_km": known.scale,
            "nugget": known.nugget, "ratio": known.ratio, "angle": known.angle,
            "trend": known.trend, "sill": sill,
        }
        for weight, known, sill in choice.parts
    ]  # fmt: skip
    return json.dumps(
        {
            "transform": choice.transform.kind, "parts": parts, "width": choice.shape.width,
            "tail": choice.shape.tail, "left_out": left_out_scores(made),
        }
    )  # fmt: skip


def residuals(made: Interpolation) -> gpd.GeoDataFrame:
    """Return the readings with what the others say of each: a layer of points."""
    import geopandas

    field = made.fields[0]
    told = field.choice.left_out
    raw = field.raw
    rows = field.checked
    mean, std = told.moments()
    values = raw.values[rows]
    survey = made.survey
    keys = [survey.x, survey.y] + ([] if survey.time is None else [days_of(survey.time)])
    unique = np.unique(np.column_stack(keys), axis=0)[rows]
    table = {
        survey.name: values, "left_out": mean, "std": std, "residual": values - mean,
        "z": (values - mean) / std, "q05": told.quantile(0.05), "q95": told.quantile(0.95),
        "n_readings": raw.repeats[rows],
    }  # fmt: skip
    frame = pd.DataFrame(table)
    if survey.time is not None:
        frame["time"] = pd.to_datetime(unique[:, 2], unit="D")
    crs = None if survey.crs is None else survey.crs.to_wkt()
    points = geopandas.points_from_xy(unique[:, 0], unique[:, 1])
    return geopandas.GeoDataFrame(frame, geometry=points, crs=crs)


def distance_km(made: Interpolation, date: int, sites: Sites) -> Array:
    """Return the distance (m,) to the nearest reading of a date."""
    rows = made.of_date(date)
    places = made.frame.metric.km(made.survey.x[rows], made.survey.y[rows])
    return np.asarray(cKDTree(places).query(sites.xy)[0])


def informative_km(made: Interpolation) -> float:
    """Return the distance within which a reading says something: the practical range."""
    return made.fields[0].choice.best.range_km
