"""How methods look in charts, and where their names stand: beside what they name, never over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .standings import Line

    Point = tuple[float, float]
    Box = tuple[float, float, float, float]
    Name = tuple[str, "Style"]

OURS = ("#D55E00", "#A63603", "#7F2704")
LAYERS = ("#0072B2", "#56B4E9", "#084594", "#6BAED6")
# Tol's muted scheme, told apart by all kinds of colour vision; markers tell the rest.
OUTSIDE = (
    "#882255", "#117733", "#999933", "#332288", "#AA4499", "#44AA99", "#CC6677", "#DDAA33",
    "#777777",
)  # fmt: skip
MARKERS = "os^vDPX<>p*h"
# Where a name may stand beside its point: points to the right and up, and its alignment.
PLACES = [(9, 0, "left"), (-9, 0, "right")] + [
    (side * 9, way * 10 * step, align)
    for step in range(1, 12)
    for way in (1, -1)
    for side, align in ((1, "left"), (-1, "right"))
]


@dataclass(frozen=True)
class Style:
    """How a method is drawn in all charts."""

    colour: str
    marker: str
    width: float
    size: float
    weight: str
    layer: int


def styles(lines: list[Line]) -> dict[str, Style]:
    """Return the style of every method: this system strong, its layers blue, the others thin."""
    found: dict[str, Style] = {}
    counts = dict.fromkeys(("ours", "layer", "outside"), 0)
    for line in sorted(lines, key=lambda line: line.method):
        role = line.role if line.role in counts else "outside"
        number, counts[role] = counts[role], counts[role] + 1
        if role == "ours":
            look = Style(OURS[number % len(OURS)], "o", 2.8, 6.5, "bold", 5)
        elif role == "layer":
            marker = MARKERS[number % len(MARKERS)]
            look = Style(LAYERS[number % len(LAYERS)], marker, 1.6, 4.5, "normal", 4)
        else:
            marker = MARKERS[number % len(MARKERS)]
            look = Style(OUTSIDE[number % len(OUTSIDE)], marker, 1.0, 4, "normal", 3)
        found[line.method] = look
    return found


def label_ends(axes: Sequence[Any], points: list[list[list[Point]]], names: list[Name]) -> None:
    """Write the name of every method beside the last panel, at the height where its line ends.

    Parameters
    ----------
    axes : sequence of Axes
        Panels from left to right, with their final limits.
    points : list
        For each panel and method, the points of its line; none where it is not in the panel.
    names : list of (str, Style)
        Of the methods.
    """
    last, rows = axes[-1], range(len(names))
    heights = {i: _fraction(last, points[-1][i][-1]) for i in rows if points[-1][i]}
    gap = 0.155 / (last.figure.get_figheight() - 1.0)
    order = sorted(heights, key=lambda i: heights[i])
    for i, place in zip(order, _apart([heights[i] for i in order], gap), strict=True):
        text, mark = names[i]
        line = {"arrowstyle": "-", "color": mark.colour, "lw": 0.5, "shrinkA": 0, "shrinkB": 3}
        last.annotate(
            text, points[-1][i][-1], (1.12, place), textcoords="axes fraction", va="center",
            fontsize=8.5, color=mark.colour, weight=mark.weight, annotation_clip=False,
            arrowprops={**line, "relpos": (0, 0.5)},
        )  # fmt: skip
    for i in set(rows) - set(heights):
        axis, shown = [(a, p[i]) for a, p in zip(axes, points, strict=True) if p[i]][-1]
        text, mark = names[i]
        axis.annotate(
            text, shown[-1], (0, 5), textcoords="offset points", ha="center", fontsize=8,
            color=mark.colour, weight=mark.weight,
        )  # fmt: skip


def label_beside(axis: Any, points: list[Point], names: list[Name]) -> None:
    """Write names beside the points of a scatter, each at the first place that is free."""
    axis.figure.draw_without_rendering()  # fixes where the axes are
    at = axis.transData.transform(points) * 72 / axis.figure.dpi
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in at]
    for point, place, (text, mark) in zip(points, at, names, strict=True):
        length = 4.9 * len(text) * (1.12 if mark.weight == "bold" else 1.0)
        right, up, side, box = _free(place, length, taken)
        taken.append(box)
        line = {"arrowstyle": "-", "color": mark.colour, "lw": 0.5, "shrinkA": 0}
        axis.annotate(
            text, point, (right, up), textcoords="offset points", ha=side, va="center",
            fontsize=8.5, color=mark.colour, weight=mark.weight, zorder=6,
            arrowprops=line if abs(up) > 10 else None,
        )  # fmt: skip


def _free(place: Point, length: float, taken: list[Box]) -> tuple[int, int, str, Box]:
    """Return the first of `PLACES` where a name overlaps nothing, and the box that it fills."""
    for right, up, side in PLACES:
        left = place[0] + right - (length if side == "right" else 0)
        box = (left, place[1] + up - 5, left + length, place[1] + up + 5)
        if not any(_overlap(box, other) for other in taken):
            break
    return right, up, side, box


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _fraction(axis: Any, point: Point) -> float:
    """Return the height of a point as a share of the axes."""
    return float(axis.transAxes.inverted().transform(axis.transData.transform(point))[1])


def _apart(heights: list[float], gap: float) -> list[float]:
    """Return heights at least `gap` apart, as near to the sorted ones given as can be."""
    gap = min(gap, 1.06 / max(1, len(heights) - 1))
    # Pools of neighbours that touch: each sits at the mean of where its members would be.
    pools: list[tuple[float, int]] = []
    for number, height in enumerate(heights):
        pool = (height - number * gap, 1)
        while pools and pools[-1][0] >= pool[0]:
            (low, many), (high, more) = pools.pop(), pool
            pool = ((low * many + high * more) / (many + more), many + more)
        pools.append(pool)
    starts = np.repeat([start for start, _ in pools], [count for _, count in pools])
    steps = gap * np.arange(len(heights))
    room = 1.03 - steps[-1:].sum()
    return [float(place) for place in np.clip(starts, -0.03, max(room, -0.03)) + steps]
