"""One map that other work looks at: what a field may follow, and what cells count by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidParameter, MissingColumn
from .layouts import MOST_CLASSES, too_many_classes
from .quality import blank_codes
from .sources import open_source

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox


@dataclass(frozen=True, eq=False)
class Layer:
    """A map (rows, cols), north-up, NaN where it has no value.

    Parameters
    ----------
    values : float64, (rows, cols)
        Numbers, or the numbers of classes.
    box : GeoBox
        Where it lies; its CRS is None for local metres.
    classes : dict of float to str, or None
        Names of the classes by their numbers, where values are categories.
    notes : tuple of str
        What had to be assumed.
    """

    values: NDArray[np.float64]
    box: GeoBox
    classes: dict[float, str] | None
    notes: tuple[str, ...]

    def shares(self) -> dict[str, NDArray[np.float64]]:
        """Return a map of 0 and 1 for each class, by its name; NaN where there is none."""
        known = np.isfinite(self.values)
        found = self.classes or {}
        return {name: np.where(known, self.values == code, np.nan) for code, name in found.items()}


def open_layer(path: Path, *, option: str, local: bool, categories: bool = False) -> Layer:
    """Read the only map of a file.

    Parameters
    ----------
    path : Path
        Any raster or NetCDF file.
    option : str
        What the user calls it, for sentences.
    local : bool
        Whether the work is in local metres, so that a file without CRS is, too.
    categories : bool
        Whether it may hold categories.

    Raises
    ------
    GeoDiffReconError
        One sentence that says what to do.
    """
    try:
        source = open_source(path, crs="none" if local else None, categories=categories)
    except MissingColumn as error:
        told = str(error).rpartition("; name one")[0] or str(error).rstrip(".")
        raise MissingColumn(f"{told}; give {option} a file of one map.") from error
    if source.count > 1:
        raise InvalidParameter(
            f"{path.name} holds {source.count} maps, but {option} takes one; cut it out first "
            "(gdal_translate -b 1)."
        )
    rows, cols = source.box.shape
    values = source.read(slice(0, rows), slice(0, cols))[0].astype(np.float64)
    classes = source.classes
    if classes is None:
        notes = blank_codes(values, source.name, packing=source.packing)
        return Layer(values, source.box, None, (*source.notes, *notes))
    present: Any = np.unique(values[np.isfinite(values)])
    if len(present) > MOST_CLASSES:
        raise too_many_classes(path.name, len(present))
    named = {float(code): classes.get(float(code), f"{code:g}") for code in present}
    return Layer(values, source.box, named, source.notes)
