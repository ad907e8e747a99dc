from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from geodiffrecon.cube import aggregate, fingerprint, make_cube, observed
from geodiffrecon.errors import GridMismatch, InvalidParameter, InvalidTime
from geodiffrecon.grid import NestedGrid


def test_a_cube_says_what_it_is(cube, grid):
    assert cube.pm25.dims == ("time", "latitude", "longitude")
    assert cube.pm25.dtype == np.float32
    assert cube.pm25_n_obs.dtype == np.int32
    assert cube.attrs == {
        "value": "pm25",
        "aggregation": "mean",
        "freq": "1D",
        "calendar_tz": "Asia/Shanghai",
        "level": "fine",
        "factor": 2,
    }
    assert (cube.time_bnds[:, 0] == cube.time).all()
    assert cube.latitude.values[0] > cube.latitude.values[-1]
    assert cube.rio.crs == "EPSG:4326"


def test_local_grids_have_no_spatial_ref(times):
    local = NestedGrid.from_bounds((0, 0, 2, 2), crs=None, shape=(2, 2))
    cube = make_cube(np.zeros((6, 2, 2)), times, local, value="v", level="coarse", freq="24h")
    assert "spatial_ref" not in cube.coords
    assert cube.v.dims == ("time", "y", "x")


def test_mean_pooling_is_over_known_cells(cube):
    coarse = aggregate(cube)
    fine = cube.pm25.values.reshape(6, 3, 2, 4, 2)
    np.testing.assert_allclose(coarse.pm25.values, np.nanmean(fine, axis=(2, 4)), rtol=1e-6)
    assert coarse.pm25_n_obs.values[4, 0, 0] == 3
    assert NestedGrid.of(coarse) == NestedGrid.of(cube)
    assert coarse.attrs["level"] == "coarse"
    assert coarse.pm25.attrs["units"] == "µg/m³"


def test_sum_pooling_keeps_totals_and_misses_blocks_with_holes(cube):
    coarse = aggregate(cube, how="sum")
    whole = cube.pm25.values[0].reshape(3, 2, 4, 2).sum(axis=(1, 3))
    np.testing.assert_allclose(coarse.pm25.values[0], whole, rtol=1e-6)
    assert np.isnan(coarse.pm25.values[4, 0, 0])
    assert coarse.attrs["aggregation"] == "sum"


def test_a_block_of_nothing_is_missing_not_zero(cube):
    empty = cube.copy(deep=True)
    empty["pm25"][2, :2, :2] = np.nan
    assert np.isnan(aggregate(empty).pm25.values[2, 0, 0])


def test_only_fine_cubes_are_pooled(cube):
    with pytest.raises(GridMismatch, match="level 'coarse'"):
        aggregate(aggregate(cube))
    with pytest.raises(GridMismatch, match="cannot be divided by the factor 4"):
        aggregate(cube, factor=4)


def test_fingerprint_follows_values_times_and_grid_only(cube):
    same = cube.copy(deep=True).assign_attrs(notes=["new"])
    assert fingerprint(same) == fingerprint(cube)
    changed = cube.copy(deep=True)
    changed["pm25"][0, 0, 1] += 1
    later = cube.assign_coords(time=cube.time + np.timedelta64(1, "h"))
    assert len({fingerprint(c) for c in (cube, changed, later)}) == 3


def test_fingerprint_does_not_see_the_payload_of_nan(cube):
    other = cube.copy(deep=True)
    bits = other.pm25.values.view(np.uint32)
    bits[np.isnan(other.pm25.values)] = 0x7FC00001
    assert fingerprint(other) == fingerprint(cube)


def test_observed_is_true_where_seen(cube):
    assert int((~observed(cube)).sum()) == 3


def test_bad_parts_are_refused(grid, times):
    build = {"value": "v", "level": "coarse", "freq": "24h"}
    with pytest.raises(GridMismatch, match="shape"):
        make_cube(np.zeros((6, 2, 2)), times, grid, **build)
    with pytest.raises(InvalidTime, match="gap"):
        make_cube(np.zeros((2, 3, 4)), times[[0, 2]], grid, **build)
    with pytest.raises(InvalidParameter, match="Aggregation"):
        make_cube(np.zeros((6, 3, 4)), times, grid, aggregation="max", **build)
    with pytest.raises(InvalidParameter, match="Level"):
        make_cube(np.zeros((6, 3, 4)), times, grid, value="v", level="medium", freq="24h")


def test_a_cube_is_a_plain_dataset(cube):
    assert isinstance(cube, xr.Dataset)
