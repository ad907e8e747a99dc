"""A map from what there is: points of one date or several, or a raster with holes; no history."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import InvalidParameter, InvalidTime, NoObservations
from ..field.transform import KINDS
from ..grid import NestedGrid
from ..limits import limits_of
from ..progress import silent
from ..rows import RowChoice
from ..stamps import utc_stamp
from . import accessor  # noqa: F401  (registers maps.gdr)
from .belief import Frame, Interpolation, days_of, described
from .extent import grid_of
from .layers import clip_shape, covariate_functions, inside_of
from .learned import ENOUGH, check_series, learned
from .learning import FEWEST, learn_field
from .maps import dataset
from .moved import moved_how
from .survey import Columns, Survey, read_survey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import xarray as xr

    from ..progress import Progress

MOST_SPLIT = 8  # finer cells a side that are inferred from one of a raster


def interpolate(
    data: Any,
    value: str | None = None,
    *,
    time: str | None = None,
    tz: str | None = None,
    dates: tuple[str, str] | None = None,
    x: str | None = None,
    y: str | None = None,
    crs: Any = None,
    error: str | float | None = None,
    resolution: float | None = None,
    like: str | Path | None = None,
    clip: Any = None,
    covariates: Any = None,
    exceed: Any = (),
    samples: int = 0,
    seed: int = 0,
    kind: str = "auto",
    transform: str | None = None,
    core: float | None = None,
    learn: bool = False,
    layer: str | None = None,
    where: str | None = None,
    sites: str | Path | None = None,
    on: str | None = None,
    melt: bool = False,
    select: Mapping[str, Any] | None = None,
    times: Any = None,
    time_from: str | None = None,
    progress: Progress = silent,
    log: Callable[[str], None] | None = None,
) -> xr.Dataset:
    """Map observations by kriging that chooses everything itself.

    Parameters
    ----------
    data : GeoDataFrame, DataFrame, str or Path
        Points, a file of points, or a raster with holes.
    value : str, optional
        Column to map; for a raster, its variable.
    time : str, optional
        Time column; a map for each date. Without it all readings are of one date.
    tz : str, optional
        Zone of stamps without one.
    dates : (first, last), optional
        Dates to map; all by default. The others still teach.
    x, y : str, optional
        Coordinate columns of a table without geometry.
    crs : optional
        CRS of data that have none; "none" for local metres.
    error : str or float, optional
        Column of the readings' own standard errors, or one for all.
    resolution : float, optional
        Size of a cell in units of the CRS.
    like : str or Path, optional
        Raster whose grid to use.
    clip : GeoDataFrame, str or Path, optional
        Polygons outside which nothing is mapped; they give the extent.
    covariates : str, Path or sequence of them, optional
        Rasters, such as a terrain model, that the field may follow.
    exceed : float or sequence of float
        Limits whose chance of being exceeded is mapped.
    samples : int
        Joint draws to keep.
    seed : int
        Of the draws.
    kind : {"auto", "real", "positive"}
        What values can be.
    transform : {"none", "sqrt", "log", "scores"}, optional
        Chosen by the left-out CRPS by default.
    core : float, optional
        How far the diffusion core moves the draws of kriging, from 0, not at all, to 1; by default
        less the more a survey is unlike the simulations that it was taught on.
    learn : bool
        Fit the station model to the dates, at least 40, and map by it; see `StationDiffRecon`.
    layer, where, sites, on, melt
        Which rows of a file of points are read, and where they lie; as in `read_points`.
    select, times, time_from
        How a raster is read; as in `open_history`.
    progress, log : callable
        Told of the work, and of what was assumed and chosen.

    Returns
    -------
    xarray.Dataset
        ``<value>`` (the mean), ``_std``, ``_q05`` to ``_q95``, ``_n_obs``, ``_distance``,
        ``_information``, ``_exceed_<limit>`` and, if asked, ``_draws``.

    Raises
    ------
    GeoDiffReconError
        One sentence that says what to do.
    """
    choice = RowChoice(layer, where, None, None if sites is None else str(sites), on, melt)
    maps = {"select": select, "times": times, "time_from": time_from}
    columns = Columns(value, time, tz, x, y, crs, error, choice, maps)
    made = prepare(
        read_survey(data, columns), dates=(dates, tz), resolution=resolution, like=like, clip=clip,
        covariates=covariates, seed=seed, kind=kind, transform=transform, core=core,
        learn=learn, progress=progress, log=log,
    )  # fmt: skip
    if learn:
        return learned(made, exceed=limits_of(exceed), samples=samples, progress=progress, log=log)
    return dataset(made, exceed=limits_of(exceed), samples=samples, progress=progress)


def prepare(
    survey: Survey,
    *,
    dates: tuple[tuple[str, str] | None, str | None] = (None, None),
    resolution: float | None = None,
    like: str | Path | None = None,
    clip: Any = None,
    covariates: Any = None,
    seed: int = 0,
    kind: str = "auto",
    transform: str | None = None,
    core: float | None = None,
    learn: bool = False,
    progress: Progress = silent,
    log: Callable[[str], None] | None = None,
) -> Interpolation:
    """Choose the grid and learn the field; parameters as `interpolate`."""
    say = log or (lambda sentence: None)
    if kind not in ("auto", "real", "positive"):
        raise InvalidParameter(f"kind is {kind!r}; give auto, real or positive.")
    if transform is not None and transform not in KINDS:
        raise InvalidParameter(f"transform is {transform!r}; give one of {', '.join(KINDS)}.")
    if core is not None and not 0 <= core <= 1:
        raise InvalidParameter(f"The core's strength is {core:g}; it lies between 0 and 1.")
    for note in survey.notes:
        say(note)
    _check_enough(survey)
    if learn:
        check_series(survey)
    shape = None if clip is None else clip_shape(clip, survey.crs)
    factor = split_of(survey, resolution, like)
    grid, sentence = _grid(survey, resolution, like, shape, factor)
    say(f"{_counted(survey)} {sentence}")
    inside = np.ones(grid.shape, bool) if shape is None else inside_of(grid, shape, survey.crs)
    frame = Frame.of(survey, covariate_functions(covariates, survey.crs, say))
    days = np.zeros(1) if survey.time is None else np.unique(days_of(survey.time))
    progress(0, 1, "learning the covariance")
    fields = learn_field(
        survey, frame, days, grid, kind, (transform,) if transform else None, factor
    )
    progress(1, 1, "learning the covariance")
    made = Interpolation(survey, frame, days, fields, grid, inside, seed, core, factor)
    if survey.time is not None:
        made = _restricted(made, dates[0], dates[1] or survey.zone)
    if learn:
        return made
    if len(days) >= ENOUGH and survey.grid is None:
        say(
            f"{len(days)} dates are enough for the learned station model, which maps a series "
            "better and takes minutes: --learn."
        )
    for sentence in [*described(made), moved_how(made)]:
        say(sentence)
    return made


def _check_enough(survey: Survey) -> None:
    places = len(np.unique(np.column_stack([survey.x, survey.y]), axis=0))
    if places < FEWEST:
        raise NoObservations(
            f"{places} {'place has' if places == 1 else 'places have'} a value of "
            f"{survey.name!r}; a map needs at least {FEWEST}."
        )
    if np.ptp(survey.value) == 0:
        raise NoObservations(
            f"All {len(survey)} values of {survey.name!r} are {survey.value[0]:g}, so there is "
            "nothing to map; check the column."
        )


def split_of(survey: Survey, resolution: float | None, like: Any) -> int:
    """Return into how many cells a side the cells of a raster are split; 1 where they are not.

    Raises
    ------
    InvalidParameter
        If `resolution` is finer than an eighth of the raster's.
    """
    if survey.grid is None or resolution is None or like is not None or resolution <= 0:
        return 1
    wide, high = (abs(survey.grid.coarse.affine[k]) for k in (0, 4))
    factor = round(max(wide, high) / resolution)
    if factor > MOST_SPLIT:
        raise InvalidParameter(
            f"--resolution {resolution:g} is {factor} times as fine as the cells of the raster "
            f"({wide:g}); at most {MOST_SPLIT} times can be inferred from their means."
        )
    return max(factor, 1)


def _grid(
    survey: Survey, resolution: float | None, like: Any, shape: Any, factor: int
) -> tuple[NestedGrid, str]:
    if like is not None and resolution is not None:
        raise InvalidParameter("Give either --like or --resolution, not both.")
    if like is not None:
        grid = NestedGrid.like(like)
        grid = NestedGrid(grid.fine, 1)
        if (grid.crs is None) != (survey.crs is None):
            raise InvalidParameter(
                f"The grid of {like} is in {grid.crs or 'local metres'}, the readings in "
                f"{survey.crs or 'local metres'}; give the CRS of the readings with --crs."
            )
        return grid, f"Cells of {like}, {grid.shape[0]} × {grid.shape[1]}."
    if survey.grid is not None and resolution is None:
        rows, cols = survey.grid.shape
        return survey.grid, f"Cells of the raster, {rows} × {cols}."
    if survey.grid is not None and factor > 1:
        grid = NestedGrid(NestedGrid(survey.grid.coarse, factor).fine, 1)
        wide = abs(grid.coarse.affine[0])
        return grid, (
            f"Cells of {wide:g}, {grid.shape[0]} × {grid.shape[1]}: {factor} × {factor} of them "
            "have the value of a cell of the raster as their mean."
        )
    bounds = None if shape is None else shape.bounds
    return grid_of(survey.x, survey.y, survey.crs, resolution=resolution, bounds=bounds)


def _counted(survey: Survey) -> str:
    what = "cells seen" if survey.grid is not None else "points"
    places = len(np.unique(np.column_stack([survey.x, survey.y]), axis=0))
    when = "one date"
    if survey.time is not None:
        dates = len(np.unique(survey.time))
        when = "one date" if dates == 1 else f"{dates} dates"
    crs = "local metres" if survey.crs is None else str(survey.crs)[:40]
    number = f"{len(survey)} readings at {places}" if places < len(survey) else str(places)
    return f"{number} {what}, {when}, {crs}."


def _restricted(made: Interpolation, dates: tuple[str, str] | None, tz: str) -> Interpolation:
    """Return the interpolation for some of its dates."""
    if dates is None:
        return made
    low, high = (days_of(np.array([utc_stamp(text, tz)]))[0] for text in dates)
    high += (1 - 1e-9) if len(dates[1]) <= 10 else 0
    keep = np.flatnonzero((made.days >= low) & (made.days <= high))
    if not len(keep):
        raise InvalidTime(
            f"No reading lies between {dates[0]} and {dates[1]}; the dates go from "
            f"{pd.Timestamp(made.days[0], unit='D')} to {pd.Timestamp(made.days[-1], unit='D')}."
        )
    fields = {i: made.fields[int(k)] for i, k in enumerate(keep)}
    return replace(made, days=made.days[keep], fields=fields)
