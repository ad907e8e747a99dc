"""Maps in NetCDF and HDF5: opened lazily, missing values masked as declared, read by window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..axes import CFAxes, Lattice, dataset_box, lattice, parse_crs, transform_of
from ..errors import InvalidParameter, MissingColumn, UnreadableFile
from .layouts import check_maps, other_layout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

BLOCK_VALUES = 1 << 24


def damaged(path: Path, error: BaseException) -> UnreadableFile:
    """Return the error of a file that broke while it was read."""
    if "previous exception" in str(error) and error.__cause__ is not None:
        error = error.__cause__
    reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else repr(error)
    return UnreadableFile(
        f"{path} cannot be read ({reason}); it may be truncated or of another format."
    )


def open_netcdf(path: Path) -> xr.Dataset:
    """Open a file of this library with its times and missing values decoded."""
    import xarray as xr

    try:
        return xr.open_dataset(path, decode_coords="all", decode_timedelta=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise damaged(path, error) from error


def open_raw(path: Path, variable: str | None = None) -> xr.Dataset:
    """Open a file lazily as it is stored; only its horizontal axes are decoded.

    Times keep their numbers and values their packing, since files often declare either wrongly.
    A variable of a group is named ``group/name``.

    Raises
    ------
    UnreadableFile
        If the file is damaged or has groups and `variable` names none.
    """
    import xarray as xr

    group = variable.rpartition("/")[0] if variable else ""
    try:
        dataset = xr.open_dataset(
            path, engine="netcdf4", decode_coords="all", mask_and_scale=False, decode_times=False,
            group=group or None,
        )  # fmt: skip
    except (OSError, RuntimeError, ValueError) as error:
        raise damaged(path, error) from error
    if not dataset.data_vars and not group:
        names = grouped(path)
        if names:
            listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
            raise MissingColumn(
                f"{path.name} holds its variables in groups ({listed}); name one with --variable "
                f"{names[0]}."
            )
    dataset = dataset.assign_coords({
        name: (name, decoded(values.values, values.attrs, values.dtype, np.float64), values.attrs)
        for name, values in dataset.coords.items()
        if values.dims == (name,) and {"scale_factor", "add_offset"} & set(values.attrs)
    })  # fmt: skip
    return _with_stored_axes(dataset)


def pick_variable(dataset: xr.Dataset, variable: str | None, path: Path) -> str:
    """Return the map variable to read: the named one, the stored main one or the only one.

    Raises
    ------
    MissingColumn
        If the name does not exist, or several variables could be meant.
    """
    maps = map_variables(dataset)
    wanted = variable or dataset.attrs.get("value")
    wanted = wanted.rpartition("/")[2] if isinstance(wanted, str) else wanted
    if wanted is None and len(maps) == 1:
        return maps[0]
    if wanted in dataset.data_vars:
        return str(wanted)
    if wanted is None and not maps:
        raise other_layout(dataset, path)
    problem = f"has no variable {wanted!r}" if wanted else "has several map variables"
    listed = ", ".join(maps[:12]) + (", …" if len(maps) > 12 else "")
    raise MissingColumn(
        f"{path.name} {problem} (map variables: {listed or 'none'}); name one with --variable."
    )


def map_variables(dataset: xr.Dataset) -> list[str]:
    """Return the names of the variables that have numbers on both horizontal axes."""
    beside = {
        str(array.attrs.get(key) or array.encoding.get(key))
        for array in dataset.variables.values()
        for key in ("bounds", "climatology")
    }
    flat = [
        str(name)
        for name, array in dataset.data_vars.items()
        if array.ndim >= 2 and array.dtype.kind in "iufcb" and str(name) not in beside
        and not str(name).endswith(("_n_obs", "_bnds", "_bounds"))
    ]  # fmt: skip
    placed = [name for name in flat if _placed(dataset, name)]
    return placed or ([] if _any_layout(dataset) else flat)


@dataclass(frozen=True, eq=False)
class Stored:
    """One variable of a NetCDF file as a stack of maps.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        The variable, with its group.
    axes : CFAxes
        Its dimensions.
    fixed : dict of str to int
        The place in each further dimension.
    """

    path: Path
    name: str
    axes: CFAxes
    fixed: dict[str, int]
    lattice: Lattice

    def read(self, rows: slice, cols: slice, *, kind: Any = np.float32) -> NDArray[Any]:
        """Return a window (T, rows, cols), north-up, block by block: packed data need room."""
        leaf = self.name.rpartition("/")[2]
        with open_raw(self.path, self.name) as dataset:
            array = dataset[leaf].isel(self.fixed)
            time = self.axes.time or "time"
            array = array if self.axes.time else array.expand_dims(time)
            array = array.transpose(time, self.axes.y, self.axes.x)
            low, order = _window(self.lattice.rows[rows])
            array = array.isel({self.axes.y: low})
            left, across = _window(self.lattice.cols[cols])
            array = array.isel({self.axes.x: left})
            result = np.empty(array.shape, dtype=kind)
            block = max(1, BLOCK_VALUES // max(1, array[0].size))
            try:
                for first in range(0, len(result), block):
                    raw = array[first : first + block].values
                    values = decoded(raw, array.attrs, array.dtype, kind)
                    result[first : first + block] = values[:, order][:, :, across]
            except (OSError, RuntimeError) as error:
                raise damaged(self.path, error) from error
        return result


def stored(
    dataset: xr.Dataset,
    path: Path,
    name: str,
    crs: Any,
    select: Mapping[str, Any],
    *,
    classes: bool = False,
) -> tuple[Stored, Any, list[str]]:
    """Return the maps of a variable, their GeoBox and what was assumed."""
    leaf = name.rpartition("/")[2]
    axes = _axes(dataset, leaf, path)
    known = None if crs is None else parse_crs(crs)
    check_maps(dataset, leaf, axes, path, known, crs is not None, classes=classes)
    box, notes = dataset_box(dataset, leaf, crs)
    found = lattice(dataset, axes, box.crs, leaf)
    fixed = selected(dataset, leaf, axes, select)
    return Stored(path, name, axes, fixed, found), box, notes


def selected(
    dataset: xr.Dataset, name: str, axes: CFAxes, select: Mapping[str, Any]
) -> dict[str, int]:
    """Return the place in each dimension of a variable beside time, y and x.

    Raises
    ------
    InvalidParameter
        If a dimension of several values is not selected, or what is selected does not exist.
    """
    further = [str(d) for d in dataset[name].dims if d not in (axes.time, axes.y, axes.x)]
    for asked in select:
        if asked not in further:
            there = f"it has {', '.join(further)}" if further else "it has only time, y and x"
            raise InvalidParameter(
                f"--select {asked}={select[asked]}: {name!r} has no further dimension {asked!r} "
                f"({there})."
            )
    return {dim: _place(dataset, name, dim, select.get(dim)) for dim in further}


def decoded(raw: NDArray[Any], attrs: Mapping[str, Any], dtype: Any, kind: Any) -> NDArray[Any]:
    """Return stored numbers as true values of `kind`, NaN where the file declares them missing.

    Fill and missing values, `valid_min`, `valid_max` and `valid_range` are in packed units if
    they are of the packed type, and cast to it where they are written as another type or as text.
    """
    if str(attrs.get("_Unsigned", "")).lower() == "true" and raw.dtype.kind == "i":
        raw = raw.view(raw.dtype.str.replace("i", "u"))
    if not np.issubdtype(kind, np.floating):
        return raw.astype(kind)
    missing = np.isin(raw, _fills(attrs, raw.dtype))
    scale, offset = packing(attrs)
    packed = scale != 1.0 or offset != 0.0
    values = raw * np.float64(scale) + np.float64(offset) if packed else raw.astype(kind)
    low, high, in_packed = _valid(attrs, raw.dtype)
    judged = raw if in_packed else values
    outside = (judged < low) | (judged > high)
    if not outside.all():  # a range that leaves nothing is a mistake of who wrote it
        missing |= outside
    values = values.astype(kind)
    values[missing] = np.nan
    return values


def packing(attrs: Mapping[str, Any]) -> tuple[float, float]:
    """Return scale and offset of a variable's stored numbers."""
    return _number(attrs.get("scale_factor"), 1.0), _number(attrs.get("add_offset"), 0.0)


def _fills(attrs: Mapping[str, Any], dtype: Any) -> NDArray[Any]:
    """Return the numbers that stand for missing, in the type of the stored data."""
    import netCDF4

    given = [attrs[key] for key in ("_FillValue", "missing_value") if key in attrs]
    numbers = [
        n for part in given for n in map(_float, np.ravel(np.asarray(part))) if n is not None
    ]
    usual = netCDF4.default_fillvals.get(f"{dtype.kind}{dtype.itemsize}")
    if usual is not None and dtype.itemsize > 1 and dtype.kind != "f" and "_FillValue" not in attrs:
        numbers.append(float(usual))  # that of floats stands alone: `blank_codes` says it
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.array(numbers, dtype=np.float64).astype(dtype)
    if dtype.kind == "i" and not given and {"scale_factor", "add_offset"} & set(attrs):
        numbers.append(float(np.iinfo(dtype).min))  # no packed number is the least of its type
    limits = np.iinfo(dtype) if dtype.kind in "iu" else None
    return np.array(
        [int(n) for n in numbers if limits is None or limits.min <= n <= limits.max], dtype=dtype
    )


def _valid(attrs: Mapping[str, Any], dtype: Any) -> tuple[float, float, bool]:
    """Return the least and the largest valid value, and whether they are in packed units."""
    given = [attrs.get("valid_min"), attrs.get("valid_max")]
    if "valid_range" in attrs:
        ends = np.ravel(np.asarray(attrs["valid_range"]))
        ends = np.array(str(ends[0]).replace(",", " ").split()) if len(ends) == 1 else ends
        given = list(ends[:2]) if len(ends) >= 2 else given
    limits = [None if end is None else _float(np.ravel(np.asarray(end))[0]) for end in given]
    kinds = [np.asarray(end).dtype.kind for end in given if end is not None]
    in_packed = dtype.kind == "f" or all(kind in "iuUSO" for kind in kinds)
    low = -np.inf if limits[0] is None else limits[0]
    high = np.inf if limits[1] is None else limits[1]
    if dtype.kind == "f":
        low, high = (float(np.asarray(end, dtype=np.float64).astype(dtype)) for end in (low, high))
    return low, high, in_packed


def _number(given: Any, usual: float) -> float:
    if given is None:
        return usual
    number = _float(np.ravel(np.asarray(given))[0])
    if number is None:
        raise UnreadableFile(
            f"The packing of the values, {given!r}, is no number; correct scale_factor and "
            "add_offset of the file."
        )
    return number


def _float(given: Any) -> float | None:
    try:
        return float(given)
    except (TypeError, ValueError):
        return None


def _place(dataset: xr.Dataset, name: str, dim: str, wanted: Any) -> int:
    """Return where `wanted` is in a dimension: its coordinate, or its number from 0."""
    size = dataset.sizes[dim]
    labels = dataset[dim].values if dim in dataset.coords else np.arange(size)
    texts = [_text(label) for label in labels]
    if wanted is None and size == 1:
        return 0
    if wanted is not None:
        number = _float(wanted)
        for place, label in enumerate(labels):
            own = _float(label)
            same = number is not None and own is not None and np.isclose(own, number)
            if texts[place] == str(wanted) or same:
                return place
    listed = ", ".join(texts[:8]) + (", …" if size > 8 else "")
    found = "several values" if wanted is None else f"no {wanted}"
    raise InvalidParameter(
        f"Variable {name!r} has {found} in its dimension {dim!r} ({listed}); choose one with "
        f"--select {dim}={texts[0] if size else 0}."
    )


def _text(label: Any) -> str:
    if isinstance(label, bytes):
        return label.decode(errors="replace").strip()
    return f"{label:.10g}" if isinstance(label, float | np.floating) else str(label).strip()


def _window(index: NDArray[np.int64]) -> tuple[slice, NDArray[np.int64]]:
    """Return the stored slice that holds `index`, and the order to take from it."""
    low = int(index.min())
    return slice(low, int(index.max()) + 1), index - low


def _axes(dataset: xr.Dataset, name: str, path: Path) -> CFAxes:
    try:
        return CFAxes.of(dataset, name)
    except UnreadableFile:
        raise other_layout(dataset, path, name) from None


def _placed(dataset: xr.Dataset, name: str) -> bool:
    try:
        CFAxes.of(dataset, name)
    except UnreadableFile:
        return False
    return True


def _any_layout(dataset: xr.Dataset) -> bool:
    return any(array.ndim >= 2 for array in dataset.data_vars.values()) is False


def _with_stored_axes(dataset: xr.Dataset) -> xr.Dataset:
    """Add the axes that a GeoTransform tells where the file has dimensions without numbers."""
    for name, array in dataset.data_vars.items():
        if array.ndim < 2 or not {"x", "y"} <= set(array.dims):
            continue
        told = transform_of(dataset, str(name))
        if told is not None and "x" not in dataset.coords and "y" not in dataset.coords:
            a, _, c, _, e, f = told
            x, y = (np.arange(dataset.sizes[dim]) + 0.5 for dim in ("x", "y"))
            return dataset.assign_coords(x=c + a * x, y=f + e * y)
    return dataset


def grouped(path: Path) -> list[str]:
    """Return the names, with their groups, of all variables of two dimensions or more."""
    import netCDF4

    def within(held: Any, name: str) -> list[str]:
        own = [f"{name}{key}" for key, array in held.variables.items() if array.ndim >= 2]
        for key, sub in held.groups.items():
            own += within(sub, f"{name}{key}/")
        return own

    try:
        with netCDF4.Dataset(path) as file:
            return within(file, "")
    except (OSError, RuntimeError) as error:
        raise damaged(path, error) from error
