"""Cells of a complete history, taken as stations: what networks may learn before the real ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..calendar import Calendar
from ..cube import as_cube
from ..errors import GridMismatch
from ..grid import NestedGrid
from ..model import quiet
from ..variable import Variable
from .evidence import StationSplit
from .network import StationNetwork
from .places import Places
from .sky import Sky

if TYPE_CHECKING:
    import xarray as xr

    from ..covariates import Covariates
    from ..features import Features
    from .fitting import StationFitting
    from .layers import StationLayers
    from .lesson import Hidden


def pretrained(
    fitting: StationFitting, history: xr.Dataset, features: Features, external: Covariates | None
) -> tuple[StationLayers, Hidden]:
    """Return layers and hidden readings of random cells of a history, as many as stations.

    Parameters
    ----------
    fitting : StationFitting
        Of the stations: their number, settings and seed.
    history : Dataset
        Fine-level cube, of any grid; frames with fewer than three known cells are left out.
    features, external
        Of the model; steps without weather count as such.

    Raises
    ------
    GridMismatch
        If it is not a fine cube.
    NoObservations
        If it has too few steps.
    """
    history = as_cube(history)
    network = _network(history, len(fitting.network.names), fitting.seed)
    places = Places.of(NestedGrid.of(history))
    step = Calendar.seen_in(network.times).step_ns
    calendar = replace(fitting.calendar, step_ns=step)
    sky = Sky.of(
        calendar, features, external, network.times, weather=fitting.settings.weather,
        wind=fitting.settings.wind,
    )  # fmt: skip
    terrain = np.zeros((len(network.names), fitting.terrain.shape[1]))
    # the wind at the stations says nothing of where this history's air went
    still = replace(sky, way=None)
    other = replace(
        fitting, network=network, km=places.km(network.x, network.y), terrain=terrain, sky=still,
        calendar=calendar, pretrained=None, verdicts=[], log=quiet,
    )  # fmt: skip
    other.split = StationSplit.of(network.values, network.step_ns)
    Variable.check_varied(network.values[np.isfinite(network.values)])
    layers, readings = other._prior(other.split.all)
    hidden = other._hidden(layers, readings, tokens=True)
    fitting.log(
        f"Pre-training on {len(hidden.truth)} hidden readings of {len(network.names)} cells of the "
        "complete history."
    )
    return other._local(layers, hidden, hidden.only(hidden.within(other.split.gate))), hidden


def _network(history: xr.Dataset, count: int, seed: int) -> StationNetwork:
    """Return `count` random cells as stations."""
    if history.attrs.get("level") != "fine":
        raise GridMismatch(
            f"Pre-training needs a fine cube, not level {history.attrs.get('level')!r}; read the "
            "history with open_history(path, factor=N)."
        )
    name, grid = str(history.attrs["value"]), NestedGrid.of(history)
    values = history[name].to_numpy().astype(np.float64)
    known = np.isfinite(values).mean(axis=0).ravel()
    candidates = np.flatnonzero(known > known.max() / 2)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(candidates, min(count, len(candidates)), replace=False))
    row, column = np.divmod(chosen, values.shape[2])
    a, _, c, _, e, f = grid.fine.affine[:6]
    return StationNetwork(
        tuple(f"{i},{j}" for i, j in zip(row, column, strict=True)),
        c + a * (column + 0.5), f + e * (row + 0.5), history["time"].to_numpy(),
        values[:, row, column], value=name, freq=str(history.attrs["freq"]),
        calendar_tz=str(history.attrs["calendar_tz"]),
    )  # fmt: skip
