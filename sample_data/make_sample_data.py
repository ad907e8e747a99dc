"""Simulate the sample data: two years of daily PM2.5, its stations and its weather.

Everything here is SIMULATED; nothing was measured. Run it from anywhere:

    python sample_data/make_sample_data.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from geodiffrecon.synthetic import SimulatedPM25

if TYPE_CHECKING:
    import xarray as xr

SEED = 20220101
SCALE = 0.02  # µg/m³ in one unit of the packed int16


def packed(truth: xr.Dataset) -> xr.Dataset:
    """Set the encodings that store the field as int16 and the times as whole seconds."""
    truth = truth.reset_coords("time_bnds")  # a variable, as CF has it
    truth.attrs |= {"Conventions": "CF-1.11", "source": f"SimulatedPM25(seed={SEED})"}
    truth["pm25"].encoding |= {
        "dtype": "int16",
        "scale_factor": SCALE,
        "add_offset": 0.0,
        "_FillValue": np.int16(-32768),
        "zlib": True,
        "shuffle": True,
        "complevel": 9,
        "chunksizes": (73, *truth["pm25"].shape[1:]),
        "grid_mapping": "spatial_ref",
    }
    for name in ("time", "time_bnds"):
        truth[name].encoding |= {
            "dtype": "int64",
            "units": "seconds since 1970-01-01 00:00:00",
            "calendar": "standard",
        }
    return truth


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table with ISO 8601 local times; missing values stay empty."""
    stamps = pd.DatetimeIndex(table["time"])
    table = table.assign(time=stamps.strftime("%Y-%m-%dT%H:%M+08:00"))
    table.to_csv(path, index=False, lineterminator="\n")


def main(folder: Path) -> None:
    """Write truth.nc, stations.csv and weather.csv and say how large they are."""
    folder.mkdir(parents=True, exist_ok=True)
    simulation = SimulatedPM25(seed=SEED)
    truth = simulation.truth()
    packed(truth).to_netcdf(folder / "truth.nc", engine="netcdf4", format="NETCDF4")
    write_csv(simulation.stations(truth["pm25"].to_numpy()), folder / "stations.csv")
    write_csv(simulation.weather().reset_index(), folder / "weather.csv")
    for name in ("truth.nc", "stations.csv", "weather.csv"):
        path = folder / name
        print(f"wrote {path}  {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
