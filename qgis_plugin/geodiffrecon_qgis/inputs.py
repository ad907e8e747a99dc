# SPDX-License-Identifier: GPL-2.0-or-later
"""The files that a run reads, which none of its outputs may replace."""

from __future__ import annotations

import os

from qgis.core import QgsProcessingFeatureSourceDefinition, QgsProviderRegistry

from . import outputs


def files_of(algorithm, parameters, context):
    """Return the real path of each file that is read, with the title of its parameter."""
    found = {}
    for definition in algorithm.parameterDefinitions():
        for path in _paths(algorithm, definition, parameters, context):
            if path and os.path.exists(path):
                found[outputs.real(path)] = definition.description()
    return found


def _paths(algorithm, definition, parameters, context):
    name, kind = definition.name(), definition.type()
    if kind in ("source", "raster"):
        return [_of_layer(algorithm.parameterAsLayer(_layer(parameters, name), name, context))]
    if kind == "multilayer":
        return algorithm.parameterAsFileList(parameters, name, context)
    if kind == "file":
        path = algorithm.parameterAsFile(parameters, name, context)
        inside = os.listdir(path) if path and os.path.isdir(path) else []
        return [path, *(os.path.join(path, one) for one in inside)]
    return []


def _layer(parameters, name):
    """Return parameters in which a layer is named without what is chosen of it."""
    value = parameters.get(name)
    chosen = isinstance(value, QgsProcessingFeatureSourceDefinition)
    return {name: value.source if chosen else value}


def _of_layer(layer):
    """Return the file of a layer, or an empty text."""
    if layer is None:
        return ""
    parts = QgsProviderRegistry.instance().decodeUri(layer.providerType(), layer.source())
    return str(parts.get("path") or "")
