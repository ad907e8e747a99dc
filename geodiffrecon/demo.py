"""The main job on simulated stations whose truth is known: points to maps, and how far they are."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .binning import bin_points
from .calendar import Calendar
from .cf import write_netcdf
from .covariates import open_covariates
from .errors import UnreadableFile
from .geotiff import write_geotiff
from .history import open_history
from .metrics import mae, rmse
from .model import DiffRecon
from .outputs import whole_files
from .points import read_points
from .priors.climatology import Climatology
from .progress import silent
from .rivals.idw import idw_maps

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr
    from numpy.typing import NDArray

    from .points import PointTable
    from .progress import Progress

PARTS = ("truth.nc", "stations.csv", "weather.csv")
MODEL = "pm25.gdr"
FIRST_DAYS = 8  # before the first map, so that it has a history too


@dataclass(frozen=True)
class Demo:
    """What the demo made and how good it is, in the unit of the variable.

    Parameters
    ----------
    files : list of Path
        GeoTIFFs, NetCDF and picture.
    days : tuple of str
        First and last day mapped.
    units : str
        Unit of the scores.
    mae, rmse, coverage90 : float
        Of the maps against the simulated truth, per fine cell and day.
    mae_idw, mae_climatology : float
        Of inverse distance weighting of the same stations, and of the usual value of the season.
    counts : dict
        Rows of the stations used, outside, outside the period, and missing.
    """

    files: list[Path]
    days: tuple[str, str]
    units: str
    mae: float
    rmse: float
    coverage90: float
    mae_idw: float
    mae_climatology: float
    counts: dict[str, int]


def sample_folder() -> Path:
    """Return the folder of the sample data, installed or in the checkout.

    Raises
    ------
    UnreadableFile
        If a part of it is missing.
    """
    here = Path(__file__).resolve().parent
    places = [here / "sample_data", here.parent / "sample_data"]
    folder = next((place for place in places if (place / PARTS[0]).is_file()), places[-1])
    for part in (*PARTS, f"{MODEL}/config.json"):
        if not (folder / part).is_file():
            raise UnreadableFile(
                f"The sample data lack {folder / part}; install the package anew, or run "
                "make sample in a checkout."
            )
    return folder


def run_demo(
    out: str | Path,
    *,
    progress: Progress = silent,
    log: Callable[[str], None] = lambda sentence: None,
) -> Demo:
    """Map the sample stations on days that the shipped model has not seen.

    Parameters
    ----------
    out : str or Path
        Folder for GeoTIFFs, NetCDF and picture; all appear, or none.
    progress, log : callable
        Told of every step.

    Returns
    -------
    Demo
    """
    folder = sample_folder()
    model = DiffRecon.load(folder / MODEL)
    truth = open_history(folder / "truth.nc", variable=model.value, grid=model.grid)
    first = model.variable.instant(model.trained["end"])
    unseen = truth.isel(time=np.flatnonzero(truth["time"].values >= first))
    table = read_points(folder / "stations.csv", value=model.value, time="time")
    table = _since(table, first - np.timedelta64(FIRST_DAYS, "D"))
    observations = bin_points(
        table, model.grid, freq=model.freq, level="fine", calendar_tz=model.calendar_tz,
        progress=progress,
    )  # fmt: skip
    maps = model.reconstruct(
        observations, times=(f"{first}Z", f"{unseen['time'].values[-1]}Z"),
        external=_weather(model, folder), progress=progress, log=log,
    )  # fmt: skip
    scores = _scores(model, maps, truth, unseen, table)
    counts = {k: int(v) for k, v in observations.attrs.items() if k.startswith("points_")}
    days = _days(maps)
    files = _write(maps, Path(out), unseen, table, _caption(days, scores), progress, log)
    return Demo(files, days, str(maps[model.value].attrs.get("units", "")), counts=counts, **scores)


def _since(table: PointTable, start: np.datetime64) -> PointTable:
    keep = table.time >= start
    columns = {name: getattr(table, name) for name in ("x", "y", "time", "value")}
    return replace(table, **{name: column[keep] for name, column in columns.items()})


def _weather(model: DiffRecon, folder: Path) -> Any:
    return open_covariates(folder / "weather.csv") if model.info()["external_features"] else None


def _scores(
    model: DiffRecon, maps: xr.Dataset, truth: xr.Dataset, unseen: xr.Dataset, table: PointTable
) -> dict[str, float]:
    name, known = model.value, unseen[model.value].values
    low, high = maps[f"{name}_q05"].values, maps[f"{name}_q95"].values
    rival = idw_maps(table, model.grid, unseen["time_bnds"].values)
    return {
        "mae": mae(known, maps[name].values),
        "rmse": rmse(known, maps[name].values),
        "coverage90": float(((known >= low) & (known <= high)).mean()),
        "mae_idw": mae(known, rival),
        "mae_climatology": mae(known, _usual(truth, unseen, model)),
    }


def _usual(truth: xr.Dataset, unseen: xr.Dataset, model: DiffRecon) -> NDArray[np.float64]:
    """Return the usual fine map of the season, from the days before the first one mapped."""
    target = unseen["time"].values
    before = truth.isel(time=np.flatnonzero(truth["time"].values < target[0]))
    calendar = Calendar.seen_in(before["time"].values, tz=model.calendar_tz)
    values = before[model.value].values.astype(np.float64)
    fitted = Climatology.fit(
        values.reshape(len(values), -1), calendar.climatology(before["time"].values)
    )
    return fitted.predict(calendar.climatology(target)).reshape(-1, *values.shape[1:])


def _days(maps: xr.Dataset) -> tuple[str, str]:
    import pandas as pd

    local = pd.DatetimeIndex(maps["time"].values).tz_localize("UTC")
    local = local.tz_convert(str(maps.attrs["calendar_tz"]))
    return str(local[0].date()), str(local[-1].date())


def _caption(days: tuple[str, str], scores: dict[str, float]) -> str:
    return (
        f"Simulated data, {days[0]} to {days[1]}, days that the model has not seen. Mean absolute "
        f"error {scores['mae']:.1f} µg/m³ (inverse distance weighting {scores['mae_idw']:.1f}, "
        f"climatology {scores['mae_climatology']:.1f}); the truth lies in the 90 % interval "
        f"{scores['coverage90']:.0%} of the time."
    )


def _write(
    maps: xr.Dataset,
    out: Path,
    truth: xr.Dataset,
    table: PointTable,
    caption: str,
    progress: Progress,
    log: Callable[[str], None],
) -> list[Path]:
    name = str(maps.attrs["value"])
    with whole_files(out) as draft:
        names = [path.name for path in write_geotiff(maps, draft, progress=progress)]
        names.append(write_netcdf(maps, draft / f"{name}.nc").name)
        if importlib.util.find_spec("matplotlib") is None:
            log("No picture: it needs matplotlib; pip install 'geodiffrecon[plot]'.")
        else:
            from .picture import draw

            draw(
                maps,
                draft / f"{name}.png",
                points=table,
                truth=truth,
                truth_title="Simulated truth",
                caption=caption,
            )
            names.append(f"{name}.png")
    return [out / name for name in names]
