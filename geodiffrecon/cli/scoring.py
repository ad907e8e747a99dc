"""``geodiffrecon evaluate``: scores on frames that the model has not seen."""

# No postponed annotations here: typer reads them at run time.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InvalidParameter
from . import options as opt
from .inputs import external_features, open_on_grid, refuse_points
from .running import session

if TYPE_CHECKING:
    import xarray as xr

    from ..model import DiffRecon


def evaluate_command(
    history: Annotated[Path, typer.Argument(help="NetCDF or multi-band GeoTIFF of fine maps.")],
    model: opt.Model,
    pattern: Annotated[opt.Pattern, opt.option("Which coarse cells are hidden.", "--pattern")],
    missing: Annotated[float, opt.option("Share of hidden cells.", "--missing", show="R")],
    masks: Annotated[int, opt.option("Masks of the pattern.", "--masks")] = 5,
    variable: opt.Variable = None,
    crs: opt.FileCrs = None,
    start: Annotated[str | None, opt.option("First time.", "--from", show="T")] = None,
    end: Annotated[str | None, opt.option("Last time.", "--to", show="T")] = None,
    samples: Annotated[int, opt.option("Draws of an ensemble.", "--samples")] = 32,
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
    """Score a model on frames that it has not seen."""
    with session(progress) as run:
        _check_request(history, missing)
        from .. import report as reports
        from ..model import load
        from ..validation import evaluate

        estimator = load(model, device=device.value)
        cube = _history(history, estimator, variable, crs, run.progress)
        for note in cube.attrs.get("notes", []):
            run.log(note)
        result = evaluate(
            estimator, cube, pattern=pattern.value, missing=missing, masks=masks,
            start=start, end=end, samples=samples, in_sample=in_sample, seed=seed,
            external=external_features(external, estimator.calendar_tz, run.log),
            progress=run.progress, log=run.log,
        )  # fmt: skip
        outputs = reports.write(result, json_file=json_file, html_file=report)
        lines = [reports.table(result), *(f"Written: {path}" for path in outputs)]
        run.finish({"outputs": [str(path) for path in outputs], **result}, lines)


def _check_request(history: Path, missing: float) -> None:
    refuse_points(history)
    if not 0 < missing < 1:
        raise InvalidParameter(
            f"--missing is {missing:g}; give the share of hidden cells between 0 and 1, "
            "such as 0.4."
        )


def _history(
    path: Path, model: "DiffRecon", variable: str | None, crs: str | None, progress: Any
) -> "xr.Dataset":
    from ..history import open_history

    def opener(known: str | None) -> "xr.Dataset":
        return open_history(
            path, variable=variable, grid=model.grid, crs=known, progress=progress,
            aggregation=model.aggregation, calendar_tz=model.calendar_tz, freq=model.freq,
        )  # fmt: skip

    return open_on_grid(opener, model, crs)
