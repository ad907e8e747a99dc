# SPDX-License-Identifier: GPL-2.0-or-later
"""The grid as an analyst gives it: extent, CRS, cell size, factor."""

from __future__ import annotations

from qgis.core import (
    QgsProcessingParameterCrs,
    QgsProcessingParameterDistance,
    QgsProcessingParameterExtent,
    QgsProcessingParameterNumber,
)

from .. import checks


def add_grid(algorithm, *, optional=False):
    """Add the parameters of a grid."""
    algorithm.add(
        QgsProcessingParameterExtent("EXTENT", "Extent of the maps", optional=optional),
        "In any CRS; it is transformed to that of the grid and widened to whole cells.",
    )
    algorithm.add(
        QgsProcessingParameterCrs("CRS", "CRS of the grid", "EPSG:4326", optional),
        "Of the maps to come. A projected CRS has cells of equal size.",
    )
    cell = QgsProcessingParameterDistance("RESOLUTION", "Size of a coarse cell", None, "CRS", True)
    cell.setMinimum(0)
    algorithm.add(cell, "In units of the CRS of the grid: metres, or degrees.")
    integer = QgsProcessingParameterNumber.Type.Integer
    for name, title in (("ROWS", "Coarse rows"), ("COLS", "Coarse columns")):
        algorithm.add(
            QgsProcessingParameterNumber(name, title, integer, None, True, 1),
            "In place of the size of a cell: the extent is kept exactly and divided.",
            advanced=True,
        )


def add_factor(algorithm, default):
    """Add how many fine cells a coarse one has."""
    integer = QgsProcessingParameterNumber.Type.Integer
    algorithm.add(
        QgsProcessingParameterNumber(
            "FACTOR", "Fine cells per coarse cell (one direction)", integer, default, False, 1, 64
        ),
        "4 makes 16 fine cells of each coarse cell.",
    )


def grid_problem(algorithm, parameters, context):
    """Return what is wrong with the grid: units, cells, memory."""
    crs, extent = _place(algorithm, parameters, context)
    shape, resolution = _cells(algorithm, parameters, context)
    halves = [algorithm.given(parameters, name, context) for name in ("ROWS", "COLS")]
    if (shape is None) == (resolution is None) or halves[0] != halves[1]:
        return "Give the size of a coarse cell, or both coarse rows and coarse columns."
    factor = algorithm.parameterAsInt(parameters, "FACTOR", context)
    return checks.size(extent, crs, shape, resolution, factor)


def grid_options(algorithm, parameters, context):
    """Return the options of the grid."""
    crs, extent = _place(algorithm, parameters, context)
    shape, resolution = _cells(algorithm, parameters, context)
    edges = (extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum())
    cells = ["--shape", *map(str, shape)] if shape else ["--resolution", repr(resolution)]
    bounds = [repr(edge) for edge in edges]
    return ["--bounds", *bounds, *cells, "--grid-crs", checks.crs_text(crs)]


def _place(algorithm, parameters, context):
    crs = algorithm.parameterAsCrs(parameters, "CRS", context)
    return crs, algorithm.parameterAsExtent(parameters, "EXTENT", context, crs)


def grid_given(algorithm, parameters, context):
    """Tell whether any part of a grid but its CRS, which has a default, was given."""
    return any(
        algorithm.given(parameters, n, context) for n in ("EXTENT", "RESOLUTION", "ROWS", "COLS")
    )


def _cells(algorithm, parameters, context):
    """Return rows and columns, and the size of a cell; None for what is not given."""
    rows, cols = (algorithm.given(parameters, name, context) for name in ("ROWS", "COLS"))
    shape = None
    if rows and cols:
        shape = tuple(algorithm.parameterAsInt(parameters, n, context) for n in ("ROWS", "COLS"))
    if not algorithm.given(parameters, "RESOLUTION", context):
        return shape, None
    return shape, algorithm.parameterAsDouble(parameters, "RESOLUTION", context)
