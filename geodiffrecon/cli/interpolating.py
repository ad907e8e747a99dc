"""``geodiffrecon map``: points, or a raster with holes, to maps at once; no history."""

# No postponed annotations here: typer reads them at run time.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InvalidParameter
from . import options as opt
from .running import Session, session

if TYPE_CHECKING:
    import xarray as xr

    from ..interpolation.belief import Interpolation

FORMATS = ("geotiff", "netcdf", "png", "report")
ZONE_DRAWS = 300


def map_command(
    observations: Annotated[
        Path, typer.Argument(metavar="FILE", help="Points, or a raster with holes.")
    ],
    out: Annotated[Path, opt.option("Folder of the maps.", "--out", show="DIR")],
    value: opt.Value = None,
    time: Annotated[
        str | None, opt.option("Time column: a map for each date.", "--time", show="COL")
    ] = None,
    dates: Annotated[
        tuple[str, str] | None, opt.option("Dates to map; all.", "--dates", show="FROM TO")
    ] = None,
    tz: opt.Tz = None,
    x: opt.X = None,
    y: opt.Y = None,
    crs: opt.PointsCrs = None,
    error: Annotated[
        str | None,
        opt.option("The readings' own standard error.", "--error", show="COL|NUMBER"),
    ] = None,
    resolution: Annotated[
        float | None, opt.option("Size of a cell, in units of the CRS.", "--resolution", show="R")
    ] = None,
    like: opt.Like = None,
    clip: Annotated[
        Path | None, opt.option("Polygons to map inside.", "--clip", show="POLYGONS")
    ] = None,
    covariates: Annotated[
        list[Path] | None,
        opt.option("Raster that the field may follow; may be repeated.", "--covariates",
                   show="RASTER"),
    ] = None,
    exceed: Annotated[
        list[float] | None,
        opt.option("Chance of more than it; may be repeated.", "--exceed", show="LIMIT"),
    ] = None,
    samples: Annotated[int, opt.option("Joint draws to keep.", "--samples", least=0)] = 0,
    at: Annotated[
        Path | None, opt.option("Places to tell as well.", "--at", show="SITES.csv")
    ] = None,
    zones: Annotated[
        Path | None, opt.option("Districts to tell as well.", "--zones", show="POLYGONS")
    ] = None,
    weights: Annotated[
        Path | None, opt.option("What cells of --zones count by.", "--weights", show="RASTER")
    ] = None,
    kind: Annotated[opt.Kind | None, opt.option("What values can be.", "--kind")] = None,
    formats: Annotated[str, opt.option("Which files.", "--format")] = ",".join(FORMATS),
    seed: opt.Seed = 0,
    progress: opt.Progress = opt.Form.TERMINAL,
) -> None:  # fmt: skip
    """Map points or a raster with holes; nothing else is needed.

    Example: geodiffrecon map soil.gpkg --value zinc --out zinc/
    """
    with session(progress) as run:
        wanted = _formats(formats)
        if weights is not None and zones is None:
            raise InvalidParameter("--weights belongs to --zones; give both, or neither.")
        if kind is opt.Kind.COUNT:
            raise InvalidParameter("--kind is real or positive here; counts are positive.")
        if out.exists() and not out.is_dir():
            raise InvalidParameter(f"--out {out} is a file; give the folder that maps go to.")
        from ..interpolation import prepare
        from ..interpolation.maps import dataset
        from ..interpolation.survey import Columns, read_survey

        survey = read_survey(observations, Columns(value, time, tz, x, y, crs, error))
        made = prepare(
            survey, dates=(dates, tz), resolution=resolution, like=like, clip=clip,
            covariates=covariates, seed=seed, kind=kind.value if kind else "auto",
            progress=run.progress, log=run.log,
        )  # fmt: skip
        limits = tuple(dict.fromkeys(exceed or ()))
        maps = dataset(made, exceed=limits, samples=samples, progress=run.progress)
        tables = _tables(run, maps, made, limits, at, zones, weights, (x, y, crs))
        _write(run, maps, made, out, wanted, tables)


def _formats(text: str) -> tuple[str, ...]:
    chosen = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    if not chosen or set(chosen) - set(FORMATS):
        raise InvalidParameter(
            f"--format is {text!r}; give some of {', '.join(FORMATS)}, separated by commas."
        )
    return chosen


def _tables(
    run: Session,
    maps: "xr.Dataset",
    made: "Interpolation",
    limits: tuple[float, ...],
    at: Path | None,
    zones: Path | None,
    weights: Path | None,
    columns: tuple[str | None, str | None, str | None],
) -> dict[str, Any]:
    """Return the frames that go beside the maps, by file name."""
    name = made.survey.name
    found: dict[str, Any] = {f"{name}_left_out.gpkg": maps.gdr.residuals()}
    if at is not None:
        found[f"{name}_at_{at.name.split('.')[0]}.csv"] = _at(run, maps, made, limits, at, columns)
    if zones is not None:
        found[f"{name}_zones_{zones.stem}.gpkg"] = maps.gdr.zonal(
            zones, exceed=limits, weights=weights, draws=ZONE_DRAWS
        )
    return found


def _at(
    run: Session,
    maps: "xr.Dataset",
    made: "Interpolation",
    limits: tuple[float, ...],
    path: Path,
    columns: tuple[str | None, str | None, str | None],
) -> Any:
    import pandas as pd

    from ..sampling import read_places

    x, y, crs = columns
    places = read_places(path, x=x, y=y, crs=crs)
    for note in places.notes:
        run.log(note)
    own, east, north = made.survey.crs, places.x, places.y
    if (own is None) != (places.crs is None):
        raise InvalidParameter(f"{path.name} needs the CRS of the readings; give --crs.")
    if own is not None and places.crs is not None and own != places.crs:
        from pyproj import Transformer

        project = Transformer.from_crs(places.crs.proj, own.proj, always_xy=True)
        east, north = project.transform(east, north)
    told = maps.gdr.at(east, north, exceed=limits)
    rows = places.rows.iloc[told.index].reset_index(drop=True)
    return pd.concat([rows, told.reset_index(drop=True)], axis=1)


def _write(
    run: Session,
    maps: "xr.Dataset",
    made: "Interpolation",
    out: Path,
    wanted: tuple[str, ...],
    tables: dict[str, Any],
) -> None:
    """Write all files together, or none."""
    from ..cf import write_netcdf
    from ..geotiff import write_geotiff
    from ..interpolation.belief import left_out_scores
    from ..interpolation.page import page, write_picture
    from ..outputs import whole_files
    from .mapping import removed_if_empty

    name = made.survey.name
    with removed_if_empty(out), whole_files(out) as draft:
        if "geotiff" in wanted:
            write_geotiff(maps, draft, progress=run.progress)
        if "netcdf" in wanted:
            write_netcdf(maps, draft / f"{name}.nc")
        if "png" in wanted:
            write_picture(maps, made, draft / f"{name}.png")
        if "report" in wanted:
            (draft / "report.html").write_text(page(maps, made), encoding="utf-8")
        for file, frame in tables.items():
            if file.endswith(".csv"):
                frame.to_csv(draft / file, index=False, lineterminator="\n", float_format="%.6g")
            else:
                frame.to_file(draft / file, driver="GPKG", engine="pyogrio")
        names = sorted(path.name for path in draft.iterdir())
    payload = {
        "outputs": [str(out / file) for file in names], "variable": name,
        "left_out": left_out_scores(made), "times": maps.sizes.get("time", 1),
    }  # fmt: skip
    run.finish(payload, [f"{out}/: {', '.join(names)}."])
