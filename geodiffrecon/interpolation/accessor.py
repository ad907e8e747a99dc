"""``maps.gdr``: what can be done with maps, from the maps themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ..errors import GridMismatch, InvalidParameter
from ..limits import limits_of, places_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import geopandas as gpd
    import pandas as pd

    from .belief import Interpolation

DRAWS = 300  # that zones are made of, where the maps have none


@xr.register_dataset_accessor("gdr")
class MapAccessor:
    """Picture, files, zones and sites of maps that `interpolate` or `reconstruct` gave.

    Parameters
    ----------
    maps : xarray.Dataset
        Maps of this library.
    """

    def __init__(self, maps: xr.Dataset) -> None:
        self._maps = maps
        self._made: Interpolation | None = None

    def of(self, made: Interpolation) -> None:
        """Remember what the maps were made from, for draws and sites that are asked for later."""
        self._made = made

    @property
    def source(self) -> Interpolation | None:
        """What the maps were made from, where that is known."""
        return self._made

    @property
    def _name(self) -> str:
        if "value" not in self._maps.attrs:
            raise GridMismatch("The dataset holds no maps of geodiffrecon: it names no value.")
        return str(self._maps.attrs["value"])

    def to_netcdf(self, path: str | Path) -> Path:
        """Write the maps as CF NetCDF; see `write_netcdf`."""
        from ..cf import write_netcdf

        return write_netcdf(self._maps, path)

    def to_geotiff(self, folder: str | Path) -> list[Path]:
        """Write one GeoTIFF per statistic into a folder; see `write_geotiff`."""
        from ..geotiff import write_geotiff

        return write_geotiff(self._maps, folder)

    def plot(self, step: int = 0) -> Any:
        """Return a matplotlib figure of a map, its error and the points."""
        from .page import figure_of

        return figure_of(self._maps, self._made, step)

    def zonal(
        self,
        districts: Any,
        *,
        exceed: Sequence[float] = (),
        weights: str | Path | None = None,
        draws: int = DRAWS,
    ) -> gpd.GeoDataFrame:
        """Return the statistics of the mean of every polygon, from joint draws.

        Parameters
        ----------
        districts : GeoDataFrame, str or Path
            Polygons.
        exceed : sequence of float
            Limits whose chance of being exceeded by the polygon's mean is told.
        weights : str or Path, optional
            Raster that cells count by, such as inhabitants.
        draws : int
            How many are made where the maps hold none.

        Raises
        ------
        InvalidParameter
            If there are no draws and none can be made.
        """
        from .maps import zones

        name = f"{self._name}_draws"
        if name in self._maps:
            drawn = self._maps[name].values.astype(np.float64)
            drawn = drawn if "time" in self._maps.dims else drawn[:, None]
        elif self._made is not None:
            drawn = self._fresh(draws)
        else:
            raise InvalidParameter(
                "The error of a polygon needs joint draws, and these maps hold none; ask for "
                "them with samples=200."
            )
        return zones(self._maps, drawn, districts, exceed=limits_of(exceed), weights=weights)

    def at(self, x: Any, y: Any, *, exceed: Sequence[float] = ()) -> pd.DataFrame:
        """Return the statistics at places, in the CRS of the readings."""
        from .maps import at_places

        x, y = places_of(x, y)
        return at_places(self._source("Values at places"), x, y, exceed=limits_of(exceed))

    def residuals(self) -> gpd.GeoDataFrame:
        """Return the readings as points, with what the others say of each."""
        from .belief import residuals

        return residuals(self._source("Left-out residuals"))

    def _source(self, what: str) -> Interpolation:
        if self._made is None:
            raise InvalidParameter(f"{what} belong to the maps that interpolate itself returned.")
        return self._made

    def _fresh(self, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        from .moved import Date

        made = self._source("Draws")
        full = np.full((count, len(made.days), *made.grid.shape), np.nan)
        for date in range(len(made.days)):
            full[:, date, made.inside] = Date(made, date).draws(count)
        return full
