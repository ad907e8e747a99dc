"""The regular step behind the stamps of maps, and which interval each map is of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..errors import InvalidTime
from ..steps import DAY_NS, TimeStep
from ..words import agreed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Times = NDArray[np.datetime64]

Label = Literal["start", "middle", "end"]
JITTER = 0.01  # of a step: clocks that stamp 10:00:03 mean 10:00
NEAR_MIDDLE = 1.6  # days: day 15 at midnight of every month, or half of each to the hour
SHORTEST_MONTH = 27.5  # days between stamps
START = "at the start of the month"
SHORT_NS = 60_000_000_000  # stamps of shorter steps are moments
HOUR_NS = 3_600_000_000_000
USUAL = [n * 60_000_000_000 for n in (1, 2, 5, 6, 10, 12, 15, 20, 30)] + [
    n * HOUR_NS for n in (1, 2, 3, 4, 6, 8, 12, 24)
]


@dataclass(frozen=True, eq=False)
class Record:
    """Maps in the order of time, each with the number of its interval.

    Parameters
    ----------
    order : array of int, (T,)
        Indices into the file's maps.
    numbers : array of int, (T,)
        Ascending numbers of their intervals.
    step : TimeStep
        The regular step.
    notes : tuple of str
        What had to be assumed about the stamps.
    """

    order: NDArray[np.int64]
    numbers: NDArray[np.int64]
    step: TimeStep
    notes: tuple[str, ...] = ()


def record_of(
    times: Times,
    *,
    tz: str,
    freq: str | None,
    label: Label | None = None,
    starts: bool = False,
) -> Record:
    """Return the record of maps stamped at `times`.

    Parameters
    ----------
    times : datetime64[ns], (T,)
        UTC stamps in any order.
    tz : str
        Zone in which days are cut.
    freq : str or None
        The step; told from the stamps by default. Unequal dates are placed on it with gaps.
    label : {"start", "middle", "end"}, optional
        Which point of its interval a stamp marks. By default stamps at half a step are its
        middle, stamps at the middle or end of months are those months, all others its start.
    starts : bool
        Whether the file itself says that its stamps are starts.

    Raises
    ------
    InvalidTime
        If a map has no time, two have the same, or the dates are unequal and `freq` is None.
    """
    if np.isnat(times).any():
        raise InvalidTime("A map has no time; drop it or give times for all maps with --times.")
    order = np.argsort(times, kind="stable")
    stamps = times[order]
    twice = np.flatnonzero(np.diff(stamps) == np.timedelta64(0))
    if len(twice):
        raise InvalidTime(f"Time {stamps[twice[0]]} occurs twice; keep one map for each time.")
    label = "start" if starts and label is None else label
    found = None
    if len(stamps) > 1:
        found = _whole_months(stamps, tz, label) or _snapped(stamps, tz)
    if found is not None:
        first, step, notes = found
        if step.unit != "month":
            first, step, told = _labelled(first, step, tz, label)
            notes = [*notes, *told]
        if freq is None or _same_step(step, TimeStep.parse(freq, tz=tz)):
            return Record(order, step.number(first), step, tuple(notes))
    return _on(stamps, order, freq, tz, label)


def _same_step(step: TimeStep, other: TimeStep) -> bool:
    return (step.unit, step.count) == (other.unit, other.count)


def _on(
    stamps: Times, order: NDArray[np.int64], freq: str | None, tz: str, label: Label | None
) -> Record:
    """Return single or unequal stamps on the step of `freq`, with gaps."""
    if freq is None:
        raise _no_step(stamps)
    if len(stamps) == 1:
        step = TimeStep.through(stamps, freq, tz=tz)
        first, step, notes = _labelled(stamps, step, tz, label)
        return Record(order, step.number(first), step, tuple(notes))
    step = TimeStep.through(stamps[:1], freq, tz=tz)
    if np.any(step.start(step.number(stamps)) != stamps):
        step = TimeStep.parse(freq, tz=tz)
    inside = stamps - np.timedelta64(1, "ns") if label == "end" else stamps
    numbers = step.number(inside)
    shared = np.flatnonzero(np.diff(numbers) == 0)
    if len(shared):
        raise InvalidTime(
            f"The maps of {stamps[shared[0]]} and {stamps[shared[0] + 1]} lie in the same step of "
            f"{freq}; give a shorter one with --freq."
        )
    gaps = int(numbers[-1] - numbers[0]) + 1 - len(numbers)
    between = agreed(gaps, f"{gaps} steps between them are gaps.")
    note = f"{len(numbers)} maps stand on steps of {freq}; {between}"
    return Record(order, numbers, step, (note,) if gaps else ())


def _no_step(stamps: Times) -> InvalidTime:
    if len(stamps) == 1:
        return InvalidTime(
            f"The file has one map, at {stamps[0]}, so its step cannot be told; give it with "
            "--freq, such as --freq 1D."
        )
    days = np.diff(stamps).astype(np.int64) / DAY_NS
    return InvalidTime(
        f"The maps are {_length(days.min())} to {_length(days.max())} apart, on no regular step; "
        "give the step with --freq, such as --freq 1D, and absent ones become gaps."
    )


def _length(days: float) -> str:
    if days >= 2:
        return f"{days:.4g} days"
    return f"{days * 24:.4g} h" if days * 24 >= 1 else f"{days * 1440:.4g} min"


def _snapped(stamps: Times, tz: str) -> tuple[Times, TimeStep, list[str]] | None:
    """Return the step of the stamps, moved by at most a hundredth of it, or None."""
    try:
        return stamps, TimeStep.infer(stamps, tz=tz), []
    except InvalidTime:
        pass
    numbers = stamps.astype(np.int64)
    middle = float(np.median(np.diff(numbers)))
    length = min(USUAL, key=lambda usual: abs(usual - middle))
    phase = float(np.median((numbers + length // 2) % length)) - length // 2
    grain = 60_000_000_000 if length >= 30 * 60_000_000_000 else 1_000_000_000
    phase = round(phase / grain) * grain
    moved = np.round((numbers - phase) / length).astype(np.int64) * length + phase
    most = int(np.abs(moved - numbers).max())
    if most > JITTER * length or np.any(np.diff(moved) == 0):
        return None
    if np.any(np.diff(moved) % np.diff(moved).min()):
        return None
    snapped = moved.astype("datetime64[ns]")
    note = f"Stamps are moved by up to {most / 1e9:.3g} seconds to their regular step."
    return snapped, TimeStep.infer(snapped, tz=tz), [note]


def _labelled(
    stamps: Times, step: TimeStep, tz: str, label: Label | None
) -> tuple[Times, TimeStep, list[str]]:
    """Return the starts of intervals whose start, middle or end the stamps mark."""
    if label == "start" or step.unit == "month":
        return stamps, step, []
    length = step.count * DAY_NS if step.unit == "day" else step.count
    if label is None and not _halfway(stamps, step, length):
        return stamps, step, []
    shift = length if label == "end" else length // 2
    first = stamps - np.timedelta64(shift, "ns")
    moved = (
        TimeStep.infer(first, tz=tz)
        if len(first) > 1
        else TimeStep.through(first, step.freq, tz=tz)
    )
    if label is not None:
        return first, moved, []
    return first, moved, [
        f"Stamps such as {pd.Timestamp(stamps[0]):%Y-%m-%d %H:%M} are taken as the middle of their "
        "interval; --label start takes them as its start."
    ]  # fmt: skip


def _halfway(stamps: Times, step: TimeStep, length: int) -> bool:
    """Tell whether stamps lie half a step after the hours or midnights that cut their steps."""
    if DAY_NS % length:
        return False  # nothing says where steps of eight days or five hours begin
    clocks = {int(at.astype(np.int64)[0]) for at in (stamps[:1], step._local(stamps[:1]))}
    return any(clock % length == length // 2 for clock in clocks) and length >= 2 * SHORT_NS


def _whole_months(
    stamps: Times, tz: str, label: Label | None
) -> tuple[Times, TimeStep, list[str]] | None:
    """Return months and years by their name, wherever in them they are stamped, or None."""
    if (np.diff(stamps.astype(np.int64)) / DAY_NS).min() < SHORTEST_MONTH:
        return None
    for zone in dict.fromkeys((tz, "UTC")):
        local = TimeStep("day", 1, 0, "1D", zone)._local(stamps)
        local = local - np.timedelta64(1, "ns") if label == "end" else local
        month = local.astype("datetime64[M]")  # (T,)
        apart = np.diff(month.astype(np.int64))
        where = _where_in(local)
        if where is None or np.any(apart < 1):
            continue
        count = int(np.gcd.reduce(apart))
        number = month.astype(np.int64)
        if "year" in where:
            number = number // 12 * 12
        elif label != "start" and "end" in where:  # of a quarter its last month
            number = number - (count - 1)
        elif label != "start" and "middle" in where:
            number = number - (count - 1) // 2
        name = f"{count // 12}YS" if count % 12 == 0 and number[0] % 12 == 0 else f"{count}MS"
        step = TimeStep("month", count, int(number[0] % count), name, zone)
        first = step.start((number - step.offset) // count)
        told = "all of it, from its first day"
        if count > 1 and "year" not in where:
            told = f"those of {count} months from {pd.Timestamp(first[0]):%Y-%m-%d}"
        example = f"{pd.Timestamp(stamps[0]):%Y-%m-%d}, {where}"
        notes = [f"Stamps such as {example}, are taken as {told}."]
        return first, step, [] if where == START else notes
    return None


def _where_in(local: Times) -> str | None:
    """Return where in their months or years the stamps (T,) lie, if all alike."""
    month, year = local.astype("datetime64[M]"), local.astype("datetime64[Y]")
    day, _ = _within(local, month)
    if np.all(day == 0):
        return START
    for name, unit in (("year", year), ("month", month)):
        place, size = _within(local, unit)
        if np.all(np.abs(place - size / 2) <= NEAR_MIDDLE):
            return f"at the middle of the {name}"
        if np.all(size - place <= 1.0):
            return f"at the end of the {name}"
    return "on the same day of each month" if np.ptp(day) < 1e-9 else None


def _within(local: Times, unit: Times) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the days since the month or year began, and how many it has."""
    first = unit.astype("datetime64[ns]")
    following = (unit + 1).astype("datetime64[ns]")
    return (
        (local - first).astype(np.int64) / DAY_NS,
        (following - first).astype(np.int64) / DAY_NS,
    )
