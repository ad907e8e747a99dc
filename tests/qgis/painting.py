"""Whether a map is painted where its data are, and nowhere else."""

from __future__ import annotations


def assert_painted(layer, picture):
    """Draw `layer` with twice its extent: colours inside, blank outside."""
    from qgis.core import QgsMapRendererParallelJob, QgsMapSettings
    from qgis.PyQt.QtCore import QSize
    from qgis.PyQt.QtGui import QColor

    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    box = layer.extent()
    box.scale(2)
    settings.setExtent(box)
    settings.setOutputSize(QSize(200, 200))
    settings.setBackgroundColor(QColor(255, 255, 255))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    image = job.renderedImage()
    assert image.save(str(picture))
    inside = {image.pixelColor(x, y).name() for x in range(60, 140, 4) for y in range(75, 125, 4)}
    assert len(inside) > 5
    assert "#ffffff" not in inside
    assert {image.pixelColor(x, y).name() for x in (5, 195) for y in (5, 195)} == {"#ffffff"}
