"""``geodiffrecon compare``: this system, its layers and its rivals on one's own history."""

# No postponed annotations here: typer reads them at run time.
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InvalidParameter
from . import options as opt
from .inputs import external_features, refuse_model, refuse_points
from .reading import Reading, reads_maps
from .running import session

if TYPE_CHECKING:
    import xarray as xr

    from ..comparison import Protocol
    from ..covariates import Covariates

EVERYDAY = "default,prior,share,climatology,kriging,idw,bilinear,nearest"


@reads_maps
def compare_command(
    *,
    maps: Reading,
    history: Annotated[Path, typer.Argument(help="NetCDF or multi-band GeoTIFF of fine maps.")],
    json_file: Annotated[Path, opt.option("Write the scores.", "--json", show="FILE")],
    factor: Annotated[int | None, opt.option("Fine cells per coarse cell.", "--factor")] = None,
    aggregation: Annotated[
        opt.Pooling | None, opt.option("What pooling means.", "--aggregation")
    ] = None,
    methods: Annotated[
        str, opt.option("Names, separated by commas.", "--methods", show="M,M")
    ] = EVERYDAY,
    patterns: Annotated[
        str, opt.option("Which coarse cells are hidden.", "--patterns", show="P,P")
    ] = "complete,random,fixed,block",
    missing: Annotated[
        str, opt.option("Shares of hidden cells.", "--missing", show="R,R")
    ] = "0.2,0.4,0.6,0.8",
    masks: Annotated[int, opt.option("Masks of each pattern.", "--masks")] = 5,
    seeds: Annotated[int, opt.option("Trainings of each method.", "--seeds")] = 1,
    samples: Annotated[int, opt.option("Draws of an ensemble.", "--samples")] = 32,
    max_minutes: Annotated[
        float, opt.option("Time of each training.", "--max-minutes", show="M")
    ] = 4.0,
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
    preset_data: Annotated[
        opt.Published | None, opt.option("The paper's data, in HISTORY.", "--preset-data")
    ] = None,
    report: Annotated[
        Path | None, opt.option("Write a page.", "--report", show="FILE.html")
    ] = None,
    markdown: Annotated[
        Path | None, opt.option("Write tables.", "--markdown", show="FILE.md")
    ] = None,
    seed: Annotated[int, opt.option("Of draws and intervals.", "--seed")] = 0,
    device: Annotated[opt.Device, opt.option("Where to run.", "--device")] = opt.Device.AUTO,
    progress: opt.Progress = opt.Form.TERMINAL,
) -> None:
    """Compare this system with its layers and its rivals on one's own history."""
    reads, writes = (history, *(external or ())), (json_file, report, markdown)
    with session(progress, reads=reads, writes=writes) as run:
        refuse_points(history)
        refuse_model(history)
        protocol = _protocol(patterns, missing, masks, samples, max_minutes, seed)
        from .. import comparison_report as reports
        from ..comparison import Comparison
        from ..contenders import methods_of
        from ..history import open_history
        from ..journal import Journal
        from ..paper_tables import score_rows

        names = methods_of(_names(methods))
        if preset_data is not None:
            cube, features, until = _published(preset_data.value, history, until, run.progress)
        else:
            pooling = _needed(factor, aggregation)
            cube = open_history(
                history, variable=variable, factor=factor, crs=crs, bounds=bounds, rows=rows,
                cols=cols, trim=trim, aggregation=pooling, calendar_tz=calendar_tz,
                progress=run.progress, **maps.request(),
            )  # fmt: skip
            features = external_features(external, str(cube.attrs["calendar_tz"]), run.log)
        for note in cube.attrs.get("notes", []):
            run.log(note)
        comparison = Comparison.of(
            cube, protocol, Journal(json_file.with_suffix(".work")),
            kind=kind.value if kind else None, until=until, external=features, country=country,
            device=device.value, progress=run.progress, log=run.log,
        )  # fmt: skip
        comparison.run(names, seeds)
        result = comparison.result(" ".join(["geodiffrecon", *sys.argv[1:]]))
        if preset_data is not None:
            result["rows"] += score_rows(preset_data.value)
        outputs = reports.write(
            result, json_file=json_file, html_file=report, markdown_file=markdown
        )
        lines = [reports.terminal(result), *(f"Written: {path}" for path in outputs)]
        run.finish({"outputs": [str(path) for path in outputs]}, lines)


def _published(
    name: str, folder: Path, until: str | None, progress: Any
) -> "tuple[xr.Dataset, Covariates | None, str]":
    from ..published import read_published

    found = read_published(name, folder, progress=progress)
    return found.cube, found.covariates, until or found.until


def _needed(factor: int | None, aggregation: opt.Pooling | None) -> str:
    if factor is None or aggregation is None:
        raise InvalidParameter(
            "compare must know what a coarse cell is: give --factor (such as 4) and --aggregation "
            "(mean or sum)."
        )
    return aggregation.value


def _protocol(
    patterns: str, missing: str, masks: int, samples: int, max_minutes: float, seed: int
) -> "Protocol":
    from ..comparison import Protocol

    known = ("complete", "random", "fixed", "block")
    chosen = tuple(_names(patterns))
    for name in chosen:
        if name not in known:
            raise InvalidParameter(f"--patterns has {name!r}; there are {', '.join(known)}.")
    ratios = tuple(_ratio(text) for text in _names(missing))
    if masks < 1 or samples < 0 or not max_minutes > 0:
        raise InvalidParameter(
            f"--masks is {masks}, --samples {samples} and --max-minutes {max_minutes:g}; at least "
            "one mask, no negative number of samples and some time are needed."
        )
    return Protocol(chosen, ratios, masks, samples, max_minutes, seed)


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 < ratio < 1:
        raise InvalidParameter(
            f"--missing has {text!r}; give shares of hidden cells between 0 and 1, such as 0.2,0.4."
        )
    return ratio


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
