"""What rows of points are worth for a time step: too coarse, too long, or too few of a day."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InvalidParameter, InvalidTime, NoObservations
from .points import COVERAGE
from .steps import DAY_NS, TimeStep
from .words import agreed

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.crs import CRS

    from .points import PointTable
    from .stamps import Clock

HOUR_NS = 3_600_000_000_000
LEAST_PARTS = 4  # readings that a step has, for a share of them to mean something
REGULAR = 0.5  # share of a station's gaps that are alike
PROBES = 5  # places looked at, to tell stations from points that move
FIXED_ROWS = 10
JITTER = 0.01  # of a step, by which clocks may miss it
PROBED = 1000
LENGTHS = {"hour": (HOUR_NS, "minute"), "day": (23 * HOUR_NS, "hour"),
           "month": (28 * DAY_NS, "day"), "year": (365 * DAY_NS, "month")}  # fmt: skip


def suited(
    table: PointTable, step: TimeStep, *, coverage: float = COVERAGE, label: str = "start"
) -> PointTable:
    """Return the rows as a step can use them; what it cannot use has no value any more.

    Parameters
    ----------
    table : PointTable
        Rows of stations or of points that move.
    step : TimeStep
        Dates without a zone are days of its zone.
    coverage : float
        Share of a station's own readings that a step needs, from 0 to 1.
    label : {"start", "end"}
        Which end of its interval a stamp marks.

    Raises
    ------
    InvalidTime
        If no stamp is as fine as the step.
    InvalidParameter
        If all rows last longer than the step, or `coverage` is no share.
    NoObservations
        If no station has enough readings in any step.
    """
    if not 0 <= coverage <= 1:
        raise InvalidParameter(f"The coverage is {coverage}; give a share from 0 to 1, as 0.75.")
    _check_fine(table, step)
    if table.clock.naive:
        table = replace(table, time=_in_zone(table.time, step.tz), clock=_dated(table, step))
    table = _of_length(_steadied(table, step), step)
    return _covered(table, step, coverage, label) if coverage and table.value is not None else table


def calendar_zone(clock: Clock, bounds: tuple[float, ...], crs: CRS | None) -> tuple[str, str]:
    """Return the zone in which days are cut unless another is asked for, and a sentence on it.

    Parameters
    ----------
    clock : Clock
        Of the stamps; their own zone counts first.
    bounds : (west, south, east, north)
        Of the grid, whose place counts where stamps tell no zone.
    crs : odc.geo.crs.CRS or None
        Of the grid.
    """
    from .zones import offset_of, zone_of_place

    place = None if crs is None else zone_of_place(*_centre(bounds, crs))
    own, name = clock.zone, "name another with --calendar-tz."
    if own is None:
        zone, why = (place, "where the grid lies") if place else ("UTC", "for want of a place")
        return zone, f"Days are cut in {zone}, {why}; {name}"
    if own == "UTC" and place not in (None, "UTC"):
        return own, (
            f"Days are cut in UTC, as the stamps are; the grid lies in {place}, so give "
            f"--calendar-tz {place} where its days are meant."
        )
    if place is not None and own[0] in "+-" and own == offset_of(place):
        return place, f"Days are cut in {place}, where stamps are {own}; {name}"
    return own, f"Days are cut in {own}, the zone of the stamps; {name}"


def _centre(bounds: tuple[float, ...], crs: CRS) -> tuple[float, float]:
    from pyproj import Transformer

    west, south, east, north = bounds
    project = Transformer.from_crs(crs.proj, "EPSG:4326", always_xy=True)
    lon, lat = project.transform((west + east) / 2, (south + north) / 2)
    return float(lon), float(lat)


def _check_fine(table: PointTable, step: TimeStep) -> None:
    """Refuse dates where hours are wanted: a day's mean is not the mean of its first hour."""
    finest = table.clock.finest
    if finest is None or _longest(step) >= LENGTHS[finest][0]:
        return
    wanted = LENGTHS[finest][1]
    first = table.time[~np.isnat(table.time)][0]
    raise InvalidTime(
        f"Times in {table.clock.name!r} tell no {wanted} (the first is "
        f"{np.datetime_as_string(first, unit='m')}), but the step is {step.freq}; join the column "
        f'that does, as in --time-column "{table.clock.name},{wanted.upper()}", or use a step '
        f"of a {finest}."
    )


def _longest(step: TimeStep) -> int:
    unit = {"fixed": 1, "day": DAY_NS, "month": 31 * DAY_NS}[step.unit]
    return step.count * unit


def _in_zone(midnights: NDArray[np.datetime64], tz: str) -> NDArray[np.datetime64]:
    """Return dates, given as midnight UTC, as the midnights of a zone."""
    days, rows = np.unique(midnights, return_inverse=True)
    day = TimeStep("day", 1, 0, "1D", tz)
    known = ~np.isnat(days)
    starts = days.copy()
    starts[known] = day.start(days[known].astype("datetime64[D]").astype(np.int64))
    return starts[rows]


def _dated(table: PointTable, step: TimeStep) -> Clock:
    return replace(table.clock, naive=False, zone=step.tz)


def _steadied(table: PointTable, step: TimeStep) -> PointTable:
    """Return stamps that jitter by seconds at their step: 09:59:58 means 10:00, not 09:00."""
    if step.unit != "fixed":
        return table
    limit = int(JITTER * step.count)

    def off(times: NDArray[np.datetime64]) -> NDArray[np.int64]:
        after = (times.astype("datetime64[ns]").astype(np.int64) - step.offset) % step.count
        return np.where(2 * after > step.count, after - step.count, after)

    known = ~np.isnat(table.time)
    if np.abs(off(table.time[:PROBED][known[:PROBED]])).max(initial=0) > limit:
        return table  # points that move, told from the first rows
    apart = off(table.time[known])
    most = int(np.abs(apart).max(initial=0))
    if most > limit or not (apart < 0).any():
        return table
    times = table.time.astype("datetime64[ns]")
    times[known] -= apart.astype("timedelta64[ns]")
    note = f"Stamps are moved by up to {most / 1e9:.3g} seconds to their step of {step.freq}."
    return replace(table, time=times, notes=(*table.notes, note))


def _of_length(table: PointTable, step: TimeStep) -> PointTable:
    """Return only the rows that last as long as the step, or else shorter ones."""
    if table.length is None or not (known := ~np.isnat(table.length) & ~table.missing).any():
        return table
    lengths = table.length.astype("timedelta64[ns]").astype(np.int64)
    slack = 0 if step.unit == "fixed" else HOUR_NS
    least = step.count * {"fixed": 1, "day": DAY_NS, "month": 28 * DAY_NS}[step.unit] - slack
    longer, exact = lengths > _longest(step) + slack, lengths >= least
    exact &= ~longer
    left_out = known & (~exact if (exact & known).any() else longer)
    kinds = [_spoken(kind) for kind in np.unique(lengths[left_out])]
    if (known & ~left_out).any() and left_out.any():
        number = int(left_out.sum())
        note = f"{number} rows last {' or '.join(kinds[:3])}, not {step.freq}; they are left out."
        return _without(table, left_out, agreed(number, note))
    if left_out.any():
        raise InvalidParameter(
            f"All rows last {' or '.join(kinds[:3])}, longer than the step of {step.freq}; give "
            "that as --freq."
        )
    return table


def _spoken(length: int) -> str:
    hours = length / HOUR_NS
    return f"{hours:g} h" if hours < 48 else f"{hours / 24:g} days"


def _without(table: PointTable, rows: NDArray[np.bool_], note: str) -> PointTable:
    assert table.value is not None
    return replace(table, value=np.where(rows, np.nan, table.value), notes=(*table.notes, note))


def _covered(table: PointTable, step: TimeStep, coverage: float, label: str) -> PointTable:
    """Return the rows of stations without the steps that hold too few of their readings."""
    import pandas as pd

    rows = np.flatnonzero(~table.missing)
    if not len(rows) or not _fixed(table, rows):
        return table
    place = _places(table, rows)
    time = table.time[rows] - np.timedelta64(int(label == "end"), "ns")
    known = pd.DataFrame({"place": place, "time": time.astype(np.int64)}).drop_duplicates()
    known = known.sort_values(["place", "time"])
    gap = known.groupby("place")["time"].diff()
    own = _usual_gap(known["place"], gap)  # ns between readings, by place
    number = step.number(known["time"].to_numpy().astype("datetime64[ns]"))
    counts = known.assign(number=number).groupby(["place", "number"]).size()
    places, numbers = (counts.index.get_level_values(i).to_numpy() for i in (0, 1))
    length = (step.start(numbers + 1) - step.start(numbers)).astype(np.int64)
    usual = own.reindex(places).to_numpy()
    with np.errstate(invalid="ignore"):
        expected = np.round(length / usual)
        poor = (counts.to_numpy() < coverage * expected - 1e-9) & (expected >= LEAST_PARTS)
    if not poor.any():
        return table
    if poor.all():
        raise NoObservations(
            f"No station has {100 * coverage:.0f} % of its readings in any step of {step.freq}; "
            "give a lower share with --coverage."
        )
    row_number = step.number(time)
    pairs = pd.MultiIndex.from_arrays([place, row_number])
    gone = pairs.isin(counts.index[poor])
    dropped = np.zeros(table.n_rows, dtype=bool)
    dropped[rows[gone]] = True
    note = (
        f"{int(poor.sum())} of {len(poor)} steps of {step.freq} at stations have less than "
        f"{100 * coverage:.0f} % of their readings and are taken as missing "
        f"({agreed(int(gone.sum()), f'{int(gone.sum())} rows')}); change the share with --coverage."
    )
    return _without(table, dropped, note)


def _fixed(table: PointTable, rows: NDArray[np.int64]) -> bool:
    """Tell by a few places whether rows are of stations, that stand still."""
    probes = rows[np.linspace(0, len(rows) - 1, PROBES).astype(int)]
    seen = [int((table.x == table.x[probe]).sum()) for probe in probes]
    return float(np.median(seen)) >= min(FIXED_ROWS, len(rows))


def _places(table: PointTable, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    import pandas as pd

    x, _ = pd.factorize(table.x[rows])
    y, ys = pd.factorize(table.y[rows])
    code = x.astype(np.int64) * len(ys) + y
    if table.station is not None:
        named, labels = pd.factorize(table.station[rows])
        code = code * len(labels) + named
    return np.asarray(pd.factorize(code)[0], dtype=np.int64)


def _usual_gap(place: Any, gap: Any) -> Any:
    """Return the most frequent gap of each place that reports regularly."""
    import pandas as pd

    frame = pd.DataFrame({"place": place, "gap": gap}).dropna()
    sizes = frame.groupby(["place", "gap"]).size().rename("n").reset_index()
    sizes = sizes.sort_values(["place", "n", "gap"], ascending=[True, False, True])
    first = sizes.drop_duplicates("place").set_index("place")
    share = first["n"] / sizes.groupby("place")["n"].sum()
    return first["gap"][share >= REGULAR]
