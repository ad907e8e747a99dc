"""Small histories and quickly fitted models that many tests share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from geodiffrecon.cube import aggregate, make_cube
from geodiffrecon.grid import NestedGrid
from geodiffrecon.model import DiffRecon
from geodiffrecon.presets import Chain, Layer, Settings


def quick(**changes: object) -> Settings:
    """Return settings that fit in seconds and still have every layer."""
    layer = Layer(widths=(16, 16), blocks=1, d=8, layers=1, dropout=0.1, steps=25, batch=8)
    plain = replace(layer, widths=(16,), d=0)
    chain = Chain(levels=20, steps=3)
    base = Settings(
        preset="quick", history=3, pattern=4, members=2, variants=4, joint_steps=5, chain=chain,
        completion_mean=replace(layer, widths=(16,)), refinement_mean=plain,
        completion_diffusion=layer, refinement_diffusion=layer,
    )  # fmt: skip
    return replace(base, **changes)


def history_cube(values: np.ndarray, *, factor: int, freq: str, aggregation: str) -> xr.Dataset:
    """Return a complete fine history in UTM, from 2024-01-01."""
    _, rows, columns = values.shape
    grid = NestedGrid.from_bounds(
        (0, 0, columns * 1000, rows * 1000), crs="EPSG:32650",
        shape=(rows // factor, columns // factor), factor=factor,
    )  # fmt: skip
    step = np.timedelta64(1, "h") if freq == "1h" else np.timedelta64(1, "D")
    times = np.datetime64("2024-01-01", "ns") + np.arange(len(values)) * step.astype(
        "timedelta64[ns]"
    )
    return make_cube(
        values, times, grid, value="v", level="fine", freq=freq, aggregation=aggregation
    )


def forced(model: DiffRecon, history: xr.Dataset, until: str) -> DiffRecon:
    """Fit without gates, so that tests meet every layer."""
    model.settings = replace(model.settings, gated=False)
    return model.fit(history, until=until)


def sparse(history: xr.Dataset, missing: float = 0.5, seed: int = 0) -> xr.Dataset:
    """Return the coarse cube of a fine one with random cells missing."""
    coarse = aggregate(history).drop_vars("v_n_obs", errors="ignore")
    seen = np.random.default_rng(seed).random(coarse["v"].shape) > missing
    return coarse.assign(v=coarse["v"].where(seen)).assign_attrs(coarse.attrs)
