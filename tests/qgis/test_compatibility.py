"""What differs between versions of QGIS, and what can be checked anywhere of Qt 6 and QGIS 4.

The static rules are those that the plugin repository's Qt 6 check rewrites or warns of, and
classes that PyQt 6 has moved or dropped.
"""

from __future__ import annotations

import ast
from array import array

import pytest
from paths import PLUGINS

SOURCES = sorted((PLUGINS / "geodiffrecon_qgis").rglob("*.py"))
RENAMED = {"exec_", "HighQualityAntialiasing", "MidButton", "TextColorRole", "BackgroundColorRole"}
WIDGETS_TO_GUI = {"QAction", "QActionGroup", "QShortcut", "QUndoCommand", "QUndoStack"}
GONE = {
    "QDesktopWidget", "QGLWidget", "QMatrix", "QRegExp", "QRegExpValidator",
    "QStringRef", "QTextCodec", "QWebPage", "QWebView", "qApp", "resources_rc",
}  # fmt: skip
DAYS = [(f"2023-12-0{day}T00:00:00Z", f"2023-12-0{day + 1}T00:00:00Z") for day in (1, 2, 3)]


def nodes(text):
    return [node for node in ast.walk(ast.parse(text)) if hasattr(node, "lineno")]


def name_of(node):
    return node.id if isinstance(node, ast.Name) else ""


def imported(node):
    """Say what is wrong with an import."""
    if isinstance(node, ast.Import):
        modules, names = [alias.name for alias in node.names], set()
    else:
        modules, names = [node.module or ""], {alias.name for alias in node.names}
    for module in modules:
        if module.split(".")[0] in ("PyQt5", "PyQt6", "PySide2", "PySide6", "sip"):
            return f"imports {module}; qgis.PyQt serves both"
        if module in ("qgis.PyQt.Qt", "qgis.PyQt.QtWebKit", "qgis.PyQt.QtWebKitWidgets"):
            return f"imports {module}, which Qt 6 has not"
        if module == "qgis.PyQt.QtWidgets" and names & WIDGETS_TO_GUI:
            return f"imports {names & WIDGETS_TO_GUI}, which Qt 6 has in QtGui"
    return f"imports {names & GONE}, which Qt 6 has not" if names & GONE else ""


def called(node):
    """Say what is wrong with a call."""
    name, method = name_of(node.func), getattr(node.func, "attr", "")
    if name in ("QVariant", "QFontMetrics", "QFontMetricsF"):
        return f"calls {name}"
    inner = [name_of(argument.func) for argument in node.args if isinstance(argument, ast.Call)]
    if name == "QDateTime" and (len(node.args) == 8 or inner == ["QDate"]):
        return "makes a QDateTime as only Qt 5 can; give a QDate, a QTime and a zone"
    if method == "addAction" and len(node.args) >= 4:
        return "calls addAction with four arguments"
    if method == "desktop" and not node.args:
        return "calls desktop()"
    return ""


def looked_up(node):
    """Say what is wrong with an attribute."""
    if node.attr in RENAMED:
        return f"uses {node.attr}"
    if name_of(node.value) in ("QVariant", "qApp"):
        return f"uses {node.value.id}.{node.attr}"
    of_metrics = getattr(getattr(node.value, "func", None), "attr", "") == "fontMetrics"
    return "uses fontMetrics().width" if of_metrics and node.attr == "width" else ""


def problems(text):
    """Return what the checker would rewrite, or warn of, in a source text."""
    found = []
    for node in nodes(text):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.append(imported(node))
        elif isinstance(node, ast.Call):
            found.append(called(node))
        elif isinstance(node, ast.Attribute):
            found.append(looked_up(node))
        elif isinstance(node, ast.Subscript) and getattr(node.value, "attr", "") == "activated":
            found.append("uses activated[...]")
        elif isinstance(node, ast.FunctionDef) and node.name == "exec_":
            found.append("defines exec_")
    return [problem for problem in found if problem]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_that_the_qt6_checker_rewrites(path):
    assert problems(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "import PyQt5.QtCore",
        "from PyQt5.QtCore import Qt",
        "from qgis.PyQt.Qt import Qt",
        "from qgis.PyQt.QtCore import QRegExp",
        "from qgis.PyQt.QtWidgets import QAction",
        "from . import resources_rc",
        "QVariant()",
        "QVariant.Type.Int",
        "qApp.quit()",
        "dialog.exec_()",
        "def exec_(self): pass",
        "QDateTime(2024, 1, 31, 6, 0, 0, 0, zone)",
        "QDateTime(QDate(2024, 1, 31))",
        "menu.addAction(icon, text, act, key)",
        "application.desktop()",
        "label.fontMetrics().width(text)",
        "box.activated[str].connect(act)",
        "QPainter.HighQualityAntialiasing",
    ],
)
def test_the_rules_find_what_they_are_for(text):
    assert len(problems(text)) >= 1


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_enum_is_scoped(path):
    core = pytest.importorskip("qgis.core")
    qt = pytest.importorskip("qgis.PyQt.QtCore")
    for node in nodes(path.read_text(encoding="utf-8")):
        if not (isinstance(node, ast.Attribute) and name_of(node.value)):
            continue
        owner = getattr(core, node.value.id, None) or getattr(qt, node.value.id, None)
        member = getattr(owner, node.attr, None) if isinstance(owner, type) else None
        unscoped = isinstance(member, int) and type(member) not in (int, bool)
        assert not unscoped, f"line {node.lineno}: {node.value.id}.{node.attr} has no scope"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_file_runs_on_python_3_9(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    text = path.read_text(encoding="utf-8")
    assert "SPDX-License-Identifier: GPL-2.0-or-later" in text
    assert "from __future__ import annotations" in text or path.name == "__init__.py"


@pytest.fixture
def three_days(qgis, tmp_path):
    """Return a GeoTIFF of three bands, in which each cell differs from day to day."""
    from osgeo import gdal, osr

    path = tmp_path / "mean.tif"
    place = osr.SpatialReference()
    place.ImportFromEPSG(32650)
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), 8, 8, 3, gdal.GDT_Float32)
    dataset.SetProjection(place.ExportToWkt())
    dataset.SetGeoTransform((500000, 1000, 0, 4400000, 0, -1000))
    for band in (1, 2, 3):
        cells = array("f", [20 * band + i % 8 for i in range(64)])
        dataset.GetRasterBand(band).WriteRaster(0, 0, 8, 8, cells.tobytes())
    del dataset  # writes the file
    return path


def picture(layer, span):
    """Return what the temporal controller would show of `layer` in a range of time."""
    from qgis.core import QgsMapRendererSequentialJob, QgsMapSettings
    from qgis.PyQt.QtCore import QSize

    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent())
    settings.setOutputSize(QSize(16, 16))
    settings.setIsTemporal(True)
    settings.setTemporalRange(span)
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    image = job.renderedImage()
    return [image.pixelColor(x, y).name() for y in range(16) for x in range(16)]


def test_a_map_shows_the_band_of_its_time_and_nothing_at_other_times(three_days):
    from geodiffrecon_qgis import style, temporal
    from qgis.core import QgsRasterLayer

    layer = QgsRasterLayer(str(three_days), "mean")
    if not temporal.per_band(layer):
        pytest.skip("this QGIS has one time per layer")
    layer.setRenderer(style.renderer_of(1, "mean", "continuous", (0, 100)))
    ranges = temporal.ranges_of(DAYS)
    temporal.set_bands(layer, ranges)
    pictures = [picture(layer, one) for one in ranges]
    (later,) = temporal.ranges_of([("2023-12-09T00:00:00Z", "2023-12-10T00:00:00Z")])
    (morning,) = temporal.ranges_of([("2023-12-03T00:00:00Z", "2023-12-03T06:00:00Z")])
    assert len({tuple(one) for one in pictures}) == 3
    assert picture(layer, morning) == pictures[2]
    assert set(picture(layer, later)) == {"#ffffff"}
    del layer


def test_the_style_beside_a_map_carries_its_times(three_days):
    from geodiffrecon_qgis import arrival, temporal
    from qgis.core import QgsRasterLayer

    path = str(three_days)
    arrival.Look("map", "continuous", DAYS, "", {"mean": (0, 9)}).save(path, "mean")
    layer = QgsRasterLayer(str(three_days), "again")
    if not temporal.per_band(layer):
        pytest.skip("this QGIS has one time per layer")
    found = layer.temporalProperties().fixedRangePerBand()
    assert found == dict(enumerate(temporal.ranges_of(DAYS), start=1))
    layer.loadNamedStyle(str(three_days.with_suffix(".qml")))  # opening alone leaves times off
    assert layer.temporalProperties().isActive()
    del layer


@pytest.mark.parametrize(("kind", "numeric"), [("Double", True), ("QString", False)])
def test_fields_have_their_type_in_every_version(qgis, kind, numeric):
    from geodiffrecon_qgis.points import _field

    field = _field("value", kind)
    assert field.isNumeric() is numeric
    assert field.name() == "value"


@pytest.mark.parametrize("text", ["30_0", "inf", "1e400", "30,63", "٣"])
def test_a_text_that_only_python_takes_for_a_number_is_refused(qgis, text):
    from geodiffrecon_qgis.points import _number
    from qgis.core import QgsProcessingException

    with pytest.raises(QgsProcessingException, match="is no number"):
        _number(text)
    assert [_number(good) for good in (" 30 ", "-1.5e3", ".5", "nan", 4)] == [
        30,
        -1500,
        0.5,
        None,
        4,
    ]
