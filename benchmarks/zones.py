"""Do the intervals of polygon means hold the truth? Simulated fields, of which the truth is known.

    python benchmarks/zones.py [--worlds N] [--points N] [--first SEED] [--core HOW_FAR]

A world is a field of 64 × 64 cells of 1 km, Gaussian or its exponential, of a random range,
smoothness and noise, read at random points. Its zones are 200 squares of 1 to 400 cells. Beside
the intervals from joint draws stand those of the mean of cell errors, and of cells that err
independently.
"""

from __future__ import annotations

import argparse

import geopandas as gpd
import numpy as np
from shapely.geometry import box

import geodiffrecon as gdr
from geodiffrecon.field.circulant import lattice_draws
from geodiffrecon.field.covariance import Covariance

SIDE, ZONES, CELL = 64, 200, 1000.0
WEST, NORTH = 400_000.0, 4_400_000.0
NORMAL_90 = 1.645


def world(seed: int) -> np.ndarray:
    """Return the truth (rows, cols); every second world is skewed."""
    rng = np.random.default_rng(seed)
    nu = float(rng.choice([0.5, 1.5, 2.5]))
    known = Covariance(nu, float(rng.uniform(2, 8)), float(rng.uniform(0.001, 0.3)))
    drawn = lattice_draws(known, [rng], (SIDE, SIDE), (1.0, 1.0), np.zeros((SIDE**2, 0)))
    field = drawn.reshape(SIDE, SIDE)
    return np.exp(0.8 * field) if seed % 2 else field


def squares(rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """Return row, column and side of the zones, small ones as often as large ones."""
    found = []
    for _ in range(ZONES):
        side = int(np.exp(rng.uniform(0, np.log(20.99))))
        row, col = rng.integers(0, SIDE - side + 1, 2)
        found.append((int(row), int(col), side))
    return found


def covered(seed: int, points: int, core: float | None) -> dict[str, np.ndarray]:
    """Return, for every zone, whether each interval holds its true mean."""
    truth, rng = world(seed), np.random.default_rng(seed + 10_000)
    cells = rng.choice(SIDE**2, points, replace=False)
    row, col = np.divmod(cells, SIDE)
    at = gpd.points_from_xy(WEST + CELL * (col + 0.5), NORTH - CELL * (row + 0.5))
    frame = gpd.GeoDataFrame({"v": truth.ravel()[cells]}, geometry=at, crs="EPSG:32650")
    edges = box(WEST, NORTH - SIDE * CELL, WEST + SIDE * CELL, NORTH)
    clip = gpd.GeoDataFrame(geometry=[edges], crs="EPSG:32650")
    maps = gdr.interpolate(frame, value="v", resolution=CELL, clip=clip, core=core)
    zones = squares(rng)
    shapes = [
        box(WEST + CELL * c, NORTH - CELL * (r + s), WEST + CELL * (c + s), NORTH - CELL * r)
        for r, c, s in zones
    ]
    told = maps.gdr.zonal(gpd.GeoDataFrame(geometry=shapes, crs="EPSG:32650"))
    mean, std = maps["v"].values, maps["v_std"].values
    right = np.array([truth[r : r + s, c : c + s].mean() for r, c, s in zones])
    middle = np.array([mean[r : r + s, c : c + s].mean() for r, c, s in zones])
    wide = np.array([std[r : r + s, c : c + s].mean() for r, c, s in zones])
    size = np.array([s for _, _, s in zones])
    off = np.abs(right - middle)
    return {
        "joint draws": (right >= told["v_q05"]).to_numpy() & (right <= told["v_q95"]).to_numpy(),
        "mean of cell errors": off <= NORMAL_90 * wide,
        "independent cells": off <= NORMAL_90 * wide / size,
    }


def main() -> None:
    """Print the share of zones in each interval, world by world and in all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=12)
    parser.add_argument("--points", type=int, default=80)
    parser.add_argument("--first", type=int, default=100)
    parser.add_argument("--core", type=float)
    asked = parser.parse_args()
    rows = [
        covered(seed, asked.points, asked.core)
        for seed in range(asked.first, asked.first + asked.worlds)
    ]
    for name in rows[0]:
        shares = [float(row[name].mean()) for row in rows]
        print(f"{name}: {np.mean(shares):.3f} ({', '.join(f'{s:.2f}' for s in shares)})")


if __name__ == "__main__":
    main()
