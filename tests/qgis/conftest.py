"""Tests of the QGIS plugin.

What needs QGIS runs under QGIS's own Python (``make test-qgis``) and is skipped elsewhere; what
does not runs everywhere.
"""

from __future__ import annotations

import os
import sys
import tempfile

import pytest
from paths import ENGINE, HERE, PLUGINS

sys.path.insert(0, str(PLUGINS))
collect_ignore = ["fake_engine.py", "gui_actions.py"]  # programs of their own


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """Return an empty home for QGIS's profile, so that no setting of the user counts."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def fake(tmp_path):
    """Return a program that stands for the engine, in a folder with a space."""
    folder = tmp_path / "an engine"
    folder.mkdir()
    program = folder / "geodiffrecon"
    text = (HERE / "fake_engine.py").read_text(encoding="utf-8")
    program.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
    program.chmod(0o755)
    return program


@pytest.fixture(scope="session")
def real_engine():
    if not ENGINE.exists():
        pytest.skip(f"no engine in {ENGINE}; run make .venv")
    return str(ENGINE)


@pytest.fixture(scope="session")
def qgis(home):
    """Return the running QgsApplication with Processing and the plugin's provider."""
    core = pytest.importorskip("qgis.core")
    os.environ.pop("GEODIFFRECON_PYTHON", None)
    os.environ.update(
        HOME=str(home), XDG_RUNTIME_DIR=str(home), QGIS_CUSTOM_CONFIG_PATH=str(home / "profile"),
        QT_QPA_PLATFORM="offscreen", OMP_NUM_THREADS="1", TMPDIR=str(home),
    )  # fmt: skip
    tempfile.tempdir = None  # ask TMPDIR again: nobody else's work folders lie there
    core.QgsApplication.setPrefixPath("/usr", True)
    application = core.QgsApplication([], False)
    application.initQgis()
    sys.path.append("/usr/share/qgis/python/plugins")
    from geodiffrecon_qgis import classFactory
    from processing.core.Processing import Processing

    Processing.initialize()
    plugin = classFactory(None)
    plugin.initProcessing()
    yield application
    plugin.unload()
    core.QgsProject.instance().clear()
    application.exitQgis()


@pytest.fixture
def engine_here(qgis, real_engine, monkeypatch):
    monkeypatch.setenv("GEODIFFRECON_PYTHON", real_engine)
    return real_engine
