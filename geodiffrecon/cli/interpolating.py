"""``geodiffrecon map``: points, or a raster with holes, to maps at once; no history."""

# No postponed annotations here: typer reads them at run time.
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InvalidParameter
from ..files.kinds import holds_points
from ..rows import RowChoice
from . import options as opt
from .choosing import chosen, surveys_rows
from .inputs import refuse_options
from .mapping import Districts, Files, _files, write_maps
from .reading import Reading, opens_maps
from .running import Session, session

if TYPE_CHECKING:
    import xarray as xr

    from ..interpolation.belief import Interpolation

FORMATS = ("geotiff", "netcdf", "png", "report")


@opens_maps
@surveys_rows
def map_command(
    *,
    maps: Reading,
    choice: RowChoice,
    observations: Annotated[
        Path, typer.Argument(metavar="FILE", help="Points, or a raster with holes.")
    ],
    out: Annotated[Path, opt.option("Folder of the maps.", "--out", show="DIR")],
    value: Annotated[
        str | None,
        opt.option("Value column, or variable.", "--value", "--variable", show="COL"),
    ] = None,
    time: Annotated[
        str | None,
        opt.option("Time column: a map for each date.", "--time", "--time-column", show="COL"),
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
    zones: opt.Zones = None,
    weights: opt.Weights = None,
    kind: Annotated[opt.Kind | None, opt.option("What values can be.", "--kind")] = None,
    core: Annotated[
        float | None,
        opt.option("How far diffusion moves the draws, 0 to 1; as far as it is trusted.", "--core"),
    ] = None,
    learn: Annotated[
        bool, opt.option("Map by a model learnt from 40 dates and more.", "--learn")
    ] = False,
    formats: Annotated[str, opt.option("Which files.", "--format")] = ",".join(FORMATS),
    seed: opt.Seed = 0,
    progress: opt.Progress = opt.Form.TERMINAL,
) -> None:  # fmt: skip
    """Map points or a raster with holes; nothing else is needed.

    Example: geodiffrecon map soil.gpkg --value zinc --out zinc/
    """
    reads, writes = (observations, like, clip, at, zones, weights, *(covariates or ())), (out,)
    with session(progress, reads=reads, writes=writes) as run:
        drawable = find_spec("matplotlib") is not None
        if formats == ",".join(FORMATS) and not drawable:
            formats = "geotiff,netcdf"
            run.log("Without matplotlib there is no picture and no report; install it for both.")
        files = _files(out, formats, known=FORMATS)
        districts = Districts.of(zones, weights)
        if kind is opt.Kind.COUNT:
            raise InvalidParameter("--kind is real or positive here; counts are positive.")
        if holds_points(observations):
            refuse_options(maps.given(), "only for maps, and this file holds points")
        else:
            refuse_options(
                chosen(choice), "only for points, but this file holds maps; leave it out"
            )
        from ..interpolation import prepare
        from ..interpolation.learned import learned
        from ..interpolation.maps import dataset
        from ..interpolation.survey import Columns, read_survey
        from ..outputs import file_name

        wanted = Columns(value, time, tz, x, y, crs, error, choice, maps.opening())
        survey = read_survey(observations, wanted)
        if learn:
            refuse_options({"--at": at, "--covariates": covariates}, "not for --learn")
        made = prepare(
            survey, dates=(dates, tz), resolution=resolution, like=like, clip=clip,
            covariates=covariates, seed=seed, kind=kind.value if kind else "auto",
            core=core, learn=learn, progress=run.progress, log=run.log,
        )  # fmt: skip
        limits = tuple(dict.fromkeys(exceed or ()))
        name = file_name(survey.name)
        if learn:
            files = replace(files, formats=tuple(f for f in files.formats if f != "report"))
            drawn = districts.samples(samples)
            made_maps = learned(
                made, exceed=limits, samples=drawn, progress=run.progress, log=run.log
            )
            made_maps, tables = districts.told(made_maps, limits)
        else:
            made_maps = dataset(made, exceed=limits, samples=samples, progress=run.progress)
            _, tables = districts.told(made_maps, limits)
            tables[f"{name}_left_out.gpkg"] = made_maps.gdr.residuals()
        if at is not None:
            table = f"{name}_at_{at.name.split('.')[0]}.csv"
            tables[table] = _at(run, made_maps, made, limits, at, (x, y, crs))
        _write(run, made_maps, made, files, tables)


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
    files: Files,
    tables: dict[str, Any],
) -> None:
    """Write all files together, or none."""
    from ..interpolation.belief import left_out_scores
    from ..interpolation.page import page, write_picture
    from ..outputs import file_name

    name, last = made.survey.name, maps.sizes.get("time", 1) - 1
    pages: dict[str, Any] = {}
    if "png" in files.formats:
        pages[f"{file_name(name)}.png"] = lambda path: write_picture(maps, path, last)
    if "report" in files.formats:
        pages["report.html"] = lambda path: path.write_text(page(maps, made), encoding="utf-8")
    written = write_maps(maps, files, tables=tables, pages=pages, progress=run.progress)
    payload = {
        "outputs": [str(files.out / file) for file in written.names], "variable": name,
        "left_out": left_out_scores(made), "times": maps.sizes.get("time", 1),
    }  # fmt: skip
    run.finish(payload, [f"{files.out}/: {', '.join(sorted(written.names))}."])
