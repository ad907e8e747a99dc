"""Rasters that GDAL opens: where they lie, what their bands are, values by window."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..axes import check_degrees, edges, geobox, order_east, parse_crs
from ..errors import GridMismatch, InvalidParameter, MissingColumn, MissingCRS, UnreadableFile
from .layouts import categories, complex_values
from .messages import chosen_messages, is_grib
from .netcdf import damaged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.crs import CRS
    from odc.geo.geobox import GeoBox


@dataclass(frozen=True, eq=False)
class Bands:
    """The bands of a raster as a stack of maps.

    Parameters
    ----------
    name : str
        What GDAL opens: a path, or a subdataset.
    numbers : list of int
        The bands, from 1.
    cols : array of int or None
        Columns of the file from west to east, where they are turned.
    flipped : bool
        Whether the first row of the file is the southern one.
    """

    name: str
    numbers: list[int]
    cols: NDArray[np.int64] | None
    flipped: bool

    def read(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Return a window as float32 in true units; nodata and masked cells are NaN."""
        with open_raster(self.name) as source:
            low, high = rows.start, rows.stop
            if self.flipped:
                low, high = source.height - high, source.height - low
            across = (cols.start, cols.stop) if self.cols is None else (0, source.width)
            shape = (len(self.numbers), high - low, cols.stop - cols.start)
            result = np.empty(shape, np.float32)
            for place, band in enumerate(self.numbers):
                values = source.read(band, window=((low, high), across), masked=True)
                values = values.astype(np.float64) * source.scales[band - 1]
                values = (values + source.offsets[band - 1]).filled(np.nan)
                result[place] = values if self.cols is None else values[:, self.cols[cols]]
        return result[:, ::-1] if self.flipped else result


@contextmanager
def open_raster(name: str | Path) -> Iterator[Any]:
    """Open a raster for reading; whatever breaks is an UnreadableFile."""
    import rasterio
    from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioIOError

    try:
        # What nothing places is judged in `place_of`; the warning would only say it twice.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            source = rasterio.open(_opened(str(name)))
        with source:
            yield source
    except RasterioIOError as error:
        if "not recognized" in str(error):
            raise UnreadableFile(f"{name} cannot be read as a raster ({error}).") from error
        from pathlib import Path

        raise damaged(Path(name), error) from error
    except CRSError as error:
        raise MissingCRS(f"The CRS of {name} cannot be read; give it with --crs.") from error


def _opened(name: str) -> str:
    """Return what GDAL opens: it looks into archives only where it is told to."""
    for suffix, prefix in ((".zip", "/vsizip/"), (".gz", "/vsigzip/")):
        if name.lower().endswith(suffix) and not name.startswith("/vsi"):
            return f"{prefix}{name}"
    return name


def place_of(source: Any, crs: Any, path: Path) -> tuple[GeoBox, NDArray[np.int64] | None,
                                                         list[str]]:  # fmt: skip
    """Return the north-up GeoBox of a raster, its turned columns if any, and notes.

    Raises
    ------
    UnreadableFile
        If it is rotated, or placed by control points only.
    GridMismatch
        If nothing places it, or it lies beyond a pole.
    """
    from affine import Affine

    bare = source.transform == Affine.identity()
    if bare and (source.gcps[0] or source.rpcs is not None):
        how, option = ("GCPs", "-tps") if source.gcps[0] else ("RPCs", "-rpc")
        raise UnreadableFile(
            f"{path.name} is placed by {how} only; warp it to a north-up grid first "
            f"(gdalwarp {option})."
        )
    known = parse_crs(crs) if crs is not None else _own_crs(source)
    if bare and not (crs is not None and known is None):
        raise GridMismatch(
            f"{path.name} has no georeference: nothing says where its cells lie; give it one "
            "(gdal_translate -a_ullr), or --crs none for cells of one metre from 0, 0."
        )
    a, b, c, d, e, f = tuple(source.transform)[:6]
    if b or d or a <= 0 or not e:
        raise UnreadableFile(
            f"{path.name} is rotated or mirrored (transform {(a, b, d, e)}); warp it to a "
            "north-up grid first (gdalwarp)."
        )
    rows, cols = source.shape
    if bare:  # an image counts its rows from the top
        box = geobox((rows, cols), (1.0, 0.0, 0.0, 0.0, -1.0, float(rows)), None)
        return box, None, ["Cells are one metre wide, from 0, 0 at the lower left corner."]
    x = c + a * (np.arange(cols) + 0.5)
    y = f + e * (np.array([0.5, rows - 0.5]))
    check_degrees(x, y, known, path.name)
    order, turned = order_east(x, geographic=known is not None and bool(known.geographic))
    notes = []
    if abs(turned[0] - x[order[0]]) > 1 or order[0]:
        c = edges(turned, "longitude")[0]
        notes = [f"Longitudes of {x[0]:.6g} to {x[-1]:.6g} are turned by 360 degrees to "
                 f"{turned[0]:.6g} to {turned[-1]:.6g}."]  # fmt: skip
    box = geobox((rows, cols), (a, 0.0, c, 0.0, -abs(e), f if e < 0 else f + e * rows), known)
    return box, (order if notes and order[0] else None), notes


def _own_crs(source: Any) -> CRS | None:
    return None if source.crs is None else parse_crs(source.crs)


def subdataset(path: Path, variable: str | None) -> str:
    """Return what to open: the file, or the subdataset whose name ends in `variable`.

    Raises
    ------
    MissingColumn
        If the file only has subdatasets and none is named.
    """
    with open_raster(path) as source:
        names = [str(name) for name in source.subdatasets]
        if source.count and not names:
            return str(path)
    if not names:
        raise UnreadableFile(f"{path.name} is a raster without bands; check the file.")
    endings = [name.rstrip("/").rpartition(":")[2].strip("/") for name in names]
    for name, ending in zip(names, endings, strict=True):
        if len(names) == 1 or variable in (ending, ending.rpartition("/")[2]):
            return name
    listed = ", ".join(endings[:8]) + (", …" if len(names) > 8 else "")
    raise MissingColumn(
        f"{path.name} holds {len(names)} rasters ({listed}); name one with --variable."
    )


def chosen_bands(
    source: Any,
    path: Path,
    select: Mapping[str, Any],
    variable: str | None = None,
    *,
    classes: bool = False,
) -> list[int]:
    """Return the numbers of the bands to read, from 1; of GRIB those of one variable.

    Raises
    ------
    InvalidParameter
        If `select` names something else than a band of the raster.
    UnreadableFile
        If a band holds complex numbers or the colours of classes.
    """
    grib = is_grib(source) and "band" not in select
    wrong = [name for name in select if name != "band" and not grib]
    if wrong:
        raise InvalidParameter(
            f"--select {wrong[0]}={select[wrong[0]]}: a raster has only bands; choose one with "
            "--select band=1."
        )
    numbers = chosen_messages(source, path, variable, select) if grib else list(source.indexes)
    if "band" in select:
        try:
            numbers = [int(part) for part in str(select["band"]).split(",")]
        except ValueError:
            numbers = [0]
        if not set(numbers) <= set(source.indexes):
            raise InvalidParameter(
                f"--select band={select['band']}: {path.name} has the bands 1 to {source.count}."
            )
    for band in numbers:
        if "complex" in str(source.dtypes[band - 1]):
            raise complex_values(path.name)
        if thematic(source, band) and not classes:
            raise categories(f"Band {band} of {path.name}", [])
    return numbers


def thematic(source: Any, band: int) -> bool:
    """Tell whether a band says that its numbers are classes, by colours or by its kind."""
    from rasterio.enums import ColorInterp

    kind = str(source.tags(band).get("LAYER_TYPE", "")).lower()
    return source.colorinterp[band - 1] == ColorInterp.palette or kind == "thematic"
