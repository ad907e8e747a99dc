"""The algorithms in QGIS's own Python, offscreen, with the real engine and with a fake one."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time

import pytest
from paths import SAMPLE

core = pytest.importorskip("qgis.core")
pytestmark = pytest.mark.skipif(not SAMPLE.exists(), reason="no sample data")

MODEL = str(SAMPLE / "pm25.gdr")
URI = (
    f"file://{SAMPLE}/stations.csv?type=csv&xField=longitude&yField=latitude&crs=EPSG:4326"
    "&detectTypes={detect}"
)
DAYS = {"FROM": "2023-12-01", "TO": "2023-12-03"}
GRID = {"EXTENT": "115.4,117.5,39.4,41.1 [EPSG:4326]", "CRS": "EPSG:4326"}


def stations(detect="yes"):
    layer = core.QgsVectorLayer(URI.format(detect=detect), "stations", "delimitedtext")
    assert layer.isValid()
    return layer


def december(*, nulls=False, crs="EPSG:4326", first="2023-11-28"):
    """Return a memory layer of the days up to the third of December, time as text."""
    layer = core.QgsVectorLayer(
        f"Point?crs={crs}&field=station:string&field=time:string&field=pm25:double",
        "december", "memory",
    )  # fmt: skip
    known = core.QgsCoordinateReferenceSystem(crs)
    to = core.QgsCoordinateTransform(
        core.QgsCoordinateReferenceSystem("EPSG:4326"), known, core.QgsProject.instance()
    )
    rows = []
    with open(SAMPLE / "stations.csv", encoding="utf-8") as file:
        next(file)
        for line in file:
            station, x, y, stamp, value = line.rstrip("\n").split(",")
            if first <= stamp[:10] <= "2023-12-03":
                rows.append((station, float(x), float(y), stamp, value))
    features = []
    for number, (station, x, y, stamp, value) in enumerate(rows):
        feature = core.QgsFeature(layer.fields())
        feature.setAttributes([station, stamp, float(value) if value else None])
        if nulls and number % 7 == 0:
            feature.setAttribute("pm25", core.NULL)
        if nulls and number % 11 == 0:
            feature.setAttribute("time", core.NULL)
        if not (nulls and number % 13 == 0):
            point = to.transform(core.QgsPointXY(x, y))
            feature.setGeometry(core.QgsGeometry.fromPointXY(point))
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    return layer


class Heard(core.QgsProcessingFeedback):
    """Keeps what it hears, and cancels when told so."""

    def __init__(self, cancel_at=None):
        super().__init__(False)
        self.lines, self.errors, self.cancel_at, self.canceled_at = [], [], cancel_at, 0.0

    def pushInfo(self, info):
        self.lines.append(info)

    def reportError(self, error, fatalError=False):
        self.errors.append(error)

    def setProgressText(self, text):
        self.lines.append(text)
        if self.cancel_at and self.cancel_at in text:
            threading.Timer(2, self.stop).start()

    def stop(self):
        self.canceled_at = time.monotonic()
        self.cancel()


def run(algorithm, parameters, feedback=None, context=None):
    """Run as QGIS does: check, then run; return results or raise."""
    context = context or core.QgsProcessingContext()
    context.setProject(core.QgsProject.instance())
    found = core.QgsApplication.processingRegistry().algorithmById(f"geodiffrecon:{algorithm}")
    fresh = found.create()
    fine, message = fresh.checkParameterValues(parameters, context)
    assert fine, message
    feedback = feedback or Heard()
    results, fine = fresh.run(parameters, context, feedback)
    if not fine:
        raise RuntimeError("\n".join([*feedback.errors, *feedback.lines]))
    return results


def refusal(algorithm, parameters):
    """Return the sentence with which parameters are refused."""
    context = core.QgsProcessingContext()
    context.setProject(core.QgsProject.instance())
    found = core.QgsApplication.processingRegistry().algorithmById(f"geodiffrecon:{algorithm}")
    fine, message = found.create().checkParameterValues(parameters, context)
    assert not fine
    assert "Traceback" not in message
    return message


def children():
    """Return the engines that work in folders of this process and are alive."""
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    ours = os.path.join(tempfile.gettempdir(), "geodiffrecon-")
    return [line for line in found.stdout.splitlines() if ours in line and "ps -eo" not in line]


def basics(layer, path, **more):
    return {"INPUT": layer, "VALUE": "pm25", "TIME": "time", "MODEL": MODEL, "MEAN": str(path),
            **DAYS, **more}  # fmt: skip


def test_all_six_are_there_with_help_for_every_parameter(qgis):
    provider = core.QgsApplication.processingRegistry().providerById("geodiffrecon")
    found = {algorithm.name(): algorithm for algorithm in provider.algorithms()}
    assert set(found) == {
        "reconstruct", "reconstructraster", "train", "evaluate", "bin", "checkengine",
    }  # fmt: skip
    for algorithm in found.values():
        assert algorithm.shortHelpString()
        for parameter in algorithm.parameterDefinitions():
            assert parameter.help() or parameter.isDestination(), parameter.name()


@pytest.mark.parametrize("form", ["csv with types", "csv as text", "memory", "another CRS"])
def test_points_of_every_kind_become_maps(engine_here, tmp_path, form):
    layer = {
        "csv with types": lambda: stations("yes"),
        "csv as text": lambda: stations("no"),
        "memory": december,
        "another CRS": lambda: december(crs="EPSG:32650"),
    }[form]()
    results = run("reconstruct", basics(layer, tmp_path / "map.tif"))
    raster = core.QgsRasterLayer(results["MEAN"], "map")
    assert raster.isValid()
    assert raster.bandCount() == 3
    assert raster.crs().authid() == "EPSG:4326"
    assert raster.bandName(1).endswith("pm25 mean 2023-12-01")
    assert (tmp_path / "map.qml").exists()
    assert not (tmp_path / "map.tif.aux.xml").exists()
    del raster


def test_nulls_are_counted_not_zero(engine_here, tmp_path):
    feedback = Heard()
    run("reconstruct", basics(december(nulls=True), tmp_path / "map.tif"), feedback)
    missing = next(line for line in feedback.lines if line.startswith("Points missing"))
    assert int(missing.split()[-1]) > 60


def test_a_filter_and_a_selection_of_the_layer_count(engine_here, tmp_path):
    layer, feedback = stations(), Heard()
    assert layer.setSubsetString("station < 'S10' and time > '2023-11-20'")
    layer.selectByExpression("station < 'S05'")
    number = layer.selectedFeatureCount()
    assert 0 < number < layer.featureCount()
    core.QgsProject.instance().addMapLayer(layer)
    chosen = core.QgsProcessingFeatureSourceDefinition(layer.id(), True)
    run("reconstruct", basics(chosen, tmp_path / "map.tif"), feedback)
    counts = {line.split(":")[0]: int(line.split()[-1]) for line in feedback.lines
              if line.startswith("Points ")}  # fmt: skip
    assert sum(counts.values()) == number
    core.QgsProject.instance().removeMapLayer(layer.id())


def test_zones_survive_typed_and_text_times(engine_here, tmp_path):
    made = []
    for detect in ("yes", "no"):
        path = tmp_path / f"{detect}.tif"
        run("reconstruct", basics(stations(detect), path))
        made.append(path.read_bytes())
    assert made[0] == made[1]


@pytest.fixture(scope="module")
def sampling_model(qgis, real_engine, tmp_path_factory):
    """Return a model that samples every map, step by step: seconds of training, slow maps."""
    path = tmp_path_factory.mktemp("model") / "paper.gdr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEODIFFRECON_PYTHON", real_engine)
        run("train", {"HISTORY": str(SAMPLE / "truth.nc"), "VARIABLE": "pm25", "FACTOR": 4,
                      "PRESET": "paper", "MINUTES": 0.05, "UNTIL": "2023-09-01",
                      "CALENDAR_TZ": "Asia/Shanghai", "MODEL": str(path)})  # fmt: skip
    return str(path)


@pytest.mark.parametrize("algorithm", ["reconstruct", "train"])
def test_cancel_leaves_no_process_and_no_file(engine_here, sampling_model, tmp_path, algorithm):
    parameters, moment = {
        "reconstruct": (
            basics(stations(), tmp_path / "map.tif", STD=str(tmp_path / "std.tif"), SAMPLES=20,
                   MODEL=sampling_model, TO="2023-12-31", NETCDF=str(tmp_path / "all.nc")),
            "Drawing",
        ),
        "train": (
            {"HISTORY": str(SAMPLE / "truth.nc"), "VARIABLE": "pm25", "FACTOR": 4,
             "PRESET": "tiny", "MINUTES": 0.5, "CALENDAR_TZ": "Asia/Shanghai",
             "MODEL": str(tmp_path / "m.gdr")},
            "Diffusion completion",
        ),
    }[algorithm]  # fmt: skip
    feedback = Heard(moment)
    with pytest.raises(RuntimeError):
        run(algorithm, parameters, feedback)
    assert feedback.canceled_at
    assert time.monotonic() - feedback.canceled_at < 2
    assert list(tmp_path.iterdir()) == []
    time.sleep(0.2)
    assert children() == []


class TestRefusals:
    """Each one clear sentence before the engine starts."""

    def test_no_engine(self, qgis, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", "/nowhere")
        layer = december()
        assert "No geodiffrecon engine" in refusal("reconstruct", basics(layer, tmp_path / "a.tif"))
        found = core.QgsApplication.processingRegistry().algorithmById("geodiffrecon:train")
        fine, message = found.canExecute()
        assert not fine
        assert "Check engine" in message

    @pytest.mark.parametrize(("mode", "sentence"), [("old", "0.0.9"), ("broken", "is broken")])
    def test_an_unfit_engine(self, qgis, fake, tmp_path, monkeypatch, mode, sentence):
        monkeypatch.setenv("GEODIFFRECON_PYTHON", str(fake))
        monkeypatch.setenv("FAKE", mode)
        assert sentence in refusal("reconstruct", basics(december(), tmp_path / "a.tif"))

    def test_the_sentence_of_the_engine_reaches_the_user(self, qgis, fake, tmp_path, monkeypatch):
        monkeypatch.setenv("GEODIFFRECON_PYTHON", str(fake))
        monkeypatch.setenv("FAKE", "error")
        feedback = Heard()
        with pytest.raises(RuntimeError):
            run("reconstruct", basics(december(), tmp_path / "a.tif"), feedback)
        assert feedback.errors == ["Times have no zone; give it with «Time zone of times without "
                                   "one»."]  # fmt: skip
        assert list(tmp_path.glob("*.tif")) == []

    def test_a_library_of_the_engine_that_is_broken(self, qgis, real_engine, tmp_path, monkeypatch):
        broken = tmp_path / "broken"
        broken.mkdir()
        (broken / "torch.py").write_text("raise ImportError('libtorch_cpu.so: no such file')")
        program = tmp_path / "geodiffrecon"
        program.write_text(
            f'#!/bin/sh\nPYTHONPATH={broken} exec {real_engine} -m geodiffrecon "$@"'
        )
        program.chmod(0o755)
        monkeypatch.setenv("GEODIFFRECON_PYTHON", str(program))
        feedback = Heard()
        with pytest.raises(RuntimeError):
            run("reconstruct", basics(december(), tmp_path / "a.tif"), feedback)
        (sentence,) = feedback.errors
        assert sentence.startswith("The Python environment of geodiffrecon is broken (libtorch_cpu")
        feedback = Heard()
        with pytest.raises(RuntimeError):
            run("checkengine", {}, feedback)
        assert any("torch cannot be used (libtorch_cpu" in line for line in feedback.errors)

    def test_a_read_only_folder(self, engine_here):
        message = refusal("reconstruct", basics(december(), "/proc/none/map.tif"))
        assert "/proc cannot be written to" in message

    def test_two_outputs_in_one_place(self, engine_here, tmp_path):
        path = tmp_path / "map.tif"
        message = refusal("reconstruct", basics(december(), path, STD=str(path)))
        assert message.startswith("«Mean map» and «Error map (standard deviation)» would both be")

    def test_an_output_in_place_of_an_input(self, engine_here, tmp_path):
        options = core.QgsVectorFileWriter.SaveVectorOptions()
        core.QgsVectorFileWriter.writeAsVectorFormatV3(
            december(), str(tmp_path / "p.gpkg"), core.QgsCoordinateTransformContext(), options
        )
        points = core.QgsVectorLayer(str(tmp_path / "p.gpkg"), "p")
        chosen = basics(points, tmp_path / "map.tif", NETCDF=str(tmp_path / "p.gpkg"))
        assert "is read as «Points»" in refusal("reconstruct", chosen)
        chosen = basics(points, tmp_path / "map.tif", NETCDF=f"{MODEL}/config.json")
        assert "is read as «Model»" in refusal("reconstruct", chosen)
        chosen = {"MODEL": MODEL, "HISTORY": str(SAMPLE / "truth.nc"), "VARIABLE": "pm25",
                  "REPORT": f"{SAMPLE}/./truth.nc"}  # fmt: skip
        assert "is read as «Fine maps" in refusal("evaluate", chosen)
        del points

    @pytest.mark.parametrize(
        ("more", "sentence"),
        [({"EXCEED": "35"}, "choose the folder"), ({"SAMPLES": 8}, "kept in the NetCDF"),
         ({"EXCEED": "many", "FOLDER": "x"}, "'many' is no threshold")],
    )  # fmt: skip
    def test_work_whose_result_would_be_lost(self, engine_here, tmp_path, more, sentence):
        assert sentence in refusal("reconstruct", basics(december(), tmp_path / "a.tif", **more))

    def test_points_for_a_model_of_maps(self, engine_here, tmp_path):
        parameters = {"MODEL": MODEL, "INPUT": december(), "VALUE": "pm25", "TIME": "time",
                      "REPORT": str(tmp_path / "r.html")}  # fmt: skip
        assert "This is a model of fine maps; give fine maps" in refusal("evaluate", parameters)

    def test_maps_with_another_grid(self, engine_here, tmp_path):
        parameters = {"HISTORY": str(SAMPLE / "truth.nc"), "MODEL": str(tmp_path / "m"), **GRID}
        assert "bring their own grid" in refusal("train", parameters)

    def test_points_elsewhere(self, engine_here, tmp_path):
        layer = december(crs="EPSG:32650")
        layer.setCrs(core.QgsCoordinateReferenceSystem("EPSG:32633"))
        assert "outside the model's grid" in refusal(
            "reconstruct", basics(layer, tmp_path / "map.tif")
        )

    def test_points_without_crs(self, engine_here, tmp_path):
        layer = december()
        layer.setCrs(core.QgsCoordinateReferenceSystem())
        assert "no coordinate reference system" in refusal(
            "reconstruct", basics(layer, tmp_path / "map.tif")
        )

    def test_a_time_field_of_numbers(self, engine_here, tmp_path):
        assert "holds numbers" in refusal(
            "reconstruct", basics(december(), tmp_path / "map.tif", TIME="pm25")
        )

    @pytest.mark.parametrize("role", ["VALUE", "TIME", "STATION"])
    def test_a_field_that_is_not_there(self, engine_here, tmp_path, role):
        message = refusal("reconstruct", basics(december(), tmp_path / "m.tif", **{role: "gone"}))
        assert message == (
            f"The point layer has no field gone for the {role.lower()}; it has station, time, pm25."
        )

    def test_no_model(self, engine_here, tmp_path):
        parameters = basics(december(), tmp_path / "map.tif", MODEL=str(tmp_path))
        assert "is no model" in refusal("reconstruct", parameters)

    @pytest.mark.parametrize(
        ("first", "last", "sentence"),
        [("yesterday", "", "give a time such as"), ("2023-13-45", "", "give a time such as"),
         ("2023-12-01", "", "both"),
         ("2023-12-03", "2023-12-01", "later than")],
    )  # fmt: skip
    def test_a_period_that_is_none(self, engine_here, tmp_path, first, last, sentence):
        parameters = basics(december(), tmp_path / "map.tif", FROM=first, TO=last)
        assert sentence in refusal("reconstruct", parameters)

    @pytest.mark.parametrize(
        ("grid", "sentence"),
        [
            ({"RESOLUTION": 1000}, "is in degrees"),
            ({"RESOLUTION": 0.00001}, "GB per time"),
            ({"RESOLUTION": 0.5, "CRS": "EPSG:32650"}, "GB per time"),
            ({"ROWS": 8}, "both coarse rows"),
            ({"ROWS": 8, "RESOLUTION": 0.5}, "both coarse rows"),
            ({"RESOLUTION": 1e-310}, "too small"),
            ({"RESOLUTION": float("nan")}, "give a positive one"),
        ],
    )
    def test_a_grid_that_cannot_be(self, engine_here, tmp_path, grid, sentence):
        parameters = {"INPUT": december(), "VALUE": "pm25", "TIME": "time", "FREQ": "1D", **GRID,
                      "OUTPUT": str(tmp_path / "cube.nc"), **grid}  # fmt: skip
        assert sentence in refusal("bin", parameters)


def test_points_to_cube_to_complete_maps(engine_here, tmp_path):
    cube = {"INPUT": december(), "VALUE": "pm25", "TIME": "time", "FREQ": "1D", "ROWS": 8,
            "COLS": 8, "CALENDAR_TZ": "Asia/Shanghai", **GRID,
            "OUTPUT": str(tmp_path / "cube.nc")}  # fmt: skip
    found = run("bin", cube)["OUTPUT"]
    raster = core.QgsRasterLayer(f'NETCDF:"{found}":pm25', "cube")
    assert raster.isValid()
    results = run(
        "reconstructraster",
        {"INPUT": raster, "MODEL": MODEL, "MEAN": str(tmp_path / "map.tif"), **DAYS},
    )
    made = core.QgsRasterLayer(results["MEAN"], "map")
    assert made.bandCount() == 3
    del raster, made


def test_more_times_than_a_year_are_one_raster(engine_here, tmp_path):
    feedback = Heard()
    results = run(
        "reconstruct",
        basics(stations(), tmp_path / "map.tif", FROM="2022-01-01", TO="2023-12-31"), feedback,
    )  # fmt: skip
    raster = core.QgsRasterLayer(results["MEAN"], "map")
    assert raster.bandCount() == 730
    assert raster.bandName(730).endswith("2023-12-31")
    del raster


def test_a_crs_that_only_this_qgis_has_a_number_for(engine_here, tmp_path):
    crs = core.QgsCoordinateReferenceSystem()
    assert crs.createFromProj("+proj=laea +lat_0=40 +lon_0=116 +datum=WGS84 +units=m")
    crs.saveAsUserCrs("Around Beijing")
    found = run("bin", {
        "INPUT": december(), "VALUE": "pm25", "TIME": "time", "FREQ": "1D", "ROWS": 4, "COLS": 4,
        "EXTENT": "-80000,80000,-80000,80000", "CRS": crs, "OUTPUT": str(tmp_path / "cube.nc"),
    })["OUTPUT"]  # fmt: skip
    raster = core.QgsRasterLayer(f'NETCDF:"{found}":pm25', "cube")
    assert "Lambert_Azimuthal" in raster.crs().toWkt().replace(" ", "_")
    del raster


def test_temporary_outputs_are_where_the_results_say(engine_here, tmp_path):
    results = run("reconstruct", basics(december(), "TEMPORARY_OUTPUT", FOLDER="TEMPORARY_OUTPUT",
                                        NETCDF="TEMPORARY_OUTPUT"))  # fmt: skip
    assert set(results) == {"MEAN", "FOLDER", "NETCDF"}
    assert all(os.path.exists(path) for path in results.values())
    assert "pm25_std.tif" in os.listdir(results["FOLDER"])


def test_layers_are_styled_however_their_path_is_written(engine_here, tmp_path):
    path = f"{tmp_path}/./map.tif"
    context = core.QgsProcessingContext()
    target = core.QgsProcessingOutputLayerDefinition(path, core.QgsProject.instance())
    run("reconstruct", basics(december(), path, MEAN=target), context=context)
    assert context.layerToLoadOnCompletionDetails(path).postProcessor() is not None


def test_a_field_whose_name_has_blanks_around_it(engine_here, tmp_path):
    layer = december()
    layer.startEditing()
    layer.renameAttribute(layer.fields().lookupField("pm25"), "pm25 ")
    layer.commitChanges()
    assert run("reconstruct", basics(layer, tmp_path / "map.tif", VALUE="pm25 "))["MEAN"]


def test_a_raster_whose_crs_is_set_on_its_layer(engine_here, tmp_path):
    from osgeo import gdal

    cube = {"INPUT": december(), "VALUE": "pm25", "TIME": "time", "FREQ": "1D", "ROWS": 8,
            "COLS": 8, "CALENDAR_TZ": "Asia/Shanghai", **GRID,
            "OUTPUT": str(tmp_path / "cube.nc")}  # fmt: skip
    source = gdal.Open(f'NETCDF:"{run("bin", cube)["OUTPUT"]}":pm25')
    path = str(tmp_path / "bare.tif")
    made = gdal.Translate(path, source, format="GTiff")
    made.SetProjection("")
    for band, day in enumerate(("11-28", "11-29", "11-30", "12-01", "12-02", "12-03"), start=1):
        made.GetRasterBand(band).SetDescription(f"pm25 2023-{day}")
    del made, source
    layer = core.QgsRasterLayer(path, "bare")
    layer.setCrs(core.QgsCoordinateReferenceSystem("EPSG:4326"))
    results = run("reconstructraster", {"INPUT": layer, "MODEL": MODEL, **DAYS,
                                        "MEAN": str(tmp_path / "map.tif")})  # fmt: skip
    assert os.path.exists(results["MEAN"])
    del layer


def test_train_use_and_evaluate_a_model_of_stations(engine_here, tmp_path):
    model = run("train", {
        "INPUT": stations(), "VALUE": "pm25", "TIME": "time", "STATION": "station", "ROWS": 8,
        "COLS": 8, "FACTOR": 4, "FREQ": "1D", "CALENDAR_TZ": "Asia/Shanghai", "PRESET": "tiny",
        "UNTIL": "2023-09-01", "MINUTES": 0.05, **GRID, "MODEL": str(tmp_path / "m.gdr"),
    })["MODEL"]  # fmt: skip
    results = run("reconstruct", basics(
        december(), tmp_path / "map.tif", MODEL=model, EXCEED="35", FOLDER=str(tmp_path / "all"),
    ))  # fmt: skip
    assert (tmp_path / "all" / "pm25_exceed_35.tif").exists()
    assert (tmp_path / "all" / "pm25_exceed_35.qml").exists()
    assert os.path.exists(results["MEAN"])
    layer = december(first="2022-01-01")
    layer.startEditing()
    layer.renameAttribute(layer.fields().lookupField("pm25"), "fine dust")
    layer.commitChanges()
    found = run("evaluate", {
        "MODEL": model, "INPUT": layer, "VALUE": "fine dust", "TIME": "time", "STATION": "station",
        "FOLDS": 2, "MINUTES": 0.05, "SAMPLES": 8, "FROM": "2023-12-01",
        "REPORT": str(tmp_path / "report.html"), "SCORES": str(tmp_path / "scores.json"),
    })  # fmt: skip
    assert set(found) == {"REPORT", "SCORES"}
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")[:500].lower()


def test_evaluate_writes_a_report(engine_here, tmp_path):
    results = run("evaluate", {
        "MODEL": MODEL, "HISTORY": str(SAMPLE / "truth.nc"), "VARIABLE": "pm25", "MASKS": 1,
        "PATTERN": "random", "SAMPLES": 8, **DAYS, "REPORT": str(tmp_path / "report.html"),
    })  # fmt: skip
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")[:500].lower()
    assert list(results) == ["REPORT"]


def test_check_engine_says_version_and_path(engine_here):
    results = run("checkengine", {})
    assert results["PYTHON"] == engine_here
    assert results["VERSION"][0].isdigit()
