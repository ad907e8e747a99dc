from __future__ import annotations

import json

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geodiffrecon.axes import parse_crs
from geodiffrecon.cube import make_cube
from geodiffrecon.errors import GridMismatch, InvalidParameter, MissingCRS, UnreadableFile
from geodiffrecon.grid import NestedGrid


def test_fine_cells_nest_exactly(grid):
    assert grid.shape == (3, 4)
    assert grid.fine.shape == (6, 8)
    assert NestedGrid.from_fine(grid.fine, 2) == grid
    assert grid.bounds == (115, 39.5, 117, 41)
    assert grid.geographic
    assert grid.dims == ("latitude", "longitude")


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 5), st.data())
def test_each_inside_point_has_one_cell_and_its_coarse_cell_holds_it(rows, cols, factor, data):
    grid = NestedGrid.from_bounds(
        (-1.7, 2.3, 4.4, 9.9), crs=None, shape=(rows, cols), factor=factor
    )
    places = data.draw(st.lists(st.tuples(st.floats(-3, 6), st.floats(1, 12)), min_size=1))
    x, y = np.array(places).T
    row, col, inside = grid.cell_of(x, y, level="fine")
    coarse_row, coarse_col, same = grid.cell_of(x, y, level="coarse")
    assert (inside == same).all()
    assert (row[inside] // factor == coarse_row[inside]).all()
    assert (col[inside] // factor == coarse_col[inside]).all()
    a, _, c, _, e, f = grid.fine.affine[:6]
    slack = 1e-5
    assert (x[inside] >= c + a * (col[inside] - slack)).all()
    assert (x[inside] < c + a * (col[inside] + 1 + slack)).all()
    assert (y[inside] <= f + e * (row[inside] - slack)).all()
    assert (y[inside] > f + e * (row[inside] + 1 + slack)).all()


def test_a_shared_edge_belongs_to_one_cell():
    grid = NestedGrid.from_bounds((-122.47, 37.735, -122.38, 37.81), crs="EPSG:4326", shape=(8, 8))
    edges_x = [-122.47, -122.45875, -122.38]
    row, col, inside = grid.cell_of(edges_x, [37.81] * 3, level="coarse")
    assert col.tolist() == [0, 1, -1]
    assert row.tolist() == [0, 0, -1]
    assert inside.tolist() == [True, True, False]
    south = grid.cell_of([-122.4, np.nan], [37.735, 37.8], level="coarse")
    assert not south[2].any()


def test_resolution_moves_bounds_outward_to_multiples():
    grid = NestedGrid.from_bounds((0.5, 0.5, 7.2, 5), crs="EPSG:32650", resolution=(2, 1), factor=2)
    assert grid.bounds == (0, 0, 8, 5)
    assert grid.shape == (5, 4)
    aligned = NestedGrid.from_bounds((0.3, 0.6, 0.9, 1.2), crs="EPSG:4326", resolution=0.3)
    assert aligned.shape == (2, 2)


def test_dict_round_trip_through_json(grid, metric_grid):
    local = NestedGrid.from_bounds((0, 0, 3, 3), crs="none", shape=(3, 3), factor=4)
    for each in (grid, metric_grid, local):
        assert NestedGrid.from_dict(json.loads(json.dumps(each.to_dict()))) == each


def test_coords_are_centres_north_up_with_cf_attributes(grid, metric_grid):
    coords = grid.coords("coarse")
    assert coords["latitude"][1].tolist() == [40.75, 40.25, 39.75]
    assert coords["latitude"][2]["standard_name"] == "latitude"
    assert metric_grid.coords("fine")["x"][2]["standard_name"] == "projection_x_coordinate"
    assert metric_grid.coords("fine")["x"][2]["units"] == "m"
    assert "spatial_ref" not in NestedGrid.from_bounds((0, 0, 3, 3), crs=None, shape=(3, 3)).coords(
        "coarse"
    )


def test_crop_keeps_whole_coarse_cells(grid):
    part = grid.crop((2, 6), (0, 4))
    assert part.shape == (2, 2)
    assert part.bounds == (115, 39.5, 116, 40.5)
    assert grid.crop((1, 3), (0, 2), level="coarse") == part
    with pytest.raises(GridMismatch, match="multiples of the factor 2"):
        grid.crop((1, 3), (0, 4))
    with pytest.raises(InvalidParameter, match="within 0:6"):
        grid.crop((0, 8), (0, 4))


def test_grid_of_a_cube_at_both_levels(grid, cube):
    assert NestedGrid.of(cube) == grid
    coarse = make_cube(
        np.ones((6, 3, 4)), cube.time.values, grid, value="v", level="coarse", freq="24h"
    )
    assert NestedGrid.of(coarse) == grid
    with pytest.raises(GridMismatch, match="attribute 'value' is missing"):
        NestedGrid.of(cube.assign_attrs().drop_attrs())


def test_a_cropped_cube_has_the_cropped_grid(grid, cube):
    part = cube.isel(latitude=slice(2, 6), longitude=slice(0, 4))
    NestedGrid.of(part).check_same(grid.crop((2, 6), (0, 4)), "the crop")


def test_check_same_shows_both_grids(grid, metric_grid):
    grid.check_same(NestedGrid.from_dict(grid.to_dict()), "itself")
    with pytest.raises(GridMismatch, match=r"grid of the model is 2 × 2 .* but 3 × 4"):
        grid.check_same(metric_grid, "the model")


def test_a_factor_that_does_not_divide_says_what_trim_keeps():
    fine = GeoBox((33, 49), Affine(0.25, 0, -10.125, 0, -0.25, 58.125), "EPSG:4326")
    with pytest.raises(GridMismatch, match=r"add --trim to keep rows 0:32 and columns 0:48"):
        NestedGrid.from_fine(fine, 4)
    with pytest.raises(GridMismatch, match="choose a smaller factor"):
        NestedGrid.from_fine(fine, 40)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bounds": (3, 0, 1, 1)}, "west < east"),
        ({"bounds": (0, 0, 1)}, "west south east north"),
        ({"shape": (0, 2)}, "positive whole numbers"),
        ({"resolution": 1}, "either shape or resolution"),
        ({"shape": None, "resolution": -1}, "must be positive"),
        ({"shape": None, "resolution": 1000, "crs": "EPSG:4326"}, "is in degrees"),
        ({"crs": "EPSG:nonsense"}, "no coordinate reference|is not a coordinate reference"),
        ({"factor": 0}, "at least 1"),
        ({"factor": 1.5}, "at least 1"),
    ],
)
def test_bad_parameters_give_one_sentence(change, message):
    arguments = {"bounds": (0, 0, 1, 1), "crs": "EPSG:32650", "shape": (2, 2)} | change
    with pytest.raises(InvalidParameter, match=message):
        NestedGrid.from_bounds(arguments.pop("bounds"), **arguments)


def test_rotated_grids_are_refused():
    with pytest.raises(InvalidParameter, match="north-up"):
        NestedGrid(GeoBox((2, 2), Affine(1, 0.5, 0, 0, -1, 0), "EPSG:32650"))


def test_like_reads_rasters_and_cubes(tmp_path, grid, cube):
    from geodiffrecon.cf import write_netcdf
    from geodiffrecon.geotiff import write_geotiff

    raster = write_geotiff(cube, tmp_path)[0]
    NestedGrid(grid.fine, 3).check_same(NestedGrid.like(raster, factor=3), "the raster")
    assert NestedGrid.like(write_netcdf(cube, tmp_path / "cube.nc")) == grid
    (tmp_path / "no.tif").write_text("nothing")
    (tmp_path / "no.nc").write_text("nothing")
    for name in ("no.tif", "no.nc"):
        with pytest.raises(UnreadableFile, match=name):
            NestedGrid.like(tmp_path / name)


@pytest.mark.data
def test_like_finds_the_crs_of_axes_in_degrees(data_dir):
    grid = NestedGrid.like(data_dir / "era5_t2m_uk_2019-03.nc")
    assert grid.bounds == (-10.125, 49.875, 2.125, 58.125)
    assert grid.crs == parse_crs("EPSG:4326")
    with pytest.raises(MissingCRS, match="has no CRS"):
        NestedGrid.like(data_dir / "rain_radar_nl.nc")
