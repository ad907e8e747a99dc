"""Stations left out in folds: the model fitted anew without them, beside what it must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .. import __version__
from ..calendar import iso
from ..errors import InvalidParameter
from ..progress import Progress, silent
from .bench import DAY_NS, HOURLY, METHODS, ORACLE, POOLED, RULE
from .folds import Fold, block_folds, station_folds
from .places import Places
from .recipe import bench_of, contender
from .tally import (
    NO_SCORES,
    by_distance,
    by_station,
    pit_histogram,
    ratios,
    scored,
    spread_skill,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..covariates import Covariates
    from ..grid import NestedGrid
    from .bench import Bench, Contender, Outcome
    from .forecast import JoinedForecast
    from .network import StationNetwork
    from .recipe import StationModel
    from .tally import DayForecast, Scored

    Array = NDArray[np.float64]
    Log = Callable[[str], None]

MODEL = "geodiffrecon"
REFERENCES = (HOURLY, POOLED, RULE)
BLOCK_DAYS = 3  # of the bootstrap: an episode lasts days
Pattern = Literal["stations", "blocks"]


def _quiet(sentence: str) -> None:
    """Take a sentence and tell nobody."""


@dataclass(frozen=True, eq=False)
class Trial:
    """What came out: tables as JSON types, and the arrays that charts are drawn from.

    Parameters
    ----------
    rows : list of dict
        One per method: ``method, admissible, n, mae`` (of the median), ``mae_mean, rmse, bias``
        (of the mean), ``crps, coverage50, coverage90``, the same for day means with ``daily_`` in
        front (None where not scored), and ``seconds``.
    ratios : list of dict
        See `tally.ratios`; scores of day means begin with ``daily_``.
    truth : float64, (F, P)
        Readings of the hidden stations at the scored steps; NaN where nothing is scored.
    times : datetime64, (F,)
        UTC starts of the scored steps.
    names : tuple of str, (P,)
        Of the stations.
    x, y : float64, (P,)
        In the CRS of the model's grid.
    distance_km : float64, (F, P)
        To the nearest station that was given and reported; infinite where none did.
    forecasts : dict of str to JoinedForecast
        By method, without draws.
    days : datetime64[D], (D,)
        Local days of `daily`; empty where day means are not scored.
    daily : dict of str to DayForecast
        By method; ``truth`` is the same in all.
    pit, daily_pit : dict of str to list
        Densities in twenty bins.
    spread_skill, by_distance : dict of str to list of dict
        See the functions of the same name in `tally`.
    by_station : dict of str to dict
        ``mae``, ``bias`` and ``crps`` (P) of every method.
    meta : dict
        Settings, seed, period, folds and the fingerprint of the data.
    """

    rows: list[dict[str, Any]]
    ratios: list[dict[str, Any]]
    truth: Array
    times: NDArray[np.datetime64]
    names: tuple[str, ...]
    x: Array
    y: Array
    distance_km: Array
    forecasts: dict[str, JoinedForecast]
    days: NDArray[np.datetime64]
    daily: dict[str, DayForecast]
    pit: dict[str, list[float]]
    daily_pit: dict[str, list[float]]
    spread_skill: dict[str, list[dict[str, Any]]]
    by_distance: dict[str, list[dict[str, Any]]]
    by_station: dict[str, dict[str, list[float | None]]]
    meta: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the large arrays, as JSON types."""
        return {
            "rows": self.rows,
            "ratios": self.ratios,
            "pit": self.pit,
            "daily_pit": self.daily_pit,
            "spread_skill": self.spread_skill,
            "by_distance": self.by_distance,
            "stations": {
                "names": list(self.names),
                "x": [float(value) for value in self.x],
                "y": [float(value) for value in self.y],
                "methods": self.by_station,
            },
            **self.meta,
        }


def evaluate_stations(
    model: StationModel,
    network: StationNetwork,
    *,
    folds: int = 4,
    pattern: Pattern = "stations",
    buffer_km: float = 0.0,
    buffer_steps: int | None = None,
    start: str | None = None,
    end: str | None = None,
    every: int = 1,
    samples: int = 100,
    methods: tuple[str, ...] = METHODS,
    external: Covariates | None = None,
    max_minutes: float | None = None,
    seed: int = 0,
    progress: Progress = silent,
    log: Log = _quiet,
) -> Trial:
    """Score a model's recipe at stations that it has never seen, beside simpler methods.

    In every fold the recipe (settings, seed, grid, features) is fitted anew to the other stations
    up to the end of the model's training, and predicts the hidden stations after it from the other
    stations. A hidden station is in nothing that its prediction rests on; only the `oracle`, which
    is no method but a bound, knows its past.

    Parameters
    ----------
    model : StationModel
        Fitted or loaded; itself it predicts nothing here.
    network : StationNetwork
        With the period of training and what came after it.
    folds : int
        Of stations.
    pattern : {"stations", "blocks"}
        Folds that sample the whole network, or whole blocks of space with buffers.
    buffer_km : float
        Blocks only: stations nearer than this to a hidden one are left out.
    buffer_steps : int, optional
        Steps between training and test; a day for blocks, none for stations.
    start, end : str, optional
        First and last step that is scored; by default all after training.
    every : int
        Every how many steps errors are scored.
    samples : int
        Draws for day means; 0 leaves these out.
    methods : tuple of str
        Baselines, of `bench.METHODS`.
    external : Covariates, optional
        The features that the model was fitted with.
    max_minutes : float, optional
        For fitting in each fold.
    seed : int
        Of folds, draws and bootstraps.
    progress, log : callable
        Told of every step.

    Returns
    -------
    Trial

    Raises
    ------
    InvalidParameter
        If a setting is out of range, or the period begins before training ended.
    NoObservations
        If there is nothing to train or test on.
    """
    _check(every, samples, buffer_steps, methods)
    chosen = _folds(network, model.grid, folds, pattern, buffer_km, seed)
    bench = bench_of(
        model, network, chosen, (start, end), buffer=_buffer(network, pattern, buffer_steps),
        every=every, samples=samples, seed=seed, external=external,
    )  # fmt: skip
    log(
        f"{len(bench.times)} steps from {iso(bench.times[0])} to {iso(bench.times[-1])}, "
        f"{len(chosen)} folds of {len(network.names)} stations."
    )
    contenders = {
        MODEL: contender(model, bench, max_minutes=max_minutes, progress=progress, log=log)
    }
    contenders |= {name: bench.baseline(name) for name in methods}
    settings = {
        "pattern": pattern, "buffer_km": buffer_km, "every": every, "samples": samples,
        "seed": seed, "max_minutes": max_minutes, "model": model.info(),
    }  # fmt: skip
    return try_all(bench, contenders, settings=settings, progress=progress, log=log)


def try_all(
    bench: Bench,
    contenders: dict[str, Contender],
    *,
    settings: dict[str, Any],
    progress: Progress = silent,
    log: Log = _quiet,
) -> Trial:
    """Run all `contenders` (by name) on a bench and score them alike.

    Parameters
    ----------
    bench : Bench
        Stations, folds and steps.
    contenders : dict of str to callable
        See `Bench.run`.
    settings : dict of str
        Provenance, JSON types; goes into `Trial.meta`.
    progress, log : callable
        Told of every step.
    """
    outcomes: dict[str, Outcome] = {}
    total = len(contenders) * len(bench.folds)
    for place, (name, method) in enumerate(contenders.items()):
        done = place * len(bench.folds)

        def tell(number: int, name: str = name, done: int = done) -> None:
            progress(done + number, total, f"{name}, fold {number + 1} of {len(bench.folds)}")

        outcomes[name] = bench.run(method, tell)
        log(f"{name}: {outcomes[name].seconds:.1f} s.")
    progress(total, total, "scoring")
    return _trial(bench, outcomes, settings)


def _trial(bench: Bench, outcomes: dict[str, Outcome], settings: dict[str, Any]) -> Trial:
    truth, unscored = _common(bench.truth, {n: o.forecast.median for n, o in outcomes.items()})
    found = {name: scored(o.forecast, truth, bench.seed) for name, o in outcomes.items()}
    daily = {name: o.daily for name, o in outcomes.items() if o.daily is not None}
    days = _days(daily)
    block = max(1, round(BLOCK_DAYS * bench.steps_per_day / bench.every))
    pairs = ratios(found, REFERENCES, block=block, seed=bench.seed)
    pairs += ratios(days, REFERENCES, block=BLOCK_DAYS, seed=bench.seed, prefix="daily_")
    forecasts = {name: o.forecast for name, o in outcomes.items()}
    return Trial(
        rows=[_row(name, found[name], days.get(name), o.seconds) for name, o in outcomes.items()],
        ratios=pairs,
        truth=truth,
        times=bench.times,
        names=bench.network.names,
        x=bench.network.x,
        y=bench.network.y,
        distance_km=bench.distance_km,
        forecasts=forecasts,
        days=np.unique(bench.day) if daily else np.empty(0, "datetime64[D]"),
        daily=daily,
        pit={name: pit_histogram(one.pit) for name, one in found.items()},
        daily_pit={name: pit_histogram(one.pit) for name, one in days.items()},
        spread_skill={
            name: spread_skill(forecasts[name].std, truth, one.mean) for name, one in found.items()
        },
        by_distance={name: by_distance(one, bench.distance_km) for name, one in found.items()},
        by_station={name: by_station(one) for name, one in found.items()},
        meta=_meta(bench, unscored, settings),
    )


def _meta(bench: Bench, unscored: int, settings: dict[str, Any]) -> dict[str, Any]:
    network = bench.network
    return {
        "first": iso(bench.times[0]),
        "last": iso(bench.times[-1]),
        "steps": len(bench.times),
        "train_start": iso(network.times[0]),
        "train_end": iso(network.times[bench.train_steps]),
        "block_days": BLOCK_DAYS,
        "unscored": unscored,
        "folds": [
            [name for name, held in zip(network.names, fold.held, strict=True) if held]
            for fold in bench.folds
        ],
        "given": [int(fold.given.sum()) for fold in bench.folds],
        "value": network.value,
        "units": network.units,
        "crs": None if bench.grid.crs is None else str(bench.grid.crs),
        "freq": network.freq,
        "calendar_tz": network.calendar_tz,
        "data_fingerprint": bench.fingerprint(),
        "version": __version__,
        **settings,
    }


def _row(name: str, found: Scored, day: Scored | None, seconds: float) -> dict[str, Any]:
    row = {"method": name, "admissible": name != ORACLE, **found.row()}
    daily = NO_SCORES if day is None else day.row()
    return {**row, **{f"daily_{key}": v for key, v in daily.items()}, "seconds": round(seconds, 2)}


def _common(truth: Array, said: dict[str, Array]) -> tuple[Array, int]:
    """Return `truth` where every method says something, and how much of it is left out."""
    everyone = np.all([np.isfinite(values) for values in said.values()], axis=0)
    lost = int((np.isfinite(truth) & ~everyone).sum())
    return np.where(everyone, truth, np.nan), lost


def _days(daily: dict[str, DayForecast]) -> dict[str, Scored]:
    if not daily:
        return {}
    common = np.all([np.isfinite(one.crps) for one in daily.values()], axis=0)
    return {name: one.scored(common) for name, one in daily.items()}


def _check(every: int, samples: int, buffer_steps: int | None, methods: tuple[str, ...]) -> None:
    if every < 1:
        raise InvalidParameter(f"Every how many steps are scored must be 1 or more, not {every}.")
    if samples < 0 or samples == 1:
        raise InvalidParameter(
            f"Day means need 2 draws or more, not {samples}; 0 leaves day means out."
        )
    if buffer_steps is not None and buffer_steps < 0:
        raise InvalidParameter(f"The buffer must be 0 steps or more, not {buffer_steps}.")
    for name in methods:
        if name not in METHODS:
            raise InvalidParameter(f"No method is named {name!r}; choose of {', '.join(METHODS)}.")


def _folds(
    network: StationNetwork, grid: NestedGrid, folds: int, pattern: str, buffer_km: float, seed: int
) -> tuple[Fold, ...]:
    if pattern == "blocks":
        return tuple(block_folds(network, Places.of(grid), folds, buffer_km, seed))
    if pattern != "stations":
        raise InvalidParameter(f"The pattern must be stations or blocks, not {pattern!r}.")
    if buffer_km:
        raise InvalidParameter(
            f"A buffer of {buffer_km:g} km belongs to the pattern blocks; leave it out, or ask for "
            "blocks."
        )
    return tuple(Fold(held, ~held) for held in station_folds(network, folds, seed))


def _buffer(network: StationNetwork, pattern: str, buffer_steps: int | None) -> int:
    if buffer_steps is not None:
        return buffer_steps
    return max(1, round(DAY_NS / network.step_ns)) if pattern == "blocks" else 0
