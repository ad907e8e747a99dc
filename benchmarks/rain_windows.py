"""Cut a radar sequence into 32 x 32 windows and lay them end to end, as one history for `compare`.

A single rain event has too few maps to learn from and many places. The wettest windows (judged on
the training part alone) follow each other on one time axis: first all their training parts, then
validation, then test, with gaps longer than any history between, so that no window reads another.

    python benchmarks/rain_windows.py RADAR.nc windows.nc
    geodiffrecon compare windows.nc --crs none --factor 4 --aggregation mean --kind positive ...

The time axis stays shorter than a week: the model then sees no daily cycle, and there is none.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import xarray as xr

SIDE, WINDOWS, GAP = 32, 16, 8
SHARES = (0.5, 0.75)  # ends of training and of validation, in time


def main() -> None:
    """Read the radar file, write the windows and say where the test part begins."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("radar", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--variable", default="rain")
    chosen = parser.parse_args()
    with xr.open_dataset(chosen.radar) as radar:
        rain = radar[chosen.variable].to_numpy().astype(np.float32)
        step = np.diff(radar["time"].to_numpy()).min()
    windows = wettest(rain)
    maps, until = end_to_end(windows)
    times = np.datetime64("2000-01-03", "ns") + step * np.arange(len(maps))
    side = np.arange(SIDE) * 1000.0 + 500.0
    xr.Dataset(
        {"rain": (("time", "y", "x"), maps, {"units": "mm"})},
        {"time": times, "y": side[::-1], "x": side},
    ).to_netcdf(chosen.out, encoding={"rain": {"zlib": True}})
    print(f"{len(windows)} windows; the test part begins at --until {times[until]}Z")


def wettest(rain: np.ndarray) -> np.ndarray:
    """Return the wettest complete windows (W, T, 32, 32) of maps (T, H, W)."""
    frames, height, width = rain.shape
    rows, columns = height // SIDE, width // SIDE
    cut = rain[:, : rows * SIDE, : columns * SIDE]
    tiles = cut.reshape(frames, rows, SIDE, columns, SIDE).transpose(1, 3, 0, 2, 4)
    tiles = tiles.reshape(-1, frames, SIDE, SIDE)
    tiles = tiles[np.isfinite(tiles).all(axis=(1, 2, 3))]
    wet = tiles[:, : int(frames * SHARES[0])].mean(axis=(1, 2, 3))
    return tiles[np.sort(np.argsort(-wet, kind="stable")[:WINDOWS])]


def end_to_end(windows: np.ndarray) -> tuple[np.ndarray, int]:
    """Return maps (T, 32, 32) with gaps of NaN, and the number of the first test map."""
    frames = windows.shape[1]
    ends = [0, *(int(frames * share) for share in SHARES), frames]
    gap = np.full((GAP, SIDE, SIDE), np.nan, np.float32)
    parts, until = [], 0
    for number, (start, end) in enumerate(itertools.pairwise(ends)):
        if number == 2:
            until = sum(map(len, parts))
        for window in windows:
            parts += [window[start:end], gap]
    return np.concatenate(parts[:-1]), until


if __name__ == "__main__":
    main()
