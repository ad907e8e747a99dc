"""Time stamps of any form to UTC; a stamp without a zone is never given one by guess."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .columns import as_arrow, blanked
from .errors import InvalidTime
from .words import agreed
from .zones import localized

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .zones import Series

    Times = NDArray[np.datetime64]

ZONE = r"(?P<zone> *(?:Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?"
SECOND = r"(?::?(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
CLOCK = rf"(?P<hour>\d{{1,2}})(?::?(?P<minute>\d{{2}}){SECOND})?{ZONE}"
# The year comes first, so that no day is taken for a month. Without dashes the century is one of
# ours, so that seconds since 1970 are no dates.
FORMS = (
    r"(?i)^(?P<year>\d{4})(?:[-/](?P<month>\d{1,2})(?:[-/](?P<day>\d{1,2})"
    rf"(?:(?:T| +){CLOCK})?)?)?$",
    rf"(?i)^(?P<year>(?:19|20|21)\d{{2}})(?P<month>\d{{2}})(?P<day>\d{{2}})(?:[T ]?{CLOCK})?$",
)
PARTS = ("year", "month", "day", "hour", "minute", "second")
DAY_S = 86_400
LEAST_DATE = 19_000_101  # as a whole number
EARLIEST, LATEST = np.datetime64("1678-01-01", "s"), np.datetime64("2262-01-01", "s")
EPOCHS = {10: "seconds", 13: "milliseconds"}  # digits of a time of our days


@dataclass(frozen=True)
class Clock:
    """What the stamps of a column say of themselves.

    Parameters
    ----------
    name : str
        Of the column.
    finest : {"year", "month", "day", "hour"}, optional
        What no stamp goes below; None where minutes are told.
    zone : str, optional
        The zone or offset that all stamps share, their own or the one they were given.
    naive : bool
        Dates without a zone, kept as midnight UTC: which midnight is for the calendar to say.
    """

    name: str = "time"
    finest: str | None = None
    zone: str | None = None
    naive: bool = False


@dataclass(frozen=True, eq=False)
class _Texts:
    """Distinct stamps: local times (d,), offsets in seconds (NaN without one), what was seen.

    `dates` tells that no stamp has an hour; midnights have one, and no finer time either.
    """

    local: Times
    offset: NDArray[np.float64]
    finest: str | None
    dates: bool
    notes: list[str]


def utc_stamps(
    values: Any, *, tz: str | None, what: str, series: Series | None = None
) -> tuple[Times, list[str]]:
    """Return `values` as UTC times and a sentence for every convention applied.

    Parameters
    ----------
    values : pyarrow array, pandas Series or sequence of str, (n,)
        Time stamps: typed, or ISO 8601 text (offsets may differ from row to row).
    tz : str or None
        IANA zone or fixed offset (``+08:00``) of stamps without one.
    what : str
        Name of the column, for messages.
    series : callable, optional
        Returns the series of each row (n,): where clocks repeat an hour, the order of the rows
        of a series tells its two passes apart.

    Returns
    -------
    times : datetime64[ns], (n,)
        UTC; NaT where missing.
    notes : list of str

    Raises
    ------
    InvalidTime
        If a stamp cannot be read, lies outside 1678 to 2261, or has no zone and `tz` is None.

    Examples
    --------
    >>> utc_stamps(["2024-01-01T08:00+08:00", ""], tz=None, what="time")[0].tolist()[1] is None
    True
    """
    times, notes, clock = read_stamps(values, tz=tz, what=what, series=series)
    if clock.naive:
        raise InvalidTime(_zoneless(times, what))
    return times, notes


def read_stamps(
    values: Any, *, tz: str | None, what: str, series: Series | None = None
) -> tuple[Times, list[str], Clock]:
    """Return times and notes as `utc_stamps`, and what the stamps say of themselves.

    Dates without a zone need none: they come as midnight UTC, and their clock is naive.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    column = as_arrow(values)
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.datetime64("NaT", "ns")), [], Clock(what)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _typed(column, tz, what, series)
    if pa.types.is_integer(kind) and (pc.min(column).as_py() or 0) >= LEAST_DATE:
        column = column.cast(pa.string())  # 20240131 and 2024013106
    elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise InvalidTime(
            f"Column {what!r} holds {kind} values, not times; name the time column with "
            "--time-column."
        )
    # Stations share their stamps, so each distinct text is parsed once.
    encoded = pc.dictionary_encode(column)
    read = _parsed(encoded.dictionary, what)
    rows = pc.fill_null(encoded.indices, len(read.local)).to_numpy()
    return _zoned(read, rows, tz, what, series)


def utc_stamp(value: Any, tz: str) -> np.datetime64:
    """Return one time in UTC; ISO text or a datetime without a zone is in `tz`.

    Raises
    ------
    InvalidTime
        If it cannot be read: words such as "today" are no times.

    Examples
    --------
    >>> utc_stamp("2024-01-01T08:00", "Asia/Shanghai")
    np.datetime64('2024-01-01T00:00:00.000000000')
    """
    if not isinstance(value, str | dt.date | np.datetime64):
        raise InvalidTime(_unreadable(value, "period"))
    if not isinstance(value, str):
        value = pd.Timestamp(value).isoformat()
    times, _ = utc_stamps([value], tz=tz, what="period")
    if np.isnat(times[0]):
        raise InvalidTime(_unreadable(value, "period"))
    first: np.datetime64 = times[0]
    return first


def joined(columns: Sequence[Any]) -> Any:
    """Return the stamps that columns make together, as Arrow text (n,), null where one is.

    A year, a month and so on stand in as many columns; or a date in one, the clock in the next.

    Examples
    --------
    >>> joined([["2024-03-01"], [7]]).to_pylist(), joined([[2024], [3], [1], [7]]).to_pylist()
    (['2024-03-01T7'], ['2024-3-1T7'])
    """
    import pyarrow.compute as pc

    texts = [_plain(as_arrow(column)) for column in columns]
    years = pc.match_substring_regex(texts[0], r"^\d{4}$")
    dates = 3 if pc.all(years, min_count=0).as_py() else 1
    date = pc.binary_join_element_wise(*texts[:dates], "-")
    if len(texts) <= dates:
        return date
    return pc.binary_join_element_wise(date, pc.binary_join_element_wise(*texts[dates:], ":"), "T")


def _typed(
    column: Any, tz: str | None, what: str, series: Series | None
) -> tuple[Times, list[str], Clock]:
    """Return typed times; those without a zone are local."""
    import pyarrow as pa

    kind = column.type
    unit = "s" if pa.types.is_date(kind) else kind.unit
    zone = getattr(kind, "tz", None)
    stamps = (
        column.cast(pa.timestamp(unit, zone))
        .cast(pa.timestamp(unit))
        .to_numpy(zero_copy_only=False)
    )
    if unit != "ns" and _beyond(column):
        _check_range(stamps, what)
    stamps = stamps.astype("datetime64[ns]")
    if zone is not None:
        return stamps, [], Clock(what, _finest_of(stamps, series), zone)
    dates = pa.types.is_date(kind)
    finest = "day" if dates else _finest_of(stamps, series)
    read = _Texts(stamps, np.full(len(stamps), np.nan), finest, dates, [])
    return _zoned(read, np.arange(len(stamps)), tz, what, series)


def _finest_of(stamps: Times, series: Series | None) -> str | None:
    """Return "day" where typed stamps are midnights of several days, or several of one place."""
    head = stamps[:1000]  # which often tells, and spares a copy of them all
    if (head[~np.isnat(head)].astype(np.int64) // 1_000_000_000 % DAY_S).any():
        return None
    known = stamps[~np.isnat(stamps)]
    if not len(known):
        return None
    seconds = known.astype(np.int64) // 1_000_000_000
    if (seconds % DAY_S).any():
        return None
    places = 1 if series is None else len(np.unique(series()))
    return "day" if len(np.unique(seconds)) > 1 or len(known) > places else None


def _parsed(texts: Any, what: str) -> _Texts:
    """Return distinct Arrow texts as local times."""
    import pyarrow.compute as pc

    clean = blanked(texts)
    found = [pc.extract_regex(clean, form) for form in FORMS]
    unread = pc.and_(pc.is_valid(clean), pc.and_(found[0].is_null(), found[1].is_null()))
    if pc.any(unread).as_py():
        raise InvalidTime(_unreadable(texts[pc.index(unread, True).as_py()].as_py(), what))
    part = {name: _field(found, name) for name in (*PARTS, "fraction", "zone")}
    numbers = {name: _whole(part[name], least=int(n in (1, 2))) for n, name in enumerate(PARTS)}
    bad, late = _impossible(numbers)
    if bad.any():
        raise InvalidTime(_unreadable(texts[int(np.argmax(bad))].as_py(), what))
    known = clean.is_valid().to_numpy(zero_copy_only=False)
    seconds = np.where(known, _seconds(numbers), np.datetime64("NaT", "s"))
    _check_range(seconds, what)
    fraction = pc.utf8_rpad(part["fraction"], 9, "0")
    local = seconds.astype("datetime64[ns]") + _whole(fraction).astype("timedelta64[ns]")
    told = [pc.not_equal(part[name], "") for name in ("month", "day", "hour", "minute")]
    some = [bool(pc.any(pc.and_(clean.is_valid(), seen)).as_py()) for seen in told]
    finest = ("year", "month", "day", "hour", None)[sum(some)] if known.any() else None
    if finest is None and len(local) > 1 and not (seconds[known].astype(np.int64) % DAY_S).any():
        finest = "day"
    midnights = agreed(late, f"{late} times of 24:00 are taken as 00:00 of the next day.")
    notes = [midnights] if late else []
    return _Texts(local, _offsets(part["zone"]), finest, not any(some[2:]), notes)


def _field(found: Sequence[Any], name: str) -> Any:
    """Return one part of the stamps as text, empty where it is not told."""
    import pyarrow.compute as pc

    parts = [pc.struct_field(each, name) for each in found]
    valid = [each.is_valid() for each in found]
    return pc.fill_null(pc.if_else(valid[0], parts[0], pc.if_else(valid[1], parts[1], "")), "")


def _whole(text: Any, least: int = 0) -> NDArray[np.int64]:
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = pc.if_else(pc.equal(text, ""), str(least), text).cast(pa.int64())
    return np.asarray(numbers.to_numpy(zero_copy_only=False))


def _impossible(part: dict[str, NDArray[np.int64]]) -> tuple[NDArray[np.bool_], int]:
    """Return which stamps no clock shows, and how many show 24:00."""
    midnight = (part["hour"] == 24) & (part["minute"] == 0) & (part["second"] == 0)
    bad = (part["hour"] > 23) & ~midnight
    for name, most in (("month", 12), ("day", 31), ("minute", 59), ("second", 59)):
        bad |= part[name] > most
    bad |= (part["month"] < 1) | (part["day"] < 1)
    month = _months(part)
    bad |= (month.astype("datetime64[D]") + part["day"] - 1).astype("datetime64[M]") != month
    return bad, int(midnight.sum())


def _months(part: dict[str, NDArray[np.int64]]) -> Times:
    return ((part["year"] - 1970) * 12 + part["month"] - 1).astype("datetime64[M]")


def _seconds(part: dict[str, NDArray[np.int64]]) -> Times:
    clock = part["hour"] * 3600 + part["minute"] * 60 + part["second"]
    days = _months(part).astype("datetime64[D]") + (part["day"] - 1)
    return days.astype("datetime64[s]") + clock


def _offsets(zone: Any) -> NDArray[np.float64]:
    """Return offsets in seconds (d,); NaN where a stamp has none."""
    texts = [text.strip().upper() for text in zone.to_pylist()]
    known = {text: _offset(text) for text in set(texts)}
    return np.array([known[text] for text in texts], dtype=np.float64)


def _offset(text: str) -> float:
    if not text:
        return float("nan")
    if text in ("Z", "UTC", "GMT"):
        return 0.0
    hours, minutes = int(text[1:3]), int(text[3:].lstrip(":") or 0)
    return (-1 if text[0] == "-" else 1) * (hours * 3600.0 + minutes * 60.0)


def _zoned(
    read: _Texts,
    rows: NDArray[np.int64],
    tz: str | None,
    what: str,
    series: Series | None,
) -> tuple[Times, list[str], Clock]:
    """Return the local times of all rows in UTC."""
    missing = np.datetime64("NaT", "ns")
    known, aware = ~np.isnat(read.local), ~np.isnan(read.offset)
    shift = np.where(aware, read.offset, 0).astype(np.int64).astype("timedelta64[s]")
    own = read.local - shift.astype("timedelta64[ns]")
    utc = np.append(np.where(aware, own, missing), missing)
    naive = known & ~aware
    if not naive.any():
        return utc[rows], read.notes, Clock(what, read.finest, _shared(read.offset[known & aware]))
    local = np.where(naive, read.local, missing)
    if tz is None:
        if not read.dates:
            raise InvalidTime(_zoneless(local, what))
        return np.append(local, missing)[rows], read.notes, Clock(what, read.finest, naive=True)
    times, notes = localized(np.append(local, missing), rows, tz, series)
    # Rows with an offset of their own keep it.
    times = np.where(np.isnat(utc[rows]), times, utc[rows])
    return times, [*read.notes, *notes], Clock(what, read.finest, tz)


def _shared(offsets: NDArray[np.float64]) -> str | None:
    """Return the offset that all stamps have, as a zone."""
    kinds = np.unique(offsets)
    if len(kinds) != 1:
        return None
    minutes = int(kinds[0]) // 60
    if not minutes:
        return "UTC"
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def _plain(column: Any) -> Any:
    """Return dates, clocks and whole numbers as text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("s", column.type.tz)).cast(pa.date32())
    if pa.types.is_floating(column.type):
        column = column.cast(pa.int64(), safe=False)
    return pc.replace_substring_regex(blanked(column.cast(pa.string())), r"^(\d+)\.0*$", r"\1")


def _beyond(column: Any) -> bool:
    """Tell whether typed stamps go beyond what nanoseconds can count; dates are looked at."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_timestamp(column.type):
        return True
    ends = pc.min_max(column.cast(pa.int64())).as_py()
    if ends["min"] is None:
        return False
    low, high = (np.datetime64(ends[key], column.type.unit) for key in ("min", "max"))
    return bool(low < EARLIEST or high >= LATEST)


def _check_range(stamps: Times, what: str) -> None:
    """Refuse what nanoseconds cannot count."""
    outside = (stamps < EARLIEST) | (stamps >= LATEST)
    if not outside.any():
        return
    row = int(np.argmax(outside))
    raise InvalidTime(
        f"Time {np.datetime_as_string(stamps[row], unit='s')} in {what!r} lies outside 1678 to "
        "2261; leave empty what stands for no time or for an open end."
    )


def _zoneless(times: Times, what: str) -> str:
    first = pd.Timestamp(times[np.argmax(~np.isnat(times))]).isoformat()
    return (
        f"Time {first} in column {what!r} has no zone; give it with --tz, for example --tz UTC or "
        "--tz Asia/Shanghai."
    )


def _unreadable(value: Any, what: str) -> str:
    text = str(value).strip()
    if text.isdigit() and len(text) in EPOCHS:
        unit = EPOCHS[len(text)]
        return (
            f"Time {value!r} in {what!r} looks like {unit} since 1970; write such times as ISO "
            "8601, for example 2024-01-31T06:00Z."
        )
    return (
        f"Time {value!r} in {what!r} cannot be read; write it as ISO 8601, "
        "for example 2024-01-31T06:00+08:00."
    )
