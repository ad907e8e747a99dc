"""Models of stations behind ``reconstruct`` and ``evaluate``."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidParameter, InvalidTime, NoObservations
from ..files.kinds import holds_points
from .inputs import external_features
from .stations import columns_of, inspected, read_cells, read_stations, say_device

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from ..covariates import Covariates
    from ..points import PointColumns, PointTable
    from ..sampling import Places
    from ..stations.model import StationDiffRecon
    from ..stations.network import StationNetwork
    from ..stations.quality import Finding
    from ..stations.state import Owner, StationState
    from ..steps import TimeStep
    from .running import Session


@dataclass(frozen=True)
class Order:
    """What ``reconstruct`` is asked for, besides files; as its options."""

    samples: int
    seed: int
    time: tuple[str, str] | None
    external: list[Path] | None
    exceed: tuple[float, ...]
    at: Path | None
    at_time: str | None
    state: Path | None
    given: dict[str, Any]  # columns in place of the model's
    accept_units: bool = False


@dataclass(frozen=True, eq=False)
class Opened:
    """The stations of a file, and what was found in it."""

    network: StationNetwork
    columns: PointColumns
    findings: list[Finding]


@dataclass(frozen=True, eq=False)
class Mapped:
    """Maps, the rows of ``--at``, and the state that this run leaves to the next."""

    maps: xr.Dataset
    table: tuple[str, Any] | None
    state: StationState | None
    counts: dict[str, int]
    findings: list[Finding]


def open_stations(
    run: Session,
    path: Path,
    model: StationDiffRecon,
    given: dict[str, Any],
    time: tuple[str, str] | None = None,
) -> Opened:
    """Return the stations of a file, read as `model` was taught and without what is after `time`.

    Raises
    ------
    GeoDiffReconError
        If the file has no usable rows, other columns, or no zone or CRS.
    """
    from ..stations.network import StationNetwork

    columns = columns_of(model, **given)
    if not holds_points(path):
        return Opened(read_cells(path, model, columns.value, run), columns, [])
    table = read_stations(path, model, columns, run.log)
    table, later = _without_later(table, model, time)
    findings = inspected(
        run.log,
        table,
        model.grid,
        model.freq,
        model.calendar_tz,
        model.label,
        columns.coverage,
        kind=model.kind,
        negative=model.negative,
    )
    network = StationNetwork.of(
        table, model.grid, freq=model.freq, calendar_tz=model.calendar_tz, label=model.label,
        least=1, coverage=columns.coverage,
    )  # fmt: skip
    for note in network.notes[len(table.notes) :]:
        run.log(note)
    counts = network.counts
    counts = counts | {"points_outside_time": counts["points_outside_time"] + later}
    return Opened(replace(network, counts=counts), columns, findings)


def map_stations(run: Session, path: Path, model: StationDiffRecon, order: Order) -> Mapped:
    """Return the maps of a stations file, with the history that ``--state`` remembers."""
    from ..stations.state import StationState

    check_thresholds(order.exceed, model)
    say_device(model, run.log)
    owner = owner_of(model)
    state = StationState(owner)
    if order.state is not None:
        state = StationState.open(order.state, owner)
    opened = open_stations(run, path, model, order.given, order.time)
    own = opened.network
    first, last = period(own, owner.step, order.time)
    if not holds_points(path):
        check_holes(path, own, model, (first, last))
    network = state.joined(own, first, last, model.history)
    times = owner.step.start(np.arange(first, last + 1))
    _say_empty(network, times, run.log)
    features = external_features(order.external, model.calendar_tz, run.log)
    _say_featureless(features, model, times, run.log)
    maps = model.reconstruct(
        network, samples=order.samples, seed=order.seed, times=_texts(times), external=features,
        exceed=order.exceed, keep_draws=order.samples > 0, accept_units=order.accept_units,
        progress=run.progress, log=run.log,
    )  # fmt: skip
    _say_short(maps, model.history, order, run.log)
    table = None
    if order.at is not None:
        table = rows_at(run, order.at, model, network, times, opened.columns, order, features)
    left = None if order.state is None else state.with_run(own, last, model.history)
    return Mapped(maps, table, left, own.counts, opened.findings)


def owner_of(model: StationDiffRecon) -> Owner:
    """Return what the state of `model` belongs to."""
    from ..stations.state import Owner

    return Owner(model.value, model.freq, model.calendar_tz, model.grid, model.model_hash)


def period(
    network: StationNetwork, step: TimeStep, asked: tuple[str, str] | None
) -> tuple[int, int]:
    """Return the numbers of the first and the last step to be mapped.

    Raises
    ------
    InvalidTime, NoObservations
        If the period asked for ends before it starts, or lies outside the file.
    """
    from ..calendar import iso
    from ..stamps import utc_stamp

    covered = step.number(network.times[[0, -1]])
    if asked is None:
        return int(covered[0]), int(covered[1])
    stamps = np.array([utc_stamp(text, network.calendar_tz) for text in asked])
    first, last = (int(number) for number in step.number(stamps))
    first += int(step.start(np.array([first]))[0] < stamps[0])  # a step that begins before FROM
    if stamps[1] < stamps[0]:
        raise InvalidTime(
            f"--time goes from {asked[0]} back to {asked[1]}; give the earlier time first."
        )
    if last < first:
        raise InvalidTime(
            f"--time goes from {asked[0]} to {asked[1]}, in which no step of {network.freq} "
            "begins; give an earlier and a later time."
        )
    if last < covered[0] or first > covered[1]:
        raise NoObservations(
            f"No observation lies between {asked[0]} and {asked[1]}; the file covers "
            f"{iso(network.times[0])} to {iso(network.times[-1])}, so give other times."
        )
    return first, last


def check_holes(
    path: Path, network: StationNetwork, model: StationDiffRecon, steps: tuple[int, int]
) -> None:
    """Refuse cells of a cube that are all known from the first to the last of `steps`.

    Raises
    ------
    InvalidParameter
        If there is nothing to reconstruct.
    """
    numbers = owner_of(model).step.number(network.times)
    asked = (numbers >= steps[0]) & (numbers <= steps[1])
    cells = math.prod(model.grid.fine_shape)
    if len(network.names) == cells and np.isfinite(network.values[asked]).all():
        raise InvalidParameter(
            f"{path.name} is complete, each of its {cells} fine cells has a value at every step "
            "that is asked for, so there is nothing to reconstruct; give stations or maps with "
            "holes."
        )


def check_thresholds(exceed: tuple[float, ...], model: StationDiffRecon) -> None:
    """Refuse thresholds that are no values of the variable."""
    for limit in exceed:
        if not math.isfinite(limit):
            raise InvalidParameter(f"--exceed is {limit}; give a number, such as --exceed 35.")
        if limit < 0 and model.kind != "real":
            raise InvalidParameter(
                f"--exceed is {limit:g}, but {model.value} has no negative values; give a "
                "threshold of zero or above."
            )


def rows_at(
    run: Session,
    path: Path,
    model: StationDiffRecon,
    network: StationNetwork,
    times: NDArray[np.datetime64],
    columns: PointColumns,
    order: Order,
    features: Covariates | None,
) -> tuple[str, Any]:
    """Return the name and the table of ``--at``: the distribution at true positions."""
    from ..outputs import file_name
    from ..sampling import Steps, forecasts_at, read_places

    usual = None if columns.x is None or columns.y is None else (columns.x, columns.y)
    places = read_places(
        path, x=order.given["x"], y=order.given["y"], crs=order.given["crs"], usual=usual,
        usual_crs=columns.crs,
    )  # fmt: skip
    for note in places.notes:
        run.log(note)
    named = order.at_time or (columns.time if columns.time in places.rows else None)
    steps = Steps(
        times, owner_of(model).step, model.calendar_tz, model.label, named, columns.tz
    )  # fmt: skip

    def predict(x: NDArray[np.float64], y: NDArray[np.float64]) -> Any:
        return model.at(
            network, x, y, times=_texts(times), external=features, seed=order.seed,
            progress=run.progress, log=run.log,
        )  # fmt: skip

    exceed = {f"exceed_{limit:g}": limit for limit in order.exceed}
    table, counts = forecasts_at(places, model.grid, predict, steps, exceed=exceed)
    _say_rows(path, places, counts, run.log)
    return f"{file_name(model.value)}_at_{path.name.split('.')[0]}.csv", table


def evaluate_model(
    run: Session,
    path: Path,
    model: StationDiffRecon,
    given: dict[str, Any],
    external: list[Path] | None,
    **request: Any,
) -> tuple[Any, list[Finding]]:
    """Return the scores of a model of stations at stations that it has not seen.

    `given` are columns, zone and CRS of the file where they are not those of the model.
    """
    from ..stations.quality import cleaned
    from ..stations.trial import evaluate_stations

    say_device(model, run.log)
    opened = open_stations(run, path, model, given)
    network, _ = cleaned(
        opened.network, model.kind, model.negative
    )  # as the model cleans what it learns from
    features = external_features(external, model.calendar_tz, run.log)
    trial = evaluate_stations(
        model, network, external=features, progress=run.progress, log=run.log, **request
    )
    return trial, opened.findings


def _without_later(
    table: PointTable, model: StationDiffRecon, time: tuple[str, str] | None
) -> tuple[PointTable, int]:
    """Return the rows up to the last step of `time`, and how many come later."""
    from ..stamps import utc_stamp

    if time is None:
        return table, 0
    step = owner_of(model).step
    last = step.number(np.array([utc_stamp(time[1], model.calendar_tz)]))
    stop = step.start(last + 1)[0] + np.timedelta64(int(model.label == "end"), "ns")
    later = table.time >= stop
    if later.all():  # `period` says what the file covers
        return table, 0
    kept = replace(
        table, x=table.x[~later], y=table.y[~later], time=table.time[~later],
        value=None if table.value is None else table.value[~later],
        station=None if table.station is None else table.station[~later],
    )  # fmt: skip
    return kept, int(later.sum())


def _texts(times: NDArray[np.datetime64]) -> tuple[str, str]:
    from ..calendar import iso

    return iso(times[0]), iso(times[-1])


def _say_empty(
    network: StationNetwork, times: NDArray[np.datetime64], log: Callable[[str], None]
) -> None:
    seen = np.isfinite(network.values[-len(times) :]).any(axis=1)
    silent = int((~seen).sum())
    if silent:
        have = "has" if silent == 1 else "have"
        log(
            f"{silent} of {len(times)} mapped steps {have} no station at all; full spread, "
            "information 0."
        )


def _say_featureless(
    features: Covariates | None,
    model: StationDiffRecon,
    times: NDArray[np.datetime64],
    log: Callable[[str], None],
) -> None:
    names = model.features.names
    if features is None or not names:
        return
    known = np.isfinite(features.only(names).align(times)).all(axis=1)
    if not known.all():
        log(
            f"{int((~known).sum())} of {len(times)} mapped steps lack external features; they are "
            "mapped with the usual ones, so give a file that covers them."
        )


def _say_short(maps: xr.Dataset, history: int, order: Order, log: Callable[[str], None]) -> None:
    used = int(maps.attrs["history_used"])
    if used >= history:
        return
    remedy = (
        "the runs of earlier days fill the state" if order.state is not None
        else "give earlier rows as well, or keep them between runs with --state"
    )  # fmt: skip
    log(f"Short of history: {used} of {history} steps before the first map are known; {remedy}.")


def _say_rows(
    path: Path, places: Places, counts: dict[str, int], log: Callable[[str], None]
) -> None:
    number = len(places.rows)
    if counts["outside"]:
        log(f"{counts['outside']} of {number} rows of {path.name} lie outside the grid.")
    if counts["untimed"]:
        log(f"{counts['untimed']} of {number} rows of {path.name} have none of the mapped times.")
