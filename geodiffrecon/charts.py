"""Charts of a comparison, as matplotlib figures and as images inside a page.

All need matplotlib (the extra ``plot``) and return None where the result holds nothing to draw.
"""

from __future__ import annotations

import base64
import io
import textwrap
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from .marks import LAYERS, OURS, label_beside, label_ends, styles
from .standings import SCORES, number_of, opponent, pivot, ratios, settings, units_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .marks import Style
    from .standings import Cell, Line, Ratio, Result, Setting

    Columns = list[tuple[int, Setting]]
    Curve = list[tuple[float, float]]

P = ParamSpec("P")

INK, FAINT = "#222222", "#D9D9D9"
WIDTH = 10.5
LOG_FROM = 4.0
# Methods further off than this, in every setting, would squeeze all others into one line.
FAR = 2.0
LOOK = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "svg.hashsalt": "geodiffrecon",
    "svg.fonttype": "path",
}


def in_common_look(chart: Callable[P, Any]) -> Callable[P, Any]:
    """Return `chart` drawn in the common look, which nothing else then has.

    Parameters
    ----------
    chart : callable
        Draws a matplotlib figure.
    """

    @wraps(chart)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Any:
        import matplotlib

        with matplotlib.rc_context(LOOK):
            return chart(*args, **kwargs)

    return drawn


@in_common_look
def error_by_missing(result: Result, score: str = "mae") -> Any | None:
    """Draw a score against the missing ratio, one panel per pattern, one line per method."""
    lines, left_out = _near([line for line in pivot(result, score) if any(line.cells)])
    panels = _panels(settings(result))
    if not lines or not panels:
        return None
    widths = [max(1.0, 0.75 * len(columns)) for columns in panels.values()]
    figure = _figure(min(WIDTH, 5.0 + sum(widths)), max(4.2, 1.6 + 0.17 * len(lines)))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False, width_ratios=widths)[0]
    look = styles(lines)
    for axis, (pattern, columns) in zip(axes, panels.items(), strict=True):
        _draw_panel(axis, pattern, columns, lines, look)
    _scale_errors(axes[0], [c.mean for line in lines for c in line.cells if c], score)
    axes[0].set_ylabel(_axis_title(result, score))
    figure.supxlabel(
        "coarse cells missing" + _note(left_out, f"the lowest {SCORES[score].title}"), fontsize=9
    )
    points = [
        [[(x, cell.mean) for x, cell in _points(line, columns)] for line in lines]
        for columns in panels.values()
    ]
    label_ends(axes, points, [(line.label, look[line.method]) for line in lines])
    return figure


@in_common_look
def ratio_chart(result: Result, score: str = "mae") -> Any | None:
    """Draw the error of this system in terms of each other method's, with 95 % intervals."""
    rows, panels = ratios(result, score), _panels(settings(result))
    left_out = [label for label, row in rows if all(r is None or r.ratio < 1 / FAR for r in row)]
    rows = [(label, row) for label, row in rows if label not in left_out]
    if not rows or not panels:
        return None
    dense = max(map(len, panels.values()))
    figure = _figure(WIDTH, 1.5 + len(rows) * max(0.22, 0.08 * dense))
    axes = figure.subplots(1, len(panels), sharey=True, sharex=True, squeeze=False)[0]
    shades = _shades(settings(result))
    for axis, (pattern, columns) in zip(axes, panels.items(), strict=True):
        _draw_ratios(axis, columns, rows, shades)
        axis.set_title(pattern, loc="left")
    axes[0].set_yticks(range(len(rows)), [label for label, _ in rows])
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    marks = [axes[0].plot([], [], "o-", color=c, ms=4, lw=1.4)[0] for c in shades.values()]
    figure.legend(
        marks, list(shades), loc="outside right upper", title="missing", fontsize=8, frameon=False
    )
    against, name = opponent(result), SCORES[score].title
    title = f"{name} of {against} / {name} of the method; left of the line {against} is better"
    figure.supxlabel(title + _note(left_out, f"the {name} of {against}"), fontsize=9)
    return figure


@in_common_look
def training(result: Result) -> Any | None:
    """Draw the validation score over the steps of every phase of what was trained."""
    curves = _curves(result)
    if not curves:
        return None
    columns = min(4, len(curves))
    rows = -(-len(curves) // columns)
    figure = _figure(WIDTH * columns / 4 + 0.3, 1.9 * rows + 0.3)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(curves) :]:
        axis.set_visible(False)
    for axis, (title, seeds) in zip(axes, curves.items(), strict=False):
        for points in seeds:
            step, value = np.asarray(points, dtype=float).T
            best = int(np.nanargmin(value))
            axis.plot(step, value, color=LAYERS[0], lw=1.2)
            axis.plot(step[best], value[best], "o", color=OURS[0], ms=4.5)
        axis.set_title(title, loc="left", fontsize=9)
        axis.locator_params(nbins=4)
        axis.grid(color=FAINT, lw=0.5)
    figure.supxlabel("training steps (dot: the best step on validation, which is kept)", fontsize=9)
    figure.supylabel("validation score of the phase", fontsize=9)
    return figure


@in_common_look
def cost(result: Result, score: str = "mae") -> Any | None:
    """Draw the mean score against the seconds of learning and reconstructing."""
    scored = [line for line in pivot(result, score) if line.mean is not None]
    lines, left_out = _near(scored)
    points = {
        line: (spent, line.mean)
        for line in lines
        if line.mean is not None and (spent := _seconds(result, line.method)) is not None
    }
    if not points:
        return None
    figure = _figure(8.5, 4.8)
    axis = figure.subplots()
    look = styles(lines)
    for line, point in points.items():
        mark = look[line.method]
        axis.plot(*point, mark.marker, color=mark.colour, ms=1.5 * mark.size, zorder=mark.layer)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.margins(x=0.15, y=0.1)
    _scale_errors(axis, [error for _, error in points.values()], score)
    axis.grid(color=FAINT, lw=0.5)
    title = "seconds to learn once and to reconstruct the test frames once"
    axis.set_xlabel(title + _note(left_out, f"the lowest {SCORES[score].title}"))
    axis.set_ylabel(f"mean {_axis_title(result, score)}")
    label_beside(axis, list(points.values()), [(i.label, look[i.method]) for i in points])
    return figure


@in_common_look
def data_uri(figure: Any) -> str:
    """Return a figure as an SVG image to put into a page; the same figure, the same bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=130)
    FigureCanvasAgg(figure)
    return figure


def _panels(columns: list[Setting]) -> dict[str, Columns]:
    """Return the numbered settings of every pattern, those with the most ratios last."""
    panels: dict[str, Columns] = {}
    for number, setting in enumerate(columns):
        panels.setdefault(setting.pattern, []).append((number, setting))
    return dict(sorted(panels.items(), key=lambda item: len(item[1])))


def _points(line: Line, columns: Columns) -> list[tuple[float, Cell]]:
    """Return the cells that a method has in a panel, each with its missing ratio in percent."""
    pairs = ((100 * (setting.missing or 0), line.cells[number]) for number, setting in columns)
    return [(x, cell) for x, cell in pairs if cell is not None]


def _draw_panel(
    axis: Any, pattern: str, columns: Columns, lines: list[Line], look: dict[str, Style]
) -> None:
    for line in lines:
        points, mark = _points(line, columns), look[line.method]
        axis.errorbar(
            [x for x, _ in points], [cell.mean for _, cell in points],
            [cell.spread or 0 for _, cell in points], color=mark.colour, marker=mark.marker,
            ms=mark.size, lw=mark.width, elinewidth=mark.width, zorder=mark.layer,
        )  # fmt: skip
    ticks = [100 * (setting.missing or 0) for _, setting in columns]
    axis.set_xticks(ticks, [setting.ratio or "none" for _, setting in columns])
    room = 0.06 * (max(ticks) - min(ticks)) or 1.0
    axis.set_xlim(min(ticks) - room, max(ticks) + room)
    axis.set_title(pattern, loc="left")
    axis.grid(color=FAINT, lw=0.5)


def _draw_ratios(
    axis: Any, columns: Columns, rows: list[tuple[str, list[Ratio | None]]], shades: dict[str, str]
) -> None:
    """Draw a dot and its interval for each method and setting, the sparser the lower."""
    offsets = (np.arange(len(columns)) - (len(columns) - 1) / 2) * 0.7 / max(3, len(columns))
    axis.axvline(1, color=INK, lw=1)
    for place in range(0, len(rows), 2):
        axis.axhspan(place - 0.5, place + 0.5, color="#F4F4F4", lw=0, zorder=0)
    for (number, setting), offset in zip(columns, offsets, strict=True):
        colour = shades[setting.ratio or "none"]
        for place, (_, row) in enumerate(rows):
            if (entry := row[number]) is not None:
                low, high = entry.low or entry.ratio, entry.high or entry.ratio
                axis.plot([low, high], [place + offset] * 2, color=colour, lw=1.4)
                axis.plot(entry.ratio, place + offset, "o", color=colour, ms=3.5)
    axis.grid(color=FAINT, lw=0.5, axis="x")
    axis.tick_params(axis="y", length=0)


def _shades(columns: list[Setting]) -> dict[str, str]:
    """Return a colour for every missing ratio, the sparser the darker."""
    from matplotlib.colors import to_hex

    order = sorted(columns, key=lambda setting: (bool(setting.ratio), setting.missing or 0))
    names = list(dict.fromkeys(setting.ratio or "none" for setting in order))
    shares = np.linspace(0.4, 1, len(names)) if len(names) > 1 else [1.0]
    dark = np.array([0.03, 0.19, 0.42])
    return {n: to_hex(tuple(1 - s * (1 - dark))) for n, s in zip(names, shares, strict=True)}


def _near(lines: list[Line]) -> tuple[list[Line], list[str]]:
    """Return the lines worth drawing, and the names of those far off in every setting."""
    lows = [
        min((cell.mean for cell in column if cell is not None), default=0.0)
        for column in zip(*(line.cells for line in lines), strict=True)
    ]
    far = {
        line.method
        for line in lines
        if line.role != "ours"
        and all(
            c is None or c.mean > FAR * low > 0 for c, low in zip(line.cells, lows, strict=True)
        )
    }
    near = [line for line in lines if line.method not in far]
    return near, [line.label for line in lines if line.method in far]


def _note(left_out: list[str], bound: str) -> str:
    if not left_out:
        return ""
    names = textwrap.fill(", ".join(left_out), 85)
    return f"\nOff the chart, over {FAR:g} times {bound}: {names}"


def _scale_errors(axis: Any, values: list[float], score: str) -> None:
    """Use a logarithmic scale where errors differ by a multiple, with ticks that can be read."""
    if SCORES[score].target is not None or min(values) <= 0:
        return
    if max(values) < LOG_FROM * min(values):
        return
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


def _curves(result: Result) -> dict[str, list[Curve]]:
    """Return the curves of every seed, by method and phase."""
    found: dict[str, list[Curve]] = {}
    for entry in result.get("sanity", ()):
        name = str(entry.get("label") or entry.get("method", ""))
        for phase, points in (entry.get("curves") or {}).items():
            kept = [(s, v) for s, v in points if None not in (number_of(s), number_of(v))]
            if len(kept) > 1:
                found.setdefault(f"{name}: {phase}", []).append(kept)
    return found


def _seconds(result: Result, method: str) -> float | None:
    """Return the mean seconds of learning and of reconstructing, at least a hundredth."""
    rows = [row for row in result["rows"] if row.get("method") == method]
    learning, using = (
        [v for row in rows if (v := number_of(row.get(key))) is not None]
        for key in ("fit_seconds", "seconds")
    )
    if not learning and not using:
        return None
    return max(0.01, sum(float(np.mean(part)) for part in (learning, using) if part))


def _axis_title(result: Result, score: str) -> str:
    units = units_of(result, score)
    return SCORES[score].title + (f", {units}" if units else "")
