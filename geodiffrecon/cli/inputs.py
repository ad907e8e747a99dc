"""Files that commands read: observations of any form, external features, points to map."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import InvalidParameter, MissingColumn, MissingCRS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import xarray as xr

    from ..covariates import Covariates
    from ..model import DiffRecon
    from ..progress import Progress

POINT_SUFFIXES = {
    ".csv", ".tsv", ".txt", ".parquet", ".geoparquet", ".pq",
    ".gpkg", ".shp", ".geojson", ".json", ".fgb",
}  # fmt: skip


@dataclass(frozen=True)
class PointOptions:
    """How the columns of a points file are read; None takes what the model says.

    Parameters
    ----------
    value, time, tz, x, y, crs
        As in `read_points`.
    agg : {"mean", "sum", "count"}, optional
        The model's aggregation by default.
    empty : {"auto", "zero", "missing"}
        As in `bin_points`.
    """

    value: str | None = None
    time: str = "time"
    tz: str | None = None
    x: str | None = None
    y: str | None = None
    crs: str | None = None
    agg: str | None = None
    empty: str = "auto"


def holds_points(path: Path) -> bool:
    """Tell by its name whether a file holds points rather than maps.

    Examples
    --------
    >>> from pathlib import Path
    >>> holds_points(Path("a.csv.gz")), holds_points(Path("a.tif"))
    (True, False)
    """
    return bool({suffix.lower() for suffix in path.suffixes[-2:]} & POINT_SUFFIXES)


def refuse_points(history: Path) -> None:
    """Raise InvalidParameter where points are offered as a history of complete maps."""
    if holds_points(history):
        raise InvalidParameter(
            f"{history.name} holds points, but a model learns from complete fine maps (NetCDF or "
            "GeoTIFF); training from points alone is not possible yet."
        )


def open_observations(
    path: Path, model: DiffRecon, wanted: PointOptions, *, progress: Progress
) -> xr.Dataset:
    """Return a points file, a cube or a raster with holes as the coarse cube that `model` maps.

    Raises
    ------
    GridMismatch
        If gridded observations are not on the model's grid.
    """
    if holds_points(path):
        return _from_points(path, model, wanted, progress)
    return _from_maps(path, model, wanted, progress)


def open_on_grid(
    opener: Callable[[str | None], xr.Dataset], model: DiffRecon, crs: str | None
) -> xr.Dataset:
    """Open maps by ``opener(crs)``; without a CRS they are local metres if the model is."""
    try:
        return opener(crs)
    except MissingCRS:
        if model.grid.crs is not None:
            raise
        return opener("none")


def external_features(
    files: Sequence[Path] | None, tz: str, log: Callable[[str], None]
) -> Covariates | None:
    """Return the external features of all `files` together, or None without files.

    Raises
    ------
    InvalidParameter
        If two files hold features per time, or two hold features per cell.
    """
    if not files:
        return None
    from ..covariates import Covariates, open_covariates

    parts = [open_covariates(path, tz=tz) for path in files]
    for part in parts:
        for note in part.notes:
            log(note)
    chosen: dict[str, Any] = {}
    for form in ("per_time", "per_cell"):
        found = [getattr(part, form) for part in parts if getattr(part, form) is not None]
        if len(found) > 1:
            raise InvalidParameter(
                f"{len(found)} files hold external features {form.replace('_', ' ')}; "
                "put them into one file."
            )
        chosen[form] = found[0] if found else None
    names = tuple(name for part in parts for name in part.names)
    return Covariates(names, chosen["per_time"], chosen["per_cell"])


def _from_points(
    path: Path, model: DiffRecon, wanted: PointOptions, progress: Progress
) -> xr.Dataset:
    from ..binning import bin_points
    from ..points import read_points

    agg = wanted.agg or model.aggregation
    table = read_points(
        path, value=None if agg == "count" else wanted.value or model.value, time=wanted.time,
        tz=wanted.tz, x=wanted.x, y=wanted.y, crs=wanted.crs,
    )  # fmt: skip
    if table.value is not None:
        table = replace(table, value_name=model.value)
    cube = bin_points(
        table, model.grid, freq=model.freq, agg=agg, empty=wanted.empty,  # type: ignore[arg-type]
        calendar_tz=model.calendar_tz, progress=progress,
    )  # fmt: skip
    return _named(cube, model.value)


def _from_maps(
    path: Path, model: DiffRecon, wanted: PointOptions, progress: Progress
) -> xr.Dataset:
    from ..cube import aggregate
    from ..history import open_cube

    def opener(crs: str | None) -> xr.Dataset:
        def read(variable: str | None) -> xr.Dataset:
            return open_cube(
                path, variable=variable, grid=model.grid, crs=crs, freq=model.freq,
                aggregation=model.aggregation, calendar_tz=model.calendar_tz, progress=progress,
            )  # fmt: skip

        try:
            return read(wanted.value or model.value)
        except MissingColumn:
            if wanted.value is not None:
                raise
            return read(None)

    cube = open_on_grid(opener, model, wanted.crs)
    if cube.attrs["level"] == "fine":
        name = f"{cube.attrs['value']}_n_obs"
        counted = name in cube
        cube = aggregate(cube, how=model.aggregation)
        cube = cube if counted else cube.drop_vars(name)  # known fine cells are no points
    return _named(cube, model.value)


def _named(cube: xr.Dataset, value: str) -> xr.Dataset:
    """Return the cube with its main variable called `value`."""
    name = str(cube.attrs["value"])
    if name == value:
        return cube
    old = {name: value, f"{name}_n_obs": f"{value}_n_obs"}
    present = {before: after for before, after in old.items() if before in cube}
    return cube.rename(present).assign_attrs(value=value)
