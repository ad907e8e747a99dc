"""Frames of geopandas and pandas as tables of points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .columns import as_arrow
from .errors import InvalidParameter, MissingColumn
from .geometries import places_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .geometries import Places


class FrameTable:
    """A GeoDataFrame of points.

    Parameters
    ----------
    frame : geopandas.GeoDataFrame
        With an active geometry; a plain DataFrame has coordinate columns instead.

    Raises
    ------
    InvalidParameter
        If it is something else, such as a GeoSeries.
    """

    label = "The frame"
    comma = False

    def __init__(self, frame: Any) -> None:
        if not hasattr(frame, "columns") or not hasattr(frame, "index"):
            raise InvalidParameter(
                f"Points must be a GeoDataFrame with columns for time and value, not a "
                f"{type(frame).__name__}; a GeoSeries has no such columns."
            )
        self._frame = frame

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return [str(name) for name in self._frame.columns]

    @property
    def geometry(self) -> str | None:
        """The active column of positions."""
        try:
            return str(self._frame.geometry.name)
        except AttributeError:
            return None

    def columns(self, wanted: Sequence[str], numbers: Sequence[str] = ()) -> dict[str, Any]:
        """Return columns as Arrow arrays."""
        place = {name: number for number, name in enumerate(self.names)}
        return {name: as_arrow(self._frame.iloc[:, place[name]]) for name in wanted}

    def places(self, wanted: Sequence[str]) -> tuple[Places, Any, dict[str, Any]]:
        """Return positions, CRS and columns."""
        name = self.geometry
        if name is None:
            kinds = [str(n) for n, kind in self._frame.dtypes.items() if str(kind) == "geometry"]
            raise MissingColumn(
                f"The frame has no active geometry; set one with gdf.set_geometry({kinds[0]!r})."
                if kinds
                else "The frame has no geometry; make one with geopandas.points_from_xy."
            )
        shapes = np.asarray(self._frame.geometry.values)
        return places_of(shapes), self._frame.crs, self.columns(wanted)
