"""End to end with ``qgis_process``, as a script or a cron line uses it."""

from __future__ import annotations

import os
import subprocess

import pytest
from painting import assert_painted
from paths import PLUGINS, QGIS_PROCESS, SAMPLE, SYSTEM_PATH

core = pytest.importorskip("qgis.core")
pytestmark = [
    pytest.mark.skipif(QGIS_PROCESS is None, reason="no qgis_process"),
    pytest.mark.skipif(not SAMPLE.exists(), reason="no sample data"),
]
URI = (
    f"delimitedtext://file://{SAMPLE}/stations.csv?type=csv&xField=longitude&yField=latitude"
    "&crs=EPSG:4326&detectTypes=yes"
)


@pytest.fixture(scope="module")
def call(qgis, real_engine, home):
    surroundings = {
        "HOME": str(home), "XDG_RUNTIME_DIR": str(home), "PATH": SYSTEM_PATH,
        "QGIS_CUSTOM_CONFIG_PATH": str(home / "process"), "QGIS_PLUGINPATH": str(PLUGINS),
        "QT_QPA_PLATFORM": "offscreen", "OMP_NUM_THREADS": "1",
    }  # fmt: skip

    def call(*arguments, engine=real_engine):
        environ = {**os.environ, **surroundings, "GEODIFFRECON_PYTHON": engine}
        return subprocess.run(
            [QGIS_PROCESS, *arguments], env=environ, capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip

    assert call("plugins", "enable", "geodiffrecon_qgis").returncode == 0
    return call


def reconstruct(call, points, mean, *more, **options):
    return call(
        "run", "geodiffrecon:reconstruct", "--", f"INPUT={points}", "VALUE=pm25", "TIME=time",
        f"MODEL={SAMPLE}/pm25.gdr", "FROM=2023-12-01", "TO=2023-12-03", f"MEAN={mean}", *more,
        **options,
    )  # fmt: skip


def test_the_algorithms_are_listed(call):
    listed = call("list").stdout
    for name in ("reconstruct", "reconstructraster", "train", "evaluate", "bin", "checkengine"):
        assert f"geodiffrecon:{name}\t" in listed


def test_text_and_geopackage_become_the_same_map(call, tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    done = reconstruct(call, URI, folder / "csv.tif")
    assert done.returncode == 0, done.stderr
    assert call("run", "native:savefeatures", "--", f"INPUT={URI}",
                f"OUTPUT={folder}/s.gpkg").returncode == 0  # fmt: skip
    done = reconstruct(call, folder / "s.gpkg", folder / "gpkg.tif", "TZ=Asia/Shanghai")
    assert done.returncode == 0, done.stderr
    assert (folder / "csv.tif").read_bytes() == (folder / "gpkg.tif").read_bytes()
    assert (folder / "csv.qml").exists()
    raster = core.QgsRasterLayer(str(folder / "gpkg.tif"), "map")
    assert raster.isValid()
    assert raster.crs().authid() == "EPSG:4326"
    assert raster.extent() == core.QgsRectangle(115.4, 39.4, 117.5, 41.1)
    assert [raster.bandName(band).split()[-1] for band in (1, 2, 3)] == [
        "2023-12-01", "2023-12-02", "2023-12-03",
    ]  # fmt: skip
    assert_painted(raster, folder / "map.png")
    del raster
    assert times_of(folder / "gpkg.tif") == [
        "2023-11-30T16:00:00Z", "2023-12-01T16:00:00Z", "2023-12-02T16:00:00Z",
    ]  # fmt: skip


def times_of(path):
    """Return the times on the bands, as GDAL reads them."""
    from osgeo import gdal

    dataset = gdal.Open(str(path))
    return [
        dataset.GetRasterBand(i + 1).GetMetadataItem("TIME") for i in range(dataset.RasterCount)
    ]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"engine": "/nowhere/python"}, "/nowhere/python (GEODIFFRECON_PYTHON) does not exist"),
        ({"engine": "/usr/bin/python3"}, "has no geodiffrecon"),
    ],
)
def test_an_engine_that_is_not_there_is_one_sentence(call, tmp_path, more, sentence):
    done = reconstruct(call, URI, tmp_path / "map.tif", **more)
    assert done.returncode != 0
    assert sentence in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_sentence_of_the_engine_ends_the_run(call, tmp_path):
    done = reconstruct(call, URI, tmp_path / "map.tif", "TZ=Nowhere/Town")
    bad = reconstruct(call, URI, tmp_path / "map.tif", "EXTERNAL=/nowhere.csv")
    assert done.returncode in (0, 1)  # a zone is only asked for where times have none
    assert bad.returncode == 1
    assert "/nowhere.csv" in bad.stderr + bad.stdout
    assert "Traceback" not in bad.stderr


def test_check_engine(call):
    fine = call("run", "geodiffrecon:checkengine")
    assert fine.returncode == 0
    assert "Nothing is wrong." in fine.stdout
    missing = call("run", "geodiffrecon:checkengine", engine="")
    assert missing.returncode == 1
    assert "pip install geodiffrecon" in missing.stdout
