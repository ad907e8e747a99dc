# SPDX-License-Identifier: GPL-2.0-or-later
"""«Reconstruct a raster with holes»: coarse bands over time to complete fine ones."""

from __future__ import annotations

import os
import re

from qgis.core import QgsProcessingParameterRasterLayer, QgsRasterLayer

from .. import checks, models
from .base import add_model, work_folder
from .maps import Reconstruction

SUBDATASET = re.compile(r'^(?:NETCDF|HDF5):"?(?P<path>.+?)"?:/*(?P<name>[^:/]+)$')


class ReconstructRaster(Reconstruction):
    """A coarse raster with missing cells and a model to complete fine maps."""

    NAME, TITLE = "reconstructraster", "Reconstruct a raster with holes"
    TAGS = ("gap fill", "nodata", "downscale", "interpolate", "uncertainty", "time")
    HELP = (
        "Fills the holes of a raster over time and refines it, and says how sure every cell is, in "
        "the unit of the values. The raster lies on the coarse or the fine grid of the model; "
        "nodata are the holes. One band per time: GeoTIFF bands need a TIME tag or a time in their "
        "description, such as pm25 2024-01-31T06:00Z; NetCDF brings its own times.\n\n"
        "Make a model with Train a model."
    )

    def initAlgorithm(self, config=None):
        """Define parameters and outputs."""
        self.add(
            QgsProcessingParameterRasterLayer("INPUT", "Raster with holes"),
            "GeoTIFF or NetCDF, one band per time, nodata where nothing is known.",
        )
        add_model(self)
        self.add_request()
        self.add_outputs()

    def problem(self, parameters, context):
        """Return what is wrong with raster, model and period."""
        layer = self.parameterAsRasterLayer(parameters, "INPUT", context)
        if layer is None or not layer.isValid():
            return "The raster cannot be read; choose another one."
        path, _ = source_of(layer.source())
        if layer.providerType() != "gdal" or not os.path.isfile(path):
            return f"{layer.name()} is no raster file; export it as GeoTIFF first."
        problem = self.request_problem(parameters, context)
        if problem:
            return problem
        card = models.read_card(self.file(parameters, "MODEL", context))
        return checks.overlap(layer.extent(), layer.crs(), card, context.transformContext())

    def processAlgorithm(self, parameters, context, feedback):
        """Run the engine on the file of the layer, bring the maps."""
        layer = self.parameterAsRasterLayer(parameters, "INPUT", context)
        path, variable = source_of(layer.source())
        options = ["--value", variable] if variable else []
        known = QgsRasterLayer(layer.source(), "as the file says").crs()
        if layer.crs().isValid() and not known.isValid():
            options += ["--crs", checks.crs_text(layer.crs())]
        with work_folder() as folder:
            return self.map(os.path.abspath(path), options, parameters, context, feedback, folder)


def source_of(text):
    """Return the file of a raster source, and its variable where it names one.

    Examples
    --------
    >>> source_of('NETCDF:"/data/cube.nc":pm25')
    ('/data/cube.nc', 'pm25')
    """
    found = SUBDATASET.match(text)
    if found:
        return found.group("path"), found.group("name")
    return text.split("|")[0], ""
