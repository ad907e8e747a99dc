"""``geodiffrecon fit``: complete fine maps of the past to a model."""

# No postponed annotations here: typer reads them at run time.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options as opt
from .inputs import external_features, refuse_points
from .running import session

if TYPE_CHECKING:
    from ..model import DiffRecon


def fit_command(
    history: Annotated[Path, typer.Argument(help="NetCDF or multi-band GeoTIFF of fine maps.")],
    model: opt.Model,
    factor: Annotated[int, opt.option("Fine cells per coarse cell.", "--factor")],
    aggregation: Annotated[opt.Pooling, opt.option("What pooling means.", "--aggregation")],
    kind: opt.ValueKind = None,
    variable: opt.Variable = None,
    crs: opt.FileCrs = None,
    bounds: opt.Bounds = None,
    rows: opt.Rows = None,
    cols: opt.Cols = None,
    trim: opt.Trim = False,
    until: opt.Until = None,
    external: opt.External = None,
    calendar_tz: opt.CalendarTz = None,
    country: opt.Country = None,
    preset: Annotated[str, opt.option("default, paper or tiny.", "--preset")] = "default",
    max_minutes: Annotated[
        float | None, opt.option("Time to spend.", "--max-minutes", show="M")
    ] = None,
    seed: opt.Seed = 0,
    device: Annotated[opt.Device, opt.option("Where to train.", "--device")] = opt.Device.AUTO,
    progress: opt.Progress = opt.Form.TERMINAL,
) -> None:
    """Learn a model from complete fine maps of the past."""
    with session(progress) as run:
        refuse_points(history)
        _check_target(model)
        from ..history import open_history
        from ..model import DiffRecon

        estimator = DiffRecon(preset=preset, seed=seed, device=device.value)
        cube = open_history(
            history, variable=variable, factor=factor, crs=crs, bounds=bounds, rows=rows,
            cols=cols, trim=trim, aggregation=aggregation.value, calendar_tz=calendar_tz,
            progress=run.progress,
        )  # fmt: skip
        for note in cube.attrs.get("notes", []):
            run.log(note)
        features = external_features(external, str(cube.attrs["calendar_tz"]), run.log)
        estimator.fit(
            cube, aggregation=aggregation.value, kind=kind.value if kind else None, until=until,
            external=features, country=country, max_minutes=max_minutes,
            progress=run.progress, log=run.log,
        )  # fmt: skip
        estimator.save(model)
        run.finish({"outputs": [str(model)], **estimator.info()}, summary_of(estimator, model))


def summary_of(model: "DiffRecon", path: Path) -> list[str]:
    """Return the lines that say what was trained on what."""
    spans = "; ".join(f"{key.replace('_', ' ')} {value}" for key, value in model.trained.items())
    return [f"{model.value} on {model.grid}", f"{spans}.", f"The model is {path}."]


def _check_target(model: Path) -> None:
    """Refuse a directory that the model cannot replace before hours are spent."""
    from ..errors import InvalidParameter

    taken: Any = model.is_file() or (
        model.is_dir() and not (model / "config.json").is_file() and any(model.iterdir())
    )
    if taken:
        raise InvalidParameter(
            f"{model} exists and is not a model; give another directory with --model."
        )
