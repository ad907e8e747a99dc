# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens when maps arrive in the project: style, times and places in the layer tree.

Runs in the main thread. Nothing here may lose data: whatever fails is a line in the log.
"""

from __future__ import annotations

import contextlib
import os

from qgis.core import (
    QgsMapLayerLegendUtils,
    QgsProcessingLayerPostProcessorInterface,
    QgsProject,
    QgsRasterLayer,
)

from . import style, temporal

MOST_STEPS = 120  # layers for the controller before 3.38; more make QGIS slow

_kept = []  # Python would collect post-processors before QGIS calls them


class Arrival:
    """The maps of one run, which come one by one and belong together.

    Parameters
    ----------
    title : str
        Name of their group.
    choice : str
        Style, as in `style.renderer_of`.
    maps : dict of str
        Statistic of each path that will be loaded; the mean stands first.
    intervals : list of (str, str)
        Start and end in UTC of each band's time.
    units : str
        What the legends are called; empty if unknown.
    """

    def __init__(self, title, choice, maps, intervals, units=""):
        self.title, self.choice, self.maps = title, choice, maps
        self.intervals, self.units = intervals, units
        self.waiting = set(maps)
        self.layers = {}  # statistic -> ids of its layers, in order of time
        self.spans = {}

    def attach(self, context):
        """Have each map styled when it is loaded."""
        for path in self.maps:
            processor = MapPostProcessor(self, path)
            _kept.append(processor)
            context.layerToLoadOnCompletionDetails(path).setPostProcessor(processor)

    def take(self, path, layer, project, log):
        """Style a layer that has arrived; arrange all when it is the last."""
        statistic = self.maps[path]
        try:
            self.layers[statistic] = self._dress(path, statistic, layer, project, log)
        except Exception as error:
            log(f"{layer.name()} could not be styled ({error}); its data are complete.")
            self.layers.setdefault(statistic, [layer.id()])
        self.waiting.discard(path)
        if not self.waiting:
            try:
                self._arrange(project)
            except Exception as error:
                log(f"The layers could not be grouped ({error}); their data are complete.")

    def _dress(self, path, statistic, layer, project, log):
        span = self._span(path, statistic, layer)
        layer.setRenderer(style.renderer_of(layer, 1, statistic, self.choice, span))
        ranges = temporal.ranges_of(self.intervals)
        layers = [layer]
        if ranges and len(ranges) == layer.bandCount():
            layers = self._timed(layer, ranges, statistic, span, project, log)
        for one in layers:
            one.triggerRepaint()
        return [one.id() for one in layers]

    def _span(self, path, statistic, layer):
        """Return the colours' range; quantiles share that of the mean."""
        key = "levels" if statistic in style.LEVELS else statistic
        mean = next((p for p, s in self.maps.items() if s == "mean"), path)
        if key not in self.spans:
            base = layer
            if key == "levels" and mean != path:
                base = QgsRasterLayer(mean, "mean")
            self.spans[key] = style.span_of(base if base.isValid() else layer, statistic)
        return self.spans[key]

    def _timed(self, layer, ranges, statistic, span, project, log):
        if len(ranges) == 1:
            temporal.set_fixed(layer, ranges[0])
            return [layer]
        if temporal.per_band(layer):
            temporal.set_bands(layer, ranges)
            return [layer]
        if len(ranges) > MOST_STEPS:
            log(
                f"{layer.name()} has {len(ranges)} times; the temporal controller needs QGIS 3.38 "
                f"or a period of at most {MOST_STEPS} steps. The first one is shown."
            )
            return [layer]
        return self._steps(layer, ranges, statistic, span, project)

    def _steps(self, layer, ranges, statistic, span, project):
        """Return a layer for each band; they share the file, `layer` is the first."""
        name, layers = layer.name(), [layer]
        for band in range(2, len(ranges) + 1):
            copy = QgsRasterLayer(layer.source(), name, layer.providerType())
            copy.setRenderer(style.renderer_of(copy, band, statistic, self.choice, span))
            project.addMapLayer(copy, False)
            layers.append(copy)
        for band, (one, limits) in enumerate(zip(layers, ranges), start=1):
            one.setName(_band_name(one, band))
            temporal.set_fixed(one, limits)
        return layers

    def _arrange(self, project):
        """Group the layers, and name the legends."""
        ids = [i for s in self.maps.values() for i in self.layers.get(s, [])]
        root = project.layerTreeRoot()
        if len(ids) > 1:
            self._group(root, project)
        for layer_id in ids:
            node = root.findLayer(layer_id)
            if node is not None:
                _name_legend(node, self.units)

    def _group(self, root, project):
        """Put the mean on top and switch what stands under it off."""
        group = root.insertGroup(0, self.title)
        for statistic in self.maps.values():
            found = self.layers.get(statistic, [])
            inner = group if len(found) == 1 else group.addGroup(_title(statistic))
            for number, layer_id in enumerate(found):
                _move(root, inner, layer_id, project)
                inner.findLayer(layer_id).setExpanded(number == 0)  # one legend is enough
            if statistic != "mean" and len(found) > 1:
                inner.setItemVisibilityChecked(False)
                inner.setExpanded(False)
            elif statistic != "mean" and found:
                group.findLayer(found[0]).setItemVisibilityChecked(False)


class MapPostProcessor(QgsProcessingLayerPostProcessorInterface):
    """Hands one loaded map to the `Arrival` that it belongs to."""

    def __init__(self, arrival, path):
        super().__init__()
        self.arrival, self.path = arrival, path

    def postProcessLayer(self, layer, context, feedback):
        """Style the layer; called by QGIS in the main thread."""
        project = context.project() or QgsProject.instance()
        self.arrival.take(self.path, layer, project, feedback.pushInfo)
        if self in _kept:
            _kept.remove(self)


def save_style(path, statistic, choice, intervals):
    """Write the ``.qml`` beside a map, so that it looks the same when it is opened again.

    Parameters
    ----------
    path : str
        The map.
    statistic, choice : str
        As in `style.renderer_of`.
    intervals : list of (str, str)
        As in `Arrival`.
    """
    layer = QgsRasterLayer(path, os.path.basename(path))
    if not layer.isValid():
        return
    span = style.span_of(layer, statistic)
    layer.setRenderer(style.renderer_of(layer, 1, statistic, choice, span))
    ranges = temporal.ranges_of(intervals)
    if len(ranges) == 1:
        temporal.set_fixed(layer, ranges[0])
    elif ranges and temporal.per_band(layer):
        temporal.set_bands(layer, ranges)
    layer.saveNamedStyle(os.path.splitext(path)[0] + ".qml")
    del layer  # writes the statistics that QGIS asked for; the user has not
    with contextlib.suppress(OSError):
        os.remove(f"{path}.aux.xml")


def _move(root, group, layer_id, project):
    node = root.findLayer(layer_id)
    if node is not None:
        group.addChildNode(node.clone())
        node.parent().removeChildNode(node)
    else:
        group.addLayer(project.mapLayer(layer_id))


def _name_legend(node, units):
    """Name a legend after the unit: QGIS names it after the first band, whichever is shown."""
    QgsMapLayerLegendUtils.setLegendNodeUserLabel(node, 0, units or node.layer().name())
    node.layer().legendChanged.emit()


def _band_name(layer, band):
    """Return such as ``pm25 mean 2023-12-01``, without QGIS's «Band 1: »."""
    return layer.bandName(band).split(": ", 1)[-1]


def _title(statistic):
    return {"mean": "Mean", "std": "Error (standard deviation)"}.get(statistic, statistic)
