"""What a file is that holds no regular maps, and what helps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..axes import EAST_UNITS, NORTH_UNITS, X_NAMES, Y_NAMES, CFAxes, crs_of
from ..errors import GeoDiffReconError, GridMismatch, UnreadableFile

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from odc.geo.crs import CRS

MOST_CLASSES = 24  # that one covariate can have
WARP = "warp it to a regular grid first (cdo remapbil, xesmf or gdalwarp -geoloc)"


def other_layout(dataset: xr.Dataset, path: Path, name: str | None = None) -> UnreadableFile:
    """Return the error that says what the places of a file are, if not those of a regular grid."""
    what = f"{path.name}" if name is None else f"Variable {name!r} of {path.name}"
    dims = () if name is None else tuple(str(dim) for dim in dataset[name].dims)
    if _mesh(dataset):
        return UnreadableFile(
            f"{what} is on an unstructured mesh (UGRID), one value for each face or node; remap "
            "it to a regular grid first (cdo remapnn, uxarray or xesmf)."
        )
    if _series(dataset, dims):
        return UnreadableFile(
            f"{what} is a set of station series, no maps; write a table with a row for each "
            "reading (in Python: dataset.to_dataframe().to_csv(…)) and fit it as stations."
        )
    if _scattered(dataset, dims):
        return UnreadableFile(
            f"{what} has one value for each place in a list (a reduced or unstructured grid); "
            "remap it to a regular grid first (cdo -R remapbil)."
        )
    if curvilinear(dataset):
        return _curvilinear(what)
    if name is None:
        return UnreadableFile(f"{what} holds no map: no variable has two dimensions of numbers.")
    return UnreadableFile(
        f"{what} with dimensions {dims} has no x and y coordinates; add them under the names x "
        "and y, or longitude and latitude."
    )


def check_maps(
    dataset: xr.Dataset,
    name: str,
    axes: CFAxes,
    path: Path,
    crs: CRS | None,
    given: bool,
    *,
    classes: bool = False,
) -> None:
    """Raise where a variable is no map of numbers on a regular grid.

    Raises
    ------
    UnreadableFile
        If its values are complex, no numbers, or categories.
    GridMismatch
        If its places are in two-dimensional coordinates and its axes count cells.
    """
    array = dataset[name]
    if array.dtype.kind == "c" or (array.dtype.names or ())[:2] in (("r", "i"), ("real", "imag")):
        raise complex_values(f"Variable {name!r} of {path.name}")
    if array.dtype.kind not in "iufb":
        raise UnreadableFile(
            f"Variable {name!r} of {path.name} holds no numbers (type {array.dtype}); name another "
            "with --variable."
        )
    if not classes and "flag_meanings" in array.attrs and "value" not in dataset.attrs:
        meanings = str(array.attrs["flag_meanings"]).split()
        raise categories(f"Variable {name!r} of {path.name}", meanings)
    if not curvilinear(dataset):
        return
    try:
        located = crs_of(dataset, name, axes)[0] is not None
    except GeoDiffReconError:
        located = False
    counted = all(_counts(dataset[axis].values) for axis in (axes.x, axes.y))
    degrees = given and crs is not None and bool(crs.geographic)
    if (counted or not given or degrees) and not located:
        raise GridMismatch(str(_curvilinear(f"Variable {name!r} of {path.name}")))


def complex_values(what: str) -> UnreadableFile:
    """Return the error of values with an imaginary part."""
    return UnreadableFile(
        f"{what} holds complex numbers, which have no order; make maps of their amplitude or "
        "phase first."
    )


def classes_of(attrs: Any) -> dict[float, str] | None:
    """Return the names of the classes of a variable by their numbers, or None if it has none."""
    if "flag_meanings" not in attrs or "flag_values" not in attrs:
        return None
    numbers = attrs["flag_values"]
    numbers = numbers.replace(",", " ").split() if isinstance(numbers, str) else np.ravel(numbers)
    meanings = str(attrs["flag_meanings"]).split()
    return {float(n): name for n, name in zip(numbers, meanings, strict=False)}


def too_many_classes(what: str, count: int) -> UnreadableFile:
    """Return the error of more classes than a model can follow."""
    return UnreadableFile(
        f"{what} holds {count} classes, and at most {MOST_CLASSES} can be followed; merge some "
        "first."
    )


def categories(what: str, meanings: list[str]) -> UnreadableFile:
    """Return the error of numbers that are names of classes."""
    listed = f" ({', '.join(meanings[:4])}{', …' if len(meanings) > 4 else ''})" if meanings else ""
    return UnreadableFile(
        f"{what} holds categories{listed}, whose numbers cannot be averaged; make a map of the "
        "share of one class first."
    )


def curvilinear(dataset: xr.Dataset) -> bool:
    """Tell whether places are in two-dimensional latitudes and longitudes."""
    return all(
        any(
            array.ndim >= 2
            and (str(array.attrs.get("units", "")).lower() in units or str(key).lower() in names)
            for key, array in dataset.variables.items()
        )
        for units, names in (
            (EAST_UNITS, {*X_NAMES, "xlong", "nav_lon"} - {"x"}),
            (NORTH_UNITS, {*Y_NAMES, "xlat", "nav_lat"} - {"y"}),
        )
    )


def _curvilinear(what: str) -> UnreadableFile:
    return UnreadableFile(
        f"{what} is on a curvilinear grid: its latitudes and longitudes are two-dimensional and "
        f"its axes only count cells; {WARP}."
    )


def _counts(values: Any) -> bool:
    """Tell whether an axis only numbers its cells."""
    return len(values) > 1 and abs(values[0]) <= 1 and bool(np.all(np.diff(values) == 1))


def _mesh(dataset: xr.Dataset) -> bool:
    return any(
        array.attrs.get("cf_role") == "mesh_topology" or "mesh" in array.attrs
        for array in dataset.variables.values()
    )


def _series(dataset: xr.Dataset, dims: tuple[str, ...]) -> bool:
    kind = str(dataset.attrs.get("featureType", "")).lower()
    roles = {array.attrs.get("cf_role") for array in dataset.variables.values()}
    named = any("station" in dim.lower() or "site" in dim.lower() for dim in dims)
    return kind in ("point", "timeseries", "trajectory", "profile", "timeseriesprofile") or (
        "timeseries_id" in roles or named
    )


def _scattered(dataset: xr.Dataset, dims: tuple[str, ...]) -> bool:
    """Tell whether latitude and longitude run along one shared dimension."""
    found = {
        names: {a.dims for key, a in dataset.variables.items()
                if a.ndim == 1 and (a.attrs.get("units", "") in units or str(key).lower() in word)}
        for names, units, word in (
            ("x", EAST_UNITS, X_NAMES - {"x"}), ("y", NORTH_UNITS, Y_NAMES - {"y"})
        )
    }  # fmt: skip
    shared = {along[0] for along in found["x"] & found["y"]}
    return bool(shared & set(dims)) if dims else bool(shared)
