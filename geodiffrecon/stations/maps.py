"""From forecasts of cells to the maps that users read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..summary import Summary

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from ..grid import NestedGrid
    from ..variable import Variable
    from .forecast import SiteForecast
    from .network import StationNetwork

QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}


def maps_of(
    found: SiteForecast,
    variable: Variable,
    network: StationNetwork,
    frames: NDArray[np.int64],
    *,
    exceed: tuple[float, ...],
    attrs: dict[str, Any],
) -> xr.Dataset:
    """Return the maps of a forecast (F, N I N J) of all fine cells, row by row.

    Parameters
    ----------
    found : SiteForecast
        Of the cells' centres.
    variable : Variable
        What is mapped, and on which grid.
    network : StationNetwork
        Readings that it was made from.
    frames : array of int, (F,)
        Their steps.
    exceed : tuple of float
        Thresholds, in raw units.
    attrs : dict
        Provenance.
    """
    shape = (len(found.times), *variable.grid.fine_shape)

    def fold(array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape(*array.shape[:-2], *shape)

    quantiles = {name: fold(found.quantile(level)) for name, level in QUANTILES.items()}
    summary = Summary(fold(found.mean), fold(found.std), quantiles)
    draws = None if found.draws is None else fold(found.draws)
    counts = _counts(network, variable.grid, frames)
    maps = variable.maps(summary, found.times, counts, draws=draws, attrs=attrs)
    dims = maps[variable.name].dims
    if found.distance_km is not None:
        far = np.where(np.isfinite(found.distance_km), found.distance_km, np.nan)
        maps[f"{variable.name}_distance"] = (
            dims, fold(far).astype(np.float32), {"units": "km"},
        )  # fmt: skip
    if found.information is not None:
        maps[f"{variable.name}_information"] = (
            dims, fold(found.information).astype(np.int8), {"units": "1"},
        )  # fmt: skip
    for threshold in exceed:
        maps[f"{variable.name}_exceed_{threshold:g}"] = (
            dims, fold(found.exceedance(threshold)).astype(np.float32),
            {"units": "1", "threshold": float(threshold)},
        )  # fmt: skip
    return maps


def _counts(
    network: StationNetwork, grid: NestedGrid, frames: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Return how many stations reported in every fine cell (F, N I, N J)."""
    row, column, inside = grid.cell_of(network.x, network.y, level="fine")
    counts = np.zeros((len(frames), *grid.fine_shape), np.int32)
    for station in np.flatnonzero(inside):
        seen = np.isfinite(network.values[frames, station])
        counts[:, row[station], column[station]] += seen
    return counts
