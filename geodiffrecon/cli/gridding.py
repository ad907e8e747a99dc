"""``geodiffrecon bin``: points to a cube."""

# No postponed annotations here: typer reads them at run time.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InvalidParameter
from ..rows import RowChoice
from . import options as opt
from .choosing import marks, reads_rows
from .inputs import coverage_of
from .running import session

if TYPE_CHECKING:
    from ..grid import NestedGrid


@reads_rows
def bin_points_command(
    *,
    choice: RowChoice,
    points: Annotated[Path, typer.Argument(help="CSV, Parquet, GeoPackage, Shapefile, GeoJSON.")],
    out: Annotated[Path, opt.option("NetCDF file, or folder of GeoTIFFs of both levels.", "--out")],
    freq: Annotated[str, opt.option("Time step, such as 30min, 1h, 1D.", "--freq", show="F")],
    bounds: opt.Bounds = None,
    shape: opt.Shape = None,
    resolution: opt.Resolution = None,
    like: opt.Like = None,
    factor: Annotated[int, opt.option("Fine cells per coarse cell.", "--factor")] = 1,
    level: Annotated[
        opt.Level | None, opt.option("Which cells; both in a folder, coarse in NetCDF.", "--level")
    ] = None,
    value: opt.Value = None,
    agg: Annotated[
        opt.PointPooling, opt.option("What a cell holds.", "--agg")
    ] = opt.PointPooling.MEAN,
    empty: opt.EmptyCells = opt.Empty.AUTO,
    time: Annotated[
        str, opt.option("Time column.", "--time", "--time-column", show="COL")
    ] = "time",
    tz: opt.Tz = None,
    label: Annotated[
        opt.Label, opt.option("Which end of an interval stamps mark.", "--label")
    ] = opt.Label.START,
    calendar_tz: opt.CalendarTz = None,
    coverage: opt.Coverage = None,
    x: opt.X = None,
    y: opt.Y = None,
    crs: opt.PointsCrs = None,
    grid_crs: opt.GridCrs = None,
    progress: opt.Progress = opt.Form.TERMINAL,
) -> None:
    """Bin points into cells and time steps."""
    with session(progress, reads=(points, like), writes=(out,)) as run:
        from ..binning import bin_points
        from ..points import read_points
        from ..zones import remarks

        _check_request(out, value, agg)
        column = None if agg == "count" else value
        table = read_points(
            points, value=column, time=time, tz=tz, x=x, y=y, crs=crs,
            **vars(choice),
        )  # fmt: skip
        grid = grid_of(table.crs, bounds, shape, resolution, like, factor, grid_crs)
        both = level is None and not _is_netcdf(out)
        _check_levels(both, grid.factor)
        finest = opt.Level.FINE if both else level or opt.Level.COARSE
        cube = bin_points(
            table, grid, freq=freq, agg=agg.value, level=finest.value, empty=empty.value,
            label=marks(label, "start"), calendar_tz=calendar_tz,
            progress=run.progress, **coverage_of(coverage),  # type: ignore[arg-type]
        )  # fmt: skip
        for note in [*cube.attrs.get("notes", []), *remarks(calendar_tz or "UTC")]:
            run.log(note)
        outputs, told = _written(cube, out, both, run.progress)
        run.finish({"outputs": outputs, **tally(cube)}, [_where(cube), told])


def _written(cube: Any, out: Path, both: bool, progress: Any) -> tuple[list[str], str]:
    """Write the cube, with `both` its coarse level as well; return the files and a sentence."""
    from ..cf import write_netcdf
    from ..cube import aggregate
    from ..geotiff import write_geotiff

    if _is_netcdf(out):
        write_netcdf(cube, out)
        return [str(out)], f"The cube is {out}."
    levels = [aggregate(cube), cube] if both else [cube]
    files = write_geotiff(levels, out, progress=progress)
    what = "coarse and fine values and counts" if both else "values and counts"
    return [str(path) for path in files], f"{out} has the {what}, {len(files)} GeoTIFF files."


def tally(cube: Any) -> dict[str, int]:
    """Return how many points were used, outside, outside the period, and missing."""
    return {str(k): int(v) for k, v in cube.attrs.items() if str(k).startswith("points_")}


def _where(cube: Any) -> str:
    name = str(cube.attrs["value"])
    steps, rows, cols = cube[name].shape
    counts = tally(cube)
    return (
        f"{counts['points_used']} points used, {counts['points_outside']} outside the grid, "
        f"{counts['points_missing']} missing; {steps} steps of {cube.attrs['freq']} on "
        f"{rows} × {cols} cells."
    )


def _check_request(out: Path, value: str | None, agg: str) -> None:
    from ..errors import InvalidParameter

    if out.suffix and not (_is_netcdf(out) or out.is_dir()):
        raise InvalidParameter(
            f"--out is {out.name!r}; give a name that ends in .nc for a cube, or a folder for "
            "GeoTIFF."
        )
    if agg != "count" and value is None:
        raise InvalidParameter(
            f"--agg {agg} needs a value column; name it with --value, or count with --agg count."
        )


def _check_levels(both: bool, factor: int) -> None:
    from ..errors import InvalidParameter

    if both and factor == 1:
        raise InvalidParameter(
            "Coarse and fine cells are the same with a factor of 1; give --factor 4 or another, "
            "or choose one level with --level coarse."
        )


def _is_netcdf(out: Path) -> bool:
    from ..files.kinds import NETCDF_SUFFIXES

    return out.suffix.lower() in NETCDF_SUFFIXES


def grid_of(
    points_crs: Any,
    bounds: Any,
    shape: Any,
    resolution: float | None,
    like: Path | None,
    factor: int,
    grid_crs: str | None,
) -> "NestedGrid":
    """Return the grid of the options; without `grid_crs` it is in the CRS of the points."""
    from ..grid import NestedGrid

    if (like is None) == (bounds is None):
        raise InvalidParameter(
            "Give the grid by --like FILE, or by --bounds W S E N with --shape or --resolution."
        )
    if like is not None:
        if shape or resolution or grid_crs:
            raise InvalidParameter("--like brings its own grid; leave out the other grid options.")
        return NestedGrid.like(like, factor=factor)
    crs = points_crs if grid_crs is None else grid_crs
    return NestedGrid.from_bounds(
        bounds, crs=crs, shape=shape, resolution=resolution, factor=factor
    )
