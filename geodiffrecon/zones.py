"""Time zones: what their names hide, local stamps to UTC, and the zone of a place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .calendar import known_zone
from .words import agreed

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Times = NDArray[np.datetime64]
    Series = Callable[[], NDArray[np.int64]]

# Names that read like a fixed offset and have summer time, with the offset that people mean.
SUMMER = {
    "WET": "+00:00",
    "CET": "+01:00",
    "MET": "+01:00",
    "EET": "+02:00",
    "EST5EDT": "-05:00",
    "CST6CDT": "-06:00",
    "MST7MDT": "-07:00",
    "PST8PDT": "-08:00",
}
TURNED = re.compile(r"Etc/GMT([+-])(\d{1,2})")
HOUR = np.timedelta64(3600, "s")


def zone_of_place(longitude: float, latitude: float) -> str:
    """Return the IANA zone of a place; at sea that of its longitude.

    Examples
    --------
    >>> zone_of_place(116.4, 39.9)
    'Asia/Shanghai'
    """
    from tzfpy import get_tz

    lon, lat = (longitude + 180) % 360 - 180, min(max(latitude, -90.0), 90.0)
    return str(get_tz(lon, lat)) or "UTC"


def offset_of(tz: str) -> str:
    """Return the only offset of a zone since 2000, such as ``+08:00``; empty where it changes.

    Examples
    --------
    >>> offset_of("Asia/Shanghai"), offset_of("Europe/Paris")
    ('+08:00', '')
    """
    months = pd.date_range("2000-01-01", "2030-01-01", freq="MS", tz=known_zone(tz))
    found = {month.strftime("%z") for month in months}
    only = found.pop()
    return "" if found else f"{only[:3]}:{only[3:]}"


def remarks(tz: str, summer: bool = True) -> list[str]:
    """Return what is easily overlooked about a zone: its summer time, or its turned sign.

    Examples
    --------
    >>> remarks("Etc/GMT+8")
    ['Etc/GMT+8 is UTC-8, 8 hours behind; write -08:00 if that is meant, else +08:00.']
    """
    if tz in SUMMER and summer:
        fixed = SUMMER[tz]
        return [f"{tz} has summer time, an hour ahead; {fixed} is the same clock all year."]
    found = TURNED.fullmatch(tz)
    if found is None or int(found[2]) == 0:
        return []
    sign, side = ("-", "behind") if found[1] == "+" else ("+", "ahead")
    other = {"-": "+", "+": "-"}[sign]
    hours = int(found[2])
    return [
        f"{tz} is UTC{sign}{hours}, {hours} hours {side}; write {sign}{hours:02d}:00 if that is "
        f"meant, else {other}{hours:02d}:00."
    ]


def localized(
    stamps: Times, rows: NDArray[np.int64], tz: str, series: Series | None
) -> tuple[Times, list[str]]:
    """Return local stamps in UTC, and sentences on hours that clocks skip or repeat.

    Parameters
    ----------
    stamps : datetime64[ns], (d,)
        Distinct local times of `tz`; NaT where missing.
    rows : int64, (n,)
        The stamp of each row, in the order of the file.
    tz : str
        IANA zone or fixed offset.
    series : callable, optional
        Returns the series (a station, say) of each row (n,); one series by default. Where clocks
        repeat an hour, the order of the rows of a series tells its two passes apart.

    Returns
    -------
    times : datetime64[ns], (n,)
    notes : list of str
    """
    zone = known_zone(tz)
    index, known = pd.DatetimeIndex(stamps), ~np.isnat(stamps)
    local_first, local_second = (
        index.tz_localize(zone, ambiguous=np.full(len(index), summer), nonexistent="shift_forward")
        for summer in (True, False)
    )
    first, second = (
        part.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[ns]")
        for part in (local_first, local_second)
    )
    skipped = known & (local_first.tz_localize(None) != index)
    repeated = known & (first != second)
    summer = bool(tz in SUMMER and ((stamps - second)[known] > _winter(zone)).any())
    notes = remarks(tz, summer)
    times = first[rows]
    if repeated.any():
        chosen = np.flatnonzero(repeated[rows])
        late = _second_pass(stamps, rows, chosen, series)
        times[chosen[late]] = second[rows[chosen[late]]]
        notes.append(_said(len(chosen), int(late.sum())))
    if skipped.any():
        number = int(skipped[rows].sum())
        told = f"{number} times in the hour that clocks skip are moved to its end."
        notes.append(agreed(number, told))
    return times, notes


def _winter(zone: str) -> np.timedelta64:
    """Return the offset of a zone on a day of winter in the north."""
    offset = pd.Timestamp("2024-01-15", tz=zone).utcoffset()
    return np.timedelta64(offset if offset is not None else pd.Timedelta(0))


def _said(rows: int, second: int) -> str:
    if not second:
        return agreed(rows, (
            f"{rows} rows fall into the hour that clocks repeat; they are taken as its first pass, "
            "so write offsets where that is wrong."
        ))  # fmt: skip
    return (
        f"{rows} rows fall into the hour that clocks repeat; by their order in the file "
        f"{rows - second} are taken as its first pass and {second} as its second."
    )


def _second_pass(
    stamps: Times, rows: NDArray[np.int64], chosen: NDArray[np.int64], series: Series | None
) -> NDArray[np.bool_]:
    """Return which of the rows `chosen`, whose hour comes twice, belong to its second pass.

    Within a series the second pass begins where the clock stands at a time for the second time,
    or goes back. A file that runs backwards is read from its end.
    """
    code = np.zeros(len(rows), dtype=np.int64) if series is None else series()
    concerned = np.isin(code, np.unique(code[chosen]))
    others = concerned & ~np.isnat(stamps)[rows]
    frame = pd.DataFrame({"code": code[others], "time": stamps[rows[others]].astype(np.int64)})
    ends = frame.groupby("code")["time"].agg(["first", "last"])
    backwards = (ends["last"] < ends["first"]).reindex(code[chosen]).to_numpy()
    others[chosen] = False
    plain = frame[~np.isin(frame["time"], stamps[rows[chosen]].astype(np.int64))]
    usual = max(1, round(len(plain) / max(1, len(plain.drop_duplicates()))))
    order = np.where(backwards, -np.arange(len(chosen)), np.arange(len(chosen)))
    order = np.lexsort((order, code[chosen]))
    ordered = pd.DataFrame(
        {
            "code": code[chosen][order],
            "night": stamps[rows[chosen[order]]].astype("datetime64[D]"),
            "time": stamps[rows[chosen[order]]].astype(np.int64),
        }
    )
    passed = ordered.groupby(["code", "night"])["time"].cummax() > ordered["time"]
    again = ordered.groupby(["code", "time"]).cumcount() >= usual
    late = np.zeros(len(chosen), dtype=bool)
    late[order] = (passed | again).to_numpy()
    return late
