"""Inputs are files of this machine that lead nowhere else: every way in refuses the others."""

import os

import numpy as np
import pytest
from typer.testing import CliRunner

import geodiffrecon as gdr
from geodiffrecon.cli import app
from geodiffrecon.errors import GeoDiffReconError
from geodiffrecon.local import local_file

SOURCE = "<SourceFilename>/etc/passwd</SourceFilename>"
RASTER = f'<VRTDataset rasterXSize="2" rasterYSize="2">{SOURCE}</VRTDataset>'
TABLE = f'<?xml version="1.0"?>\n<OGRVRTDataSource>{SOURCE}</OGRVRTDataSource>'
SERVICE = "\ufeff <GDAL_WMS><Service name='TMS'/></GDAL_WMS>"


@pytest.fixture
def odd(tmp_path):
    """Paths that are no local data, by what is said of them."""
    files = {"a.vrt": RASTER, "a.tif": RASTER, "b.csv": TABLE, "c.json": "https://example.org/x",
             "d.tif": SERVICE, "e.geojson": "/vsicurl/http://example.org"}  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    os.mkfifo(tmp_path / "f.csv")
    os.mkfifo(tmp_path / "f.tif")
    return {
        "says where they are": [tmp_path / name for name in files],
        "a pipe or a device": [tmp_path / "f.csv", tmp_path / "f.tif", "/dev/null"],
        "on the network": ["https://example.org/a.tif", "s3://bucket/a.csv"],
        "a place of GDAL": ["/vsicurl/http://example.org/a.tif", "/vsimem/a.csv"],
    }


def ways(path, points):
    given = {"value": "zinc", "crs": "EPSG:4326"}
    yield lambda: gdr.interpolate(path, **given)
    yield lambda: gdr.interpolate(points, clip=path, **given)
    yield lambda: gdr.interpolate(points, covariates=path, **given)
    yield lambda: gdr.open_history(path)
    yield lambda: gdr.read_points(path, value="zinc", crs="EPSG:4326")


@pytest.fixture
def points(tmp_path):
    table = tmp_path / "points.csv"
    rows = "\n".join(f"{k % 5},{k // 5},{k % 7}" for k in range(30))
    table.write_text(f"x,y,zinc\n{rows}\n")
    return table


def test_every_way_in_refuses_what_is_no_local_data(odd, points):
    for because, paths in odd.items():
        for path in paths:
            for way in ways(path, points):
                with pytest.raises(GeoDiffReconError) as told:
                    way()
                assert because in str(told.value), (path, str(told.value))


def test_info_does_not_wait_for_a_pipe(odd):
    for path in odd["a pipe or a device"]:
        ended = CliRunner().invoke(app, ["info", str(path)])
        assert ended.exit_code == 1
        assert "a pipe or a device" in ended.output


def test_ordinary_files_and_folders_pass(tmp_path):
    (tmp_path / "a.kml").write_text('<?xml version="1.0"?><kml/>')
    assert local_file(tmp_path / "a.kml") == tmp_path / "a.kml"
    assert local_file(str(tmp_path)) == tmp_path
    with pytest.raises(GeoDiffReconError, match="check the path of the polygons"):
        local_file(tmp_path / "none", "the polygons")


def declared(path, steps, side, seconds):
    """A small file that declares `steps` maps of side × side cells, `seconds` apart."""
    import netCDF4

    with netCDF4.Dataset(path, "w") as made:
        for name, size in (("time", steps), ("lat", side), ("lon", side)):
            made.createDimension(name, size)
        for name, units in (("lat", "degrees_north"), ("lon", "degrees_east")):
            axis = made.createVariable(name, "f8", (name,))
            axis[:] = np.linspace(1, 60, side)
            axis.units = units
        time = made.createVariable("time", "f8", ("time",))
        time[:] = seconds
        time.units = "seconds since 2020-01-01"
        chunk = (1, min(side, 400), min(side, 400))
        made.createVariable("v", "f4", ("time", "lat", "lon"), zlib=True, chunksizes=chunk)
        if side < 100:
            made["v"][:] = np.random.default_rng(0).random((steps, side, side))
    return path


def test_memory_is_estimated_before_it_is_spent(tmp_path):
    huge = declared(tmp_path / "huge.nc", 3000, 4000, np.arange(3000) * 86400.0)
    gaps = declared(tmp_path / "gaps.nc", 3, 8, [0, 1, 1e9])
    assert max(huge.stat().st_size, gaps.stat().st_size) < 200_000
    for read in (
        lambda: gdr.open_history(huge, crs="EPSG:4326", factor=4),
        lambda: gdr.interpolate(huge, crs="EPSG:4326"),
        lambda: gdr.open_history(gaps, crs="EPSG:4326", factor=4),
    ):
        with pytest.raises(GeoDiffReconError, match="GiB are free"):
            read()
