"""One episode as a picture: stations, map, error, chance of exceeding, and where data reach."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .errors import InvalidParameter, NoObservations
from .grid import NestedGrid
from .picture import (
    ERRORS,
    VALUES,
    blank,
    check_known,
    heading,
    main_values,
    steps_at,
    units_of,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from .stations.network import StationNetwork

CHANCES, DISTANCES = "viridis", "Blues"
# Inches. Five columns make the picture about 1500 pixels wide.
WIDTH, RIGHT, GAP, BOTTOM, TOP, LINE = 11.6, 0.95, 0.1, 0.42, 0.6, 0.2
LEFT = {"degrees": 1.05, "lengths": 1.4}  # room for the numbers beside the axis
WIDEST, HIGHEST = 3.0, 3.2
MOST_STEPS = 5
LETTER = 0.095  # height of a letter of a title on its side
# Lighter than any grey among the colours of values.
VEIL = (0.9, 0.9, 0.9, 0.88)
BLIND = (
    "Grey and hatched: no information, too far from any station for the stated error to have been "
    "checked."
)
SILENT = "Crosses: stations that did not report."
DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, eq=False)
class _Row:
    """One quantity at all steps drawn, with the scale of its colours."""

    title: str
    unit: str
    colours: str
    scale: tuple[float, float]
    extend: str
    values: NDArray[np.floating] | None = None  # (F, rows, columns)
    bar: bool = True
    stations: bool = False
    veiled: bool = False
    hatched: bool = False


@dataclass(frozen=True, eq=False)
class _Episode:
    """The steps that are drawn: what the stations read there, and which cells lack data."""

    grid: NestedGrid
    titles: list[str]
    zone: str
    x: NDArray[np.float64]  # (S,)
    y: NDArray[np.float64]  # (S,)
    readings: NDArray[np.floating]  # (F, S)
    blind: NDArray[np.bool_]  # (F, rows, columns)

    @property
    def aspect(self) -> float:
        """Height of a unit of y in units of x."""
        south, north = self.grid.bounds[1::2]
        return float(1 / np.cos(np.radians((south + north) / 2))) if self.grid.geographic else 1.0


def draw_episode(
    maps: xr.Dataset,
    network: StationNetwork,
    path: str | Path,
    *,
    times: Sequence[str] | None = None,
    threshold: float | None = 35,
    caption: str = "",
) -> Path:
    """Draw an episode as PNG: one column a step; stations, map, error, chance, reach of the data.

    Parameters
    ----------
    maps : xarray.Dataset
        The maps of `StationDiffRecon.reconstruct`. Rows for which they hold nothing (error,
        distance and information) are left out.
    network : StationNetwork
        The readings, with positions in the CRS of the maps.
    path : str or Path
        The PNG file, about 1500 pixels wide; it appears whole or not at all.
    times : sequence of str, optional
        Which steps; by default those of `episode_steps`.
    threshold : float or None
        Draw the chance of exceeding it, in the unit of the variable; None leaves the row out.
    caption : str
        Sentence below the maps.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InvalidParameter
        If the maps hold no chance of exceeding `threshold`, or matplotlib is not installed.
    InvalidTime
        If no map is at one of `times`.
    NoObservations
        If a map to be drawn has no value.
    """
    figure = episode_figure(maps, network, times=times, threshold=threshold, caption=caption)
    return write(figure, Path(path))


def episode_figure(
    maps: xr.Dataset,
    network: StationNetwork,
    *,
    times: Sequence[str] | None = None,
    threshold: float | None = 35,
    caption: str = "",
) -> Any:
    """Return the figure that `draw_episode` writes."""
    steps = episode_steps(maps) if times is None else steps_at(maps, times)
    check_known(maps, steps)
    scene = _scene(maps, network, steps)
    rows = _rows(maps, scene, steps, threshold)
    figure, axes = _panels(len(rows), scene, heading(maps), f"{_legend(scene)} {caption}".strip())
    for line, row in zip(axes, rows, strict=True):
        drawn = [_draw(axis, scene, row, step) for step, axis in enumerate(line)]
        room = line[0].get_position().height * figure.get_figheight()
        title = textwrap.fill(row.title, max(8, int(room / LETTER)), break_long_words=False)
        line[0].set_ylabel(title, fontsize=10, weight="bold", labelpad=5)
        if row.bar:
            _add_bar(figure, line[-1], drawn[-1], row)
    for axis, title in zip(axes[0], scene.titles, strict=True):
        axis.set_title(title, fontsize=10.5)
    return figure


def episode_steps(maps: xr.Dataset) -> list[int]:
    """Return up to five evenly spaced steps around the one with the highest mean.

    They span the time in which the mean stays above half-way between its median and its highest
    value, so that the rise, the peak and the end of an episode are seen.

    Raises
    ------
    NoObservations
        If no map has a value.
    """
    values = main_values(maps)
    known = np.isfinite(values).any(axis=(1, 2))
    if not known.any():
        raise NoObservations("Every value of the maps is missing, so there is nothing to draw.")
    level = np.full(len(values), -np.inf)
    level[known] = np.nanmean(values[known], axis=(1, 2))
    peak = int(np.argmax(level))
    usual = level <= (np.median(level[known]) + level[peak]) / 2
    usual[peak] = False
    low = max((int(step) for step in np.flatnonzero(usual[:peak])), default=-1)
    high = min((int(step) for step in np.flatnonzero(usual[peak:]) + peak), default=len(values))
    longest = max(1, (len(values) - 1) // (MOST_STEPS - 1))
    stride = int(np.clip(round((high - low) / (MOST_STEPS - 2)), 1, longest))
    steps = np.arange(peak % stride, len(values), stride)
    first = int(np.clip(peak // stride - MOST_STEPS // 2, 0, max(0, len(steps) - MOST_STEPS)))
    return [int(step) for step in steps[first : first + MOST_STEPS] if known[step]]


def _scene(maps: xr.Dataset, network: StationNetwork, steps: list[int]) -> _Episode:
    name, times = str(maps.attrs["value"]), maps["time"].values.astype("datetime64[ns]")
    readings = np.full((len(steps), len(network.names)), np.nan)
    places = {stamp: number for number, stamp in enumerate(network.times.astype("datetime64[ns]"))}
    for row, step in zip(readings, steps, strict=True):
        if (number := places.get(times[step])) is not None:
            row[:] = network.values[number]
    told = maps.get(f"{name}_information")
    shape = (len(steps), *main_values(maps).shape[1:])
    blind = np.zeros(shape, dtype=bool) if told is None else told.values[steps] == 0
    zone = str(maps.attrs["calendar_tz"])
    titles = _titles(maps, steps)
    return _Episode(NestedGrid.of(maps), titles, zone, network.x, network.y, readings, blind)


def _legend(scene: _Episode) -> str:
    """Return what grey cells and crosses mean, where there are any."""
    silent = np.isnan(scene.readings).any()
    return " ".join([SILENT] * bool(silent) + [BLIND] * bool(scene.blind.any()))


def _titles(maps: xr.Dataset, steps: list[int]) -> list[str]:
    """Return the local start of each step: its date, and its time where steps are below a day."""
    low, high = maps["time_bnds"].values[steps].astype("datetime64[ns]").T
    local = pd.DatetimeIndex(low).tz_localize("UTC").tz_convert(str(maps.attrs["calendar_tz"]))
    form = "%Y-%m-%d\n%H:%M" if (high - low < DAY).any() else "%Y-%m-%d"
    return [str(stamp.strftime(form)) for stamp in local]


def _rows(
    maps: xr.Dataset, scene: _Episode, steps: list[int], threshold: float | None
) -> list[_Row]:
    """Return the rows for which the maps hold something, from the readings to the mask."""
    name, units, values = str(maps.attrs["value"]), units_of(maps), main_values(maps)[steps]
    shared = _value_scale(values, scene.readings)
    rows = [
        _Row("Stations", units, VALUES, shared, "both", stations=True),
        _Row("Mean", units, VALUES, shared, "both", values, stations=True, veiled=True),
    ]
    if f"{name}_std" in maps:
        spread = maps[f"{name}_std"].values[steps]
        top = float(np.nanquantile(spread, 0.995)) or 1.0
        rows.append(_Row("Error: ±1 std", units, ERRORS, (0.0, top), "max", spread))
    if threshold is not None:
        limit = f"{threshold:g} {units}".strip()
        chance = 100 * _exceedance(maps, threshold)[steps]
        rows.append(_Row(f"Chance above {limit}", "%", CHANCES, (0.0, 100.0), "neither", chance))
    return [*rows, *_reach(maps, steps)]


def _reach(maps: xr.Dataset, steps: list[int]) -> list[_Row]:
    """Return the row of the distance to data, or of the mask alone, if the maps have them."""
    name = str(maps.attrs["value"])
    if f"{name}_distance" not in maps and f"{name}_information" not in maps:
        return []
    distance = maps.get(f"{name}_distance")
    title = "Distance to data" if distance is not None else "Reach of data"
    shown = np.zeros(main_values(maps)[steps].shape)
    if distance is not None:
        shown = np.where(np.isfinite(distance.values[steps]), distance.values[steps], np.nan)
    top = float(np.nanmax(shown, initial=0.0)) or 1.0
    bar = distance is not None
    return [_Row(title, "km", DISTANCES, (0.0, top), "neither", shown, bar, hatched=True)]


def _exceedance(maps: xr.Dataset, threshold: float) -> NDArray[np.floating]:
    """Return the chance (T, rows, columns) of exceeding `threshold`."""
    name, start = f"{maps.attrs['value']}_exceed_{threshold:g}", f"{maps.attrs['value']}_exceed_"
    if name not in maps:
        held = [str(key).removeprefix(start) for key in maps if str(key).startswith(start)]
        raise InvalidParameter(
            f"The maps hold no chance of exceeding {threshold:g}, "
            f"{'only of ' + ', '.join(held) if held else 'nor of any other value'}; "
            f"reconstruct with --exceed {threshold:g}."
        )
    return np.asarray(maps[name].values)


def _value_scale(
    values: NDArray[np.floating], readings: NDArray[np.floating]
) -> tuple[float, float]:
    """Return a scale for maps and stations; a few extreme readings do not stretch it."""
    known = readings[np.isfinite(readings)]
    low, high = (float(edge) for edge in np.nanquantile(values, (0.005, 0.995)))
    if len(known):
        low = min(low, float(np.quantile(known, 0.02)))
        high = max(high, float(np.quantile(known, 0.95)))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _panels(rows: int, scene: _Episode, title: str, caption: str) -> tuple[Any, Any]:
    """Return a figure of the size that the maps need, and its axes (rows, steps)."""
    west, south, east, north = scene.grid.bounds
    steps, ratio = len(scene.titles), (north - south) * scene.aspect / (east - west)
    left = LEFT["degrees" if scene.grid.geographic else "lengths"]
    room = (WIDTH - left - RIGHT - (steps - 1) * GAP) / steps
    panel = min(room, WIDEST, HIGHEST / ratio)
    inner = steps * panel + (steps - 1) * GAP
    width = left + inner + RIGHT
    below = textwrap.wrap(caption, int(11 * width))
    head = textwrap.wrap(f"{title} (times: {scene.zone})", int(8.5 * width))
    lines = len(head) + max(text.count("\n") for text in scene.titles)
    top, bottom = TOP + 0.25 * (lines - 1), BOTTOM + LINE * len(below)
    height = top + rows * panel * ratio + (rows - 1) * GAP + bottom
    figure = blank((width, height))
    place = {"left": left / width, "right": 1 - RIGHT / width}
    place |= {"top": 1 - top / height, "bottom": bottom / height}
    space = {"wspace": GAP / panel, "hspace": GAP / (panel * ratio)}
    axes = figure.subplots(rows, steps, squeeze=False, gridspec_kw=place | space)
    figure.text(0.5, 1 - 0.12 / height, "\n".join(head), ha="center", va="top", fontsize=13,
                weight="bold")  # fmt: skip
    figure.text(0.5, 0.08 / height, "\n".join(below), ha="center", va="bottom", fontsize=9.5)
    for axis in axes.ravel():
        _frame(axis, scene)
    return figure, axes


def _frame(axis: Any, scene: _Episode) -> None:
    """Set extent, proportions and a few ticks, labelled at the left and lower edge."""
    west, south, east, north = scene.grid.bounds
    axis.set(xlim=(west, east), ylim=(south, north), aspect=scene.aspect, facecolor="0.95")
    axis.locator_params(nbins=4, prune="both")
    place = axis.get_subplotspec()
    axis.tick_params(
        labelsize=8, length=2, labelleft=place.is_first_col(), labelbottom=place.is_last_row()
    )
    form = "{x:g}°" if scene.grid.geographic else "{x:,.0f}"
    axis.xaxis.set_major_formatter(form)
    axis.yaxis.set_major_formatter(form)


def _draw(axis: Any, scene: _Episode, row: _Row, step: int) -> Any:
    """Draw one quantity at one step and return what its bar of colours belongs to."""
    west, south, east, north = scene.grid.bounds
    extent = (west, east, south, north)
    scale = {"cmap": row.colours, "vmin": row.scale[0], "vmax": row.scale[1]}
    drawn = None
    if row.values is not None:
        drawn = axis.imshow(row.values[step], extent=extent, aspect=scene.aspect, **scale)
    blind = scene.blind[step]
    if row.veiled and blind.any():
        veil = np.zeros((*blind.shape, 4))
        veil[blind] = VEIL
        axis.imshow(veil, extent=extent, aspect=scene.aspect)
    if row.hatched and blind.any():
        _hatch(axis, blind, extent)
    if row.stations:
        spots = _draw_stations(axis, scene, step, scale)
        drawn = spots if drawn is None else drawn
    return drawn


def _draw_stations(axis: Any, scene: _Episode, step: int, scale: dict[str, Any]) -> Any:
    """Draw readings as coloured circles, and silent stations as crosses where there is no map."""
    told = np.isfinite(scene.readings[step])
    if not axis.images:
        axis.scatter(scene.x[~told], scene.y[~told], s=14, marker="x", c="0.45", linewidths=0.8)
    return axis.scatter(
        scene.x[told], scene.y[told], c=scene.readings[step, told], s=30, edgecolors="white",
        linewidths=0.9, zorder=3, **scale,
    )  # fmt: skip


def _hatch(axis: Any, blind: NDArray[np.bool_], extent: tuple[float, float, float, float]) -> None:
    """Hatch cells exactly to their edges: contours run between nodes, so cells are refined."""
    west, east, south, north = extent
    fine = np.pad(np.kron(blind, np.ones((8, 8))), 1, mode="edge")
    y = north - (np.arange(len(fine)) - 0.5) * (north - south) / (len(fine) - 2)
    x = west + (np.arange(fine.shape[1]) - 0.5) * (east - west) / (fine.shape[1] - 2)
    hatched = axis.contourf(x, y, fine, levels=[0.5, 1.5], colors="none", hatches=["/////"])
    hatched.set_edgecolor("0.25")
    hatched.set_linewidth(0.0)


def _add_bar(figure: Any, last: Any, drawn: Any, row: _Row) -> None:
    """Put the bar of colours right of the last map of a row."""
    place = last.get_position()
    width = figure.get_figwidth()
    height = place.height * 0.9
    at = (place.x1 + 0.12 / width, place.y0 + 0.05 * place.height, 0.13 / width, height)
    bar = figure.colorbar(drawn, cax=figure.add_axes(at), extend=row.extend)
    bar.set_label(row.unit, fontsize=9)
    bar.ax.tick_params(labelsize=8, length=2)
    bar.ax.locator_params(axis="y", nbins=5)
