from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS

from geodiffrecon.axes import CFAxes, crs_of, dataset_box, edges, parse_crs
from geodiffrecon.errors import GridMismatch, InvalidParameter, MissingColumn, UnreadableFile
from geodiffrecon.files.netcdf import pick_variable


def dataset(dims=("time", "lat", "lon"), units=("degrees_north", "degrees_east")):
    array = xr.DataArray(np.zeros((2, 3, 4)), dims=dims)
    coords = {dims[1]: [3.0, 2.0, 1.0], dims[2]: [0.5, 1.5, 2.5, 3.5]}
    result = array.to_dataset(name="v").assign_coords(coords)
    result[dims[1]].attrs["units"], result[dims[2]].attrs["units"] = units
    return result


def test_degrees_without_a_mapping_are_epsg_4326_and_said():
    data = dataset()
    crs, notes = crs_of(data, "v", CFAxes.of(data, "v"))
    assert crs == parse_crs("EPSG:4326")
    assert "EPSG:4326 is used" in notes[0]


def test_no_mapping_and_no_degrees_is_no_crs():
    data = dataset(("time", "y", "x"), ("m", "m"))
    assert crs_of(data, "v", CFAxes.of(data, "v")) == (None, [])


def test_a_cf_mapping_without_wkt_is_read():
    data = dataset(("time", "y", "x"), ("m", "m"))
    attrs = {k: v for k, v in CRS("EPSG:32650").to_cf().items() if k != "crs_wkt"}
    data["crs"] = ((), 0, attrs)
    data["v"].attrs["grid_mapping"] = "crs"
    crs, _ = crs_of(data, "v", CFAxes.of(data, "v"))
    assert crs is not None
    assert crs.proj.to_cf()["longitude_of_central_meridian"] == 117


def test_axes_are_found_by_attributes_under_any_name():
    data = dataset(("t", "a", "b"))
    assert CFAxes.of(data, "v") == CFAxes("b", "a", None)
    with pytest.raises(UnreadableFile, match="no x and y coordinates"):
        CFAxes.of(dataset(("t", "a", "b"), ("", "")), "v")


def test_box_of_ascending_rows_is_north_up():
    box, _ = dataset_box(dataset().isel(lat=slice(None, None, -1)), "v")
    assert tuple(box.affine)[:6] == (1, 0, 0, 0, -1, 3.5)


def test_edges_are_the_decimals_that_the_file_means():
    centres = -122.47 + 0.0028125 * (np.arange(32) + 0.5)
    assert edges(centres, "x") == (-122.47, 0.0028125)
    assert edges(centres.astype(np.float32), "x")[0] == pytest.approx(-122.47, abs=1e-4)


def test_irregular_axes_and_single_cells_are_refused():
    with pytest.raises(GridMismatch, match="not regularly spaced"):
        edges(np.array([0.0, 1.0, 3.0]), "x")
    with pytest.raises(GridMismatch, match="has 1 cell"):
        edges(np.array([0.0]), "x")


def test_variable_is_named_stored_or_the_only_one(tmp_path):
    path, data = tmp_path / "f.nc", dataset()
    assert pick_variable(data, None, path) == "v"
    both = data.assign(w=data["v"])
    with pytest.raises(MissingColumn, match=r"map variables: v, w\); name one with --variable"):
        pick_variable(both, None, path)
    with pytest.raises(MissingColumn, match="no variable 'u'"):
        pick_variable(both, "u", path)
    assert pick_variable(both.assign_attrs(value="w"), None, path) == "w"


def test_text_that_is_no_crs_is_refused():
    with pytest.raises(InvalidParameter, match="is not a coordinate reference system"):
        parse_crs("wgs something")
