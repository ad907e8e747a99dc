"""Calendar features of UTC time stamps, cut in the agency's own time zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .errors import InvalidParameter

if TYPE_CHECKING:
    from numpy.typing import NDArray

DAY, YEAR = np.timedelta64(1, "D"), np.timedelta64(366, "D")
DAYS_FOR_SLOT, DAYS_FOR_WEEKEND, DAYS_FOR_WEEKDAY, DAYS_FOR_SEASON = 7, 7, 28, 365
CLIMATOLOGY_HARMONICS = 6
OFFSET = re.compile(r"[+-](?:0\d|1[0-4]):?[0-5]\d")
NO_ZONES = {"", "posix", "right", "localtime", "Factory"}  # of the system, or with leap seconds


@dataclass(frozen=True)
class Calendar:
    """Time features with only the cycles that a record has seen in full.

    A slot of the day and the contrast of weekend and working days need 7 days of record, each
    weekday 4 weeks, the season 1 year; a cycle that was not seen whole would be extrapolated,
    so it is left out.

    Parameters
    ----------
    step_ns : int
        Regular time step of the cube in nanoseconds.
    tz : str
        IANA time zone in which days, weekdays and holidays are cut.
    slot, weekend, weekday, season : bool
        Which cycles are used.
    country : str, optional
        ISO country code of the public holidays; none are used without it.

    Examples
    --------
    >>> times = np.arange("2024-01-01", "2024-01-15", dtype="datetime64[h]").astype("M8[ns]")
    >>> calendar = Calendar.seen_in(times, tz="UTC")
    >>> calendar.slot, calendar.season, calendar.n_slots
    (True, False, 24)
    """

    step_ns: int
    tz: str = "UTC"
    slot: bool = False
    weekend: bool = False
    weekday: bool = False
    season: bool = False
    country: str | None = None

    @classmethod
    def seen_in(
        cls, times: NDArray[np.datetime64], *, tz: str = "UTC", country: str | None = None
    ) -> Calendar:
        """Return the calendar whose cycles the record `times` (T,) has seen in full."""
        step = np.diff(times).min() if len(times) > 1 else DAY
        days = float((times[-1] - times[0] + step) / DAY)
        sub_daily = 2 * step <= DAY  # a day in which clocks go forward is one of 23 hours
        return cls(
            step_ns=int(step / np.timedelta64(1, "ns")),
            tz=known_zone(tz),
            slot=bool(sub_daily and days >= DAYS_FOR_SLOT),
            weekend=bool(step <= DAY and days >= DAYS_FOR_WEEKEND),
            weekday=bool(step <= DAY and days >= DAYS_FOR_WEEKDAY),
            season=bool(days >= DAYS_FOR_SEASON and 3 * step <= YEAR),
            country=_known_country(country),
        )

    @property
    def _season_order(self) -> int:
        """Harmonics of the year that its steps can tell: of quarters one."""
        return 1 if self.step_ns > 73 * 86_400 * 10**9 else 2

    @property
    def n_slots(self) -> int:
        """Number of steps in a day (1 for daily and longer steps)."""
        return max(1, round(86_400_000_000_000 / self.step_ns))

    def local(self, times: NDArray[np.datetime64]) -> pd.DatetimeIndex:
        """Return `times` (T,) as local clock times."""
        return pd.DatetimeIndex(times).tz_localize("UTC").tz_convert(self.tz)

    def slots(self, times: NDArray[np.datetime64]) -> NDArray[np.int64]:
        """Return the slot of the local day, (T,) in ``0 .. n_slots - 1``; zeros if unused."""
        if not self.slot:
            return np.zeros(len(times), dtype=np.int64)
        seconds = self._seconds_of_day(self.local(times))
        return (seconds * self.n_slots // 86_400).astype(np.int64) % self.n_slots

    def climatology(self, times: NDArray[np.datetime64]) -> NDArray[np.float64]:
        """Return the design (T, F) of the climatology: intercept and the cycles seen."""
        local = self.local(times)
        columns = [np.ones((len(times), 1))]
        if self.slot:
            order = min(CLIMATOLOGY_HARMONICS, max(1, (self.n_slots - 1) // 2))
            columns.append(_harmonics(self._seconds_of_day(local) / 86_400, order))
        if self.weekend and self.slot:
            weekend = self._weekend(local)
            daily = _harmonics(self._seconds_of_day(local) / 86_400, 3)
            columns += [weekend, weekend * daily]
        if self.weekday:
            columns.append(np.eye(7)[local.day_of_week][:, 1:])
        if self.season:
            columns.append(_harmonics(self._year_fraction(local), self._season_order))
        return np.concatenate(columns, axis=1)

    def context(self, times: NDArray[np.datetime64]) -> NDArray[np.float32]:
        """Return the features (T, E) that condition the networks, all within [-1, 1]."""
        local = self.local(times)
        columns = [np.ones((len(times), 1))]
        if self.slot:
            columns.append(_harmonics(self._seconds_of_day(local) / 86_400, 3))
        if self.weekend:
            columns.append(self._weekend(local))
        if self.weekday:
            columns.append(_harmonics(local.day_of_week.to_numpy() / 7, 2))
        if self.season:
            columns.append(_harmonics(self._year_fraction(local), self._season_order))
        if self.country is not None:
            columns.append(self._holiday(local))
        return np.concatenate(columns, axis=1).astype(np.float32)

    @staticmethod
    def _seconds_of_day(local: pd.DatetimeIndex) -> NDArray[np.float64]:
        return (local.hour * 3600 + local.minute * 60 + local.second).to_numpy(dtype=float)

    @staticmethod
    def _year_fraction(local: pd.DatetimeIndex) -> NDArray[np.float64]:
        return (local.day_of_year.to_numpy() - 1) / 365.25

    def _weekend(self, local: pd.DatetimeIndex) -> NDArray[np.float64]:
        off = local.day_of_week.to_numpy() >= 5
        if self.country is not None:
            off = off | (self._holiday(local)[:, 0] > 0)
        return off[:, None].astype(float)

    def _holiday(self, local: pd.DatetimeIndex) -> NDArray[np.float64]:
        return np.array([[float(day in self._holidays)] for day in local.date])

    @cached_property
    def _holidays(self) -> Any:
        import holidays

        return holidays.country_holidays(self.country or "")


def _harmonics(phase: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    angle = 2 * np.pi * phase[:, None] * np.arange(1, order + 1)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def known_zone(tz: str) -> str:
    """Return an IANA name as it is, a fixed offset as ``+08:00``, or raise InvalidParameter.

    Examples
    --------
    >>> known_zone("Asia/Shanghai"), known_zone("+0800")
    ('Asia/Shanghai', '+08:00')
    """
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    name = tz if isinstance(tz, str) else ""
    if OFFSET.fullmatch(name):
        return f"{name[:3]}:{name[-2:]}"
    try:
        if name.split("/")[0] in NO_ZONES:
            raise ValueError(name)
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidParameter(
            f"Time zone {tz!r} is not known; give UTC, an IANA name such as Asia/Shanghai, or an "
            "offset such as +08:00."
        ) from error
    return name


def _known_country(country: str | None) -> str | None:
    if country is None:
        return None
    import holidays

    if country not in holidays.list_supported_countries():
        raise InvalidParameter(
            f"Country code {country!r} has no holiday calendar; give an ISO code such as CN or US."
        )
    return country


def iso(time: np.datetime64) -> str:
    """Return a UTC time in ISO 8601 with its Z.

    Examples
    --------
    >>> iso(np.datetime64("2024-01-31T06:00"))
    '2024-01-31T06:00:00Z'
    """
    text = np.datetime_as_string(time.astype("datetime64[ms]"))
    return str(text).removesuffix(".000") + "Z"
