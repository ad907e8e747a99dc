"""``geodiffrecon bin``: points to a cube."""

# No postponed annotations here: typer reads them at run time.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..rows import RowChoice
from . import options as opt
from .choosing import reads_rows
from .inputs import coverage_of
from .running import session

if TYPE_CHECKING:
    from ..grid import NestedGrid


@reads_rows
def bin_points_command(
    *,
    choice: RowChoice,
    points: Annotated[Path, typer.Argument(help="CSV, Parquet, GeoPackage, Shapefile, GeoJSON.")],
    out: Annotated[Path, opt.option("NetCDF file to write.", "--out", show="CUBE.nc")],
    freq: Annotated[str, opt.option("Time step, such as 30min, 1h, 1D.", "--freq", show="F")],
    bounds: opt.Bounds = None,
    shape: opt.Shape = None,
    resolution: opt.Resolution = None,
    like: opt.Like = None,
    factor: Annotated[int, opt.option("Fine cells per coarse cell.", "--factor")] = 1,
    level: Annotated[opt.Level, opt.option("Which cells.", "--level")] = opt.Level.COARSE,
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
    with session(progress) as run:
        from ..binning import bin_points
        from ..cf import write_netcdf
        from ..points import read_points
        from ..zones import remarks

        _check_request(out, value, agg)
        column = None if agg == "count" else value
        table = read_points(
            points, value=column, time=time, tz=tz, x=x, y=y, crs=crs,
            **vars(choice),
        )  # fmt: skip
        grid = grid_of(table.crs, bounds, shape, resolution, like, factor, grid_crs)
        cube = bin_points(
            table, grid, freq=freq, agg=agg.value, level=level.value, empty=empty.value,
            label=label.value, calendar_tz=calendar_tz, progress=run.progress,
            **coverage_of(coverage),  # type: ignore[arg-type]
        )  # fmt: skip
        for note in [*cube.attrs.get("notes", []), *remarks(calendar_tz or "UTC")]:
            run.log(note)
        write_netcdf(cube, out)
        run.finish({"outputs": [str(out)], **tally(cube)}, [_where(cube), f"The cube is {out}."])


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
    from ..grid import NETCDF_SUFFIXES

    if out.suffix.lower() not in NETCDF_SUFFIXES:
        raise InvalidParameter(f"--out is {out.name!r}; give a name that ends in .nc.")
    if agg != "count" and value is None:
        raise InvalidParameter(
            f"--agg {agg} needs a value column; name it with --value, or count with --agg count."
        )


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
    from ..errors import InvalidParameter
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
