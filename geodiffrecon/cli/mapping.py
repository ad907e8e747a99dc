"""``geodiffrecon reconstruct``: observations of any form to complete fine maps."""

# No postponed annotations here: typer reads them at run time.
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InvalidParameter
from ..files.kinds import holds_points
from ..rows import RowChoice
from ..words import agreed
from . import options as opt
from .choosing import marks, reads_rows
from .inputs import (
    PointOptions,
    external_features,
    open_observations,
    refuse_options,
)
from .reading import Reading, reads_maps
from .running import Session, session

if TYPE_CHECKING:
    import xarray as xr

    from ..model import DiffRecon
    from ..stations.model import StationDiffRecon
    from .station_maps import Order

FORMATS = ("geotiff", "netcdf")
ZONE_DRAWS = 300  # that the means of polygons are made of
MOST_RANGED = 1_000_000  # values that a legend's range is taken from
ONLY_STATIONS = "only for models of stations; leave it out, or fit a model to stations"
ONLY_GRIDS = "only for models of fine maps, but this one is of stations; leave it out"


@reads_maps
@reads_rows
def reconstruct_command(
    *,
    maps: Reading,
    choice: RowChoice,
    obs: Annotated[Path, typer.Argument(help="Points, a coarse cube or a raster with holes.")],
    model: opt.Model,
    out: Annotated[Path, opt.option("Folder of the maps.", "--out", show="DIR")],
    samples: Annotated[int, opt.option("Draws, kept in the NetCDF.", "--samples", least=0)] = 0,
    steps: Annotated[int | None, opt.option("Network calls per draw.", "--steps")] = None,
    seed: opt.Seed = 0,
    time: Annotated[
        tuple[str, str] | None, opt.option("First and last time.", "--time", show="FROM TO")
    ] = None,
    external: opt.External = None,
    consistency: Annotated[
        opt.Consistency | None, opt.option("Do observed cells keep values?", "--consistency")
    ] = None,
    split_time: Annotated[bool, opt.option("One GeoTIFF per step.", "--split-time")] = False,
    max_bands: Annotated[
        int | None, opt.option("Most steps of a GeoTIFF; 366.", "--max-bands", show="N")
    ] = None,
    formats: Annotated[str, opt.option("Which files.", "--format")] = ",".join(FORMATS),
    at: Annotated[
        Path | None, opt.option("Points to map as well.", "--at", show="POINTS.csv")
    ] = None,
    at_time: Annotated[
        str | None, opt.option("Time column of --at.", "--at-time", show="COL")
    ] = None,
    exceed: Annotated[
        list[float] | None,
        opt.option("Probability above it; may be repeated.", "--exceed", show="LIMIT"),
    ] = None,
    zones: opt.Zones = None,
    weights: opt.Weights = None,
    state: Annotated[
        Path | None, opt.option("What runs keep for the next.", "--state", show="DIR")
    ] = None,
    value: opt.Value = None,
    coverage: opt.Coverage = None,
    accept_units: opt.AcceptUnits = False,
    label: opt.StampLabel = None,
    time_column: opt.TimeColumn = None,
    tz: opt.Tz = None,
    x: opt.X = None,
    y: opt.Y = None,
    station: opt.Station = None,
    crs: opt.PointsCrs = None,
    variable: opt.Variable = None,
    agg: Annotated[opt.PointPooling | None, opt.option("What a cell holds.", "--agg")] = None,
    empty: Annotated[
        opt.Empty | None, opt.option("What cells without points hold; auto.", "--empty")
    ] = None,
    device: Annotated[opt.Device, opt.option("Where to run.", "--device")] = opt.Device.AUTO,
    progress: opt.Progress = opt.Form.TERMINAL,
) -> None:
    """Make complete fine maps of sparse observations."""
    reads, writes = (obs, model, at, zones, weights, *(external or ())), (out,)
    with session(progress, reads=reads, writes=writes) as run:
        files = _files(out, formats, split_time, max_bands)
        districts = Districts.of(zones, weights)
        from ..loading import load
        from ..stations.model import StationDiffRecon
        from .station_maps import Order

        estimator, value = load(model, device=device.value), value or variable
        if isinstance(estimator, StationDiffRecon):
            refuse_options(
                {"--steps": steps, "--consistency": consistency, "--agg": agg, "--empty": empty},
                ONLY_GRIDS,
            )
            given = {"value": value, "time": time_column, "tz": tz, "x": x, "y": y, "crs": crs,
                     "station": station, "coverage": coverage, "choice": choice}  # fmt: skip
            estimator.label = marks(label, estimator.label)
            limits = tuple(dict.fromkeys(exceed or ()))
            drawn = districts.samples(samples)
            order = Order(drawn, seed, time, external, limits, at, at_time, state, given,
                          accept_units)  # fmt: skip
            _map_stations(run, obs, estimator, order, files, districts)
            return
        refuse_options(
            {"--exceed": exceed, "--state": state, "--at-time": at_time, "--station": station},
            ONLY_STATIONS,
        )
        points_label = marks(label, "start") if holds_points(obs) else "start"
        wanted = PointOptions(value, time_column or "time", tz, x, y, crs,
                              agg, (empty or opt.Empty.AUTO).value, maps, choice,
                              points_label, coverage)  # fmt: skip
        _map_grid(
            run, obs, estimator, wanted, files, districts, at, external,
            samples=districts.samples(samples), steps=steps, seed=seed, times=time,
            consistency=consistency.value if consistency else None, accept_units=accept_units,
        )  # fmt: skip


@dataclass(frozen=True)
class Files:
    """Where maps go and in which form."""

    out: Path
    formats: tuple[str, ...]
    split_time: bool
    max_bands: int


@dataclass
class Districts:
    """Polygons whose means are told as well, and what cells count by in them."""

    path: Path | None = None
    weights: Path | None = None
    asked: int = 0  # draws to keep

    @classmethod
    def of(cls, path: Path | None, weights: Path | None) -> "Districts":
        """Return what is asked for, or refuse weights alone."""
        if weights is not None and path is None:
            raise InvalidParameter("--weights belongs to --zones; give both, or neither.")
        return cls(path, weights)

    def samples(self, asked: int) -> int:
        """Return how many draws are needed, and remember how many are to be kept."""
        self.asked = asked
        return asked if self.path is None else max(asked, ZONE_DRAWS)

    def told(
        self, maps: "xr.Dataset", exceed: tuple[float, ...] = ()
    ) -> tuple["xr.Dataset", dict[str, Any]]:
        """Return maps with the draws to keep, and the table of the polygons by its file name."""
        if self.path is None:
            return maps, {}
        from ..interpolation import accessor  # noqa: F401  (registers maps.gdr)
        from ..outputs import file_name

        name = str(maps.attrs["value"])
        table = maps.gdr.zonal(self.path, exceed=exceed, weights=self.weights, draws=ZONE_DRAWS)
        if f"{name}_draws" in maps:
            maps = maps.isel(realization=slice(self.asked))
            maps = maps if self.asked else maps.drop_vars(f"{name}_draws")
            maps = maps.assign_attrs(samples=self.asked)
        return maps, {f"{file_name(name)}_zones_{self.path.name.split('.')[0]}.gpkg": table}


@dataclass
class Written:
    """Names of the files of one run: GeoTIFFs by statistic in time order, and single files."""

    rasters: dict[str, list[str]] = field(default_factory=dict)
    netcdf: str | None = None
    tables: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """All names."""
        rasters = [name for part in self.rasters.values() for name in part]
        return [*rasters, *([] if self.netcdf is None else [self.netcdf]), *self.tables]


def _map_stations(
    run: Session,
    obs: Path,
    estimator: "StationDiffRecon",
    order: "Order",
    files: Files,
    districts: Districts,
) -> None:
    """Map stations at their true positions; write the files, then the state."""
    from ..stations.quality import to_rows
    from .station_maps import map_stations

    made = map_stations(run, obs, estimator, order)
    maps, tables = districts.told(made.maps, order.exceed)
    tables |= dict([made.table] if made.table else [])
    written = write_maps(maps, files, tables=tables, progress=run.progress)
    if made.state is not None and order.state is not None:
        made.state.write(order.state)
    _finish(run, maps, files.out, written, made.counts, quality=to_rows(made.findings))


def _map_grid(
    run: Session,
    obs: Path,
    estimator: "DiffRecon",
    wanted: PointOptions,
    files: Files,
    districts: Districts,
    at: Path | None,
    external: list[Path] | None,
    **request: Any,
) -> None:
    """Map observations in coarse cells."""
    cube = open_observations(obs, estimator, wanted, progress=run.progress)
    for note in cube.attrs.get("notes", []):
        run.log(note)
    features = external_features(external, estimator.calendar_tz, run.log)
    maps = estimator.reconstruct(
        cube, external=features, keep_draws=request["samples"] > 0, progress=run.progress,
        log=run.log, **request,
    )  # fmt: skip
    maps, tables = districts.told(maps)
    if at is not None:
        name, table = _rows_at(maps, at, wanted.x, wanted.y, wanted.crs, run.log)
        tables[name] = table
    written = write_maps(maps, files, tables=tables, progress=run.progress)
    _finish(run, maps, files.out, written, observations_of(cube))


def _finish(
    run: Session,
    maps: "xr.Dataset",
    out: Path,
    written: Written,
    counts: dict[str, int],
    **more: Any,
) -> None:
    payload = {
        "outputs": [str(out / name) for name in written.names], "times": maps.sizes["time"],
        "history_used": int(maps.attrs["history_used"]),
    }  # fmt: skip
    lines = [_sentence(counts), *_places(maps, out, written.names)]
    run.finish(payload | _described(maps, out, written) | counts | more, lines)


def _described(maps: "xr.Dataset", out: Path, written: Written) -> dict[str, Any]:
    """Return what a program needs in order to show the files."""
    from ..calendar import iso
    from ..cf import ascii_units

    name = str(maps.attrs["value"])
    return {
        "variable": name,
        "units": ascii_units(str(maps[name].attrs.get("units", ""))),
        "maps": {key: [str(out / each) for each in part] for key, part in written.rasters.items()},
        "netcdf": None if written.netcdf is None else str(out / written.netcdf),
        "intervals": [[iso(low), iso(high)] for low, high in maps["time_bnds"].values],
        "ranges": _ranges(maps, list(written.rasters)),
    }


def _ranges(maps: "xr.Dataset", statistics: list[str]) -> dict[str, list[float]]:
    """Return the 2 and 98 % quantiles of each statistic over all maps, for a legend."""
    import numpy as np

    name, found = str(maps.attrs["value"]), {}
    for statistic in statistics:
        values = maps[name if statistic == "mean" else f"{name}_{statistic}"].values.ravel()
        known = values[:: 1 + len(values) // MOST_RANGED]
        known = known[np.isfinite(known)]
        if len(known):
            found[statistic] = [float(edge) for edge in np.quantile(known, [0.02, 0.98])]
    return found


def write_maps(
    maps: "xr.Dataset",
    files: Files,
    *,
    tables: dict[str, Any] | None = None,
    pages: dict[str, Callable[[Path], None]] | None = None,
    progress: Callable[[int, int, str], None],
) -> Written:
    """Write all `files` of `maps`, together or not at all; return their names.

    `tables` are data frames by the name of their CSV or GeoPackage, `pages` what writes the file
    of a name.
    """
    from ..cf import write_netcdf
    from ..geotiff import geotiff_names, write_geotiff
    from ..outputs import file_name, whole_files

    written = Written()
    with removed_if_empty(files.out), whole_files(files.out) as draft:
        if "geotiff" in files.formats:
            cut: dict[str, Any] = {"split_time": files.split_time, "max_bands": files.max_bands}
            write_geotiff(maps, draft, progress=progress, **cut)
            written.rasters = geotiff_names(maps, **cut)
        if "netcdf" in files.formats:
            written.netcdf = write_netcdf(maps, draft / f"{file_name(maps.attrs['value'])}.nc").name
        for name, frame in (tables or {}).items():
            if name.endswith(".csv"):
                frame.to_csv(draft / name, index=False, lineterminator="\n", float_format="%.6g")
            else:
                frame.to_file(draft / name, driver="GPKG", engine="pyogrio")
        for name, write in (pages or {}).items():
            write(draft / name)
        written.tables = [*(tables or {}), *(pages or {})]
    return written


@contextmanager
def removed_if_empty(folder: Path) -> Iterator[None]:
    """Remove `folder` again if the work inside fails and the folder was made for it."""
    new = not folder.exists()
    try:
        yield
    except BaseException:
        if new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        raise


def observations_of(cube: "xr.Dataset") -> dict[str, int]:
    """Return the counts of points used, outside and missing, or of observed and missing cells."""
    import numpy as np

    points = {str(k): int(v) for k, v in cube.attrs.items() if str(k).startswith("points_")}
    if points:
        return points
    seen = np.isfinite(cube[str(cube.attrs["value"])].values)
    return {"cells_observed": int(seen.sum()), "cells_missing": int((~seen).sum())}


def _sentence(counts: dict[str, int]) -> str:
    parts = [f"{number} {name.replace('_', ' ')}" for name, number in counts.items()]
    return f"Observations: {', '.join(parts)}."


def _places(maps: "xr.Dataset", out: Path, names: list[str]) -> list[str]:
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    number = maps.sizes["time"]
    held, stand = agreed(number, f"{number} times"), agreed(number, "are")
    return [f"{held} of {maps.attrs['value']} {stand} in {out}/: {shown}."]


def _files(
    out: Path,
    formats: str,
    split_time: bool = False,
    max_bands: int | None = None,
    known: tuple[str, ...] = FORMATS,
) -> Files:
    """Return where maps go, or refuse before the work what cannot be."""
    from ..geotiff import MAX_BANDS, check_bands

    bands = MAX_BANDS if max_bands is None else max_bands
    files = Files(out, _formats(formats, known), split_time, bands)
    check_bands(bands, called="--max-bands")
    _check_folder(out)
    return files


def _formats(text: str, known: tuple[str, ...] = FORMATS) -> tuple[str, ...]:
    chosen = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    unknown = [part for part in chosen if part not in known]
    if unknown or not chosen:
        some = "both" if len(known) == 2 else "several"
        raise InvalidParameter(
            f"--format is {text!r}; give {', '.join(known[:-1])} or {known[-1]}, or {some}, as in "
            "geotiff,netcdf."
        )
    return chosen


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InvalidParameter(f"--out {out} is a file; give the folder that the maps go to.")


def _rows_at(
    maps: "xr.Dataset",
    path: Path,
    x: str | None,
    y: str | None,
    crs: str | None,
    log: Callable[[str], None],
) -> tuple[str, Any]:
    from ..outputs import file_name
    from ..sampling import read_places, values_at

    places = read_places(path, x=x, y=y, crs=crs)
    for note in places.notes:
        log(note)
    frame, outside = values_at(maps, places)
    if outside:
        log(f"{outside} of {len(places.rows)} rows of {path.name} lie outside the grid.")
    return f"{file_name(maps.attrs['value'])}_at_{path.name.split('.')[0]}.csv", frame
