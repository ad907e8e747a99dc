# SPDX-License-Identifier: GPL-2.0-or-later
"""A point layer of any provider to a GeoPackage that the engine reads."""

from __future__ import annotations

import re

from qgis.core import (
    NULL,
    Qgis,
    QgsFeature,
    QgsFeatureRequest,
    QgsField,
    QgsFields,
    QgsGeometry,
    QgsProcessingException,
    QgsVectorFileWriter,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QDate, QDateTime, Qt

RESERVED = {"fid", "geom", "ogc_fid"}
BLANK = {"", "nan", "null", "none", "na", "n/a"}
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,2})?\s*", re.ASCII | re.IGNORECASE)


def time_text(value):
    """Return a time as ISO 8601 text, with Z where its zone is known, or None where missing.

    Written as text because GeoPackage knows no zones, and QGIS before 3.36 drops them.
    """
    if is_null(value):
        return None
    if isinstance(value, QDateTime):
        if not value.isValid():
            return None
        if value.timeSpec() == Qt.TimeSpec.LocalTime:
            return value.toString(Qt.DateFormat.ISODateWithMs)
        return value.toUTC().toString(Qt.DateFormat.ISODateWithMs)
    if isinstance(value, QDate):
        return value.toString(Qt.DateFormat.ISODate) if value.isValid() else None
    return str(value).strip() or None


def is_null(value):
    """Tell whether an attribute is missing, in any version of QGIS."""
    return value is None or value == NULL


def write_points(source, path, roles, transform_context, feedback):
    """Write the points of `source` with the fields of some roles.

    Parameters
    ----------
    source : QgsProcessingFeatureSource
        Points; selection and filter are respected.
    path : str
        GeoPackage to make.
    roles : dict of str
        Field of ``value``, ``time`` and ``station``; empty ones are left out.
    transform_context : QgsCoordinateTransformContext
        That of the project.
    feedback : QgsProcessingFeedback
        Is told the progress and asked whether to stop.

    Returns
    -------
    dict of str
        Column of each role in the file.

    Raises
    ------
    QgsProcessingException
        If the file cannot be written.
    """
    chosen = {role: field for role, field in roles.items() if field}
    names = _names(chosen)
    index = {role: source.fields().lookupField(field) for role, field in chosen.items()}
    writer = _writer(source, path, names, transform_context)
    try:
        written = _write_all(writer, source, index, feedback)
        problem = writer.errorMessage() if writer.hasError() else ""
    finally:
        del writer  # closes the file, which is where a full disk shows
    if not problem and not feedback.isCanceled():
        made = QgsVectorLayer(path, "points", "ogr")
        problem = "" if made.isValid() and made.featureCount() == written else "not all are there"
        del made
    if problem:
        raise QgsProcessingException(_unwritten(path, problem))
    return names


def _write_all(writer, source, index, feedback):
    """Write all points until the user or the disk says stop; return how many."""
    request = QgsFeatureRequest().setSubsetOfAttributes(sorted(set(index.values())))
    total, written = source.featureCount(), 0
    for number, feature in enumerate(source.getFeatures(request)):
        if number % 1000 == 0:
            if feedback.isCanceled():
                break
            if total > 0:  # some providers do not know
                feedback.setProgress(min(100, 100 * number / total))
        rows = _rows(feature, index)
        if not writer.addFeatures(rows):
            break
        written += len(rows)
    return written


def _names(chosen):
    """Return a column name for each role: the field's own unless GeoPackage has taken it."""
    names, taken = {}, set(RESERVED)
    for role, field in chosen.items():
        name = field.strip() or role
        while name.lower() in taken:
            name += "_"
        taken.add(name.lower())
        names[role] = name
    return names


def _writer(source, path, names, transform_context):
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName, options.layerName = "GPKG", "points"
    fields = QgsFields()
    for role, name in names.items():
        fields.append(_field(name, "Double" if role == "value" else "QString"))
    writer = QgsVectorFileWriter.create(
        path, fields, QgsWkbTypes.Type.Point, source.sourceCrs(), transform_context, options
    )
    if writer.hasError():
        raise QgsProcessingException(_unwritten(path, writer.errorMessage()))
    return writer


def _unwritten(path, why):
    return (
        f"The points could not be written to {path} ({why}); see that there is room and that you "
        "may write there."
    )


def _field(name, kind):
    """Return a field; before 3.38 its types have the names of Qt 5."""
    if Qgis.QGIS_VERSION_INT >= 33800:
        from qgis.PyQt.QtCore import QMetaType

        return QgsField(name, getattr(QMetaType.Type, kind))
    from qgis.PyQt import QtCore

    return QgsField(name, getattr(QtCore.QVariant.Type, kind.lstrip("Q")))


def _rows(feature, index):
    """Return a feature once per part of its geometry, also where it has none."""
    values = [_plain(role, feature.attribute(i)) for role, i in index.items()]
    rows = []
    for geometry in _parts(feature.geometry()):
        row = QgsFeature()
        row.setAttributes(values)
        row.setGeometry(geometry)
        rows.append(row)
    return rows


def _plain(role, value):
    if role == "time":
        return time_text(value)
    if is_null(value):
        return None
    return _number(value) if role == "value" else str(value)


def _number(value):
    """Return a value as a number, also where the field holds text."""
    if isinstance(value, str) and value.strip().lower() in BLANK:
        return None
    if isinstance(value, str) and not NUMBER.fullmatch(value):  # float() would take "30_0"
        raise QgsProcessingException(
            f"The value {value!r} is no number; choose another value field, or clear such values."
        )
    return float(value)


def _parts(geometry):
    """Return single points, flat; one missing geometry where there is none."""
    if geometry.isNull() or geometry.isEmpty():
        return [QgsGeometry()]
    if geometry.isMultipart():
        return [QgsGeometry.fromPointXY(point) for point in geometry.asMultiPoint()]
    return [QgsGeometry.fromPointXY(geometry.asPoint())]
