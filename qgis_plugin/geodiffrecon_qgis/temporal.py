# SPDX-License-Identifier: GPL-2.0-or-later
"""Times of the bands, for the temporal controller: a range per band, or a layer per step."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from qgis.core import Qgis, QgsDateTimeRange
from qgis.PyQt.QtCore import QDateTime, Qt

STAMP = re.compile(r"\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2})?(?:\.\d+)?)?(?=Z?\b|Z?$)")
FREQ = re.compile(r"^(\d*)(min|T|h|H|D|W|MS|M|YS|Y)\b")
SECONDS = {"min": 60, "T": 60, "h": 3600, "H": 3600, "D": 86400, "W": 604800}
LONG = {"MS": 31, "M": 31, "YS": 366, "Y": 366}  # days; only of a last step


def band_ranges(path):
    """Return the half-open range of time in UTC of each band, or an empty list if unknown.

    The engine tags each band with the start of its step (TIME), and the file with its length
    (FREQ).
    """
    from osgeo import gdal  # part of every QGIS

    dataset = gdal.Open(path)
    if dataset is None:
        return []
    bands = [dataset.GetRasterBand(i + 1) for i in range(dataset.RasterCount)]
    starts = [
        start_of(band.GetMetadataItem("TIME") or band.GetDescription() or "") for band in bands
    ]
    step = step_of(dataset.GetMetadataItem("FREQ") or "")
    del bands, dataset
    return ranges_of(starts, step)


def start_of(text):
    """Return the first time in `text` as UTC, or None.

    Examples
    --------
    >>> start_of("pm25 mean 2024-01-31T06:00Z").isoformat()
    '2024-01-31T06:00:00+00:00'
    """
    found = STAMP.search(text)
    if found is None:
        return None
    try:
        return datetime.fromisoformat(found.group().split(".")[0]).replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def step_of(freq):
    """Return the length of a step such as ``30min`` or ``1D``, or None if it is unknown."""
    found = FREQ.match(freq)
    if found is None:
        return None
    number, unit = int(found.group(1) or 1), found.group(2)
    if unit in LONG:
        return timedelta(days=number * LONG[unit])
    return timedelta(seconds=number * SECONDS[unit])


def ranges_of(starts, step):
    """Return (start, end) of steps; each ends where the next begins, at most a step later."""
    if not starts or None in starts or sorted(set(starts)) != starts:
        return []
    gaps = [later - earlier for earlier, later in zip(starts, starts[1:])]
    last = step or (min(gaps) if gaps else timedelta(days=1))
    return [(start, start + min(gap, last)) for start, gap in zip(starts, [*gaps, last])]


def per_band(layer):
    """Tell whether this QGIS can give each band its own time (from 3.38 on)."""
    return hasattr(layer.temporalProperties(), "setFixedRangePerBand")


def set_bands(layer, ranges):
    """Give each band of `layer` its time."""
    properties = layer.temporalProperties()
    properties.setMode(Qgis.RasterTemporalMode.FixedRangePerBand)
    properties.setFixedRangePerBand({i + 1: _qt(*span) for i, span in enumerate(ranges)})
    properties.setIsActive(True)


def set_fixed(layer, span):
    """Give all of `layer` one time."""
    properties = layer.temporalProperties()
    properties.setMode(Qgis.RasterTemporalMode.FixedTemporalRange)
    properties.setFixedTemporalRange(_qt(*span))
    properties.setIsActive(True)


def _qt(start, end):
    first, last = (QDateTime.fromString(t.strftime("%Y-%m-%dT%H:%M:%SZ"), Qt.DateFormat.ISODate)
                   for t in (start, end))  # fmt: skip
    return QgsDateTimeRange(first, last, True, False)
