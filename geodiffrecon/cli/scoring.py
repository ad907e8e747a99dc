"""``geodiffrecon evaluate``: scores on frames, or at stations, that the model has not seen."""

# No postponed annotations here: typer reads them at run time.
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InvalidParameter
from ..rows import RowChoice
from . import options as opt
from .choosing import chosen, marks, reads_rows
from .inputs import (
    external_features,
    open_on_grid,
    refuse_options,
    refuse_points,
)
from .mapping import ONLY_GRIDS, ONLY_STATIONS
from .reading import Reading, reads_maps
from .running import Session, session

if TYPE_CHECKING:
    import xarray as xr

    from ..model import DiffRecon
    from ..stations.model import StationDiffRecon

SAMPLES, STATION_SAMPLES = 32, 200
MASKS, FOLDS = 5, 4
BUFFER_KM = 10.0


@reads_maps
@reads_rows
def evaluate_command(
    *,
    maps: Reading,
    choice: RowChoice,
    history: Annotated[Path, typer.Argument(help="Fine maps (NetCDF, GeoTIFF), or stations.")],
    model: opt.Model,
    pattern: Annotated[
        opt.Scored | None,
        opt.option("What is hidden: cells of maps, or stations.", "--pattern"),
    ] = None,
    missing: Annotated[
        float | None, opt.option("Share of hidden cells.", "--missing", show="R")
    ] = None,
    masks: Annotated[int | None, opt.option("Masks of the pattern; 5.", "--masks")] = None,
    folds: Annotated[int | None, opt.option("Stations: parts, 4.", "--folds")] = None,
    buffer_km: Annotated[
        float | None, opt.option("Blocks: distance kept free.", "--buffer-km", show="KM")
    ] = None,
    every: Annotated[
        int | None, opt.option("Stations: score each N-th step.", "--every", show="N")
    ] = None,
    max_minutes: Annotated[
        float | None, opt.option("Stations: time of each fold.", "--max-minutes", show="M")
    ] = None,
    variable: opt.Variable = None,
    value: opt.Value = None,
    coverage: opt.Coverage = None,
    label: opt.StampLabel = None,
    time_column: opt.TimeColumn = None,
    tz: opt.Tz = None,
    x: opt.X = None,
    y: opt.Y = None,
    station: opt.Station = None,
    crs: opt.FileCrs = None,
    start: Annotated[str | None, opt.option("First time.", "--from", show="T")] = None,
    end: Annotated[str | None, opt.option("Last time.", "--to", show="T")] = None,
    samples: Annotated[int | None, opt.option("Draws: 32, of stations 200.", "--samples")] = None,
    in_sample: Annotated[bool, opt.option("Allow frames seen in training.", "--in-sample")] = False,
    external: opt.External = None,
    seed: opt.Seed = 0,
    json_file: Annotated[
        Path | None, opt.option("Write the scores.", "--json", show="FILE")
    ] = None,
    report: Annotated[
        Path | None, opt.option("Write a page.", "--report", show="FILE.html")
    ] = None,
    device: Annotated[opt.Device, opt.option("Where to run.", "--device")] = opt.Device.AUTO,
    progress: opt.Progress = opt.Form.TERMINAL,
) -> None:
    """Score a model on frames or at stations that it has not seen."""
    reads, writes = (history, model, *(external or ())), (json_file, report)
    with session(progress, reads=reads, writes=writes) as run:
        from ..loading import load
        from ..stations.model import StationDiffRecon

        estimator = load(model, device=device.value)
        scope = {"start": start, "end": end, "seed": seed}
        columns = {"value": value, "time": time_column, "tz": tz, "x": x, "y": y,
                   "station": station}  # fmt: skip
        if isinstance(estimator, StationDiffRecon):
            estimator.label = marks(label, estimator.label)
            refuse_options(
                {"--missing": missing, "--masks": masks, "--variable": variable,
                 "--in-sample": in_sample}, ONLY_GRIDS,
            )  # fmt: skip
            request = {
                "folds": FOLDS if folds is None else folds, "every": 1 if every is None else every,
                "buffer_km": buffer_km, "max_minutes": max_minutes,
                "samples": STATION_SAMPLES if samples is None else samples,
            }  # fmt: skip
            _score_stations(run, history, estimator, columns | {
                "crs": crs, "coverage": coverage, "choice": choice}, pattern,
                            (json_file, report), external, **scope, **request)  # fmt: skip
            return
        refuse_options(
            {"--folds": folds, "--buffer-km": buffer_km, "--every": every,
             "--max-minutes": max_minutes, "--value": value, "--time-column": time_column,
             "--tz": tz, "--x": x, "--y": y, "--station": station, **chosen(choice),
             "--coverage": coverage, "--label": label}, ONLY_STATIONS,
        )  # fmt: skip
        cells, share = _hidden_cells(history, pattern, missing)
        _score_maps(
            run, history, estimator, (variable, crs, maps), (json_file, report), external,
            pattern=cells, missing=share, masks=MASKS if masks is None else masks,
            samples=SAMPLES if samples is None else samples, in_sample=in_sample, **scope,
        )  # fmt: skip


def _score_maps(
    run: Session,
    history: Path,
    estimator: "DiffRecon",
    reading: tuple[str | None, str | None, Reading],
    files: tuple[Path | None, Path | None],
    external: list[Path] | None,
    **request: Any,
) -> None:
    from .. import report as reports
    from ..validation import evaluate

    cube = _history(history, estimator, *reading, run.progress)
    for note in cube.attrs.get("notes", []):
        run.log(note)
    result = evaluate(
        estimator, cube, external=external_features(external, estimator.calendar_tz, run.log),
        progress=run.progress, log=run.log, **request,
    )  # fmt: skip
    outputs = reports.write(result, json_file=files[0], html_file=files[1])
    lines = [reports.table(result), *(f"Written: {path}" for path in outputs)]
    run.finish({"outputs": [str(path) for path in outputs], **result}, lines)


def _score_stations(
    run: Session,
    path: Path,
    estimator: "StationDiffRecon",
    given: dict[str, Any],
    pattern: opt.Scored | None,
    files: tuple[Path | None, Path | None],
    external: list[Path] | None,
    **request: Any,
) -> None:
    from .. import station_report as reports
    from ..stations.quality import to_rows
    from .station_maps import evaluate_model

    chosen = _hidden_stations(pattern, request["buffer_km"])
    request["buffer_km"] = chosen[1]
    trial, findings = evaluate_model(
        run, path, estimator, given, external, pattern=chosen[0], **request
    )
    rows = to_rows(findings)
    outputs = reports.write(trial, rows, json_file=files[0], html_file=files[1])
    lines = [reports.table(trial), *(f"Written: {path}" for path in outputs)]
    result = {"outputs": [str(path) for path in outputs], **trial.to_dict(), "quality": rows}
    run.finish(result, lines)


def _hidden_stations(pattern: opt.Scored | None, buffer_km: float | None) -> tuple[str, float]:
    """Return which stations are hidden together, and how far around them no other is used."""
    if pattern not in (None, opt.Scored.STATIONS, opt.Scored.BLOCKS):
        raise InvalidParameter(
            f"--pattern {pattern.value} hides cells of maps, but this is a model of stations; use "
            "--pattern stations or --pattern blocks."
        )
    if buffer_km is not None and pattern is not opt.Scored.BLOCKS:
        raise InvalidParameter("--buffer-km is only for --pattern blocks; leave it out.")
    if buffer_km is not None and not 0 <= buffer_km < math.inf:
        raise InvalidParameter(f"--buffer-km is {buffer_km}; give kilometres from zero.")
    if pattern is not opt.Scored.BLOCKS:
        return opt.Scored.STATIONS.value, 0.0
    return pattern.value, BUFFER_KM if buffer_km is None else buffer_km


def _hidden_cells(
    history: Path, pattern: opt.Scored | None, missing: float | None
) -> tuple[str, float]:
    """Return which coarse cells are hidden, and their share."""
    refuse_points(history)
    if pattern not in (opt.Scored.FIXED, opt.Scored.RANDOM, opt.Scored.BLOCK):
        seen = "" if pattern is None else f", not {pattern.value}"
        raise InvalidParameter(
            "A model of fine maps is scored at hidden cells: give --pattern fixed, random or "
            f"block{seen}, and their share with --missing."
        )
    if missing is None or not 0 < missing < 1:
        raise InvalidParameter(
            f"--missing is {'not given' if missing is None else f'{missing:g}'}; give the share "
            "of hidden cells between 0 and 1, such as 0.4."
        )
    return pattern.value, missing


def _history(
    path: Path, model: "DiffRecon", variable: str | None, crs: str | None, maps: Reading,
    progress: Any,
) -> "xr.Dataset":  # fmt: skip
    from ..history import open_history

    def opener(known: str | None) -> "xr.Dataset":
        return open_history(
            path, variable=variable, grid=model.grid, crs=known, progress=progress,
            aggregation=model.aggregation, calendar_tz=model.calendar_tz,
            **maps.request(freq=model.freq),
        )  # fmt: skip

    return open_on_grid(opener, model, crs)
