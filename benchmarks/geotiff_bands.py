"""Time to show one band of a year of daily maps, against a file with that band only.

Run from the project root: ``python benchmarks/geotiff_bands.py [side]``.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio

from geodiffrecon.cube import make_cube
from geodiffrecon.geotiff import write_geotiff
from geodiffrecon.grid import NestedGrid

BANDS, REPEATS = 366, 25


def seconds_to_read(path: Path, band: int) -> float:
    """Return the median time to open a file and read one band."""
    taken = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        with rasterio.open(path) as source:
            source.read(band)
        taken.append(time.perf_counter() - begin)
    return float(np.median(taken))


def main(side: int) -> None:
    """Write both files and print the two times, their ratio and the file size."""
    grid = NestedGrid.from_bounds((0, 0, side, side), crs="EPSG:32650", shape=(side, side))
    times = np.datetime64("2024-01-01", "ns") + np.arange(BANDS) * np.timedelta64(24, "h")
    rng = np.random.default_rng(0)
    values = rng.gamma(4, 15, (BANDS, side, side)).astype(np.float32).round(1)
    cube = make_cube(values, times, grid, value="pm25", level="coarse", freq="1D")
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        stack = write_geotiff(cube, Path(folder) / "stack")[0]
        written = time.perf_counter() - begin
        single = write_geotiff(cube.isel(time=[200]), Path(folder) / "single")[0]
        many, one = seconds_to_read(stack, 201), seconds_to_read(single, 1)
        size = stack.stat().st_size / 1e6
    print(f"{BANDS} bands of {side} × {side}: {size:.0f} MB written in {written:.1f} s")
    print(f"one band: {1e3 * many:.2f} ms of the stack, {1e3 * one:.2f} ms alone", end=", ")
    print(f"ratio {many / one:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 512)
