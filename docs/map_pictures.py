"""Draw the pictures of the page on maps: ``python docs/map_pictures.py`` in a checkout.

The survey and the satellite raster are simulated here, the stations are those of the sample.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from rasterio.transform import from_origin

import geodiffrecon as gdr
from geodiffrecon.interpolation.page import write_picture

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "sample_data" / "stations.csv"


def smooth(rows: int, cols: int, *, cells: float, seed: int, power: float = 1.3) -> np.ndarray:
    """Return a random field (rows, cols) of unit spread whose patterns are some `cells` long."""
    white = np.random.default_rng(seed).standard_normal((2 * rows, 2 * cols))
    wave = np.hypot(np.fft.fftfreq(2 * rows)[:, None], np.fft.rfftfreq(2 * cols)[None])
    field = np.fft.irfft2(np.fft.rfft2(white) / ((1 / cells) ** 2 + wave**2) ** power)
    field = field[:rows, :cols]
    return np.asarray((field - field.mean()) / field.std())


def survey() -> pd.DataFrame:
    """Return 200 soil samples with a skewed content of zinc."""
    rng = np.random.default_rng(7)
    field = np.exp(4.6 + 0.8 * smooth(120, 160, cells=25, seed=3))
    row, col = rng.integers(0, 120, 200), rng.integers(0, 160, 200)
    zinc = field[row, col] * np.exp(0.15 * rng.standard_normal(200))
    return pd.DataFrame({"x": 4e5 + 100 * col, "y": 4e6 - 100 * row, "zinc": zinc})


def raster(path: Path) -> Path:
    """Write a surface temperature under clouds."""
    land = 30 + 3 * smooth(110, 150, cells=40, seed=1, power=1.0) - 0.04 * np.arange(110)[:, None]
    clouds = smooth(110, 150, cells=30, seed=2) > 0.5
    with rasterio.open(
        path, "w", driver="GTiff", height=110, width=150, count=1, dtype="float32",
        crs="EPSG:32650", transform=from_origin(4e5, 4.1e6, 1000, 1000), nodata=-9999,
    ) as target:  # fmt: skip
        target.write(np.where(clouds, -9999, land).astype("float32"), 1)
    return path


def main() -> None:
    """Draw all three and say what the command says."""
    with tempfile.TemporaryDirectory() as folder:
        lst = raster(Path(folder) / "lst.tif")
        jobs = {
            "survey": (survey(), {"value": "zinc", "crs": "EPSG:32650"}),
            "stations": (SAMPLE, {"value": "pm25", "time": "time",
                                  "dates": ("2023-12-03", "2023-12-03")}),
            "raster": (lst, {"value": "lst"}),
        }  # fmt: skip
        for name, (data, options) in jobs.items():
            maps = gdr.interpolate(data, log=print, **options)
            write_picture(maps, HERE / "images" / f"map_{name}.png")


if __name__ == "__main__":
    main()
