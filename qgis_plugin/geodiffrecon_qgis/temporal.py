# SPDX-License-Identifier: GPL-2.0-or-later
"""Times of the bands, for the temporal controller: a range per band, or a layer per step."""

from __future__ import annotations

from qgis.core import Qgis, QgsDateTimeRange
from qgis.PyQt.QtCore import QDateTime, Qt


def ranges_of(intervals):
    """Return a half-open range for each interval.

    Parameters
    ----------
    intervals : list of (str, str)
        Start and end of each step in UTC, such as ``2024-01-31T06:00:00Z``.

    Returns
    -------
    list of QgsDateTimeRange
        Empty if any text is no time.
    """
    pairs = [[QDateTime.fromString(t, Qt.DateFormat.ISODate) for t in pair] for pair in intervals]
    if not all(time.isValid() for pair in pairs for time in pair):
        return []
    return [QgsDateTimeRange(start, end, True, False) for start, end in pairs]


def per_band(layer):
    """Tell whether this QGIS can give each band its own time (from 3.38 on)."""
    return hasattr(layer.temporalProperties(), "setFixedRangePerBand")


def set_bands(layer, ranges):
    """Give each band of `layer` its time."""
    properties = layer.temporalProperties()
    properties.setMode(Qgis.RasterTemporalMode.FixedRangePerBand)
    properties.setFixedRangePerBand(dict(enumerate(ranges, start=1)))
    properties.setIsActive(True)


def set_fixed(layer, span):
    """Give all of `layer` one time."""
    properties = layer.temporalProperties()
    properties.setMode(Qgis.RasterTemporalMode.FixedTemporalRange)
    properties.setFixedTemporalRange(span)
    properties.setIsActive(True)
