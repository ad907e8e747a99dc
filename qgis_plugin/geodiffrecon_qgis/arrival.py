# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens when maps arrive in the project: style, times and places in the layer tree.

Runs in the main thread. Nothing here may lose data: whatever fails is a line in the log.
"""

from __future__ import annotations

import collections
import contextlib
import os
from dataclasses import dataclass

from qgis.core import (
    QgsMapLayerLegendUtils,
    QgsProcessingLayerPostProcessorInterface,
    QgsProject,
    QgsRasterLayer,
)

from . import style, temporal

MOST_STEPS = 120  # layers for the controller before 3.38; more make QGIS slow
OURS = "geodiffrecon/part"  # marks layers and groups that an earlier run has made

# Python would collect post-processors before QGIS calls them; some are never called.
_kept = collections.deque(maxlen=1000)


@dataclass(frozen=True)
class Look:
    """How the maps of one run look.

    Parameters
    ----------
    title : str
        Name of their group.
    choice : str
        Style, as in `style.renderer_of`.
    intervals : list of (str, str)
        Start and end in UTC of each band's time.
    units : str
        What the legends are called; empty if unknown.
    ranges : dict of (float, float)
        Lowest and highest value of each statistic, without outliers.
    """

    title: str
    choice: str
    intervals: list
    units: str
    ranges: dict

    def paint(self, layer, band, statistic):
        """Give a layer the colours of a band."""
        span = style.span_of(statistic, self.ranges)
        layer.setRenderer(style.renderer_of(band, statistic, self.choice, span))

    def times(self, layer):
        """Return the range of time of each band; none where bands and times do not match."""
        ranges = temporal.ranges_of(self.intervals)
        return ranges if len(ranges) == layer.bandCount() else []

    def save(self, path, statistic):
        """Write the ``.qml`` beside a map, so that it looks the same when it is opened again."""
        layer = QgsRasterLayer(path, os.path.basename(path))
        if layer.isValid():
            self.paint(layer, 1, statistic)
            ranges = self.times(layer)
            if len(ranges) == 1:
                temporal.set_fixed(layer, ranges[0])
            elif ranges and temporal.per_band(layer):
                temporal.set_bands(layer, ranges)
            layer.saveNamedStyle(os.path.splitext(path)[0] + ".qml")
        del layer  # writes the statistics that QGIS asked for; the user has not
        with contextlib.suppress(OSError):
            os.remove(f"{path}.aux.xml")


class Arrival:
    """The maps of one run, which come one by one and belong together.

    Parameters
    ----------
    look : Look
        Of the run.
    maps : dict of str
        Statistic of each path that will be loaded, as QGIS writes the paths; the first one stays
        visible.
    """

    def __init__(self, look, maps):
        self.look, self.maps = look, maps
        self.waiting = set(maps)
        self.layers = {}  # statistic -> ids of its layers, in order of time

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
            _renew(layer, project)
            self.layers[statistic] = self._dress(layer, statistic, project, log)
        except Exception as error:
            log(f"{layer.name()} could not be styled ({error}); its data are complete.")
            self.layers.setdefault(statistic, [layer.id()])
        self.waiting.discard(path)
        if not self.waiting:
            try:
                self._arrange(project)
            except Exception as error:
                log(f"The layers could not be grouped ({error}); their data are complete.")

    def _dress(self, layer, statistic, project, log):
        """Return the ids of the layers that the map has become."""
        self.look.paint(layer, 1, statistic)
        layers = self._timed(layer, statistic, project, log)
        for one in layers:
            one.setCustomProperty(OURS, True)
            one.triggerRepaint()
        return [one.id() for one in layers]

    def _timed(self, layer, statistic, project, log):
        ranges = self.look.times(layer)
        if not ranges:
            log(f"{layer.name()} has {layer.bandCount()} bands without known times.")
        elif len(ranges) == 1:
            temporal.set_fixed(layer, ranges[0])
        elif temporal.per_band(layer):
            temporal.set_bands(layer, ranges)
        elif len(ranges) > MOST_STEPS:
            log(
                f"{layer.name()} has {len(ranges)} times; the temporal controller needs QGIS 3.38 "
                f"or a period of at most {MOST_STEPS} steps. The first one is shown."
            )
        else:
            return self._steps(layer, ranges, statistic, project)
        return [layer]

    def _steps(self, layer, ranges, statistic, project):
        """Return a layer for each band; they share the file, `layer` is the first."""
        name, layers = layer.name(), [layer]
        for band in range(2, len(ranges) + 1):
            copy = QgsRasterLayer(layer.source(), name, layer.providerType())
            self.look.paint(copy, band, statistic)
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
                _name_legend(node, self.look.units)
        _remove_empty(root)

    def _group(self, root, project):
        """Put the first statistic on top, and switch what stands under it off."""
        group = root.insertGroup(0, self.look.title)
        group.setCustomProperty(OURS, True)
        for order, statistic in enumerate(self.maps.values()):
            found = self.layers.get(statistic, [])
            inner = group if len(found) == 1 else group.addGroup(_title(statistic))
            for number, layer_id in enumerate(found):
                _move(root, inner, layer_id, project)
                inner.findLayer(layer_id).setExpanded(number == 0)  # one legend is enough
            if order and len(found) > 1:
                inner.setItemVisibilityChecked(False)
                inner.setExpanded(False)
            elif order and found:
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


def _renew(layer, project):
    """Have layers of the same file read what is there now; those of an earlier run go."""
    others = [
        one for one in project.mapLayers().values()
        if one.source() == layer.source() and one.id() != layer.id()
    ]  # fmt: skip
    earlier = [one.id() for one in others if one.customProperty(OURS)]
    for one in (layer, *(one for one in others if not one.customProperty(OURS))):
        one.reload()  # the name now leads to another file
    project.removeMapLayers(earlier)


def _move(root, group, layer_id, project):
    """Put a layer into a group, and nowhere else."""
    before = [node for node in root.findLayers() if node.layerId() == layer_id]
    group.addLayer(project.mapLayer(layer_id))
    for node in before:
        node.parent().removeChildNode(node)


def _remove_empty(root):
    """Remove groups of earlier runs whose layers have come here."""
    for group in root.findGroups():
        if group.customProperty(OURS) and not group.findLayers():
            group.parent().removeChildNode(group)


def _name_legend(node, units):
    """Name a legend after the unit: QGIS names it after the first band, whichever is shown."""
    QgsMapLayerLegendUtils.setLegendNodeUserLabel(node, 0, units or node.layer().name())
    node.layer().legendChanged.emit()


def _band_name(layer, band):
    """Return such as ``pm25 mean 2023-12-01``, without QGIS's «Band 1: »."""
    return layer.bandName(band).split(": ", 1)[-1]


def _title(statistic):
    return {"mean": "Mean", "std": "Error (standard deviation)"}.get(statistic, statistic)
