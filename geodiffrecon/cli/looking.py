"""``geodiffrecon demo``, ``info`` and ``doctor``: look before working."""

# No postponed annotations here: typer reads them at run time.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..files.kinds import holds_points, is_zarr
from ..local import local_file
from ..rows import RowChoice
from . import options as opt
from .choosing import chosen, reads_rows
from .inputs import PointOptions, refuse_options, result_file
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
    with session(progress, writes=(out,)) as run:
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
@reads_rows
def info_command(
    *,
    maps: Reading,
    choice: RowChoice,
    path: Annotated[Path, typer.Argument(help="Model directory, cube, maps or points.")],
    variable: opt.Variable = None,
    value: opt.Value = None,
    time: Annotated[
        str, opt.option("Time column.", "--time", "--time-column", show="COL")
    ] = "time",
    tz: opt.Tz = None,
    x: opt.X = None,
    y: opt.Y = None,
    crs: opt.FileCrs = None,
    progress: opt.Progress = opt.Form.TERMINAL,
) -> None:
    """Say what is in a model, cube, raster or points file."""
    with session(progress) as run:
        wanted = PointOptions(value, time, tz, x, y, crs, maps=maps, choice=choice)
        found = _description(path, variable or value, wanted)
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


def _description(path: Path, variable: str | None, wanted: PointOptions) -> dict[str, Any]:
    from .describing import describe_table

    path = local_file(path)
    if path.is_dir() and not is_zarr(path):
        if not (path / "config.json").is_file():
            path = result_file(path)
        else:
            from ..loading import load

            return load(path, device="cpu").info()
    if holds_points(path):
        refuse_options(wanted.maps.given(), "only for maps; leave it out")
        return describe_table(path, wanted)
    refuse_options(chosen(wanted.choice), "only for points; leave it out")
    return _maps(path, variable, wanted)


def _maps(path: Path, variable: str | None, wanted: PointOptions) -> dict[str, Any]:
    """Describe a raster or NetCDF file: all that it says, then what it is as maps, or why not."""
    from ..calendar import iso
    from ..errors import GeoDiffReconError
    from ..files.description import describe, share_missing
    from ..files.sources import open_source
    from .describing import next_of_maps

    found, first = describe(path, variable)
    asked = {**wanted.maps.given(), "--freq": wanted.maps.freq, "--crs": wanted.crs}
    try:
        source = open_source(path, variable=first, crs=wanted.crs, **wanted.maps.opening())
    except GeoDiffReconError as error:
        if not found.get("variables") and "driver" not in found:
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
    holes, found["missing"], coded = share_missing(source)
    found |= {str(key): str(value) for key, value in source.attrs.items() if key != "notes"}
    named = {"--variable": first if variable or "shown" in found else None, **asked}
    command = next_of_maps(path, source, named, holes)
    return {**found, "notes": [*source.notes, *coded], "next": command}


def _times(count: int, times: Any, iso: Any) -> str:
    if times is None:
        return "no time" if count == 1 else f"no time; {count} bands"
    if len(times) == 1:
        return str(iso(times[0]))
    return f"{len(times)} from {iso(times.min())} to {iso(times.max())}"
