"""Maps as surfaces in three dimensions: truth, reconstruction and the error between them."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .calendar import iso
from .cube import aggregate, as_cube
from .errors import GridMismatch, InvalidParameter, NoObservations
from .grid import NestedGrid
from .metrics import mae
from .picture import (
    DIFFERENCES,
    ERRORS,
    VALUES,
    blank,
    check_known,
    heading,
    main_values,
    steps_at,
    telling_steps,
    units_of,
    when,
    write,
)
from .progress import Progress, silent
from .windows import observation_mask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from .covariates import Covariates
    from .model import DiffRecon

    Edges = tuple[float, float, float, float]

COLOURS = {"value": VALUES, "difference": DIFFERENCES, "std": ERRORS}
PANEL, ROW, LEFT, RIGHT, TOP, BOTTOM = 3.5, 3.0, 0.5, 0.2, 0.95, 1.05  # inches
VIEW = {"elev": 34, "azim": -62}
HEIGHT = 0.62  # of the box, in widths of the map
CLEARANCE = 0.15  # between the floor and the lowest value, in spans of the values
MOST_LINES = 160  # along one axis of a surface; larger maps are thinned


@dataclass(frozen=True, eq=False)
class Panel:
    """One surface.

    Parameters
    ----------
    title : str
        Above the column.
    values : array (R, C)
        North-up, in the unit of the variable; NaN where unknown.
    kind : {"value", "difference", "std"}
        Panels of one kind share the scale of heights and colours.
    hidden : array of bool (I, J), optional
        Coarse cells that were not observed; they are shaded below the surface.
    """

    title: str
    values: NDArray[np.floating]
    kind: str
    hidden: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """A reconstruction beside its truth.

    Parameters
    ----------
    label : str
        What was hidden.
    truth, reconstruction : array (R, C)
        Fine maps, north-up, in the unit of the variable.
    hidden : array of bool (I, J), optional
        Coarse cells that were not observed.

    Examples
    --------
    >>> Comparison("none hidden", np.array([[3.0]]), np.array([[2.0]])).error
    array([[1.]])
    """

    label: str
    truth: NDArray[np.floating]
    reconstruction: NDArray[np.floating]
    hidden: NDArray[np.bool_] | None = None

    @property
    def error(self) -> NDArray[np.floating]:
        """Truth minus reconstruction (R, C)."""
        return np.asarray(self.truth - self.reconstruction)

    @property
    def panels(self) -> list[Panel]:
        """Truth, reconstruction and error."""
        return [
            Panel("Truth", self.truth, "value"),
            Panel("Reconstruction", self.reconstruction, "value", self.hidden),
            Panel("Truth minus reconstruction", self.error, "difference", self.hidden),
        ]


def figure_ten(
    rows: Sequence[Comparison],
    path: Path,
    *,
    grid: NestedGrid,
    units: str = "",
    title: str = "",
) -> Path:
    """Draw truth, reconstruction and error as surfaces, one row a pattern of hidden cells.

    After figure 10 of Sun et al., arXiv 2410.05323, whose errors are absolute; here they keep
    their sign. All rows share one scale, so that patterns can be compared.

    Parameters
    ----------
    rows : sequence of Comparison
        One for each pattern.
    path : Path
        The PNG file; it appears whole or not at all.
    grid : NestedGrid
        Where the maps are.
    units, title : str
        Unit of the values; line above the surfaces.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InvalidParameter
        If matplotlib is not installed.
    """
    labels = [f"{row.label}\nMAE {mae(row.truth, row.reconstruction):.3g} {units}" for row in rows]
    return _draw([row.panels for row in rows], labels, path, grid, units, title)


def draw_surfaces(
    maps: xr.Dataset,
    path: Path,
    *,
    truth: xr.Dataset | None = None,
    steps: list[int] | None = None,
    title: str | None = None,
) -> Path:
    """Draw some time steps of maps as surfaces, one row a step, as PNG.

    Parameters
    ----------
    maps : xarray.Dataset
        The maps of `DiffRecon.reconstruct`, or any cube.
    path : Path
        The PNG file; it appears whole or not at all.
    truth : xarray.Dataset, optional
        The true cube at the times of the maps; its surface and that of truth minus map are
        drawn. Without it the standard deviation is drawn, where the maps have one.
    steps : list of int, optional
        Numbers of the steps; by default those of `telling_steps`.
    title : str, optional
        Line above the surfaces; by default the name and the unit of the variable.

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
    name, values = str(maps.attrs["value"]), main_values(maps)
    spread = maps[f"{name}_std"].values if f"{name}_std" in maps else None
    rows = []
    for step in steps:
        if truth is not None:
            rows.append(Comparison("", main_values(truth)[step], values[step]).panels)
        else:
            std = [] if spread is None else [Panel("Standard deviation", spread[step], "std")]
            rows.append([Panel("Map", values[step], "value"), *std])
    labels = [when(maps, step) for step in steps]
    return _draw(rows, labels, path, NestedGrid.of(maps), units_of(maps), title or heading(maps))


def hide_and_reconstruct(
    model: DiffRecon,
    history: xr.Dataset,
    *,
    patterns: Sequence[str] = ("fixed", "random", "block"),
    missing: float = 0.4,
    time: str | None = None,
    external: Covariates | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[list[Comparison], int]:
    """Hide cells of one frame that the model has not seen, in several patterns, and complete it.

    Parameters
    ----------
    model : DiffRecon
        Fitted or loaded.
    history : xarray.Dataset
        Fine-level cube that goes on after the model's training.
    patterns : sequence of {"fixed", "random", "block"}
        Which cells are hidden, in this frame and in those before it.
    missing : float
        Share of hidden coarse cells; ``block`` always hides a quarter.
    time : str, optional
        The frame; by default the complete one after training whose mean is nearest to the median.
    external : Covariates, optional
        The features that the model was fitted with.
    seed : int
        Of the cells hidden.
    progress : callable
        Told of every pattern.

    Returns
    -------
    rows : list of Comparison
        One for each pattern.
    step : int
        Number of the frame in the history.

    Raises
    ------
    InvalidParameter
        If the frame is one that the model has been fitted on, or a pattern is not known.
    NoObservations
        If no complete frame is left after training, or the one asked for has gaps.
    """
    history = as_cube(history)
    if history.attrs.get("level") != "fine":
        raise GridMismatch(
            "Figure 10 needs a fine-level cube; read it with open_history(path, factor=N)."
        )
    model.grid.check_same(NestedGrid.of(history), "history")
    step = _frame(model, history, time)
    recent = history.isel(time=slice(max(0, step - model.layers().history), step + 1))
    coarse = aggregate(recent, how=model.aggregation)
    name = str(coarse.attrs["value"])
    coarse = coarse.drop_vars(f"{name}_n_obs")  # fine cells are no points
    stamp = iso(coarse["time"].values[-1])
    rows = []
    for number, pattern in enumerate(patterns):
        progress(number, len(patterns), f"reconstructing, {pattern} cells hidden")
        seen = observation_mask(
            pattern, missing, coarse.sizes["time"], model.grid.shape, seed  # type: ignore[arg-type]
        )  # fmt: skip
        given = coarse.assign({name: coarse[name].where(seen)})
        maps = model.reconstruct(given, times=(stamp, stamp), external=external)
        truth = main_values(recent)[-1]
        rows.append(Comparison(_label(pattern, seen[-1]), truth, main_values(maps)[0], ~seen[-1]))
    progress(len(patterns), len(patterns), "reconstructing")
    return rows, step


def _frame(model: DiffRecon, history: xr.Dataset, time: str | None) -> int:
    """Return the number of the frame to draw, complete and later than the model's training."""
    values, times = main_values(history), history["time"].to_numpy()
    complete = np.isfinite(values).all(axis=(1, 2))
    end = model.variable.instant(model.trained["end"])
    if time is None:
        later = np.flatnonzero(complete & (times >= end))
        if not len(later):
            raise NoObservations(
                f"The history has no complete map after {iso(end)}, where the model's training "
                f"ended; it ends at {iso(times[-1])}."
            )
        level = values[later].mean(axis=(1, 2))
        return int(later[np.argmin(np.abs(level - np.median(level)))])
    (step,) = steps_at(history, [time])
    if times[step] < end:
        raise InvalidParameter(
            f"{time} lies before {iso(end)}, where the model's training ended; choose a later time."
        )
    if not complete[step]:
        raise NoObservations(f"The map of the history at {time} has gaps; choose another time.")
    return step


def _label(pattern: str, seen: NDArray[np.bool_]) -> str:
    names = {"fixed": "Fixed cells", "random": "Random cells", "block": "Block"}
    return f"{names[pattern]}, {100 * (1 - seen.mean()):.0f} % hidden"


def _draw(
    rows: Sequence[Sequence[Panel]],
    labels: Sequence[str],
    path: Path,
    grid: NestedGrid,
    units: str,
    title: str,
) -> Path:
    """Draw rows of panels with a bar of colours for each kind below them."""
    size = LEFT + len(rows[0]) * PANEL + RIGHT, TOP + len(rows) * ROW + BOTTOM
    figure = blank(size)
    _write_texts(figure, rows, labels, title)
    scales = _scales([panel for row in rows for panel in row])
    drawn: dict[str, tuple[Any, list[int]]] = {}
    for i, row in enumerate(rows):
        for j, panel in enumerate(row):
            corner = LEFT + j * PANEL, BOTTOM + (len(rows) - 1 - i) * ROW
            axis = figure.add_axes(_share((*corner, PANEL, ROW), size), projection="3d")
            surface = _draw_surface(axis, panel, grid, scales[panel.kind])
            drawn.setdefault(panel.kind, (surface, []))[1].append(j)
    for surface, used in drawn.values():
        centre = LEFT + (min(used) + max(used) + 1) / 2 * PANEL
        bar = figure.add_axes(_share((centre - 1.2, 0.65, 2.4, 0.13), size))
        figure.colorbar(surface, cax=bar, orientation="horizontal", label=units)
    return write(figure, path)


def _share(place: Edges, size: tuple[float, float]) -> Edges:
    """Return left, bottom, width and height in shares of the figure instead of inches."""
    left, bottom, width, height = place
    return left / size[0], bottom / size[1], width / size[0], height / size[1]


def _write_texts(
    figure: Any, rows: Sequence[Sequence[Panel]], labels: Sequence[str], title: str
) -> None:
    """Write the title, the name of each column and row, and what the shade means."""
    width, height = figure.get_size_inches()

    def write_at(x: float, y: float, text: str, **style: Any) -> None:
        figure.text(x / width, y / height, text, **{"ha": "center", "va": "center", **style})

    line = textwrap.fill(title, int(11 * (width - 0.4)))
    write_at(width / 2, height - 0.38, line, fontsize=14, weight="bold")
    for j, panel in enumerate(rows[0]):
        write_at(LEFT + (j + 0.5) * PANEL, height - 0.85, panel.title, fontsize=12)
    for i, label in enumerate(labels):
        middle = BOTTOM + (len(rows) - i - 0.5) * ROW
        write_at(LEFT / 2 + 0.05, middle, label, rotation=90, fontsize=11, weight="bold",
                 linespacing=1.4)  # fmt: skip
    if any(panel.hidden is not None for row in rows for panel in row):
        write_at(LEFT, 0.12, "Grey floor: cells that were hidden.", ha="left", fontsize=9)


def _scales(panels: Sequence[Panel]) -> dict[str, tuple[float, float]]:
    """Return lowest and highest value of each kind of panel; errors are symmetrical around 0."""
    found = {}
    for kind in dict.fromkeys(panel.kind for panel in panels):
        values = np.concatenate([panel.values.ravel() for panel in panels if panel.kind == kind])
        known = values[np.isfinite(values)].astype(np.float64)
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        if kind == "difference":
            high = max(abs(low), abs(high))
            low = -high
        elif kind == "std":
            low = 0.0
        found[kind] = (low, high) if high > low else (low - 0.5, high + 0.5)
    return found


def _draw_surface(axis: Any, panel: Panel, grid: NestedGrid, scale: tuple[float, float]) -> Any:
    west, south, east, north = grid.bounds
    rows, columns = panel.values.shape
    y = north - (np.arange(rows) + 0.5) * (north - south) / rows
    x = west + (np.arange(columns) + 0.5) * (east - west) / columns
    floor = scale[0] - CLEARANCE * (scale[1] - scale[0])
    axis.computed_zorder = False  # the shade lies below the surface, whatever the distance says
    if panel.hidden is not None:
        _shade(axis, panel.hidden, grid.bounds, floor)
    surface = axis.plot_surface(
        *np.meshgrid(x, y), panel.values, cmap=COLOURS[panel.kind], vmin=scale[0], vmax=scale[1],
        rcount=min(rows, MOST_LINES), ccount=min(columns, MOST_LINES), shade=False,
        edgecolor=(0, 0, 0, 0.25), linewidth=0.2, zorder=2,
    )  # fmt: skip
    _finish(axis, grid, (floor, scale[1]))
    return surface


def _shade(axis: Any, hidden: NDArray[np.bool_], bounds: Edges, floor: float) -> None:
    """Shade the floor below coarse cells that were hidden."""
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    west, south, east, north = bounds
    high, wide = (north - south) / hidden.shape[0], (east - west) / hidden.shape[1]
    corners = np.array([[0, 0], [0, 1], [1, 1], [1, 0]])
    squares = [
        [(west + (j + dx) * wide, north - (i + dy) * high, floor) for dy, dx in corners]
        for i, j in np.argwhere(hidden)
    ]
    axis.add_collection3d(Poly3DCollection(squares, facecolors="0.55", linewidths=0, zorder=1))


def _finish(axis: Any, grid: NestedGrid, heights: tuple[float, float]) -> None:
    """Set limits, proportions, the view and a few small ticks."""
    west, south, east, north = grid.bounds
    stretch = 1 / np.cos(np.radians((south + north) / 2)) if grid.geographic else 1.0
    length = float((north - south) * stretch / (east - west))
    axis.set(xlim=(west, east), ylim=(south, north), zlim=heights)
    axis.set_box_aspect((1, length, HEIGHT * max(1.0, length)), zoom=1.05)
    axis.view_init(**VIEW)
    axis.patch.set_visible(False)  # it would cover labels of the row above
    for side in (axis.xaxis, axis.yaxis, axis.zaxis):
        side.set_pane_color((0.96, 0.96, 0.96, 1))
    axis.locator_params(axis="x", nbins=3)
    axis.locator_params(axis="y", nbins=3)
    axis.locator_params(axis="z", nbins=5)
    axis.tick_params(labelsize=7, pad=-1)
    form = "{x:.1f}°" if grid.geographic else "{x:,.0f}"
    axis.xaxis.set_major_formatter(form)
    axis.yaxis.set_major_formatter(form)
