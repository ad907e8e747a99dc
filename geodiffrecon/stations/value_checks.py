"""Checks of readings: piles at the limits, flat lines, spikes, units, signs, days without data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..steps import TimeStep
from .findings import KEPT, LEFT_OUT, Finding, counted
from .places import Places
from .survey import told

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .survey import Negative, Survey

HOUR_NS = 3_600_000_000_000
FLAT_NS, FLAT_STEPS = 6 * HOUR_NS, 6
LEAST_READINGS = 10  # that make a pile or a constant
OUTERMOST = 5  # distinct values among which a pile is looked for
NEXT = 3  # distinct values beside a pile, whose counts it must exceed
BEYOND = 0.01  # of a pile's count, and one more: readings that may lie farther out
NEIGHBOURS = 5
SPIKE_MEDIAN, SPIKE_USUAL = 15.0, 3.0  # times the median change and the 95 % change
SHARED = 0.3  # of a spike, seen by the neighbours: then it is weather or smoke
THOUSAND = (300.0, 3000.0)  # ratio to the others: micrograms among milligrams
SCALED = (0.5, 2.0)
STABLE = 0.1  # interquartile range of the log ratio of a station that is scaled, not different
RARE = 0.05  # share of negative readings that noise gives a concentration
MADE = {"keep": "noise about zero and kept", "zero": "set to zero", "drop": "taken as missing"}


def limits(survey: Survey) -> list[Finding]:
    """Return values at which readings pile up: caps and floors, of all stations or of one."""
    found = []
    varied = ~_constant(survey.values)
    for check, top in (("cap", True), ("floor", False)):
        common = _pile(survey.values[:, varied], top=top)
        if common is not None:
            found.append(_network_limit(survey, check, common))
        for column in np.flatnonzero(varied):
            own = _pile(survey.values[:, column], top=top)
            if own is not None and own != common:
                found.append(_station_limit(survey, check, own, int(column)))
    return found


def constants(survey: Survey) -> list[Finding]:
    """Return stations that read the same value throughout."""
    found = []
    for column in np.flatnonzero(_constant(survey.values)):
        known = np.flatnonzero(np.isfinite(survey.values[:, column]))
        value, first = survey.values[known[0], column], survey.when(survey.times[known[0]])
        check = "constant zero" if value == 0 else "constant"
        text = (
            f"Station {survey.names[column]} reads {value:g} in all its {len(known)} readings from "
            f"{first}; remove it if it is broken."
        )
        found.append(Finding(check, survey.names[column], len(known), first, text, KEPT))
    return found


def flat_lines(survey: Survey) -> list[Finding]:
    """Return runs of at least six hours (and six steps) of one value that is no limit."""
    length = _flat_steps(survey)
    varied = ~_constant(survey.values)
    piles = {_pile(survey.values[:, varied], top=top) for top in (True, False)} | {0.0}
    found = []
    for column in np.flatnonzero(varied):
        start, size = _runs(survey.values[:, column])
        held = size >= length
        held &= ~np.isin(survey.values[start, column], [pile for pile in piles if pile is not None])
        if held.any():
            found.append(_flat(survey, int(column), start[held], size[held]))
    return found


def spikes(survey: Survey) -> list[Finding]:
    """Return single readings that jump away and back, and that no neighbour shares.

    A jump is measured against both readings beside it. It must exceed the station's median and
    95 % change many times, and the nearest stations' median jump at that step must be small.
    """
    values = survey.values
    if len(values) < 3:
        return []
    jump = _jumps(values)
    away = Places.of(survey.grid).km(survey.sites.x[survey.near], survey.sites.y[survey.near])
    found = []
    for column, change in enumerate(np.abs(np.diff(values, axis=0)).T):
        change = change[np.isfinite(change)]
        if len(change) < LEAST_READINGS:
            continue
        median, usual = np.quantile(change, (0.5, 0.95))
        if median == 0 < usual:  # mostly at rest, as rain: a jump is no surprise
            continue
        least = max(SPIKE_MEDIAN * median, SPIKE_USUAL * usual)
        steps = np.flatnonzero(np.abs(jump[:, column]) > least)
        steps = steps[_alone(jump, away, steps, column)]
        if len(steps):
            found.append(_spike(survey, column, steps, jump[steps, column]))
    return found


def units(survey: Survey) -> list[Finding]:
    """Return stations whose readings are a thousand times, or a fixed multiple of, the others'."""
    ratio = _ratios(survey.values)
    found = []
    for column in range(ratio.shape[1]):
        known = np.flatnonzero(ratio[:, column] > 0)
        if len(known) < LEAST_READINGS:
            continue
        mine = ratio[known, column]
        for low, high in (THOUSAND, (1 / THOUSAND[1], 1 / THOUSAND[0])):
            odd = known[(mine > low) & (mine < high)]
            if len(odd) >= LEAST_READINGS:
                found.append(_thousandfold(survey, column, odd, len(known), low > 1))
        quarter, middle, threequarter = np.quantile(np.log(mine), (0.25, 0.5, 0.75))
        close = [times for times in SCALED if abs(np.exp(middle) / times - 1) < STABLE]
        if close and threequarter - quarter < STABLE:
            found.append(_multiple(survey, column, known, float(np.exp(middle))))
    return found


def negatives(survey: Survey) -> list[Finding]:
    """Return negative readings, which a field that cannot be below zero does not have.

    Without a kind, more than one reading in twenty below zero means a field of both signs.
    """
    below = survey.values < 0
    known = max(int(np.isfinite(survey.values).sum()), 1)
    if survey.kind == "real" or (survey.kind is None and below.sum() > RARE * known):
        return []
    return negative_readings(
        survey.names, survey.times, survey.values, survey.calendar_tz, survey.negative
    )


def negative_readings(
    names: tuple[str, ...],
    times: NDArray[np.datetime64],
    values: NDArray[np.float64],
    calendar_tz: str,
    negative: Negative,
) -> list[Finding]:
    """Return the negative readings of each station of `values` (T, S), and what is made of them."""
    found = []
    for column in np.flatnonzero((values < 0).any(axis=0)):
        steps = np.flatnonzero(values[:, column] < 0)
        seen, first = values[steps, column], told(times[steps[0]], calendar_tz)
        what = f"down to {seen.min():g}" if np.ptp(seen) else f"always {seen[0]:g}, maybe a code"
        text = (
            f"Station {names[column]} has {counted(len(steps), 'reading')} below zero ({what}), "
            f"first {first}; they are {MADE[negative]} (--negative keep, zero or drop), unless "
            "--kind real says that values below zero exist."
        )
        action = KEPT if negative == "keep" else LEFT_OUT
        found.append(Finding("negative", names[column], len(steps), first, text, action))
    return found


def empty_days(survey: Survey) -> list[Finding]:
    """Return the calendar days between the first and the last step without any value."""
    day = TimeStep.parse("1D", tz=survey.calendar_tz)
    number = day.number(survey.times)
    seen = np.unique(number[np.isfinite(survey.values).any(axis=1)])
    gaps = _gaps(survey.times)
    if not len(seen) or gaps > 25 * HOUR_NS:
        return []
    empty = np.setdiff1d(np.arange(number[0], number[-1] + 1), seen)
    if not len(empty):
        return []
    start, size = _stretches(empty)
    dates = [survey.when(time)[:10] for time in day.start(start[[0, int(np.argmax(size))]])]
    total = int(number[-1] - number[0]) + 1
    wild = "; check the first and the last time stamp" if 2 * len(empty) > total else ""
    text = (
        f"{len(empty)} of {counted(total, 'day')} have no value at any station, first {dates[0]}, "
        f"most in a row {size.max()} from {dates[1]}; look for the missing part of the file{wild}."
    )
    return [Finding("empty day", None, len(empty), survey.when(day.start(start[:1])[0]), text)]


def _constant(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return columns of `values` (T, S) with many readings and one value, or with none."""
    known = np.isfinite(values)
    highest = np.where(known, values, -np.inf).max(axis=0, initial=-np.inf)
    lowest = np.where(known, values, np.inf).min(axis=0, initial=np.inf)
    return np.asarray((highest <= lowest) & (known.sum(axis=0) >= LEAST_READINGS))


def _pile(values: NDArray[np.float64], *, top: bool) -> float | None:
    """Return the value near one end that is far more frequent than those beside it."""
    distinct, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    if top:
        distinct, counts = distinct[::-1], counts[::-1]
    for at in range(min(OUTERMOST, len(distinct) - NEXT)):
        count, beside = int(counts[at]), float(counts[at + 1 : at + 1 + NEXT].mean())
        many = count >= LEAST_READINGS and count > max(1.5 * beside, beside + 6 * np.sqrt(beside))
        if many and distinct[at] != 0 and counts[:at].sum() <= 1 + BEYOND * count:
            return float(distinct[at])
    return None


def _network_limit(survey: Survey, check: str, value: float) -> Finding:
    at = survey.values == value
    per_station = at.sum(axis=0)
    first = survey.when(survey.times[int(np.argmax(at.any(axis=1)))])
    most = int(np.argmax(per_station))
    text = (
        f"{survey.table.value_name or 'The value'} {_ends(check)} at {value:g}: "
        f"{counted(int(at.sum()), 'reading')} at {counted(int((per_station > 0).sum()), 'station')}"
        f" (most at {survey.names[most]}, {per_station[most]}), first {first}; "
        f"{_beyond(check)}."
    )
    return Finding(check, None, int(at.sum()), first, text, KEPT)


def _station_limit(survey: Survey, check: str, value: float, column: int) -> Finding:
    at = np.flatnonzero(survey.values[:, column] == value)
    first = survey.when(survey.times[at[0]])
    text = (
        f"Station {survey.names[column]} {_ends(check)} at {value:g}: "
        f"{counted(len(at), 'reading')}, first {first}; {_beyond(check)}."
    )
    return Finding(check, survey.names[column], len(at), first, text, KEPT)


def _ends(check: str) -> str:
    return "is capped" if check == "cap" else "has a floor"


def _beyond(check: str) -> str:
    side = "higher" if check == "cap" else "lower"
    return f"true values may be {side}, and maps learn this limit"


def _flat_steps(survey: Survey) -> int:
    return max(FLAT_STEPS, -int(-FLAT_NS // max(_gaps(survey.times), 1)))


def _gaps(times: NDArray[np.datetime64]) -> int:
    """Return the usual length of a step in nanoseconds; 0 for one step."""
    return int(np.median(np.diff(times).astype(np.int64))) if len(times) > 1 else 0


def _runs(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first step and length of each run of equal readings (T,), of two or more."""
    same = np.concatenate([[0], (values[1:] == values[:-1]).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(same))
    return edges[::2], edges[1::2] - edges[::2] + 1


def _stretches(numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first number and length of each stretch of consecutive `numbers`."""
    cuts = np.flatnonzero(np.diff(numbers) != 1) + 1
    parts = np.split(numbers, cuts)
    return np.array([part[0] for part in parts]), np.array([len(part) for part in parts])


def _flat(
    survey: Survey, column: int, start: NDArray[np.int64], size: NDArray[np.int64]
) -> Finding:
    name, longest = survey.names[column], int(np.argmax(size))
    first = survey.when(survey.times[start[0]])
    value = survey.values[start[longest], column]
    text = (
        f"Station {name} stands still in {counted(len(start), 'run')}, the longest "
        f"{size[longest]} steps at {value:g} from {survey.when(survey.times[start[longest]])}; "
        "such stretches are often filled in, so write empty cells if they are."
    )
    return Finding("flat line", name, len(start), first, text, KEPT)


def _jumps(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each reading stands out from both beside it, (T, S); NaN where unknown."""
    jump = np.full(values.shape, np.nan)
    before, here, after = values[:-2], values[1:-1], values[2:]
    up, down = here - np.maximum(before, after), here - np.minimum(before, after)
    jump[1:-1] = np.where(up > 0, up, np.where(down < 0, down, up * 0.0))
    return jump


def _alone(
    jump: NDArray[np.float64], km: NDArray[np.float64], steps: NDArray[np.int64], column: int
) -> NDArray[np.bool_]:
    """Return for which `steps` the nearest stations, where any report, see no such jump."""
    if not len(steps):
        return np.zeros(0, dtype=bool)
    order = np.argsort(np.hypot(*(km - km[column]).T), kind="stable")
    order = order[order != column]
    alone = np.zeros(len(steps), dtype=bool)
    for place, step in enumerate(steps):
        seen = jump[step, order]
        seen = seen[np.isfinite(seen)][:NEIGHBOURS]
        alone[place] = len(seen) > 0 and abs(np.median(seen)) < SHARED * abs(jump[step, column])
    return alone


def _spike(
    survey: Survey, column: int, steps: NDArray[np.int64], jump: NDArray[np.float64]
) -> Finding:
    name, largest = survey.names[column], steps[int(np.argmax(np.abs(jump)))]
    before, here, after = survey.values[largest - 1 : largest + 2, column]
    first = survey.when(survey.times[steps[0]])
    text = (
        f"Station {name} has {counted(len(steps), 'spike')} that no neighbour shares, the largest "
        f"{before:g} → {here:g} → {after:g} at {survey.when(survey.times[largest])}; write empty "
        "cells if they are errors."
    )
    return Finding("spike", name, len(steps), first, text, KEPT)


def _ratios(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each reading over the median of its step, (T, S); NaN below three readings."""
    ordered = np.sort(values, axis=1)  # NaN last
    known = np.isfinite(values).sum(axis=1)
    rows = np.arange(len(values))
    low = ordered[rows, np.maximum(known - 1, 0) // 2]
    middle = (low + ordered[rows, np.minimum(known // 2, values.shape[1] - 1)]) / 2
    middle = np.where((known >= 3) & (middle > 0), middle, np.nan)
    return values / middle[:, None]


def _thousandfold(
    survey: Survey, column: int, odd: NDArray[np.int64], known: int, large: bool
) -> Finding:
    name, first = survey.names[column], survey.when(survey.times[odd[0]])
    times, mixed = ("1000 times", "µg among mg") if large else ("1/1000 of", "mg among µg")
    share = f"{len(odd)} of {counted(known, 'reading')}"
    text = (
        f"Station {name} reads about {times} the median of all stations in {share}, first {first} "
        f"({survey.values[odd[0], column]:g}); it may be in other units ({mixed}), so convert it."
    )
    return Finding("units", name, len(odd), first, text, KEPT)


def _multiple(survey: Survey, column: int, known: NDArray[np.int64], times: float) -> Finding:
    name, first = survey.names[column], survey.when(survey.times[known[0]])
    text = (
        f"Station {name} reads {times:.2f} times the median of all stations throughout, from "
        f"{first} ({survey.values[known[0], column]:g}); it may be in other units (such as ppb), "
        "so convert it."
    )
    return Finding("units", name, len(known), first, text, KEPT)
