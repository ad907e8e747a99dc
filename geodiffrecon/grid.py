"""A coarse grid and the fine grid that nests in it exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .axes import crop_box, dataset_box, geobox, parse_crs
from .errors import GridMismatch, InvalidParameter, MissingCRS
from .files.kinds import is_netcdf
from .files.netcdf import open_netcdf
from .files.sources import open_source

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.crs import CRS
    from odc.geo.geobox import GeoBox

Level = Literal["coarse", "fine"]
Bounds = Sequence[float]
EDGE_TOLERANCE = 1e-6  # of a fine cell: decimal coordinates fall on the edge that they name
LARGEST_DEGREES = 90.0


@dataclass(frozen=True)
class NestedGrid:
    """A north-up coarse grid whose cells are split into ``factor × factor`` fine cells.

    Parameters
    ----------
    coarse : odc.geo.geobox.GeoBox
        The coarse grid (I rows, J columns). Cells need not be square; the CRS may be any, and
        None means local metres.
    factor : int
        Fine cells per coarse cell and direction, N.

    Raises
    ------
    InvalidParameter
        If the grid is rotated or not north-up, or the factor is not a positive whole number.

    Examples
    --------
    >>> grid = NestedGrid.from_bounds((0, 0, 8, 4), crs="EPSG:32650", shape=(2, 4), factor=4)
    >>> grid.shape, grid.fine_shape
    ((2, 4), (8, 16))
    >>> row, col, inside = grid.cell_of([0.0, 8.0], [4.0, 4.0], level="coarse")
    >>> inside.tolist(), int(row[0]), int(col[0])
    ([True, False], 0, 0)
    """

    coarse: GeoBox
    factor: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.factor, bool) or int(self.factor) != self.factor or self.factor < 1:
            raise InvalidParameter(
                f"Factor must be a whole number of at least 1, got {self.factor!r}."
            )
        a, b, _, d, e, _ = self.coarse.affine[:6]
        if b or d or a <= 0 or e >= 0:
            raise InvalidParameter(
                f"Grid must be north-up and not rotated, got transform {(a, b, d, e)}; "
                "warp the raster to a north-up grid first."
            )

    @classmethod
    def from_bounds(
        cls,
        bounds: Bounds,
        *,
        crs: Any,
        shape: tuple[int, int] | None = None,
        resolution: float | tuple[float, float] | None = None,
        factor: int = 1,
    ) -> NestedGrid:
        """Build the grid from bounds and either a coarse shape or a coarse cell size.

        Parameters
        ----------
        bounds : (west, south, east, north)
            In units of `crs`. With `shape` they are kept exactly; with `resolution` they are
            moved outward to whole multiples of it, so that neighbouring grids align.
        crs : str or CRS or None
            Coordinate reference system of the bounds; None or "none" means local metres.
        shape : (rows, columns), optional
            Number of coarse cells.
        resolution : float or (x, y), optional
            Size of a coarse cell in units of `crs`.
        factor : int
            Fine cells per coarse cell and direction.

        Returns
        -------
        NestedGrid

        Raises
        ------
        InvalidParameter
            If bounds, shape or resolution make no grid.
        """
        west, south, east, north = _checked_bounds(bounds)
        if (shape is None) == (resolution is None):
            raise InvalidParameter("Give either shape or resolution of the coarse grid, not both.")
        known = parse_crs(crs)
        if shape is not None:
            rows, cols = _checked_shape(shape)
            size_x, size_y = _clean((east - west) / cols), _clean((north - south) / rows)
        else:
            size_x, size_y = _checked_resolution(resolution, known)
            west, cols = _snapped(west, east, size_x)
            south, rows = _snapped(south, north, size_y)
            north = south + rows * size_y
        return cls(geobox((rows, cols), (size_x, 0.0, west, 0.0, -size_y, north), known), factor)

    @classmethod
    def like(cls, path: str | Path, *, factor: int = 1) -> NestedGrid:
        """Return the grid of a raster or NetCDF file as the coarse grid.

        A cube written by this library brings its own factor along when `factor` is 1.

        Raises
        ------
        UnreadableFile
            If the file cannot be read as a raster.
        MissingCRS
            If the file has no coordinate reference system.
        """
        path = Path(path)
        box = open_source(path).box
        if box.crs is None:
            raise MissingCRS(f"{path.name} has no CRS; give the grid by bounds and --grid-crs.")
        if factor == 1 and is_netcdf(path):
            with open_netcdf(path) as dataset:
                if {"level", "factor", "value"} <= set(dataset.attrs):
                    return cls.of(dataset)
        return cls(box, factor)

    @classmethod
    def of(cls, cube: xr.Dataset) -> NestedGrid:
        """Return the grid of a cube from its coordinates and attributes `level` and `factor`.

        Raises
        ------
        GridMismatch
            If the cube lacks those attributes, or the factor does not divide its fine grid.
        """
        missing = [key for key in ("value", "level", "factor") if key not in cube.attrs]
        if missing:
            raise GridMismatch(
                f"The dataset is no cube of this library: attribute {missing[0]!r} is missing; "
                "make it with bin_points, open_history or open_cube."
            )
        box, _ = dataset_box(cube, str(cube.attrs["value"]))
        factor = int(cube.attrs["factor"])
        return cls.from_fine(box, factor) if level_of(cube) == "fine" else cls(box, factor)

    @classmethod
    def from_fine(cls, fine: GeoBox, factor: int) -> NestedGrid:
        """Return the grid whose fine level is `fine`.

        Raises
        ------
        GridMismatch
            If `factor` does not divide the shape of `fine`; the message says what `--trim` keeps.
        """
        rows, cols = fine.shape
        if factor < 1 or rows % factor or cols % factor:
            raise GridMismatch(_not_divisible(rows, cols, factor))
        a, b, c, d, e, f = fine.affine[:6]
        size = (a * factor, b, c, d, e * factor, f)
        return cls(geobox((rows // factor, cols // factor), size, fine.crs), factor)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> NestedGrid:
        """Return the grid that `to_dict` described."""
        rows, cols = stored["shape"]
        transform = tuple(float(value) for value in stored["transform"])
        box = geobox((int(rows), int(cols)), transform, parse_crs(stored["crs"]))
        return cls(box, int(stored["factor"]))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able description: crs, coarse transform and shape, factor."""
        return {
            "crs": None if self.crs is None else str(self.crs),
            "transform": [float(value) for value in self.coarse.affine[:6]],
            "shape": [int(size) for size in self.coarse.shape],
            "factor": int(self.factor),
        }

    @property
    def fine(self) -> GeoBox:
        """The fine grid (N·I rows, N·J columns)."""
        a, b, c, d, e, f = self.coarse.affine[:6]
        size = (a / self.factor, b, c, d, e / self.factor, f)
        return geobox(self.fine_shape, size, self.crs)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the coarse grid."""
        rows, cols = self.coarse.shape
        return int(rows), int(cols)

    @property
    def fine_shape(self) -> tuple[int, int]:
        """Rows and columns of the fine grid."""
        return self.shape[0] * self.factor, self.shape[1] * self.factor

    @property
    def crs(self) -> CRS | None:
        """Coordinate reference system; None means local metres."""
        return self.coarse.crs

    @property
    def geographic(self) -> bool:
        """Whether coordinates are degrees."""
        return self.crs is not None and bool(self.crs.geographic)

    @property
    def dims(self) -> tuple[str, str]:
        """Names of the row and column dimensions in a cube."""
        if self.rotated:
            return "rlat", "rlon"
        return ("latitude", "longitude") if self.geographic else ("y", "x")

    @property
    def rotated(self) -> bool:
        """Whether degrees are those of a rotated pole."""
        return self.geographic and self.coarse.crs.proj.is_derived

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east and north edges."""
        a, _, c, _, e, f = self.coarse.affine[:6]
        return c, f + e * self.shape[0], c + a * self.shape[1], f

    def box(self, level: Level) -> GeoBox:
        """Return the GeoBox of a level, ``coarse`` or ``fine``."""
        if level not in ("coarse", "fine"):
            raise InvalidParameter(f"Level must be 'coarse' or 'fine', got {level!r}.")
        return self.coarse if level == "coarse" else self.fine

    def cell_of(
        self, x: Any, y: Any, *, level: Level
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return row, column and whether inside for points in grid coordinates.

        A cell owns its west and its north edge, not its east and south edge. Edges are met with
        a tolerance of 1e-6 of a fine cell. A point lies in the coarse cell around its fine cell.

        Parameters
        ----------
        x, y : array of float, (n,)
            Coordinates in the grid's CRS; NaN lies outside.
        level : {"coarse", "fine"}
            Which cells.

        Returns
        -------
        row, col : int64, (n,)
            Cell indices; -1 where outside.
        inside : bool, (n,)
        """
        split = self.factor if self.box(level) is self.coarse else 1
        a, _, c, _, e, f = self.fine.affine[:6]
        rows, cols = self.fine_shape
        with np.errstate(invalid="ignore"):
            east = np.asarray(x, dtype=np.float64) - c
            # Longitudes are the same modulo a turn, which few are away from their grid.
            near = np.fmin.reduce(east, initial=0) > (cols + 1) * a - 360
            if self.geographic and not (near and np.fmax.reduce(east, initial=0) < 360 - a):
                east = east - 360 * np.floor(east / 360 + EDGE_TOLERANCE * a)
            col = np.floor(east / a + EDGE_TOLERANCE)
            row = np.floor((np.asarray(y, dtype=np.float64) - f) / e + EDGE_TOLERANCE)
            inside = (col >= 0) & (col < cols) & (row >= 0) & (row < rows)
        row = np.where(inside, row, -1).astype(np.int64)
        col = np.where(inside, col, -1).astype(np.int64)
        return row // split, col // split, inside

    def coords(self, level: Level) -> dict[str, Any]:
        """Return xarray coordinates of cell centres with CF attributes and `spatial_ref`."""
        box = self.box(level)
        a, _, c, _, e, f = box.affine[:6]
        rows, cols = box.shape
        name_y, name_x = self.dims
        coords: dict[str, Any] = {
            name_y: (name_y, f + e * (np.arange(rows) + 0.5), self._axis_attrs("Y")),
            name_x: (name_x, c + a * (np.arange(cols) + 0.5), self._axis_attrs("X")),
        }
        if self.crs is not None:
            wkt = self.crs.to_wkt()
            attrs = {**self.crs.proj.to_cf(), "crs_wkt": wkt, "spatial_ref": wkt}
            attrs["GeoTransform"] = " ".join(repr(float(v)) for v in (c, a, 0.0, f, 0.0, e))
            coords["spatial_ref"] = ((), np.int64(0), attrs)
        return coords

    def crop(
        self, rows: tuple[int, int], cols: tuple[int, int], level: Level = "fine"
    ) -> NestedGrid:
        """Return the part of the grid in half-open `rows` and `cols` of `level`.

        Raises
        ------
        GridMismatch
            If a fine range does not begin and end on coarse cells.
        InvalidParameter
            If a range lies outside the grid or is empty.
        """
        box = crop_box(self.box(level), rows, cols)
        if level == "coarse":
            return NestedGrid(box, self.factor)
        if any(edge % self.factor for edge in (*rows, *cols)):
            raise GridMismatch(
                f"Rows {rows[0]}:{rows[1]} and columns {cols[0]}:{cols[1]} do not begin and end on "
                f"coarse cells; use multiples of the factor {self.factor}."
            )
        return NestedGrid.from_fine(box, self.factor)

    def check_same(self, other: NestedGrid, what: str) -> None:
        """Raise GridMismatch unless `other`, the grid of `what`, is this grid.

        Corners may differ by a thousandth of a fine cell (files round their coordinates).
        """
        corners = np.subtract(self.bounds, other.bounds)
        if self.geographic:
            corners[[0, 2]] -= 360 * np.round(corners[0] / 360)
        a, _, _, _, e, _ = self.fine.affine[:6]
        close = np.all(np.abs(corners) <= 1e-3 * np.abs([a, e, a, e]))
        same_size = self.shape == other.shape and self.factor == other.factor
        if not (same_size and close and self.crs == other.crs):
            raise GridMismatch(
                f"The grid of {what} is {other}, but {self} is needed; bin or crop it to that grid."
            )

    def __str__(self) -> str:
        crs = "local metres" if self.crs is None else str(self.crs)[:40]
        edges_text = ", ".join(f"{value:.6g}" for value in self.bounds)
        rows, cols = self.shape
        return f"{rows} × {cols} cells × factor {self.factor} in ({edges_text}) {crs}"

    def _axis_attrs(self, axis: Literal["X", "Y"]) -> dict[str, str]:
        if self.geographic:
            name = "longitude" if axis == "X" else "latitude"
            if self.rotated:
                about = f"{name} in rotated pole grid"
                return {"axis": axis, "standard_name": f"grid_{name}", "long_name": about,
                        "units": "degrees"}  # fmt: skip
            units = "degrees_east" if axis == "X" else "degrees_north"
            return {"axis": axis, "standard_name": name, "long_name": name, "units": units}
        attrs = {"axis": axis, "long_name": f"{axis.lower()} coordinate of the cell centre"}
        if self.crs is not None:
            attrs["standard_name"] = f"projection_{axis.lower()}_coordinate"
        return attrs | {"units": "m" if self.crs is None else _unit_name(self.crs)}


def _snapped(low: float, high: float, size: float) -> tuple[float, int]:
    """Return the outward multiple of `size` below `low`, and the cells up to `high`."""
    first = np.floor(low / size + EDGE_TOLERANCE)
    last = np.ceil(high / size - EDGE_TOLERANCE)
    return float(first * size), max(int(last - first), 1)


def level_of(cube: xr.Dataset) -> Level:
    """Return the level of a cube from its attributes; ``coarse`` where they do not say."""
    return "fine" if cube.attrs.get("level") == "fine" else "coarse"


def _clean(size: float) -> float:
    """Return a cell size without the last digits that subtracting bounds leaves behind."""
    return float(f"{size:.13g}")


def _checked_bounds(bounds: Bounds) -> tuple[float, float, float, float]:
    values = [float(value) for value in bounds]
    if len(values) != 4 or not np.all(np.isfinite(values)):
        raise InvalidParameter(f"Bounds must be west south east north, got {values}.")
    west, south, east, north = values
    if west >= east or south >= north:
        raise InvalidParameter(
            f"Bounds must be west south east north with west < east and south < north, "
            f"got {values}."
        )
    return west, south, east, north


def _checked_shape(shape: tuple[int, int]) -> tuple[int, int]:
    if len(shape) != 2 or any(int(size) != size or size < 1 for size in shape):
        raise InvalidParameter(f"Shape must be two positive whole numbers, got {tuple(shape)}.")
    return int(shape[0]), int(shape[1])


def _checked_resolution(resolution: Any, crs: CRS | None) -> tuple[float, float]:
    sizes = np.broadcast_to(np.asarray(resolution, dtype=np.float64), (2,))
    if not np.all(sizes > 0):
        raise InvalidParameter(f"Resolution must be positive, got {resolution}.")
    if crs is not None and crs.geographic and sizes.max() > LARGEST_DEGREES:
        raise InvalidParameter(
            f"Resolution {resolution} is in degrees because the grid CRS {crs} is geographic; "
            "give degrees or a metric --grid-crs."
        )
    return float(sizes[0]), float(sizes[1])


def _not_divisible(rows: int, cols: int, factor: int) -> str:
    kept_rows, kept_cols = rows - rows % max(factor, 1), cols - cols % max(factor, 1)
    remedy = (
        f"add --trim to keep rows 0:{kept_rows} and columns 0:{kept_cols}, or choose others with "
        f"--rows and --cols."
        if kept_rows and kept_cols
        else "choose a smaller factor."
    )
    return f"The grid of {rows} × {cols} cells cannot be divided by the factor {factor}; {remedy}"


def _unit_name(crs: CRS) -> str:
    name = str(crs.units[0])
    return "m" if name in ("metre", "meter") else name
