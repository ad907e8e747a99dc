# SPDX-License-Identifier: GPL-2.0-or-later
"""The one setting, the engine's Python, in Options > Processing > Providers."""

from __future__ import annotations

import os
import sys

from qgis.core import QgsApplication, QgsSettings

from . import engine

GROUP = "geodiffrecon"
PYTHON = "geodiffrecon/python"
DESCRIPTION = "Python of the geodiffrecon environment"


def register(icon):
    """Show the setting among those of Processing; do without where that page is missing."""
    try:
        from processing.core.ProcessingConfig import ProcessingConfig, Setting
    except ImportError:
        return
    ProcessingConfig.settingIcons[GROUP] = icon
    setting = Setting(GROUP, PYTHON, DESCRIPTION, "", valuetype=Setting.FILE, validator=_must_exist)
    ProcessingConfig.addSetting(setting)
    ProcessingConfig.readSettings()


def unregister():
    """Take the setting away; what the user has chosen stays stored."""
    try:
        from processing.core.ProcessingConfig import ProcessingConfig
    except ImportError:
        return
    ProcessingConfig.removeSetting(PYTHON)


def python():
    """Return the path that the user has set, or an empty text."""
    stored = QgsSettings()
    for key in (f"Processing/Configuration/{PYTHON}", PYTHON):
        found = str(stored.value(key, "") or "").strip()
        if found:
            return found
    return ""


def found_engine():
    """Return the engine without starting it; raise EngineError where there is none."""
    return engine.find(python(), QgsApplication.qgisSettingsDirPath())


def checked_engine():
    """Return the engine with its version; raise EngineError if it cannot be used."""
    return engine.checked(found_engine(), foreign_prefix())


def foreign_prefix():
    """Return the folder of QGIS where its libraries lie on the PATH: on Windows and macOS."""
    if os.name == "nt" or sys.platform == "darwin":
        return QgsApplication.prefixPath()
    return ""


def _must_exist(path):
    """Refuse what is not there; QGIS 3.44 would by itself also refuse a read-only Python."""
    if path and not os.path.exists(engine.expanded(path)):
        raise ValueError(f"The engine {path} does not exist; correct the path.")
