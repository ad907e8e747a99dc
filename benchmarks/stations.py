"""How good maps from stations alone are: what each part brings, and maps against a known truth.

    python benchmarks/stations.py parts STATIONS.csv --weather W.csv --until T --to T --json FILE
    python benchmarks/stations.py sample --json FILE
    python benchmarks/stations.py episode STATIONS.csv --until T --time A B --out PNG

`parts` evaluates the recipe with and without wind, weather, position, local spread and network, at
stations left out in folds. `sample` fits the recipe to the simulated stations of `sample_data`,
maps days that it has not seen, and scores every fine cell against the simulated truth, beside
kriging of the same stations. `episode` draws the maps of a few steps.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import geodiffrecon as gdr
from geodiffrecon.episode import draw_episode
from geodiffrecon.fields import block_bootstrap_ratio
from geodiffrecon.stations.baseline_kriging import PooledKriging
from geodiffrecon.stations.baselines import Record, Weighted, targets_at
from geodiffrecon.stations.hourly_kriging import HourlyKriging
from geodiffrecon.stations.model import StationDiffRecon
from geodiffrecon.stations.network import StationNetwork
from geodiffrecon.stations.places import Places, centres
from geodiffrecon.stations.settings import station_preset
from geodiffrecon.stations.trial import evaluate_stations
from geodiffrecon.stations.variogram import Kernel

if TYPE_CHECKING:
    from geodiffrecon.stations.forecast import SiteForecast

SAMPLE = Path(__file__).resolve().parent.parent / "sample_data"
SHOWN = ("mae", "rmse", "crps", "coverage50", "coverage90")
BEIJING = (115.7, 39.4, 117.2, 41.1)


def main() -> None:
    """Run one of the benchmarks and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("parts", "episode"):
        command = commands.add_parser(name)
        command.add_argument("stations", type=Path)
        command.add_argument("--weather", type=Path)
        command.add_argument("--until", required=True)
        command.add_argument("--bounds", type=float, nargs=4, default=BEIJING)
        command.add_argument("--shape", type=int, nargs=2, default=(16, 16))
        command.add_argument("--freq", default="1h")
        command.add_argument("--tz", default="Asia/Shanghai")
    commands.choices["parts"].add_argument("--to")
    commands.choices["parts"].add_argument("--every", type=int, default=3)
    commands.choices["parts"].add_argument("--only", nargs="*")
    commands.choices["episode"].add_argument("--time", nargs=2, required=True)
    commands.choices["episode"].add_argument("--out", type=Path, required=True)
    commands.choices["episode"].add_argument("--threshold", type=float, default=75)
    commands.add_parser("sample")
    for name in ("parts", "sample"):
        commands.choices[name].add_argument("--json", type=Path, required=True)
        commands.choices[name].add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    {"parts": parts, "sample": sample, "episode": episode}[asked.command](asked)


def variants() -> dict[str, dict[str, Any]]:
    """Return the settings of every part that is left out or forced in."""
    plain = {"network": False, "diffusion": False}
    forced = {"gated": False, "diffusion": False}
    return {
        "kriging and local spread": plain,
        "without wind": {**plain, "wind": False},
        "without position": {**plain, "place": False},
        "this step alone": {**plain, "lags": (0,)},
        "network forced": forced,
        "network forced, without weather": {**forced, "weather": False},
        "diffusion forced": {"gated": False},
    }


def parts(asked: argparse.Namespace) -> None:
    """Evaluate the recipe with parts left out or forced in."""
    network, grid, weather = _given(asked)
    rows = json.loads(asked.json.read_text()) if asked.json.exists() else []
    # only what the recipe says is needed here: every fold fits it anew
    model = StationDiffRecon(preset="tiny").fit(network, grid, until=asked.until, external=weather)
    for name, change in variants().items():
        if (asked.only and name not in asked.only) or any(row["variant"] == name for row in rows):
            continue
        model.settings = replace(station_preset("default"), **change)
        found = evaluate_stations(
            model, network, every=asked.every, end=asked.to, external=weather, samples=0,
            methods=(), log=_say,
        )  # fmt: skip
        rows.append({"variant": name, **found.rows[0]})
        asked.json.write_text(json.dumps(rows, indent=1))
        _say(f"{name}: " + ", ".join(f"{k} {rows[-1][k]:.3f}" for k in SHOWN))


def episode(asked: argparse.Namespace) -> None:
    """Draw the maps of a few steps."""
    network, grid, weather = _given(asked)
    model = StationDiffRecon().fit(network, grid, until=asked.until, external=weather, log=_say)
    maps = model.reconstruct(
        network, times=tuple(asked.time), external=weather, exceed=(asked.threshold,)
    )
    draw_episode(maps, network, asked.out, threshold=asked.threshold)


def sample(asked: argparse.Namespace) -> None:
    """Score maps of the simulated stations against the simulated truth."""
    truth = gdr.open_history(SAMPLE / "truth.nc", variable="pm25", factor=4)
    grid = gdr.NestedGrid.of(truth)
    zone, until = "Asia/Shanghai", "2023-09-01"
    table = gdr.read_points(SAMPLE / "stations.csv", value="pm25", time="time", station="station")
    network = StationNetwork.of(table, grid, freq="1D", calendar_tz=zone)
    weather = gdr.open_covariates(SAMPLE / "weather.csv", tz=zone)
    models = [
        StationDiffRecon(seed=seed).fit(network, grid, until=until, external=weather, log=_say)
        for seed in range(asked.seeds)
    ]
    first = models[0].variable.instant(until)
    span = (f"{first}Z", f"{min(network.times[-1], truth['time'].values[-1])}Z")
    maps = truth.sel(time=slice(first, np.datetime64(span[1][:-1])))
    known = maps["pm25"].to_numpy().reshape(maps.sizes["time"], -1).astype(float)
    x, y = centres(grid)
    rows = []
    for model in models:
        found = model.at(network, x, y, times=span, external=weather, samples=0)
        rows.append(_row(f"geodiffrecon, seed {model.seed}", found, known))
    rows += [_row(*pair, known) for pair in _kriged(network, grid, weather, first, maps, (x, y))]
    asked.json.write_text(json.dumps(rows, indent=1))
    ours, others = rows[0], rows[asked.seeds :]
    for row in others:
        for score in ("mae", "crps"):
            ratio = block_bootstrap_ratio(
                np.array(ours[f"{score}_frames"]), np.array(row[f"{score}_frames"]), 7, 0
            )
            _say(f"{score} against {row['method']}: {ratio[0]:.3f} ({ratio[1]:.3f}–{ratio[2]:.3f})")


def _kriged(
    network: StationNetwork, grid: gdr.NestedGrid, weather: Any, first: np.datetime64, maps: Any,
    cells: tuple[np.ndarray, np.ndarray],
) -> list[tuple[str, SiteForecast]]:  # fmt: skip
    places = Places.of(grid)
    record = Record.of(network, places, grid, weather, signed=False)
    targets = targets_at(places, grid, weather, *cells)
    frames = np.flatnonzero(np.isin(network.times, maps["time"].values))
    step = int(np.searchsorted(network.times, first))
    methods = {
        "kriging per step": HourlyKriging(), "pooled square-root kriging": PooledKriging(),
        "pooled kriging, 100 km": PooledKriging(Kernel(100.0, 0.05)), "idw": Weighted(),
    }  # fmt: skip
    found = []
    for name, method in methods.items():
        method.fit(record.before(step))
        found.append((name, method.predict(record, targets, frames)))
    return found


def _row(method: str, found: SiteForecast, truth: np.ndarray) -> dict[str, Any]:
    error, crps, pit = np.abs(truth - found.median), found.crps(truth), found.pit(truth, 0)
    row = {
        "method": method, "mae": float(error.mean()),
        "rmse": float(np.sqrt(((truth - found.mean) ** 2).mean())), "crps": float(crps.mean()),
        "coverage50": float((np.abs(pit - 0.5) < 0.25).mean()),
        "coverage90": float((np.abs(pit - 0.5) < 0.45).mean()),
        "mae_frames": error.mean(axis=1).tolist(), "crps_frames": crps.mean(axis=1).tolist(),
    }  # fmt: skip
    _say(" ".join(f"{key} {value:.3f}" for key, value in row.items() if isinstance(value, float))
         + f"  {method}")  # fmt: skip
    return row


def _given(asked: argparse.Namespace) -> tuple[StationNetwork, gdr.NestedGrid, Any]:
    table = gdr.read_points(asked.stations, value="pm25", time="time", station="station")
    grid = gdr.NestedGrid.from_bounds(
        tuple(asked.bounds), crs="EPSG:4326", shape=tuple(asked.shape), factor=4
    )
    network = StationNetwork.of(table, grid, freq=asked.freq, calendar_tz=asked.tz)
    weather = gdr.open_covariates(asked.weather, tz=asked.tz) if asked.weather else None
    return network, grid, weather


def _say(sentence: str) -> None:
    print(f"{time.process_time():6.0f} s  {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
