# SPDX-License-Identifier: GPL-2.0-or-later
"""The Processing provider."""

from __future__ import annotations

import os

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from . import settings
from .algorithms.bin_points import BinPoints
from .algorithms.check_engine import CheckEngine
from .algorithms.evaluate import Evaluate
from .algorithms.reconstruct_points import ReconstructPoints
from .algorithms.reconstruct_raster import ReconstructRaster
from .algorithms.train import Train

ALGORITHMS = (ReconstructPoints, ReconstructRaster, Train, Evaluate, BinPoints, CheckEngine)


class GeoDiffReconProvider(QgsProcessingProvider):
    """Six algorithms; their ids are API and never change."""

    def id(self):
        """Return the prefix of the algorithms' ids."""
        return "geodiffrecon"

    def name(self):
        """Return what the toolbox shows."""
        return "geodiffrecon"

    def icon(self):
        """Return the icon of the provider."""
        return QIcon(os.path.join(os.path.dirname(__file__), "icon.svg"))

    def load(self):
        """Show the setting and the algorithms."""
        settings.register(self.icon())
        self.refreshAlgorithms()
        return True

    def unload(self):
        """Take the setting away."""
        settings.unregister()

    def loadAlgorithms(self):
        """Add the algorithms."""
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())

    def supportedOutputRasterLayerExtensions(self):
        """Return what the engine writes."""
        return ["tif", "tiff"]

    def defaultRasterFileExtension(self, hasGeometry=True):
        """Return what temporary maps are written as."""
        return "tif"
