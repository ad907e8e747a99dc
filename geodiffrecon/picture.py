"""Maps side by side as one picture: observed, completed, the truth if known, the errors."""

from __future__ import annotations

import importlib.util
import textwrap
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .calendar import iso
from .cube import UNDATED, as_cube
from .errors import InvalidParameter, InvalidTime, MissingCRS, NoObservations
from .grid import NestedGrid
from .outputs import whole_files
from .stamps import utc_stamp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from .points import PointTable

# The first two run evenly from light to dark for all kinds of colour vision, and in grey; the
# third, of signed errors, has no green to confuse with its red.
VALUES, ERRORS, DIFFERENCES = "cividis", "magma_r", "RdBu_r"
READABLE_UNITS = {"ug m-3": "µg/m³", "mg m-3": "mg/m³", "K": "K", "mm": "mm"}
PANEL_CM, MIN_CM, DPI = 7.2, 10.0, 130


@dataclass(frozen=True, eq=False)
class _Scene:
    """What all panels of a picture share."""

    maps: xr.Dataset
    name: str
    units: str
    extent: tuple[float, float, float, float]
    aspect: float
    points: PointTable | None
    truth: NDArray[np.floating] | None
    titles: dict[str, str]

    @property
    def columns(self) -> list[str]:
        """Names of the panels of a row, from the left."""
        optional = {
            "points": self.points is not None,
            "map": True,
            "truth": self.truth is not None,
            "difference": self.truth is not None and "difference" in self.titles,
            "std": f"{self.name}_std" in self.maps,
        }
        return [name for name, shown in optional.items() if shown]


def draw(
    maps: xr.Dataset,
    path: Path,
    *,
    points: PointTable | None = None,
    truth: xr.Dataset | None = None,
    truth_title: str = "Truth",
    map_title: str = "Completed map",
    difference: bool = False,
    steps: list[int] | None = None,
    title: str | None = None,
    caption: str = "",
) -> Path:
    """Draw some time steps of maps, one row a step, as PNG.

    Parameters
    ----------
    maps : xarray.Dataset
        The maps of `DiffRecon.reconstruct`, or any cube; without ``<value>_std`` the panel of the
        error is left out.
    path : Path
        The PNG file; it appears whole or not at all.
    points : PointTable, optional
        The point observations.
    truth : xarray.Dataset, optional
        The true cube at the times of the maps, where it is known.
    truth_title, map_title : str
        Titles of their panels.
    difference : bool
        Draw truth minus map as well.
    steps : list of int, optional
        Numbers of the steps; by default those of `telling_steps`.
    title : str, optional
        Line above the panels; by default the name and the unit of the variable.
    caption : str
        Sentence below the panels.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InvalidParameter
        If matplotlib is not installed.
    NoObservations
        If a map to be drawn has no value.
    """
    maps, truth = as_cube(maps), None if truth is None else as_cube(truth)
    steps = telling_steps(maps) if steps is None else steps
    check_known(maps, steps)
    titles = {"map": map_title, "truth": truth_title}
    titles |= {"difference": f"{truth_title} minus map"} if difference else {}
    scene = _scene(maps, points, truth, titles)
    columns = len(scene.columns)
    figure = blank(
        (max(columns * PANEL_CM, MIN_CM) / 2.54, (len(steps) * PANEL_CM * 0.95 + 2.4) / 2.54),
        layout="constrained",
    )
    axes = figure.subplots(len(steps), columns, squeeze=False)
    for row, step in zip(axes, steps, strict=True):
        _draw_step(figure, dict(zip(scene.columns, row, strict=True)), scene, step)
    line = textwrap.fill(title or heading(maps), 30 * columns)
    figure.suptitle(line, fontsize=13, weight="bold")
    if caption:
        figure.supxlabel(textwrap.fill(caption, 38 * columns), fontsize=9.5)
    return write(figure, path)


def blank(size: tuple[float, float], **options: Any) -> Any:
    """Return an empty figure of `size` inches that needs no display.

    Raises
    ------
    InvalidParameter
        If matplotlib is not installed.
    """
    check_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DPI, **options)
    FigureCanvasAgg(figure)
    return figure


def check_matplotlib() -> None:
    """Raise InvalidParameter where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InvalidParameter(
            "Pictures need matplotlib, which is not installed; pip install 'geodiffrecon[plot]'."
        )


def write(figure: Any, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all; the same figure makes the same bytes."""
    with whole_files(path.parent) as draft:
        figure.savefig(draft / path.name, format="png", metadata={"Software": None})
    return path


def heading(maps: xr.Dataset) -> str:
    """Return the name of the variable with its unit, as people read it."""
    name, units = str(maps.attrs["value"]), units_of(maps)
    long_name = str(maps[name].attrs.get("long_name", ""))
    named = long_name and long_name.replace(" ", "_") != name
    title = f"{long_name[:1].upper()}{long_name[1:]}" if named else name
    return f"{title}, {units}" if units else title


def units_of(maps: xr.Dataset) -> str:
    """Return the unit of the main variable, ``µg/m³`` rather than ``ug m-3``."""
    units = str(maps[str(maps.attrs["value"])].attrs.get("units", ""))
    return READABLE_UNITS.get(units, units)


def telling_steps(maps: xr.Dataset) -> list[int]:
    """Return the step with the highest mean and the one whose mean is nearest to the median.

    Raises
    ------
    NoObservations
        If no map has a value.
    """
    values = main_values(as_cube(maps))
    known = np.flatnonzero(np.isfinite(values).any(axis=(1, 2)))
    if not len(known):
        raise NoObservations("Every value of the maps is missing, so there is nothing to draw.")
    level = np.nanmean(values[known], axis=(1, 2))
    usual = int(np.argmin(np.abs(level - np.median(level))))
    return list(dict.fromkeys(int(known[step]) for step in (int(np.argmax(level)), usual)))


def steps_at(maps: xr.Dataset, times: Sequence[str]) -> list[int]:
    """Return the numbers of the steps that hold `times`; without a zone they are the maps' own.

    Raises
    ------
    InvalidTime
        If a text is no time, or no map holds it.
    """
    low, high = (edge.astype("datetime64[ns]") for edge in maps["time_bnds"].values.T)
    found = []
    for text in times:
        wanted = utc_stamp(text, str(maps.attrs["calendar_tz"]))
        inside = np.flatnonzero((low <= wanted) & (wanted < high))
        if not len(inside):
            raise InvalidTime(
                f"No map is at {text}; the file covers {iso(low[0])} to {iso(high[-1])}."
            )
        found.append(int(inside[0]))
    return list(dict.fromkeys(found))


def check_known(maps: xr.Dataset, steps: Sequence[int]) -> None:
    """Raise NoObservations where a map of `steps` has no value at all."""
    for step in steps:
        if not np.isfinite(main_values(maps)[step]).any():
            raise NoObservations(
                f"Every value of the map at {when(maps, step)} is missing; choose another time."
            )


def main_values(cube: xr.Dataset) -> NDArray[np.floating]:
    """Return the main values (T, rows, columns) of a cube, whatever their name in it."""
    return np.asarray(cube[str(cube.attrs["value"])].values)


def when(maps: xr.Dataset, step: int) -> str:
    """Return the start of a step in the zone of the maps: a date, or date, time and zone.

    Nothing for a map whose file says no time.
    """
    if maps.attrs.get("freq") == UNDATED:
        return ""
    zone = str(maps.attrs["calendar_tz"])
    local = pd.Timestamp(maps["time"].values[step]).tz_localize("UTC").tz_convert(zone)
    if local == local.normalize():
        return str(local.date())
    return f"{local:%Y-%m-%d %H:%M} {zone}"


def _scene(
    maps: xr.Dataset,
    points: PointTable | None,
    truth: xr.Dataset | None,
    titles: dict[str, str],
) -> _Scene:
    grid = NestedGrid.of(maps)
    west, south, east, north = grid.bounds
    aspect = 1 / np.cos(np.radians((south + north) / 2)) if grid.geographic else 1.0
    table = None if points is None else _onto(points, grid)
    known = None if truth is None else main_values(truth)
    return _Scene(
        maps, str(maps.attrs["value"]), units_of(maps), (west, east, south, north), float(aspect),
        table, known, titles,
    )  # fmt: skip


def _onto(table: PointTable, grid: NestedGrid) -> PointTable:
    """Return the points in the CRS of the grid."""
    if (table.crs is None) != (grid.crs is None):
        raise MissingCRS(
            f"The maps are in {grid.crs or 'local metres'}, the points in "
            f"{table.crs or 'local metres'}; give the CRS of the points with --crs."
        )
    if table.crs is None or grid.crs is None or table.crs == grid.crs:
        return table
    from pyproj import Transformer

    project = Transformer.from_crs(table.crs.proj, grid.crs.proj, always_xy=True)
    x, y = project.transform(table.x, table.y)
    return replace(table, x=x, y=y, crs=grid.crs)


def _draw_step(figure: Any, axes: dict[str, Any], scene: _Scene, step: int) -> None:
    """Draw one row: observations, map and truth in one scale of colours, then the errors."""
    shown = {"map": main_values(scene.maps)[step]}
    if scene.truth is not None:
        shown["truth"] = scene.truth[step]
    low, high = (float(np.nanquantile(list(shown.values()), q)) for q in (0.005, 0.995))
    scale = {"cmap": VALUES, "vmin": low, "vmax": high}
    if "points" in axes:
        count = _draw_points(axes["points"], scene, step, scale)
        _finish(axes["points"], scene, f"Observed at {count} points")
    for name, values in shown.items():
        drawn = axes[name].imshow(values, extent=scene.extent, **scale)
        _finish(axes[name], scene, scene.titles[name])
    beside = [axis for name, axis in axes.items() if name in ("points", *shown)]
    bar = {"shrink": 0.9, "pad": 0.01, "label": scene.units}
    figure.colorbar(drawn, ax=beside, extend="both", **bar)
    if "difference" in axes:
        error = _draw_difference(axes["difference"], scene, shown["truth"] - shown["map"])
        figure.colorbar(error, ax=axes["difference"], extend="both", **bar)
    if "std" in axes:
        spread = scene.maps[f"{scene.name}_std"].values[step]
        doubt = axes["std"].imshow(spread, extent=scene.extent, cmap=ERRORS, vmin=0)
        _finish(axes["std"], scene, "How far off: ±1 std")
        figure.colorbar(doubt, ax=axes["std"], **bar)
    first, *others = axes.values()
    for axis in others:
        axis.tick_params(labelleft=False)
    first.set_ylabel(when(scene.maps, step), fontsize=12, weight="bold", labelpad=8)


def _draw_difference(axis: Any, scene: _Scene, values: NDArray[np.floating]) -> Any:
    """Draw signed errors; no error is the middle of the colours."""
    sizes = np.abs(values[np.isfinite(values)])
    limit = (float(np.quantile(sizes, 0.995)) if len(sizes) else 0.0) or 1.0
    scale = {"cmap": DIFFERENCES, "vmin": -limit, "vmax": limit}
    drawn = axis.imshow(values, extent=scene.extent, **scale)
    _finish(axis, scene, scene.titles["difference"])
    return drawn


def _draw_points(axis: Any, scene: _Scene, step: int, scale: dict[str, Any]) -> int:
    """Draw the points of one step in their colours and return how many there are."""
    x, y, values = _points_of(scene, step)
    axis.scatter(x, y, c=values, s=34, edgecolors="black", linewidths=0.5, **scale)
    return len(values)


def _points_of(
    scene: _Scene, step: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    table = scene.points
    assert table is not None
    low, high = scene.maps["time_bnds"].values[step].astype("datetime64[ns]")
    west, east, south, north = scene.extent
    chosen = ~table.missing & (table.time >= low) & (table.time < high)
    chosen &= (table.x >= west) & (table.x <= east) & (table.y >= south) & (table.y <= north)
    values = np.ones(table.n_rows) if table.value is None else table.value
    return table.x[chosen], table.y[chosen], values[chosen]


def _finish(axis: Any, scene: _Scene, title: str) -> None:
    """Set extent, aspect and title; a few ticks say where and how large the map is."""
    west, east, south, north = scene.extent
    axis.set(xlim=(west, east), ylim=(south, north), aspect=scene.aspect)
    axis.set_title(title, fontsize=11)
    axis.set_facecolor("0.93")
    axis.locator_params(nbins=4)
    axis.tick_params(labelsize=8, length=2)
    if scene.aspect != 1:
        axis.xaxis.set_major_formatter("{x:.1f}°")
        axis.yaxis.set_major_formatter("{x:.1f}°")
