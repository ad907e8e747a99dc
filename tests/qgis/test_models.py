"""The algorithms as steps of a model of the model designer, and in a batch."""

from __future__ import annotations

import pytest
from paths import SAMPLE

core = pytest.importorskip("qgis.core")
pytestmark = pytest.mark.skipif(not SAMPLE.exists(), reason="no sample data")

from test_algorithms import MODEL, Heard, stations  # noqa: E402


def child(identifier, values):
    step = core.QgsProcessingModelChildAlgorithm(identifier)
    for name, value in values.items():
        source = core.QgsProcessingModelChildParameterSource
        found = value if isinstance(value, source) else source.fromStaticValue(value)
        step.addParameterSources(name, [found])
    return step


def test_the_mean_feeds_the_next_step_of_a_model(engine_here, tmp_path):
    source = core.QgsProcessingModelChildParameterSource
    model = core.QgsProcessingModelAlgorithm("chain", "tests")
    points = core.QgsProcessingModelParameter("points")
    model.addModelParameter(core.QgsProcessingParameterFeatureSource("points", "Points"), points)
    first = child("geodiffrecon:reconstruct", {
        "INPUT": source.fromModelParameter("points"), "VALUE": "pm25", "TIME": "time",
        "MODEL": MODEL, "FROM": "2023-12-01", "TO": "2023-12-02",
    })  # fmt: skip
    first.setChildId("maps")
    model.addChildAlgorithm(first)
    second = child("native:rasterlayerstatistics", {
        "INPUT": source.fromChildOutput("maps", "MEAN"), "BAND": 1,
    })  # fmt: skip
    second.setChildId("statistics")
    model.addChildAlgorithm(second)
    context, feedback = core.QgsProcessingContext(), Heard()
    context.setProject(core.QgsProject.instance())
    layer = stations()
    core.QgsProject.instance().addMapLayer(layer)
    results, fine = model.run({"points": layer.id()}, context, feedback)
    core.QgsProject.instance().removeMapLayer(layer.id())
    assert fine, feedback.lines
    assert results["CHILD_RESULTS"]["statistics"]["MEAN"] > 0


def test_a_batch_of_periods(engine_here, tmp_path):
    import processing

    made = []
    for day in ("2023-12-01", "2023-12-02"):
        path = tmp_path / f"{day}.tif"
        processing.run("geodiffrecon:reconstruct", {
            "INPUT": stations(), "VALUE": "pm25", "TIME": "time", "MODEL": MODEL,
            "FROM": day, "TO": day, "MEAN": str(path),
        })  # fmt: skip
        raster = core.QgsRasterLayer(str(path), day)
        made.append((raster.bandCount(), raster.bandName(1).split()[-1]))
        del raster
    assert made == [(1, "2023-12-01"), (1, "2023-12-02")]
