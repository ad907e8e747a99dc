"""What a file is, by its name and, where the name leaves it open, by its first bytes."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ..errors import UnreadableFile
from ..tables import ARROW_SUFFIXES, CSV_SUFFIXES
from ..vectors import JSON_SUFFIXES

VECTOR_SUFFIXES = {
    ".shp", ".dbf", ".fgb", ".gpx", ".gml", ".kml", ".kmz", ".tab", ".mif", ".pbf", ".xlsx",
    ".ods", ".gpkg", ".sqlite", ".zip",
}  # fmt: skip
POINT_SUFFIXES = CSV_SUFFIXES | ARROW_SUFFIXES | JSON_SUFFIXES | VECTOR_SUFFIXES
NETCDF_SUFFIXES = {".nc", ".nc4", ".cdf", ".h5", ".hdf5", ".he5", ".nc3"}
OWN_DRIVER = {".kea", ".bag", ".hdf"}  # HDF5 that GDAL knows better
SIGNS = (b"CDF\x01", b"CDF\x02", b"CDF\x05", b"\x89HDF")


def holds_points(path: Path) -> bool:
    """Tell whether a file holds points rather than maps.

    Its name tells, but GeoPackages and archives may hold either, so they are looked into; what has
    a header file beside it, such as `a.dat` and `a.hdr`, is a raster of ENVI or ESRI.

    Examples
    --------
    >>> from pathlib import Path
    >>> holds_points(Path("a.csv.gz")), holds_points(Path("a.tif"))
    (True, False)
    """
    found = {suffix.lower() for suffix in path.suffixes[-2:]} & POINT_SUFFIXES
    if not found or not path.is_file():
        return bool(found)
    if path.with_suffix(".hdr").is_file():
        return False
    if path.suffix.lower() == ".zip":
        return _zipped_points(path)
    return path.suffix.lower() != ".gpkg" or _has_layers(path)


def is_zarr(path: Path) -> bool:
    """Tell whether a folder is a Zarr store, which GDAL opens like a file."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


def is_netcdf(path: Path) -> bool:
    """Tell whether a file is NetCDF or HDF5, whatever it is called.

    Raises
    ------
    UnreadableFile
        If it is compressed as a whole.

    Examples
    --------
    >>> from pathlib import Path
    >>> is_netcdf(Path("a.NC")), is_netcdf(Path("a.tif"))
    (True, False)
    """
    if path.suffix.lower() in NETCDF_SUFFIXES:
        return True
    packed = path.suffix.lower() in (".gz", ".zip", ".bz2", ".xz")
    if packed and Path(path.stem).suffix.lower() in NETCDF_SUFFIXES:
        raise UnreadableFile(f"{path.name} is compressed, which NetCDF is read without; unpack it.")
    if path.suffix.lower() in OWN_DRIVER | POINT_SUFFIXES or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in SIGNS


def _zipped_points(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as held:
            inside = {f".{name.rpartition('.')[2].lower()}" for name in held.namelist()}
    except (OSError, zipfile.BadZipFile):
        return True
    return bool(inside & POINT_SUFFIXES) or not inside & {".tif", ".tiff", ".asc", ".img", ".jp2"}


def _has_layers(path: Path) -> bool:
    """Tell whether a GeoPackage has tables of features or plain rows, or only tiles."""
    import sqlite3
    from contextlib import closing

    ask = "SELECT group_concat(data_type) FROM gpkg_contents"
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as opened:
            kinds = str(opened.execute(ask).fetchone()[0] or "").split(",")
    except sqlite3.Error:
        return True
    return not any(kind in ("tiles", "2d-gridded-coverage") for kind in kinds) or bool(
        {"features", "attributes"} & set(kinds)
    )
