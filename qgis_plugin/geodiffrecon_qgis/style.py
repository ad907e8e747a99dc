# SPDX-License-Identifier: GPL-2.0-or-later
"""How maps look: one ramp over all times, or classes of air quality; built in code.

A parsed ramp or a style file would break with a version of QGIS; objects do not.
"""

from __future__ import annotations

import math

from qgis.core import (
    QgsColorRampShader,
    QgsRasterShader,
    QgsSingleBandPseudoColorRenderer,
)
from qgis.PyQt.QtGui import QColor

VIRIDIS = (
    "#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30",
    "#fde725",
)  # fmt: skip
PURPLES = (
    "#fcfbfd", "#efedf5", "#dadaeb", "#bcbddc", "#9e9ac8", "#807dba", "#6a51a3", "#54278f",
    "#3f007d",
)  # fmt: skip
INF = float("inf")
# Upper bounds in µg/m³ of PM2.5: WHO 2021 (24 hours), US EPA 2024.
CLASSES = {
    "who": (
        (15.0, "#1a9850", "WHO guideline, to 15"),
        (25.0, "#91cf60", "interim target 4, to 25"),
        (37.5, "#d9ef8b", "interim target 3, to 37.5"),
        (50.0, "#fee08b", "interim target 2, to 50"),
        (75.0, "#fc8d59", "interim target 1, to 75"),
        (INF, "#d73027", "above 75"),
    ),
    "us_aqi": (
        (9.0, "#00e400", "Good, to 9"),
        (35.4, "#ffff00", "Moderate, to 35.4"),
        (55.4, "#ff7e00", "Unhealthy for sensitive groups, to 55.4"),
        (125.4, "#ff0000", "Unhealthy, to 125.4"),
        (225.4, "#8f3f97", "Very unhealthy, to 225.4"),
        (INF, "#7e0023", "Hazardous, above 225.4"),
    ),
}
LEVELS = {"mean", "q05", "q25", "q50", "q75", "q95"}  # statistics in the unit of the variable


def renderer_of(band, statistic, choice, span):
    """Return the renderer of one band.

    It gets its input from the layer that takes it. Nothing here asks a layer for its provider:
    Python's hold on one may be cut in threads other than the main one.

    Parameters
    ----------
    band : int
        Counted from 1.
    statistic : str
        Such as ``mean`` or ``std``.
    choice : {"continuous", "who", "us_aqi"}
        Classes are only for statistics in the unit of the variable.
    span : (float, float)
        Lowest and highest colour, shared by all times.
    """
    classes = CLASSES.get(choice) if statistic in LEVELS else None
    colours = VIRIDIS if statistic in LEVELS else PURPLES
    function = _classed(classes) if classes else _ramp(colours, span)
    shader = QgsRasterShader()
    shader.setRasterShaderFunction(function)
    renderer = QgsSingleBandPseudoColorRenderer(None, band, shader)
    renderer.setClassificationMin(function.minimumValue())
    renderer.setClassificationMax(function.maximumValue())
    return renderer


def span_of(statistic, ranges):
    """Return the range of colours: round numbers; quantiles share that of the mean.

    Parameters
    ----------
    statistic : str
        As in `renderer_of`.
    ranges : dict of (float, float)
        Lowest and highest value of each statistic, without outliers.
    """
    if statistic == "information" or statistic.startswith("exceed_"):
        return (0.0, 1.0)
    alike = "mean" if statistic in LEVELS and "mean" in ranges else statistic
    low, high = ranges.get(alike, (0.0, 1.0))
    if statistic not in LEVELS:  # errors begin at zero
        low = min(0.0, low)
    return _rounded(low, high) if high > low else (low, low + 1.0)


def _rounded(low, high):
    """Widen a range to whole tenths of the power of ten below its length."""
    step = 10.0 ** (math.floor(math.log10(high - low)) - 1)
    edges = (math.floor(low / step) * step, math.ceil(high / step) * step)
    return tuple(float(f"{edge:.9g}") for edge in edges)  # 9.7 and not 9.700000000000001


def _ramp(colours, span):
    low, high = span
    stops = [low + (high - low) * i / (len(colours) - 1) for i in range(len(colours))]
    items = [
        QgsColorRampShader.ColorRampItem(value, QColor(colour), f"{value:.4g}")
        for value, colour in zip(stops, colours)
    ]
    return _shader(QgsColorRampShader(low, high), items)


def _classed(classes):
    items = [
        QgsColorRampShader.ColorRampItem(bound, QColor(colour), label)
        for bound, colour, label in classes
    ]
    shader = _shader(QgsColorRampShader(0.0, classes[-2][0]), items)
    shader.setColorRampType(QgsColorRampShader.Type.Discrete)
    return shader


def _shader(shader, items):
    shader.setColorRampItemList(items)
    shader.setClip(False)
    return shader
