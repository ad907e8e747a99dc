"""Readings of earlier runs as columns, and the small file that holds them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NAMES = ("run", "time", "station", "value")
EPOCH = "milliseconds since 1970-01-01"


@dataclass(frozen=True, eq=False)
class Records:
    """Readings (n,) in the order of their runs.

    Parameters
    ----------
    run : datetime64[ns], (n,)
        Last mapped step of the run that brought each reading.
    time : datetime64[ns], (n,)
        Its step.
    station : int32, (n,)
        Its station.
    value : float64, (n,)
        Mean of the step.
    """

    run: NDArray[np.datetime64]
    time: NDArray[np.datetime64]
    station: NDArray[np.int32]
    value: NDArray[np.float64]

    @classmethod
    def none(cls) -> Records:
        """Return no reading."""
        stamps = np.empty(0, dtype="datetime64[ns]")
        return cls(stamps, stamps, np.empty(0, dtype=np.int32), np.empty(0))

    def where(self, chosen: NDArray[np.bool_]) -> Records:
        """Return the readings that are `chosen` (n,)."""
        return Records(*(column[chosen] for column in self.columns))

    @property
    def columns(self) -> tuple[NDArray[Any], ...]:
        """Run, time, station and value."""
        return self.run, self.time, self.station, self.value

    def taken(self, order: NDArray[np.integer]) -> Records:
        """Return the readings at the indices `order`."""
        return Records(*(column[order] for column in self.columns))

    def digest(self) -> str:
        """Return what tells these readings from others."""
        digest = hashlib.sha256()
        for column in self.columns:
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()[:12]

    def write(self, path: Path) -> None:
        """Write a NetCDF file with one entry per reading."""
        import xarray as xr

        columns = zip(NAMES, self.columns, strict=True)
        found = xr.Dataset({name: ("reading", column) for name, column in columns})
        for name in NAMES:
            found[name].encoding = {"zlib": True}
        for name in ("run", "time"):
            found[name].encoding |= {"units": EPOCH, "dtype": "int64"}
        found.to_netcdf(path, engine="netcdf4")

    @classmethod
    def read(cls, path: Path) -> Records:
        """Read what `write` wrote; raises OSError, KeyError or ValueError where it is damaged."""
        import xarray as xr

        with xr.open_dataset(path, engine="netcdf4") as opened:
            found = opened.load()
        run, time = (found[name].values.astype("datetime64[ns]") for name in ("run", "time"))
        station, value = found["station"].values, found["value"].values
        return cls(run, time, station.astype(np.int32), value.astype(np.float64))
