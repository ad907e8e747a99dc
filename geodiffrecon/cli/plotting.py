"""``geodiffrecon plot``: maps of any result side by side, or as surfaces."""

# No postponed annotations here: typer reads them at run time.
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InvalidParameter, InvalidTime, MissingColumn, MissingCRS
from ..files.kinds import holds_points, is_netcdf
from ..local import local_file
from ..rows import RowChoice
from . import options as opt
from .choosing import reads_rows
from .inputs import PointOptions, external_features, open_gridded, refuse_points, result_file
from .reading import Reading, reads_maps
from .running import Session, session

if TYPE_CHECKING:
    import xarray as xr

    from ..points import PointTable
    from ..variable import Variable

PATTERNS = ",".join(opt.Pattern)
EPOCH = "1970-01-01"  # of a map that has no time, where a cube needs one
STATISTICS = {"mean": "Completed map", "std": "Standard deviation", "q05": "5 % quantile",
              "q25": "25 % quantile", "q50": "Median", "q75": "75 % quantile",
              "q95": "95 % quantile", "n_obs": "Observations", "distance": "Distance to data",
              "information": "Information"}  # fmt: skip


@reads_maps
@reads_rows
def plot_command(
    *,
    maps: Reading,
    choice: RowChoice,
    result: Annotated[Path, typer.Argument(help="Maps, a cube, or with --model a history.")],
    out: Annotated[
        Path | None, opt.option("The picture; beside RESULT by default.", "--out", show="FILE.png")
    ] = None,
    truth: Annotated[
        Path | None, opt.option("True fine maps of the same times.", "--truth", show="HISTORY")
    ] = None,
    variable: opt.Variable = None,
    points: Annotated[
        Path | None, opt.option("Points to draw as well.", "--points", show="POINTS.csv")
    ] = None,
    time: Annotated[
        list[str] | None, opt.option("Time to draw; may be repeated.", "--time", show="T")
    ] = None,
    surface: Annotated[bool, opt.option("Surfaces, not flat maps.", "--surface")] = False,
    title: Annotated[str | None, opt.option("Line above the maps.", "--title")] = None,
    model: Annotated[
        Path | None,
        opt.option("Hide cells of a history and complete them.", "--model", show="DIR"),
    ] = None,
    patterns: Annotated[
        str, opt.option("With --model: which cells are hidden.", "--patterns")
    ] = PATTERNS,
    missing: Annotated[
        float, opt.option("With --model: share of hidden cells.", "--missing", show="R")
    ] = 0.4,
    external: opt.External = None,
    seed: opt.Seed = 0,
    device: Annotated[opt.Device, opt.option("Where to run.", "--device")] = opt.Device.AUTO,
    value: opt.Value = None,
    time_column: Annotated[
        str, opt.option("Time column of the points.", "--time-column", show="COL")
    ] = "time",
    tz: opt.Tz = None,
    x: opt.X = None,
    y: opt.Y = None,
    crs: Annotated[
        str | None, opt.option("CRS of points, or of maps without one.", "--crs", show="CRS")
    ] = None,
    progress: opt.Progress = opt.Form.TERMINAL,
) -> None:
    """Draw maps side by side, as surfaces, or beside what a model makes of hidden cells."""
    with session(progress, reads=(result, truth, points), writes=(out,)) as run:
        from ..picture import check_matplotlib

        check_matplotlib()
        _check_request(result, out, truth=truth, points=points, model=model, time=time,
                       surface=surface)  # fmt: skip
        if model is not None:
            path = _draw_hidden(
                run, result, out, estimator=open_gridded(model, device.value), title=title,
                patterns=_patterns(patterns), missing=missing, time=time[0] if time else None,
                variable=variable, crs=crs, maps=maps, external=external, seed=seed,
            )  # fmt: skip
        else:
            columns = PointOptions(value, time_column, tz, x, y, crs, maps=maps, choice=choice)
            path = _draw_result(
                run, result, out, truth=truth, variable=variable, points=points, columns=columns,
                times=time or [], surface=surface, title=title,
            )  # fmt: skip
        run.finish({"outputs": [str(path)]}, [f"The picture is {path}."])


def _draw_result(
    run: Session,
    result: Path,
    out: Path | None,
    *,
    truth: Path | None,
    variable: str | None,
    points: Path | None,
    columns: PointOptions,
    times: list[str],
    surface: bool,
    title: str | None,
) -> Path:
    """Draw what is in a file or folder of maps, beside the truth and the points if given."""
    from .. import picture
    from ..surfaces import draw_surfaces

    file = result_file(result)
    # With a truth, what is said of variables and maps is said of the truth.
    own = replace(columns, maps=Reading()) if truth else columns
    maps, map_title = _open_result(file, None if truth else variable, own, run)
    known = None
    if truth is not None:
        known, at_both = _open_truth(truth, maps, variable, columns, run)
        maps = maps if times else maps.isel(time=at_both)
    steps = picture.steps_at(maps, times) if times else picture.telling_steps(maps)
    maps = maps.isel(time=steps)
    known = None if known is None else _at_times(known, maps)
    path = out or file.with_suffix(".png")
    chosen = list(range(len(steps)))
    if surface:
        return draw_surfaces(maps, path, truth=known, steps=chosen, title=title)
    table = None if points is None else _open_points(points, maps, columns, run)
    return picture.draw(
        maps, path, points=table, truth=known, map_title=map_title, difference=known is not None,
        steps=chosen, title=title,
    )  # fmt: skip


def _draw_hidden(
    run: Session,
    history: Path,
    out: Path | None,
    *,
    estimator: Any,
    title: str | None,
    variable: str | None,
    crs: str | None,
    maps: Reading,
    external: list[Path] | None,
    **request: Any,
) -> Path:
    """Draw figure 10 of the paper: patterns of hidden cells, one a row."""
    from ..picture import heading, units_of, when
    from ..surfaces import figure_ten, hide_and_reconstruct

    cube = _read_history(
        history, estimator.variable, variable, PointOptions(crs=crs, maps=maps), run
    )
    features = external_features(external, estimator.calendar_tz, run.log)
    rows, step = hide_and_reconstruct(
        estimator, cube, external=features, progress=run.progress, **request
    )
    line = title or f"{heading(cube)} · {when(cube, step)}"
    path = out or history.with_suffix(".png")
    return figure_ten(rows, path, grid=estimator.grid, units=units_of(cube), title=line)


def _check_request(
    result: Path,
    out: Path | None,
    *,
    truth: Path | None,
    points: Path | None,
    model: Path | None,
    time: list[str] | None,
    surface: bool,
) -> None:
    refuse = {"--truth": truth, "--points": points}
    if model is not None:
        refuse_points(result)
        given = [name for name, value in refuse.items() if value is not None]
        if given or len(time or []) > 1:
            wrong = given[0] if given else f"{len(time or [])} times"
            raise InvalidParameter(
                f"With --model, {result.name} is the truth and one map of it is drawn, so "
                f"{wrong} cannot be used; leave out --model to draw a result."
            )
    if surface and points is not None:
        raise InvalidParameter(
            "Points are drawn on flat maps only; leave out --surface or --points."
        )
    if out is not None and (out.is_dir() or out.suffix.lower() != ".png"):
        raise InvalidParameter(f"--out is {out}; give the name of a file that ends in .png.")


def _patterns(text: str) -> list[str]:
    chosen = [part.strip().lower() for part in text.split(",") if part.strip()]
    unknown = [part for part in chosen if part not in set(opt.Pattern)]
    if unknown or not chosen:
        raise InvalidParameter(f"--patterns is {text!r}; give some of {PATTERNS}.")
    return list(dict.fromkeys(chosen))


def _open_result(
    path: Path, variable: str | None, columns: PointOptions, run: Session
) -> tuple["xr.Dataset", str]:
    """Return the maps of a file and what they are."""
    from ..cube import UNDATED
    from ..files.sources import open_source
    from ..history import open_cube

    if holds_points(path):
        raise InvalidParameter(
            f"{path.name} holds points, but plot needs maps; give points with --points."
        )
    own = _own_netcdf(path) if is_netcdf(path) else None
    if own is not None and variable is None:
        complete = f"{own.attrs['value']}_std" in own
        return own, "Completed map" if complete else "Map"
    request = columns.maps.request()
    source = open_source(path, variable=variable, crs=columns.crs, **columns.maps.opening())
    undated = source.times is None and source.count == 1
    if source.count == 1:  # nothing is drawn of its step
        request["freq"] = request["freq"] or "1D"
    if undated:
        request["times"] = [EPOCH]
    cube = _located(
        lambda known: open_cube(
            path, variable=variable, crs=known, progress=run.progress, **request
        ),
        columns.crs,
    )
    cube.attrs |= {"freq": UNDATED} if undated else {}
    for note in cube.attrs.get("notes", []):
        run.log(note)
    return cube, "Map" if is_netcdf(path) else _statistic(path)


def _own_netcdf(path: Path) -> "xr.Dataset | None":
    """Return value and error of a file of this library; draws and quantiles are not drawn."""
    import numpy as np

    from ..files.netcdf import damaged, open_netcdf, open_raw

    path = local_file(path)
    try:
        with open_raw(path) as stored:
            name = str(stored.attrs.get("value"))
            if name not in stored or "level" not in stored.attrs:
                return None
        with open_netcdf(path) as opened:
            wanted = [name, f"{name}_std", "time_bnds"]
            kept = opened[[part for part in wanted if part in opened.variables]].load()
    except MissingColumn:  # its variables are in groups
        return None
    except (OSError, RuntimeError) as error:
        raise damaged(path, error) from error
    if "time" in kept.dims:
        return kept
    dated = kept.drop_vars("time", errors="ignore")
    if "time" in kept.coords:
        return kept.expand_dims("time")
    return dated.expand_dims(time=np.array([EPOCH], "M8[ns]"))


def _statistic(path: Path) -> str:
    """Return what a GeoTIFF of this library holds, by the description of its first band."""
    from ..files.rasters import open_raster

    with open_raster(path) as source:
        words = (source.descriptions[0] or "").split(" ")
    return STATISTICS.get(words[1] if len(words) > 1 else "", "Map")


def _open_truth(
    path: Path, maps: "xr.Dataset", variable: str | None, wanted: PointOptions, run: Session
) -> tuple["xr.Dataset", list[int]]:
    """Return the truth on the grid of the maps, and the steps of the maps that it covers."""
    import numpy as np

    from ..calendar import iso
    from ..cube import aggregate
    from ..grid import NestedGrid
    from ..variable import Variable

    refuse_points(path)
    attrs = maps.attrs
    about = Variable(
        str(attrs["value"]), NestedGrid.of(maps), str(attrs["freq"]), str(attrs["calendar_tz"]),
        str(attrs["aggregation"]), {},
    )  # fmt: skip
    truth = _read_history(path, about, variable, wanted, run)
    if maps.attrs["level"] == "coarse":
        truth = aggregate(truth, how=about.aggregation)
    both = np.flatnonzero(np.isin(maps["time"].values, truth["time"].values))
    if not len(both):
        raise InvalidTime(
            f"The truth has no map at the times of {maps.attrs['value']}, "
            f"{iso(maps['time'].values[0])} to {iso(maps['time'].values[-1])}; it covers "
            f"{iso(truth['time'].values[0])} to {iso(truth['time'].values[-1])}."
        )
    return truth, [int(step) for step in both]


def _read_history(
    path: Path, about: "Variable", name: str | None, wanted: PointOptions, run: Session
) -> "xr.Dataset":
    """Read the named variable of fine maps, or the one that `about` names, or the only one."""
    from ..history import open_history

    def read(chosen: str | None) -> "xr.Dataset":
        return _located(
            lambda known: open_history(
                path, variable=chosen, grid=about.grid, crs=known,
                calendar_tz=about.calendar_tz, aggregation=about.aggregation,
                progress=run.progress, **wanted.maps.request(freq=about.freq),
            ),
            wanted.crs or (None if about.grid.crs is not None else "none"),
        )  # fmt: skip

    try:
        cube = read(name or about.name)
    except MissingColumn:
        if name is not None:
            raise
        cube = read(None)
    for note in cube.attrs.get("notes", []):
        run.log(note)
    return cube


def _located(read: Callable[[str | None], "xr.Dataset"], crs: str | None) -> "xr.Dataset":
    """Return maps in their own CRS, or in `crs` where they have none."""
    try:
        return read(None)
    except MissingCRS:
        if crs is None:
            raise
        return read(crs)


def _at_times(truth: "xr.Dataset", maps: "xr.Dataset") -> "xr.Dataset":
    """Return the truth at the times of the maps."""
    import numpy as np

    from ..calendar import iso

    times, wanted = truth["time"].values, maps["time"].values
    lacking = wanted[~np.isin(wanted, times)]
    if len(lacking):
        raise InvalidTime(
            f"The truth has no map at {iso(lacking[0])}; it covers {iso(times[0])} to "
            f"{iso(times[-1])}."
        )
    return truth.isel(time=np.searchsorted(times, wanted))


def _open_points(
    path: Path, maps: "xr.Dataset", columns: PointOptions, run: Session
) -> "PointTable":
    from ..points import read_points

    table = read_points(
        path, value=columns.value or str(maps.attrs["value"]), time=columns.time, tz=columns.tz,
        x=columns.x, y=columns.y, crs=columns.crs, **vars(columns.choice),
    )  # fmt: skip
    for note in table.notes:
        run.log(note)
    return table
