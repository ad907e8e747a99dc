"""``geodiffrecon demo``, ``info`` and ``doctor``: look before working."""

# No postponed annotations here: typer reads them at run time.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options as opt
from .inputs import holds_points
from .reading import Reading, reads_maps
from .running import session

if TYPE_CHECKING:
    from ..demo import Demo


def demo_command(
    out: Annotated[Path, opt.option("Folder of the maps.", "--out", show="DIR")] = Path(
        "geodiffrecon-demo"
    ),
    progress: opt.Progress = opt.Form.TERMINAL,
) -> None:
    """Map simulated stations and compare with the truth."""
    with session(progress) as run:
        from ..demo import run_demo
        from .mapping import removed_if_empty

        with removed_if_empty(out):
            made = run_demo(out, progress=run.progress, log=run.log)
        payload = {
            "outputs": [str(path) for path in made.files], "days": made.days,
            "mae": made.mae, "rmse": made.rmse, "coverage90": made.coverage90,
            "mae_idw": made.mae_idw, "mae_climatology": made.mae_climatology, **made.counts,
        }  # fmt: skip
        run.finish(payload, _demo_lines(made, out))


@reads_maps
def info_command(
    *,
    maps: Reading,
    path: Annotated[Path, typer.Argument(help="Model directory, cube, maps or points.")],
    variable: opt.Variable = None,
    crs: opt.FileCrs = None,
    progress: opt.Progress = opt.Form.TERMINAL,
) -> None:
    """Say what is in a model, cube, raster or points file."""
    with session(progress) as run:
        found = _description(path, variable, crs, maps)
        width = max(map(len, found)) + 2
        lines = []
        for key, value in found.items():
            texts = value if isinstance(value, list) else [value]
            for number, text in enumerate(texts or ["none"]):
                lines.append(f"{key.replace('_', ' ') if number == 0 else '':<{width}}{text}")
        run.finish(found, lines)


def doctor_command(progress: opt.Progress = opt.Form.TERMINAL) -> None:
    """Print versions, device and memory; say what is wrong."""
    with session(progress) as run:
        from ..doctor import examine, lines

        findings = examine()
        problems = [finding.problem for finding in findings if finding.problem]
        found = {finding.name: finding.text for finding in findings}
        run.finish({**found, "problems": problems}, lines(findings))
        if problems:
            raise typer.Exit(1)


def _demo_lines(made: "Demo", out: Path) -> list[str]:
    unit = made.units.replace("ug m-3", "µg/m³")
    return [
        f"Simulated stations, {made.days[0]} to {made.days[1]}: days that the model has not seen.",
        f"{made.counts['points_used']} station days used, {made.counts['points_missing']} without "
        "a value.",
        "",
        f"Mean absolute error against the simulated truth, {unit}",
        f"  geodiffrecon                 {made.mae:6.2f}",
        f"  IDW, 12 nearest points       {made.mae_idw:6.2f}",
        f"  climatology                  {made.mae_climatology:6.2f}",
        f"Root mean squared error        {made.rmse:6.2f}",
        f"Truth inside the 90 % interval {100 * made.coverage90:5.1f} %",
        "",
        f"The maps are in {out}/:",
        *(f"  {path.name}" for path in made.files),
    ]


def _description(
    path: Path, variable: str | None, crs: str | None, maps: Reading
) -> dict[str, Any]:
    from ..errors import UnreadableFile

    if not path.exists():
        raise UnreadableFile(f"{path} does not exist; check the path.")
    if path.is_dir():
        from ..loading import load

        return load(path, device="cpu").info()
    return _points(path) if holds_points(path) else _maps(path, variable, crs, maps)


def _maps(path: Path, variable: str | None, crs: str | None, maps: Reading) -> dict[str, Any]:
    """Describe a raster or NetCDF file: all that it says, then what it is as maps, or why not."""
    from ..calendar import iso
    from ..errors import GeoDiffReconError
    from ..files.description import describe
    from ..files.sources import open_source

    found, first = describe(path, variable)
    try:
        source = open_source(path, variable=first, crs=crs, **maps.opening())
    except GeoDiffReconError as error:
        if len(found) < 3:
            raise
        return {**found, "as_maps": str(error)}
    rows, cols = source.box.shape
    west, south, east, north = source.box.boundingbox.bbox
    found |= {
        "grid": f"{rows} × {cols} cells in ({west:.6g}, {south:.6g}, {east:.6g}, {north:.6g})",
        "cell": f"{source.box.affine.a:.6g} × {-source.box.affine.e:.6g}",
        "crs": "none" if source.box.crs is None else str(source.box.crs)[:60],
        "times": _times(source.count, source.times, iso),
    }
    found |= {str(key): str(value) for key, value in source.attrs.items() if key != "notes"}
    return {**found, "notes": list(source.notes), "next": _next(path, source)}


def _times(count: int, times: Any, iso: Any) -> str:
    if times is None:
        return "no time" if count == 1 else f"no time; {count} bands"
    return f"{len(times)} from {iso(times.min())} to {iso(times.max())}"


def _next(path: Path, source: Any) -> str:
    """Return the command that comes next, with what it still has to be told."""
    crs = " --crs EPSG:CODE" if source.box.crs is None else ""
    if source.times is None:
        one = " --select band=1" if source.count > 1 else ""
        return f"geodiffrecon plot {path.name}{crs}{one} --times DATE --freq 1D"
    if source.count == 1:
        return f"geodiffrecon plot {path.name}{crs} --freq 1D"
    if source.attrs.get("level") == "coarse":
        return f"geodiffrecon reconstruct {path.name} --model MODEL --out DIR"
    return f"geodiffrecon fit {path.name}{crs} --model MODEL --factor N --aggregation mean"


def _points(path: Path) -> dict[str, Any]:
    from ..errors import UnreadableFile
    from ..tables import CSV_SUFFIXES, PARQUET_SUFFIXES

    suffixes = {suffix.lower() for suffix in path.suffixes[-2:]}
    crs, rows = "none", 0
    try:
        if suffixes & PARQUET_SUFFIXES:
            import pyarrow.parquet as pq

            table = pq.ParquetFile(path)
            columns, rows = list(table.schema_arrow.names), table.metadata.num_rows
        elif suffixes & CSV_SUFFIXES:
            import pandas as pd

            frame = pd.read_csv(path, sep=None, engine="python", dtype=str)
            columns, rows = [str(name) for name in frame.columns], len(frame)
        else:
            import pyogrio

            about = pyogrio.read_info(path)
            columns, rows = [str(name) for name in about["fields"]], int(about["features"])
            crs = str(about["crs"] or "none")
    except (OSError, RuntimeError, ValueError) as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise UnreadableFile(f"{path} cannot be read as points ({first}).") from error
    return {"file": str(path), "rows": rows, "columns": ", ".join(columns), "crs": crs}
