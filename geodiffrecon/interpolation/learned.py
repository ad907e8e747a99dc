"""The learned station model on a survey of many dates: the maps of `map`, from a series."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..cube import IRREGULAR
from ..errors import InvalidParameter
from ..points import PointTable
from ..progress import silent
from .maps import step_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from ..progress import Progress
    from .belief import Interpolation
    from .survey import Survey

ENOUGH = 40  # dates from which a series can be learnt from


def check_series(survey: Survey) -> str:
    """Return the step between the dates of points that a model can be learnt from.

    Raises
    ------
    InvalidParameter
        If the survey is no such series: a raster, too few dates, no common step, errors of its own.
    """
    if survey.time is None or survey.grid is not None:
        raise InvalidParameter("--learn needs points with dates; give --time, or leave it out.")
    if survey.error is not None:
        raise InvalidParameter("--learn takes no --error; leave one of them out.")
    times = np.unique(survey.time)
    if len(times) < ENOUGH:
        dates = "is one" if len(times) == 1 else f"are {len(times)}"
        raise InvalidParameter(
            f"--learn needs {ENOUGH} dates to learn from, and there {dates}; leave it out."
        )
    shortest = np.diff(times).min()
    step = step_of(np.arange(times[0], times[-1] + shortest, shortest), survey.zone)
    if step == IRREGULAR or np.any((times - times[0]) % shortest):
        raise InvalidParameter(
            "--learn needs dates on a common step, such as every hour or day, and the shortest "
            f"between two of these is {shortest.astype('timedelta64[s]')}; leave it out."
        )
    return step


def learned(
    made: Interpolation,
    *,
    exceed: tuple[float, ...],
    samples: int,
    progress: Progress = silent,
    log: Callable[[str], None] | None = None,
) -> xr.Dataset:
    """Return the maps of a station model that is fitted to the survey.

    Parameters
    ----------
    made : Interpolation
        Survey, grid and the dates that are mapped.
    exceed : tuple of float
        Limits.
    samples : int
        Draws to keep.
    progress, log : callable
        Told of the work, and of what was decided.

    Raises
    ------
    InvalidParameter
        As `check_series`.
    """
    import xarray as xr

    from ..stations.model import StationDiffRecon

    survey, say = made.survey, log or (lambda sentence: None)
    step, times = check_series(survey), survey.time
    assert times is not None
    points = PointTable(survey.x, survey.y, times, survey.value, survey.crs, survey.name)
    model = StationDiffRecon(seed=made.seed)
    model.fit(
        points, made.grid, freq=step, calendar_tz=survey.zone, progress=progress, log=say
    )  # fmt: skip
    days = (made.days[[0, -1]] * 86_400).round().astype("datetime64[s]")
    maps = model.reconstruct(
        points, samples=samples, keep_draws=samples > 0, seed=made.seed, exceed=exceed,
        times=(f"{days[0]}Z", f"{days[1]}Z"), progress=progress, log=say,
    )  # fmt: skip
    if survey.units:
        maps[survey.name].attrs.setdefault("units", survey.units)
    return maps if made.inside.all() else maps.where(xr.DataArray(made.inside, dims=made.grid.dims))
