"""Files that commands read: observations of any form, external features, points to map."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..errors import InvalidParameter, MissingColumn, MissingCRS, UnreadableFile
from ..files.kinds import holds_points, is_zarr
from ..rows import RowChoice
from .reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import xarray as xr

    from ..covariates import Covariates
    from ..model import DiffRecon
    from ..progress import Progress


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
    maps : Reading
        How gridded observations are read.
    choice : RowChoice
        Which rows are read.
    label, coverage
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
    maps: Reading = field(default_factory=Reading)
    choice: RowChoice = field(default_factory=RowChoice)
    label: str = "start"
    coverage: float | None = None


def result_file(result: Path) -> Path:
    """Return the file of a result; in a folder that is its NetCDF, or else the GeoTIFF of means."""
    if not result.is_dir() or is_zarr(result):
        return result
    for form in ("*.nc", "*_mean.tif"):
        found = sorted(result.glob(form))
        if len(found) > 1:
            names = ", ".join(path.name for path in found[:4])
            raise InvalidParameter(f"{result} holds {len(found)} results ({names}); name one.")
        if found:
            return found[0]
    raise UnreadableFile(
        f"{result} holds no maps: neither a NetCDF nor a GeoTIFF named …_mean.tif; give the "
        "folder or file that reconstruct wrote."
    )


def refuse_points(history: Path) -> None:
    """Raise InvalidParameter where points are offered and only maps will do."""
    if holds_points(history):
        raise InvalidParameter(
            f"{history.name} holds points, but fine maps are needed here (NetCDF or GeoTIFF); "
            "points are for fit, reconstruct and evaluate, and evaluate compares a model of "
            "stations with kriging."
        )


def refuse_model(path: Path) -> None:
    """Raise InvalidParameter where a model is offered and a history is needed."""
    if (path / "config.json").is_file():
        raise InvalidParameter(
            f"{path} is a model, but compare needs a history and trains on it; geodiffrecon "
            "evaluate scores a model, one of stations beside kriging."
        )


def refuse_options(given: Mapping[str, Any], why: str) -> None:
    """Raise InvalidParameter if any of the `given` options has a value.

    Examples
    --------
    >>> refuse_options({"--trim": False, "--rows": None}, "only for maps; leave it out")
    """
    wrong = [name for name, value in given.items() if value is not None and value is not False]
    if wrong:
        verb = "is" if len(wrong) == 1 else "are"
        raise InvalidParameter(f"{', '.join(wrong)} {verb} {why}.")


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


def open_gridded(path: Path, device: str) -> DiffRecon:
    """Return a model of fine maps, or raise InvalidParameter if it is one of stations."""
    from ..loading import load
    from ..model import DiffRecon

    estimator = load(path, device=device)
    if not isinstance(estimator, DiffRecon):
        raise InvalidParameter(
            f"{path} is a model of stations, which has no cells to hide; geodiffrecon evaluate "
            "--report draws how it does."
        )
    return estimator


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


def coverage_of(share: float | None) -> dict[str, float]:
    """Return the coverage as a parameter, unless it is the usual one."""
    return {} if share is None else {"coverage": share}


def _from_points(
    path: Path, model: DiffRecon, wanted: PointOptions, progress: Progress
) -> xr.Dataset:
    from ..binning import bin_points
    from ..points import read_points

    agg = wanted.agg or model.aggregation
    table = read_points(
        path, value=None if agg == "count" else wanted.value or model.value, time=wanted.time,
        tz=wanted.tz, x=wanted.x, y=wanted.y, crs=wanted.crs, **vars(wanted.choice),
    )  # fmt: skip
    if table.value is not None:
        table = replace(table, value_name=model.value)
    means = agg == model.aggregation == "mean" and wanted.empty != "zero"
    cube = bin_points(
        table, model.grid, freq=model.freq, agg=agg, empty=wanted.empty,  # type: ignore[arg-type]
        level="fine" if means else "coarse", calendar_tz=model.calendar_tz, progress=progress,
        label=wanted.label, **coverage_of(wanted.coverage),  # type: ignore[arg-type]
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
                path, variable=variable, grid=model.grid, crs=crs,
                aggregation=model.aggregation, calendar_tz=model.calendar_tz, progress=progress,
                **wanted.maps.request(freq=model.freq),
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
