"""Maps as they arrive in a project: style, times, tree; and that a failed style loses nothing."""

from __future__ import annotations

import array
import os
import shutil
import threading

import pytest
from paths import SAMPLE

core = pytest.importorskip("qgis.core")
pytestmark = pytest.mark.skipif(not SAMPLE.exists(), reason="no sample data")

from painting import assert_painted  # noqa: E402
from test_algorithms import basics, stations  # noqa: E402

EDGES = [f"2023-{day}T16:00:00Z" for day in ("11-30", "12-01", "12-02", "12-03")]
RANGES = {"mean": (12.3, 97.8), "std": (1.2, 9.7)}
DAYS = list(zip(EDGES, EDGES[1:]))  # of Shanghai


@pytest.fixture(scope="module")
def maps(qgis, real_engine, tmp_path_factory):
    """Return a folder with the mean and the error of three days."""
    from test_algorithms import run

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEODIFFRECON_PYTHON", real_engine)
        folder = tmp_path_factory.mktemp("maps")
        run("reconstruct", basics(stations(), folder / "mean.tif", STD=str(folder / "std.tif"),
                                  STYLE="PM2.5: WHO 2021 classes"))  # fmt: skip
    return folder


@pytest.fixture
def project(qgis):
    project = core.QgsProject.instance()
    project.clear()
    yield project
    project.clear()


def arrive(project, folder, choice="continuous", statistics=("mean", "std"), days=DAYS):
    """Do what QGIS does when a run ends; return what was logged."""
    from geodiffrecon_qgis.arrival import Arrival, Look

    context = core.QgsProcessingContext()
    context.setProject(project)
    wanted = {str(folder / f"{statistic}.tif"): statistic for statistic in statistics}
    details = core.QgsProcessingContext.LayerDetails
    for path, statistic in wanted.items():
        context.addLayerToLoadOnCompletion(path, details(f"pm25 {statistic}", project, ""))
    look = Look("pm25", choice, days, "µg/m³", RANGES)
    Arrival(look, wanted).attach(context)
    feedback = core.QgsProcessingFeedback(False)
    for path in sorted(wanted, reverse=True):
        layer = core.QgsProcessingUtils.mapLayerFromString(path, context)  # as QGIS does
        layer.setName(f"pm25 {wanted[path]}")
        if layer.id() not in project.mapLayers():
            project.addMapLayer(context.temporaryLayerStore().takeMapLayer(layer), False)
        project.layerTreeRoot().insertLayer(0, layer)
        arrived = context.layerToLoadOnCompletionDetails(path)
        arrived.postProcessor().postProcessLayer(layer, context, feedback)
    return feedback.textLog()


def test_the_error_lies_under_the_mean_and_is_off(project, maps):
    arrive(project, maps)
    root = project.layerTreeRoot()
    assert [node.name() for node in root.children()] == ["pm25"]
    mean, error = root.children()[0].children()
    assert mean.isVisible()
    assert not error.isVisible()
    assert len(project.mapLayers()) == len(root.findLayers())


def test_each_time_is_active_in_its_own_range(project, maps):
    arrive(project, maps)
    layers = [layer for layer in project.mapLayers().values() if "mean" in layer.name()]
    if hasattr(layers[0].temporalProperties(), "setFixedRangePerBand"):
        ranges = layers[0].temporalProperties().fixedRangePerBand()
        assert sorted(ranges) == [1, 2, 3]
        return
    assert sorted(layer.name() for layer in layers) == [
        f"pm25 mean 2023-12-0{day}" for day in (1, 2, 3)
    ]
    ranges = [layer.temporalProperties().fixedTemporalRange() for layer in
              sorted(layers, key=lambda layer: layer.name())]  # fmt: skip
    assert all(layer.temporalProperties().isActive() for layer in layers)
    assert ranges[0].begin().toUTC().toString("yyyy-MM-ddTHH:mm") == "2023-11-30T16:00"
    assert all(a.end() == b.begin() for a, b in zip(ranges, ranges[1:]))
    assert not any(found.includeEnd() for found in ranges)


def test_one_ramp_over_all_times_and_errors_from_zero(project, maps):
    arrive(project, maps)
    spans = {}
    for layer in project.mapLayers().values():
        function = layer.renderer().shader().rasterShaderFunction()
        kind = "mean" if "mean" in layer.name() else "std"
        spans.setdefault(kind, set()).add((function.minimumValue(), function.maximumValue()))
    assert spans == {"mean": {(12, 98)}, "std": {(0, 9.7)}}


def test_classes_of_air_quality(project, maps):
    arrive(project, maps, "who")
    layer = next(one for one in project.mapLayers().values() if "mean" in one.name())
    items = layer.renderer().shader().rasterShaderFunction().colorRampItemList()
    assert [item.value for item in items][:5] == [15.0, 25.0, 37.5, 50.0, 75.0]


def test_a_style_that_fails_loses_no_data(project, maps, monkeypatch):
    from geodiffrecon_qgis import style

    def fail(*_):
        raise RuntimeError("no such ramp")

    monkeypatch.setattr(style, "renderer_of", fail)
    log = arrive(project, maps)
    assert "its data are complete" in log
    assert len(project.mapLayers()) == 2


def test_a_style_lies_beside_the_map_and_is_found_again(project, maps, tmp_path):
    for name in ("mean.tif", "mean.qml"):
        shutil.copy(maps / name, tmp_path / name)
    layer = core.QgsRasterLayer(str(tmp_path / "mean.tif"), "again")
    items = layer.renderer().shader().rasterShaderFunction().colorRampItemList()
    assert items[0].label.startswith("WHO guideline")
    del layer


def test_the_map_is_painted_where_data_are_and_blank_outside(project, maps, tmp_path):
    arrive(project, maps)
    layer = next(one for one in project.mapLayers().values() if "mean" in one.name())
    assert_painted(layer, tmp_path / "map.png")
    del layer


def values_of(project, statistic="mean"):
    """Return the mean of each map of a statistic in the project, by its name."""
    found = {}
    for layer in project.mapLayers().values():
        if statistic in layer.name():
            (band,) = layer.renderer().usesBands()
            block = layer.dataProvider().block(band, layer.extent(), 32, 32)
            numbers = [block.value(row, column) for row in range(32) for column in range(32)]
            found[layer.name()] = sum(numbers) / len(numbers)
    return found


def overwrite(path, factor, bands):
    """Put another map with so many bands where one lies, as the plugin does."""
    from osgeo import gdal

    source = gdal.Open(str(path))
    draft = path.with_suffix(".draft")
    made = gdal.Translate(str(draft), source, bandList=list(range(1, bands + 1)), format="GTiff")
    for band in range(1, bands + 1):
        values = made.GetRasterBand(band).ReadRaster(buf_type=gdal.GDT_Float64)
        numbers = array.array("d", values)
        scaled = array.array("d", [factor * number for number in numbers])
        made.GetRasterBand(band).WriteRaster(
            0, 0, made.RasterXSize, made.RasterYSize, scaled.tobytes(), buf_type=gdal.GDT_Float64
        )
    del made, source
    os.replace(draft, path)


@pytest.mark.parametrize("bands", [3, 2])
def test_a_second_run_onto_open_maps_shows_the_new_values(project, maps, tmp_path, bands):
    for name in ("mean.tif", "std.tif"):
        shutil.copy(maps / name, tmp_path / name)
    arrive(project, tmp_path)
    before = values_of(project)
    overwrite(tmp_path / "mean.tif", 2, bands)
    overwrite(tmp_path / "std.tif", 2, bands)
    arrive(project, tmp_path, days=DAYS[:bands])
    after = values_of(project)
    assert after == pytest.approx({name: 2 * before[name] for name in sorted(before)[:bands]})
    root = project.layerTreeRoot()
    assert [node.name() for node in root.children()] == ["pm25"]
    assert len(project.mapLayers()) == len(root.findLayers())


def test_without_the_mean_the_first_map_is_visible(project, maps):
    arrive(project, maps, statistics=("std",))
    assert any(node.isVisible() for node in project.layerTreeRoot().findLayers())


def test_bands_whose_times_are_unknown_are_said(project, maps):
    assert "without known times" in arrive(project, maps, days=DAYS[:2])


def test_quantiles_share_the_colours_of_the_mean_also_when_opened_again(qgis, maps, tmp_path):
    from geodiffrecon_qgis.arrival import Look

    path = tmp_path / "q95.tif"
    shutil.copy(maps / "mean.tif", path)
    Look("pm25", "continuous", DAYS, "", {"mean": (12.3, 97.8), "q95": (1, 2)}).save(
        str(path), "q95"
    )
    layer = core.QgsRasterLayer(str(path), "again")
    function = layer.renderer().shader().rasterShaderFunction()
    assert (function.minimumValue(), function.maximumValue()) == (12, 98)
    del layer


def test_styles_can_be_made_beside_the_main_thread(qgis, maps, tmp_path):
    from geodiffrecon_qgis.arrival import Look
    from qgis.PyQt.QtCore import QCoreApplication

    shutil.copy(maps / "mean.tif", tmp_path / "mean.tif")
    look, problems = Look("pm25", "continuous", DAYS, "", RANGES), []

    def work():
        for _ in range(20):
            try:
                look.save(str(tmp_path / "mean.tif"), "mean")
            except Exception as problem:
                problems.append(problem)

    worker = threading.Thread(target=work)
    worker.start()
    while worker.is_alive():
        QCoreApplication.processEvents()
    assert problems == []
