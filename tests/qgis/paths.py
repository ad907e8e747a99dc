"""Where the plugin, the sample and the engine under test lie."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PLUGINS = ROOT / "qgis_plugin"
SAMPLE = ROOT / "sample_data"
ENGINE = Path(os.environ.get("GEODIFFRECON_TEST_ENGINE", ROOT / ".venv" / "bin" / "python"))
# QGIS takes its Python from the PATH: another one first there would leave it without plugins.
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
# Debian's wrapper of QGIS 3.22 passes an option that the program refuses; the program works.
QGIS_PROCESS = shutil.which("qgis_process.bin") or shutil.which("qgis_process")
