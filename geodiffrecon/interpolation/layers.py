"""Polygons and rasters that a map is told about: where to map, and what the field may follow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidParameter, MissingCRS, NoObservations, UnreadableFile
from ..files.layer import open_layer
from ..local import local_file

if TYPE_CHECKING:
    from collections.abc import Callable

    import geopandas as gpd
    from numpy.typing import NDArray
    from odc.geo.crs import CRS
    from odc.geo.geobox import GeoBox

    from ..grid import NestedGrid

    Array = NDArray[np.float64]
    Function = Callable[[Array, Array], Array]


def polygons(source: Any, crs: CRS | None, *, option: str) -> gpd.GeoDataFrame:
    """Return the polygons of a frame or file in `crs`.

    Parameters
    ----------
    source : GeoDataFrame, GeoSeries, geometry, str or Path
        Polygons; a bare geometry is in `crs`.
    crs : CRS or None
        Wanted; None means local metres.
    option : str
        What the user calls them, for messages.

    Raises
    ------
    UnreadableFile, InvalidParameter, MissingCRS
        One sentence that says what to do.
    """
    import geopandas

    wkt = None if crs is None else crs.to_wkt()
    if isinstance(source, str | Path):
        source = _read(Path(source), option)
    elif hasattr(source, "geom_type") and isinstance(source.geom_type, str):
        source = geopandas.GeoDataFrame(geometry=[source], crs=wkt)
    frame = geopandas.GeoDataFrame(geometry=source) if not hasattr(source, "columns") else source
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    kinds = set(frame.geom_type) - {"Polygon", "MultiPolygon"}
    if kinds or not len(frame):
        found = f"a {kinds.pop()}" if kinds else "nothing"
        raise InvalidParameter(f"{option} needs polygons, found {found}; give a polygon layer.")
    if (frame.crs is None) != (crs is None):
        raise MissingCRS(
            f"The polygons of {option} are in {frame.crs or 'no CRS'}, the readings in "
            f"{crs or 'local metres'}; give both a CRS."
        )
    return frame if crs is None else frame.to_crs(wkt)


def _read(path: Path, option: str) -> gpd.GeoDataFrame:
    import geopandas

    path = local_file(path, option)
    try:
        if path.suffix.lower() in {".parquet", ".geoparquet", ".pq"}:
            return geopandas.read_parquet(path)
        return geopandas.read_file(path)
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else repr(error)
        raise UnreadableFile(f"{path} cannot be read as polygons ({reason}).") from error


def clip_shape(source: Any, crs: CRS | None) -> Any:
    """Return one geometry of all polygons, in `crs`."""
    return polygons(source, crs, option="--clip").union_all()


def inside_of(grid: NestedGrid, shape: Any, crs: CRS | None) -> NDArray[np.bool_]:
    """Return the cells (rows, cols) whose centres lie in `shape`, which is in `crs`.

    Raises
    ------
    NoObservations
        If there is none.
    """
    import shapely

    x, y = centres(grid, crs)
    inside = np.asarray(shapely.contains_xy(shape, x, y)).reshape(grid.shape)
    if not inside.any():
        raise NoObservations(
            "No cell has its centre in the polygons of --clip; give smaller cells with "
            "--resolution, or check the CRS of the polygons."
        )
    return inside


def centres(grid: NestedGrid, crs: CRS | None) -> tuple[Array, Array]:
    """Return x and y (rows · cols,) of all cells of the coarse level, in `crs`."""
    a, _, west, _, e, north = grid.coarse.affine[:6]
    rows, cols = grid.shape
    y, x = np.meshgrid(
        north + e * (np.arange(rows) + 0.5), west + a * (np.arange(cols) + 0.5), indexing="ij"
    )
    x, y = x.ravel(), y.ravel()
    if crs is None or grid.crs is None or crs == grid.crs:
        return x, y
    from pyproj import Transformer

    return Transformer.from_crs(grid.crs.proj, crs.proj, always_xy=True).transform(x, y)


def covariate_functions(
    sources: Any, crs: CRS | None, say: Callable[[str], None]
) -> tuple[tuple[str, Function], ...]:
    """Return what reads rasters at places of `crs`; unknown cells are NaN.

    Of categories it is the share of each class but the most common.
    """
    if sources is None:
        return ()
    listed = [sources] if isinstance(sources, str | Path) else list(sources)
    return tuple(function for source in listed for function in _of_raster(Path(source), crs, say))


def _of_raster(
    path: Path, crs: CRS | None, say: Callable[[str], None]
) -> list[tuple[str, Function]]:
    layer = open_layer(path, option="--covariates", local=crs is None, categories=True)
    for note in layer.notes:
        say(note)
    if layer.classes is None:
        say(f"The field may follow {path.name}; where it has no value its average stands.")
        return [(path.stem, sampler(layer.values, layer.box, crs, f"The covariate {path.name}"))]
    shares = layer.shares()
    common = max(shares, key=lambda name: float(np.nansum(shares[name])), default="")
    others = {name: share for name, share in shares.items() if name != common}
    say(
        f"{path.name} holds categories; the field may follow the shares of "
        f"{', '.join(others) or 'none'}, beside {common or 'none'}."
    )
    what = f"The covariate {path.name}"
    return [
        (f"{path.stem} {name}", sampler(share, layer.box, crs, what))
        for name, share in others.items()
    ]


def sampler(band: Array, box: GeoBox, crs: CRS | None, what: str) -> Function:
    """Return what interpolates a map at places of `crs`.

    Raises
    ------
    MissingCRS
        If one of both has a CRS and the other has none.
    """
    own = box.crs
    if (own is None) != (crs is None):
        raise MissingCRS(
            f"{what} is in {own or 'no CRS'}, the readings in {crs or 'local metres'}; give both "
            "a CRS."
        )
    inverse, project = ~box.affine, None
    if crs is not None and own is not None and own != crs:
        from pyproj import Transformer

        project = Transformer.from_crs(crs.proj, own.proj, always_xy=True)
    west = float(box.affine.c)
    turns = own is not None and bool(own.geographic)

    def read(x: Array, y: Array) -> Array:
        if project is not None:
            x, y = project.transform(x, y)
        x = np.asarray(x)
        x = west + np.mod(x - west, 360) if turns else x  # longitudes are the same modulo 360
        col, row = inverse * (x, np.asarray(y))
        return bilinear(band, row - 0.5, col - 0.5)

    return read


def bilinear(band: Array, row: Array, col: Array) -> Array:
    """Return values between cell centres; NaN outside, the known neighbours' mean at holes."""
    rows, cols = band.shape
    inside = (row > -0.5) & (row < rows - 0.5) & (col > -0.5) & (col < cols - 0.5)
    top, left = np.floor(row).astype(int), np.floor(col).astype(int)
    total, weight = np.zeros(len(row)), np.zeros(len(row))
    for down in (0, 1):
        for right in (0, 1):
            share = np.abs(1 - down - (row - top)) * np.abs(1 - right - (col - left))
            value = band[(top + down).clip(0, rows - 1), (left + right).clip(0, cols - 1)]
            known = np.isfinite(value)
            total += np.where(known, share * np.nan_to_num(value), 0)
            weight += np.where(known, share, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(inside & (weight > 1e-9), total / weight, np.nan)
