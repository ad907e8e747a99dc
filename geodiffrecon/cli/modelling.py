"""``geodiffrecon fit``: fine maps of the past, or stations, to a model."""

# No postponed annotations here: typer reads them at run time.
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..files.kinds import holds_points
from ..rows import RowChoice
from . import options as opt
from .choosing import chosen, marks, reads_rows
from .inputs import coverage_of, external_features, refuse_options
from .reading import Reading, reads_maps
from .running import Session, session
from .stations import (
    GridChoice,
    Recipe,
    Sampling,
    check_points,
    few_cells,
    fit_cells,
    fit_points,
    write_findings,
)

if TYPE_CHECKING:
    from ..model import DiffRecon
    from ..stations.model import StationDiffRecon

ONLY_MAPS = "only for maps, but this file holds points; leave it out"
ONLY_POINTS = "only for points, but this file holds maps; leave it out"


@reads_maps
@reads_rows
def fit_command(
    *,
    choice: RowChoice,
    history: Annotated[Path, typer.Argument(help="Fine maps (NetCDF, GeoTIFF), or stations.")],
    maps: Reading,
    model: opt.Model,
    factor: Annotated[int, opt.option("Fine cells per coarse cell.", "--factor")],
    aggregation: Annotated[opt.Pooling, opt.option("What pooling means.", "--aggregation")],
    kind: opt.ValueKind = None,
    negative: Annotated[
        opt.Negative | None,
        opt.option("Stations: readings below zero; keep.", "--negative"),
    ] = None,
    variable: opt.Variable = None,
    crs: Annotated[
        str | None, opt.option("CRS where the file has none; none: metres.", "--crs", show="CRS")
    ] = None,
    bounds: opt.Bounds = None,
    rows: opt.Rows = None,
    cols: opt.Cols = None,
    trim: opt.Trim = False,
    value: Annotated[
        str | None, opt.option("Stations: value column.", "--value", show="COL")
    ] = None,
    time: Annotated[
        str | None,
        opt.option("Stations: time column; time.", "--time", "--time-column", show="COL"),
    ] = None,
    x: opt.X = None,
    y: opt.Y = None,
    station: opt.Station = None,
    coverage: opt.Coverage = None,
    tz: opt.Tz = None,
    freq: Annotated[str | None, opt.option("Time step, such as 1h.", "--freq", show="F")] = None,
    label: Annotated[
        opt.Label | None, opt.option("Which end of an interval stamps mark.", "--label")
    ] = None,
    units: Annotated[
        str | None, opt.option("Stations: unit of the values.", "--units", show="TEXT")
    ] = None,
    shape: opt.Shape = None,
    resolution: opt.Resolution = None,
    like: opt.Like = None,
    grid_crs: opt.GridCrs = None,
    pretrain: Annotated[
        Path | None, opt.option("Stations: fine maps to learn first.", "--pretrain", show="FILE")
    ] = None,
    quality: Annotated[
        Path | None, opt.option("Stations: write what is odd.", "--quality", show="FILE.json")
    ] = None,
    until: opt.Until = None,
    external: opt.External = None,
    calendar_tz: opt.CalendarTz = None,
    country: opt.Country = None,
    preset: Annotated[str, opt.option("default, paper, literal or tiny.", "--preset")] = "default",
    max_minutes: Annotated[
        float | None, opt.option("Time to spend.", "--max-minutes", show="M")
    ] = None,
    seed: opt.Seed = 0,
    device: Annotated[opt.Device, opt.option("Where to train.", "--device")] = opt.Device.AUTO,
    progress: opt.Progress = opt.Form.TERMINAL,
) -> None:
    """Learn a model from fine maps of the past, or from stations alone."""
    reads, writes = (history, pretrain, *(external or ())), (model, quality)
    with session(progress, reads=reads, writes=writes) as run:
        from ..archive import check_target

        check_target(model)
        recipe = Recipe(
            kind.value if kind else None, until, external, country, preset, max_minutes, seed,
            device.value, pretrain, variable, negative.value if negative else "keep",
        )  # fmt: skip
        columns = {"value": value, "time": time, "tz": tz, "x": x, "y": y, "station": station}
        columns["units"] = units
        only_points = {f"--{name}": given for name, given in columns.items()} | {
            "--shape": shape, "--resolution": resolution, "--like": like, "--grid-crs": grid_crs,
            "--quality": quality, "--coverage": coverage, "--negative": negative,
            **chosen(choice),
        }  # fmt: skip
        if holds_points(history):
            of_maps = {"--variable": variable, **maps.given()}
            refuse_options({"--rows": rows, "--cols": cols, "--trim": trim,
                            **({} if pretrain else of_maps)}, ONLY_MAPS)  # fmt: skip
            recipe = replace(recipe, maps=maps)
            check_points(columns, aggregation.value)
            _fit_points(
                run, history, model,
                columns | {"crs": crs, **coverage_of(coverage),
                           "choice": choice},
                Sampling(freq, calendar_tz, marks(label, "start")),
                GridChoice(bounds, shape, resolution, like, factor, grid_crs), recipe, quality,
            )  # fmt: skip
            return
        refuse_options(only_points, ONLY_POINTS)
        _fit_maps(
            run, history, model, recipe, variable=variable, factor=factor, crs=crs, bounds=bounds,
            rows=rows, cols=cols, trim=trim, aggregation=aggregation.value,
            calendar_tz=calendar_tz, **maps.request(),
        )  # fmt: skip


def summary_of(model: "DiffRecon | StationDiffRecon", path: Path) -> list[str]:
    """Return the lines that say what was trained on what."""
    spans = "; ".join(f"{key.replace('_', ' ')} {value}" for key, value in model.trained.items())
    return [f"{model.value} on {model.grid}", f"{spans}.", f"The model is {path}."]


def _fit_points(
    run: Session,
    history: Path,
    model: Path,
    columns: dict[str, Any],
    sampling: Sampling,
    grid: GridChoice,
    recipe: Recipe,
    quality: Path | None,
) -> None:
    """Train on stations; write the model and what was found in the file."""
    from ..points import PointColumns
    from ..stations.quality import to_rows

    chosen = PointColumns(**columns | {"time": columns["time"] or "time"})
    estimator, findings = fit_points(run, history, chosen, sampling, grid, recipe)
    estimator.save(model)
    outputs = [str(model)]
    if quality is not None:
        write_findings(quality, findings)
        outputs.append(str(quality))
    found = {"quality": to_rows(findings)}
    run.finish({"outputs": outputs, **estimator.info(), **found}, summary_of(estimator, model))


def _fit_maps(run: Session, history: Path, model: Path, recipe: Recipe, **request: Any) -> None:
    """Train on maps: as stations where few cells were ever observed."""
    from ..history import open_history

    cube = open_history(history, progress=run.progress, **request)
    for note in cube.attrs.get("notes", []):
        run.log(note)
    estimator: Any
    if few_cells(cube):
        estimator = fit_cells(run, cube, recipe)
    else:
        refuse_options({"--pretrain": recipe.pretrain}, ONLY_POINTS)
        estimator = _fit_complete(run, cube, recipe, request["aggregation"])
    estimator.save(model)
    run.finish({"outputs": [str(model)], **estimator.info()}, summary_of(estimator, model))


def _fit_complete(run: Session, cube: Any, recipe: Recipe, aggregation: str) -> "DiffRecon":
    from ..model import DiffRecon

    estimator = DiffRecon(preset=recipe.preset, seed=recipe.seed, device=recipe.device)
    features = external_features(recipe.external, str(cube.attrs["calendar_tz"]), run.log)
    return estimator.fit(
        cube, aggregation=aggregation, kind=recipe.kind, until=recipe.until, external=features,
        country=recipe.country, max_minutes=recipe.max_minutes,
        progress=run.progress, log=run.log,
    )  # fmt: skip
