# SPDX-License-Identifier: GPL-2.0-or-later
"""The plugin as QGIS holds it: it brings the provider and takes it away again."""

from __future__ import annotations

from qgis.core import QgsApplication

from . import child
from .provider import GeoDiffReconProvider


class GeoDiffReconPlugin:
    """Registers the Processing provider; there is no toolbar and no menu.

    Parameters
    ----------
    iface : QgisInterface or None
        None in ``qgis_process``; not used.
    """

    def __init__(self, iface):
        self.provider = None

    def initProcessing(self):
        """Add the provider; QGIS calls this alone in ``qgis_process``."""
        provider = GeoDiffReconProvider()
        if QgsApplication.processingRegistry().addProvider(provider):
            self.provider = provider

    def initGui(self):
        """Add the provider to the running QGIS."""
        self.initProcessing()

    def unload(self):
        """Stop engines that still run and remove the provider."""
        child.stop_all()
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
            self.provider = None
