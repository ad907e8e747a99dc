# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be known to be wrong before the engine starts; each check returns a sentence or ''."""

from __future__ import annotations

import math
import re
from datetime import date

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsRectangle,
    QgsUnitTypes,
)

AUTHORITIES = ("EPSG:", "ESRI:", "IGNF:", "OGC:")  # those whose numbers the engine knows, too
MOST_CELLS = 4_000_000  # fine cells of one time
BYTES_PER_CELL = 200  # of one time in memory: mean, error, quantiles and their work space
TIME = re.compile(r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:?\d{2})?)?$")
FREQ = re.compile(r"^\d*(min|h|D|W|MS|YS)$")


def field(source, name, what):
    """Return why a field cannot be used: it is not chosen, or not there."""
    if not name:
        return f"No {what} field is chosen; choose one."
    if source.fields().lookupField(name) < 0:
        known = ", ".join(one.name() for one in source.fields())
        return f"The point layer has no field {name} for the {what}; it has {known}."
    return ""


def time_field(source, name):
    """Return why a field cannot hold times."""
    problem = field(source, name, "time")
    if problem:
        return problem
    found = source.fields().field(source.fields().lookupField(name))
    kind = found.typeName().lower()
    if found.isNumeric() or kind == "time":
        return (
            f"The time field {name} holds {'numbers' if found.isNumeric() else 'hours of the day'} "
            f"({kind}); give a date, a date with time, or text such as 2024-01-31T06:00Z."
        )
    return ""


def crs_text(crs):
    """Return a CRS as the engine reads it: a user's own CRS has a number only in QGIS."""
    known = crs.authid().upper().startswith(AUTHORITIES)
    return crs.authid() if known else crs.toWkt()


def crs_of(source, what):
    """Return why places cannot be understood."""
    if not source.sourceCrs().isValid():
        return f"{what} has no coordinate reference system; set one in the layer's properties."
    return ""


def moment(text, what):
    """Return why a text is no time."""
    if not text:
        return ""
    try:
        date.fromisoformat(text.strip()[:10])
        known = TIME.match(text.strip())
    except ValueError:  # such as the 45th of a month
        known = None
    return (
        "" if known else f"{what} is {text!r}; give a time such as 2024-01-31 or 2024-01-31T06:00."
    )


def period(first, last):
    """Return why two texts are no period, which has both ends or none."""
    problem = span(first, last)
    if not problem and bool(first) != bool(last):
        return "Give both the first and the last time, or neither."
    return problem


def span(first, last):
    """Return why two texts are no stretch of time, which may be open at either end."""
    problem = moment(first, "The first time") or moment(last, "The last time")
    if problem:
        return problem
    if first and last and first.strip()[:10] > last.strip()[:10]:
        return f"The first time {first} is later than the last time {last}; exchange them."
    return ""


def frequency(text):
    """Return why a text is no step of time."""
    if not FREQ.match(text or ""):
        return f"The time step is {text!r}; give one such as 30min, 1h or 1D."
    return ""


def size(extent, crs, shape, resolution, factor):
    """Return why a grid of `shape` or `resolution` cannot be: its units, cells, memory."""
    if not crs.isValid():
        return "The grid has no coordinate reference system; choose one."
    if extent.isEmpty() or not extent.isFinite():
        return "The extent is empty; draw one or take it from a layer."
    unit = QgsUnitTypes.toString(crs.mapUnits())
    sides = f"{extent.width():.4g} × {extent.height():.4g} {unit}"
    if shape is None:
        if not (resolution > 0 and math.isfinite(resolution)):
            return f"The cell size is {resolution:g}; give a positive one in {unit}."
        if min(extent.width(), extent.height()) < resolution:
            return (
                f"A cell of {resolution:g} is larger than the extent of {sides}; {crs.authid()} is "
                f"in {unit}, so give the cell size in {unit} or choose another CRS of the grid."
            )
        sides_in_cells = [side / resolution for side in (extent.height(), extent.width())]
        if not all(math.isfinite(side) for side in sides_in_cells):
            return f"The cell size is {resolution:g}, too small for {sides}; give a larger one."
        shape = [math.ceil(side) for side in sides_in_cells]
    cells = shape[0] * shape[1] * factor * factor
    if cells > MOST_CELLS:
        return (
            f"{shape[0]:,} × {shape[1]:,} coarse cells in {sides} make {cells:,} fine cells, "
            f"about {cells * BYTES_PER_CELL / 1e9:,.1f} GB per time; {MOST_CELLS:,} are the limit. "
            f"Give a larger cell (in {unit}), a smaller factor or a smaller extent."
        )
    return ""


def kind_of_model(card, *, of_points):
    """Return why a model cannot be scored with points, or with maps."""
    if not card.value or card.of_stations == of_points:
        return ""
    kind, wanted = ("stations", "points") if card.of_stations else ("fine maps", "fine maps")
    return f"This is a model of {kind}; give {wanted}, or choose another model."


def overlap(extent, crs, card, context):
    """Return why observations cannot serve a model: they lie elsewhere."""
    grid_crs = crs
    if card.crs:
        grid_crs = QgsCoordinateReferenceSystem()
        grid_crs.createFromUserInput(card.crs)
    if not card.bounds or not crs.isValid() or not grid_crs.isValid() or extent.isNull():
        return ""
    grid = QgsRectangle(*card.bounds)
    try:
        there = QgsCoordinateTransform(crs, grid_crs, context).transformBoundingBox(extent)
    except QgsCsException:
        return ""
    if there.isFinite() and not there.intersects(_wider(grid)):
        return (
            f"The observations lie in {_text(there)}, outside the model's grid {_text(grid)} "
            f"({card.crs}); check the CRS of the layer, or choose another model."
        )
    return ""


def _wider(box):
    """Stations around the grid serve too, up to its own size away."""
    return QgsRectangle(
        box.xMinimum() - box.width(), box.yMinimum() - box.height(),
        box.xMaximum() + box.width(), box.yMaximum() + box.height(),
    )  # fmt: skip


def _text(box):
    edges = (box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum())
    return "(" + ", ".join(f"{edge:.6g}" for edge in edges) + ")"
