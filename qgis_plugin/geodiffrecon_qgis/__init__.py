# SPDX-License-Identifier: GPL-2.0-or-later
"""geodiffrecon in QGIS: a Processing provider that drives the engine in its own environment."""


def classFactory(iface):
    """Return the plugin; nothing of the engine is imported, so it always loads."""
    from .plugin import GeoDiffReconPlugin

    return GeoDiffReconPlugin(iface)
