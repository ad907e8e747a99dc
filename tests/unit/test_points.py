from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import LineString

from geodiffrecon.axes import parse_crs
from geodiffrecon.errors import (
    InvalidParameter,
    InvalidTime,
    MissingColumn,
    MissingCRS,
    UnreadableFile,
)
from geodiffrecon.points import from_geodataframe, read_points

READ = {"value": "pm25", "time": "time"}
ROWS = """station,longitude,latitude,time,pm25
a,115.1,40.1,2024-01-01T08:00+08:00,10
a,115.1,40.1,2024-01-01T01:00+01:00,
b,115.2,,2024-01-01T00:00Z,NaN
c,115.3,40.3,,NULL
d,115.4,40.4,2024-01-01T00:00Z,-999
e,115.5,40.5,2024-01-01T00:00Z,0
"""


def frame():
    return pd.DataFrame(
        {
            "station": list("abc"),
            "lon": [115.1, 115.2, 115.3],
            "lat": [40.1, 40.2, 40.3],
            "time": ["2024-01-01T08:00+08:00", "2024-01-01T00:00Z", "2024-01-01T00:00Z"],
            "pm25": [10.0, np.nan, 30.0],
        }
    )


def geo(crs="EPSG:4326"):
    table = frame()
    return gpd.GeoDataFrame(table, geometry=gpd.points_from_xy(table.lon, table.lat), crs=crs)


def check(table):
    """Assert that a table holds the three rows of `frame`."""
    assert table.crs == parse_crs("EPSG:4326")
    order = np.argsort(table.x)  # FlatGeobuf orders rows in space
    np.testing.assert_allclose(table.x[order], [115.1, 115.2, 115.3])
    np.testing.assert_allclose(table.y[order], [40.1, 40.2, 40.3])
    np.testing.assert_array_equal(table.value[order], [10, np.nan, 30])
    assert (table.time == np.datetime64("2024-01-01T00:00")).all()
    assert table.time.dtype == "datetime64[ns]"


def test_csv_counts_every_kind_of_missing_and_keeps_zero(tmp_path):
    path = tmp_path / "stations.csv"
    path.write_text(ROWS)
    table = read_points(path, **READ)
    assert table.n_rows == 6
    assert table.n_missing_value == 4
    assert table.n_missing_time == 1
    assert table.n_missing_position == 1
    assert table.value[5] == 0
    assert table.missing.tolist() == [False, True, True, True, True, False]
    assert table.time[0] == table.time[1] == np.datetime64("2024-01-01T00:00")
    assert any("EPSG:4326" in note for note in table.notes)
    assert any("-999" in note for note in table.notes)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_tables_with_coordinate_columns(tmp_path, suffix):
    path = tmp_path / f"points{suffix}"
    if suffix == ".parquet":
        frame().to_parquet(path)
    else:
        frame().to_csv(path, index=False)
    check(read_points(path, **READ))


def test_semicolons_and_decimal_commas(tmp_path):
    path = tmp_path / "german.csv"
    path.write_text(
        "lon;lat;time;pm25\n115,1;40,1;2024-01-01 01:00;10\n115,2;40,2;2024-01-01 01:00;\n"
        "115,3;40,3;2024-01-01 01:00;30,0\n"
    )
    check(read_points(path, tz="Europe/Berlin", **READ))


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet", "gpkg"])
def test_station_names_are_text_whatever_the_file(tmp_path, suffix):
    path = tmp_path / f"named.{suffix}"
    named = geo().assign(station=["001", None, " b c "])
    if suffix == "parquet":
        named.to_parquet(path)
    elif suffix == "gpkg":
        named.to_file(path, engine="pyogrio")
    else:
        named.drop(columns="geometry").to_csv(path, index=False)
    table = read_points(path, station="station", **READ)
    assert table.station.tolist() == ["001", "", "b c"]
    assert table.station.dtype.kind == "U"
    assert read_points(path, **READ).station is None
    with pytest.raises(MissingColumn, match="no column 'site'"):
        read_points(path, station="site", **READ)


def test_station_numbers_and_categories_are_names():
    numbers = from_geodataframe(geo().assign(station=[7, 8, 9]), station="station", **READ)
    assert numbers.station.tolist() == ["7", "8", "9"]
    kinds = geo().assign(station=pd.Categorical(["a", None, "a"]))
    assert from_geodataframe(kinds, station="station", **READ).station.tolist() == ["a", "", "a"]
    with pytest.raises(MissingColumn, match="no column 'site'"):
        from_geodataframe(geo(), station="site", **READ)


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".parquet", ".shp", ".fgb"])
def test_files_with_geometry(tmp_path, suffix):
    path = tmp_path / f"points{suffix}"
    if suffix == ".parquet":
        geo().to_parquet(path)
    else:
        geo().to_file(path, engine="pyogrio")
    check(read_points(path, **READ))


def test_typed_times_survive_geopackage(tmp_path):
    table = geo()
    table["time"] = pd.to_datetime(table["time"], utc=True, format="ISO8601")
    table.to_file(tmp_path / "typed.gpkg", engine="pyogrio")
    check(read_points(tmp_path / "typed.gpkg", **READ))


def test_a_missing_geometry_is_a_missing_position(tmp_path):
    table = geo()
    table.loc[1, "geometry"] = None
    table.to_file(tmp_path / "holes.gpkg", engine="pyogrio")
    table.to_parquet(tmp_path / "holes.parquet")
    for name in ("holes.gpkg", "holes.parquet"):
        assert read_points(tmp_path / name, **READ).n_missing_position == 1
    assert from_geodataframe(table, **READ).n_missing_position == 1


def test_points_with_height_and_native_geoparquet(tmp_path):
    table = geo()
    high = table.set_geometry(gpd.points_from_xy(table.lon, table.lat, [1, 2, 3], crs="EPSG:4326"))
    high.to_parquet(tmp_path / "high.parquet")
    table.to_parquet(tmp_path / "native.parquet", geometry_encoding="geoarrow")
    for name in ("high.parquet", "native.parquet"):
        check(read_points(tmp_path / name, **READ))


def test_a_geodataframe_becomes_a_table():
    check(from_geodataframe(geo(), **READ))
    assert from_geodataframe(geo(), value=None, time="time").value is None
    moved = from_geodataframe(geo().to_crs("EPSG:32650"), **READ)
    assert moved.crs == parse_crs("EPSG:32650")


def test_lines_are_no_points(tmp_path):
    table = geo()
    table["geometry"] = [LineString([(0, 0), (1, 1)])] * 3
    table.to_file(tmp_path / "lines.gpkg", engine="pyogrio")
    for read in (
        lambda: read_points(tmp_path / "lines.gpkg", **READ),
        lambda: from_geodataframe(table, **READ),
    ):
        with pytest.raises(InvalidParameter, match="must be points, found a LineString"):
            read()


def write(tmp_path, text):
    path = tmp_path / "p.csv"
    path.write_text(text)
    return path


def test_points_without_a_crs_are_refused(tmp_path):
    path = write(tmp_path, "x,y,time,pm25\n1,2,2024-01-01T00:00Z,3\n")
    with pytest.raises(
        MissingCRS, match=r"p.csv has no CRS \(columns x and y\); give it with --crs.*--crs none"
    ):
        read_points(path, **READ)
    assert read_points(path, crs="none", **READ).crs is None
    assert read_points(path, crs="EPSG:32650", **READ).crs == parse_crs("EPSG:32650")
    with pytest.raises(MissingCRS, match="set_crs"):
        from_geodataframe(geo(crs=None), **READ)


def test_wrong_columns_list_those_that_exist(tmp_path):
    path = write(tmp_path, "lon,lat,time,pm25\n1,2,2024-01-01T00:00Z,3\n")
    with pytest.raises(
        MissingColumn, match=r"no column 'no2'; its columns are lon, lat, time, pm25"
    ):
        read_points(path, value="no2", time="time")
    with pytest.raises(MissingColumn, match="no column 'east'"):
        read_points(path, x="east", y="lat", **READ)
    with pytest.raises(MissingColumn, match="name the coordinate columns"):
        read_points(write(tmp_path, "a,b,time,pm25\n1,2,,3\n"), **READ)
    with pytest.raises(MissingColumn, match="no column 'no2'"):
        from_geodataframe(geo(), value="no2", time="time")
    with pytest.raises(InvalidParameter, match="both --x and --y"):
        read_points(path, x="lon", **READ)


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ("1,2,2024-01-01 00:00,3", InvalidTime, "has no zone"),
        ("1,2,01.02.2024,3", InvalidTime, "'01.02.2024' in 'time' cannot be read"),
        (
            "1,2,2024-01-01T00:00Z,high",
            InvalidParameter,
            "Values of 'pm25' hold 'high' .row 1., which is no number",
        ),
        ("1,2,2024-01-01T00:00Z", UnreadableFile, "no readable CSV"),
        ("west,2,2024-01-01T00:00Z,3", InvalidParameter, "Coordinates 'lon' hold 'west' .row 1."),
    ],
)
def test_bad_rows_give_one_sentence(tmp_path, row, error, message):
    path = write(tmp_path, f"lon,lat,time,pm25\n{row}\n")
    with pytest.raises(error, match=message) as caught:
        read_points(path, **READ)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["absent.csv", "broken.parquet", "broken.gpkg", "empty.csv"])
def test_unreadable_files_give_one_sentence(tmp_path, name):
    if name != "absent.csv":
        (tmp_path / name).write_bytes(b"" if name == "empty.csv" else b"nothing of that kind")
    with pytest.raises(UnreadableFile, match=name) as caught:
        read_points(tmp_path / name, **READ)
    assert "\n" not in str(caught.value)


@pytest.mark.data
def test_the_real_station_file_reads_with_its_holes(data_dir):
    table = read_points(data_dir / "beijing_pm25_stations_public.csv.gz", **READ)
    assert 0.12 < table.n_missing_value / table.n_rows < 0.14
    assert table.n_missing_time == table.n_missing_position == 0


@pytest.mark.parametrize(
    ("shape", "said"),
    [(b"\x01\x08\x00\x00\x00\x03\x00\x00\x00" + bytes(48), "found curves"),
     (b"\x01\x63\x00\x00\x00" + bytes(16), "cannot be read as WKB")],
)  # fmt: skip
def test_curves_and_damaged_geometries(tmp_path, shape, said):
    rows = pd.DataFrame({"time": ["2024-01-01"], "v": [1.0], "geometry": [shape]})
    rows.to_parquet(tmp_path / "a.parquet")
    with pytest.raises((InvalidParameter, UnreadableFile), match=said):
        read_points(tmp_path / "a.parquet", value="v", crs="EPSG:4326")


def test_a_header_that_is_not_in_utf8_is_said_and_not_missed(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("Station;Länge;Breite;time;v\nA;6.9;50.9;2024-03-01;1\n".encode("latin-1"))
    with pytest.raises(UnreadableFile, match="not in UTF-8"):
        read_points(path, value="v", time="time")


def test_columns_of_places_in_spanish_and_italian_are_found(tmp_path):
    for names in ("latitud,longitud", "latitudine,longitudine"):
        (tmp_path / "a.csv").write_text(f"{names},time,v\n40.1,-3.7,2024-03-01T00:00Z,1\n")
        table = read_points(tmp_path / "a.csv", value="v", time="time")
        assert (table.x[0], table.y[0]) == (-3.7, 40.1)
