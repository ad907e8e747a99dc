from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from worlds import history_cube

from geodiffrecon.cf import read_netcdf, write_netcdf
from geodiffrecon.errors import InvalidParameter
from geodiffrecon.geotiff import write_geotiff
from geodiffrecon.history import open_cube
from geodiffrecon.outputs import provenance, software, whole_files


def test_files_appear_together_at_the_end(tmp_path):
    with whole_files(tmp_path / "new") as draft:
        (draft / "a").write_text("1")
        assert not (tmp_path / "new" / "a").exists()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a"]


def test_a_failure_leaves_old_files_and_no_new_ones(tmp_path):
    (tmp_path / "a").write_text("old")

    def work():
        with whole_files(tmp_path) as draft:
            (draft / "a").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(InvalidParameter, match="choose another --out"), whole_files(tmp_path / "a"):
        pass


def test_provenance_lists_what_is_known():
    maps = xr.Dataset(attrs={"seed": 3, "model_hash": "abc", "geodiffrecon_version": "9"})
    assert provenance(maps) == {"software": "geodiffrecon 9", "model_hash": "abc", "seed": "3"}
    assert provenance(xr.Dataset())["software"] == software()


@pytest.mark.parametrize(
    ("name", "stem"),
    [("PM2.5 (ug/m3)", "PM2.5_ug_m3"), ("a:b*c?", "a_b_c"), ("臭氧 µg", "臭氧_µg"), ("/", "value")],
)
def test_values_of_any_name_are_written(tmp_path, name, stem):
    cube = history_cube(np.ones((2, 4, 4)), factor=2, freq="1D", aggregation="mean")
    named = cube.rename(v=name).assign_attrs(value=name)
    files = write_geotiff(named, tmp_path)
    assert [file.name for file in files] == [f"{stem}_mean.tif"]
    assert open_cube(files[0], factor=2).attrs["value"] == name
    kept = read_netcdf(write_netcdf(named, tmp_path / "a.nc"))
    assert kept.attrs["value"] == stem
    assert kept[stem].attrs["long_name"] == name
