from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geodiffrecon.errors import InvalidParameter, MissingColumn, MissingCRS, UnreadableFile
from geodiffrecon.sampling import read_places, values_at


@pytest.fixture
def maps(cube):
    """Return maps with an error beside the mean."""
    return cube.assign(pm25_std=cube["pm25"] * 0.1, pm25_q95=cube["pm25"] * 1.2)


def places_of(folder, text, **options):
    path = folder / "places.csv"
    path.write_text(text, encoding="utf-8")
    return read_places(path, **options)


def test_rows_keep_their_text(tmp_path):
    places = places_of(tmp_path, "id;lon;lat\n007;115.1;40.9\nNA;;40\n")
    assert list(places.rows["id"]) == ["007", "NA"]
    assert np.isnan(places.x[1])
    assert "EPSG:4326" in places.notes[0]


def test_each_row_comes_once_a_time_with_its_cell(tmp_path, maps):
    found, outside = values_at(maps, places_of(tmp_path, "id,lon,lat\na,115.1,40.9\nb,9,9\n"))
    assert outside == 1
    assert list(found["id"]) == ["a", "b"] * 6
    assert found["time"].iloc[0] == "2024-01-01T00:00+08:00"
    mean = found.loc[found["id"] == "a", "pm25_mean"]
    np.testing.assert_array_equal(mean, maps["pm25"].values[:, 0, 0])
    assert list(found.columns) == ["id", "lon", "lat", "time", "pm25_mean", "pm25_std", "pm25_q95"]
    assert found.loc[found["id"] == "b", ["pm25_mean", "pm25_std"]].isna().all(axis=None)


def test_columns_of_the_file_are_never_overwritten(tmp_path, maps):
    found, _ = values_at(maps, places_of(tmp_path, "time,pm25_mean,lon,lat\nnoon,x,115.1,40.9\n"))
    assert set(found["time"]) == {"noon"}
    assert set(found["pm25_mean"]) == {"x"}
    assert {"map_time", "map_pm25_mean", "pm25_std"} <= set(found.columns)


def test_points_are_projected(tmp_path, maps):
    from pyproj import Transformer

    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32650", always_xy=True).transform(115.1, 40.9)
    text = f"id,e,n\na,{x},{y}\n"
    found, outside = values_at(maps, places_of(tmp_path, text, x="e", y="n", crs="EPSG:32650"))
    assert outside == 0
    np.testing.assert_array_equal(found["pm25_mean"], maps["pm25"].values[:, 0, 0])


def test_local_metres_do_not_fit_a_map_with_a_crs(tmp_path, maps):
    with pytest.raises(MissingCRS, match="--crs"):
        values_at(maps, places_of(tmp_path, "x,y\n1,2\n", crs="none"))


@pytest.mark.parametrize(
    ("text", "options", "error"),
    [
        ("a,b\n1,2\n", {}, MissingColumn),
        ("x,y\n1,2\n", {}, MissingCRS),
        ("x,y\n1,2\n", {"x": "x"}, InvalidParameter),
    ],
)
def test_mistakes_are_said(text, options, error, tmp_path):
    with pytest.raises(error):
        places_of(tmp_path, text, **options)


def test_only_existing_csv_files_are_read(tmp_path):
    with pytest.raises(UnreadableFile):
        read_places(tmp_path / "none.csv")
    (tmp_path / "a.gpkg").write_bytes(b"")
    with pytest.raises(InvalidParameter, match="CSV"):
        read_places(Path(tmp_path / "a.gpkg"))
