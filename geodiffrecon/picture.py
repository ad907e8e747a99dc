"""Maps as one picture: what was observed, the completed map, the truth if known, the error."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .grid import NestedGrid
from .outputs import whole_files

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from .points import PointTable

# Both run evenly from light to dark for all kinds of colour vision, and in grey.
VALUES, ERRORS = "cividis", "magma_r"
READABLE_UNITS = {"ug m-3": "µg/m³", "mg m-3": "mg/m³", "K": "K", "mm": "mm"}
PANEL_CM, DPI = 7.2, 130


@dataclass(frozen=True, eq=False)
class _Scene:
    """What all panels of a picture share."""

    maps: xr.Dataset
    name: str
    units: str
    extent: tuple[float, float, float, float]
    aspect: float
    points: PointTable | None
    truth: xr.Dataset | None
    truth_title: str


def draw(
    maps: xr.Dataset,
    path: Path,
    *,
    points: PointTable | None = None,
    truth: xr.Dataset | None = None,
    truth_title: str = "Truth",
    steps: list[int] | None = None,
    caption: str = "",
) -> Path:
    """Draw some time steps of maps, one row a step, as PNG.

    Parameters
    ----------
    maps : xarray.Dataset
        The maps of `DiffRecon.reconstruct`.
    path : Path
        The PNG file; it appears whole or not at all.
    points : PointTable, optional
        The point observations, in the CRS of the maps.
    truth : xarray.Dataset, optional
        The true cube at the times of the maps, where it is known.
    truth_title : str
        Title of its panel.
    steps : list of int, optional
        Numbers of the steps; by default the ones with the highest and a usual mean.
    caption : str
        Sentence below the panels.

    Returns
    -------
    Path
        The file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scene = _scene(maps, points, truth, truth_title)
    steps = _telling_steps(maps) if steps is None else steps
    columns = 2 + (points is not None) + (truth is not None)
    size = columns * PANEL_CM / 2.54, (len(steps) * PANEL_CM * 0.95 + 2.4) / 2.54
    figure = Figure(figsize=size, layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(steps), columns, squeeze=False)
    for row, step in zip(axes, steps, strict=True):
        _draw_step(figure, list(row), scene, step)
    title = str(maps[scene.name].attrs.get("long_name", scene.name))
    title = f"{title[:1].upper()}{title[1:]}" + (f", {scene.units}" if scene.units else "")
    figure.suptitle(title, fontsize=13, weight="bold")
    if caption:
        figure.supxlabel(textwrap.fill(caption, 38 * columns), fontsize=9.5)
    with whole_files(path.parent) as draft:
        figure.savefig(draft / path.name, metadata={"Software": None})
    return path


def _scene(
    maps: xr.Dataset, points: PointTable | None, truth: xr.Dataset | None, truth_title: str
) -> _Scene:
    grid = NestedGrid.of(maps)
    west, south, east, north = grid.bounds
    aspect = 1 / np.cos(np.radians((south + north) / 2)) if grid.geographic else 1.0
    name = str(maps.attrs["value"])
    units = str(maps[name].attrs.get("units", ""))
    units = READABLE_UNITS.get(units, units)
    extent = (west, east, south, north)
    return _Scene(maps, name, units, extent, float(aspect), points, truth, truth_title)


def _telling_steps(maps: xr.Dataset) -> list[int]:
    """Return the step with the highest mean and the one whose mean is nearest to the median."""
    level = np.nanmean(maps[str(maps.attrs["value"])].values, axis=(1, 2))
    usual = int(np.nanargmin(np.abs(level - np.nanmedian(level))))
    return list(dict.fromkeys((int(np.nanargmax(level)), usual)))


def _draw_step(figure: Any, axes: list[Any], scene: _Scene, step: int) -> None:
    """Draw one row: observations, map and truth in one scale of colours, then the error."""
    frame = scene.maps[scene.name].values[step]
    shown = {"Completed map": frame}
    if scene.truth is not None:
        shown[scene.truth_title] = scene.truth[scene.name].values[step]
    low, high = (float(np.nanquantile(list(shown.values()), q)) for q in (0.005, 0.995))
    scale = {"cmap": VALUES, "vmin": low, "vmax": high}
    panels = iter(axes)
    if scene.points is not None:
        axis = next(panels)
        count = _draw_points(axis, scene, step, scale)
        _finish(axis, scene, f"Observed at {count} points")
    for title, values in shown.items():
        axis = next(panels)
        drawn = axis.imshow(values, extent=scene.extent, **scale)
        _finish(axis, scene, title)
    figure.colorbar(drawn, ax=axes[:-1], shrink=0.9, pad=0.01, extend="both", label=scene.units)
    error = scene.maps[f"{scene.name}_std"].values[step]
    doubt = axes[-1].imshow(error, extent=scene.extent, cmap=ERRORS, vmin=0)
    _finish(axes[-1], scene, "How far off: ±1 std")
    figure.colorbar(doubt, ax=axes[-1], shrink=0.9, pad=0.01, label=scene.units)
    for axis in axes[1:]:
        axis.tick_params(labelleft=False)
    axes[0].set_ylabel(_label(scene.maps, step), fontsize=12, weight="bold", labelpad=8)


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


def _label(maps: xr.Dataset, step: int) -> str:
    zone = str(maps.attrs["calendar_tz"])
    local = pd.Timestamp(maps["time"].values[step]).tz_localize("UTC").tz_convert(zone)
    if local == local.normalize():
        return str(local.date())
    return f"{local:%Y-%m-%d %H:%M} {zone}"
