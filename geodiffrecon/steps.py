"""Regular time steps: fixed lengths in UTC, days and months in the caller's own zone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, reduce
from math import gcd
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .calendar import known_zone
from .errors import InvalidParameter, InvalidTime

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Times = NDArray[np.datetime64]

DAY_NS = 86_400_000_000_000
SHORTEST_LOCAL_DAY_NS = 23 * 3_600_000_000_000
FIXED_UNITS = {"h": 3_600_000_000_000, "min": 60_000_000_000, "s": 1_000_000_000, "ms": 1_000_000}
EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday


@dataclass(frozen=True)
class TimeStep:
    """Numbered intervals ``[start(n), start(n + 1))`` that cover all of time.

    Steps shorter than a day have a fixed length and are anchored at 1970-01-01T00:00Z. Days,
    weeks and months are cut at midnight of `tz`, so a day may last 23 or 25 hours.

    Parameters
    ----------
    unit : {"fixed", "day", "month"}
        What `count` counts: nanoseconds, local days or local months.
    count : int
        Length of one step in `unit`.
    offset : int
        Shift of the anchor in nanoseconds (in months for ``unit="month"``).
    freq : str
        The same step as a pandas frequency string.
    tz : str
        IANA zone whose midnights cut days and months.

    Examples
    --------
    >>> step = TimeStep.parse("1D", tz="Asia/Shanghai")
    >>> step.floor(np.array(["2024-01-01T06:00"], dtype="datetime64[ns]"))
    array(['2023-12-31T16:00:00.000000000'], dtype='datetime64[ns]')
    """

    unit: Literal["fixed", "day", "month"]
    count: int
    offset: int
    freq: str
    tz: str = "UTC"

    @classmethod
    def parse(cls, freq: str, *, tz: str = "UTC") -> TimeStep:
        """Return the step of a pandas frequency such as ``30min``, ``1D``, ``W`` or ``MS``.

        Raises
        ------
        InvalidParameter
            If the frequency or the zone is unknown, or the step cannot be regular.
        """
        try:
            offset = pd.tseries.frequencies.to_offset(freq)
        except ValueError as error:
            raise _unknown_frequency(freq) from error
        if offset is None or offset.n < 1:
            raise _unknown_frequency(freq)
        return _from_offset(offset, freq, known_zone(tz))

    @classmethod
    def infer(cls, times: Times, *, tz: str = "UTC") -> TimeStep:
        """Return the step of ascending, distinct `times` (T >= 2); gaps in them are allowed.

        Raises
        ------
        InvalidTime
            If the times are not on any regular step.
        """
        stamps = times.astype("datetime64[ns]").astype(np.int64)
        lengths = np.diff(stamps)
        shortest = int(lengths.min())
        candidates = [_infer_fixed(stamps, shortest)] if shortest < DAY_NS else []
        if shortest >= SHORTEST_LOCAL_DAY_NS:
            local = [_infer_local(times, zone) for zone in dict.fromkeys((known_zone(tz), "UTC"))]
            candidates = [*local, _infer_fixed(stamps, shortest)]
        for step in candidates:
            if step is not None:
                return step
        raise InvalidTime(
            f"Times are not on a regular step: the shortest is {pd.Timedelta(shortest)} and the "
            f"longest {pd.Timedelta(int(lengths.max()))}; give the step with --freq."
        )

    @classmethod
    def through(cls, times: Times, freq: str, *, tz: str = "UTC") -> TimeStep:
        """Return the step of `freq`, moved so that an interval starts at ``times[0]``.

        Raises
        ------
        InvalidTime
            If `times` (T,) are not starts of consecutive intervals; gaps must be explicit frames.
        """
        starts = times.astype("datetime64[ns]")
        # Daily maps are often cut at midnight UTC whatever the agency's zone is.
        for zone in dict.fromkeys((known_zone(tz), "UTC")):
            step = cls.parse(freq, tz=zone)._moved_to(starts[:1])
            numbers = step.number(starts)
            if np.all(step.start(numbers) == starts) and np.all(np.diff(numbers) == 1):
                return step
        raise InvalidTime(
            f"Times are not consecutive steps of {freq} in {tz}; make every gap a frame of "
            "missing values."
        )

    def number(self, times: Times) -> NDArray[np.int64]:
        """Return the number of the interval that holds each of `times` (UTC, any shape (T,))."""
        if self.unit == "fixed":
            stamps = times.astype("datetime64[ns]", copy=False).view(np.int64)
            return (stamps - self.offset if self.offset else stamps) // self.count
        local = self._local(times)
        if self.unit == "day":
            stamps = local.astype("datetime64[ns]").astype(np.int64)
            return (stamps - self.offset) // (self.count * DAY_NS)
        return (local.astype("datetime64[M]").astype(np.int64) - self.offset) // self.count

    def steady(self, times: Times) -> NDArray[np.int64]:
        """Return the numbers (T,) of intervals that start at `times`, wherever a day is cut.

        Equal to `number` where days start at midnight of the zone. Others, such as days in UTC,
        would come to have the same number twice where a clock change takes their start past
        midnight; here the clock stays as far ahead as it ever is in the zone, so that midnights
        stay on their own day and a fixed hour stays on its side of midnight.
        """
        if self.unit == "fixed":
            return self.number(times)
        ahead = times.astype("datetime64[ns]").astype(np.int64) + _farthest_ahead(self.tz)
        return replace(self, tz="UTC").number(ahead.astype("datetime64[ns]"))

    def start(self, numbers: NDArray[np.int64]) -> Times:
        """Return the UTC start of each interval in `numbers`, datetime64[ns]."""
        if self.unit == "fixed":
            return (numbers * self.count + self.offset).astype("datetime64[ns]")
        if self.unit == "day":
            local = (numbers * self.count * DAY_NS + self.offset).astype("datetime64[ns]")
        else:
            local = (numbers * self.count + self.offset).astype("datetime64[M]")
        # Where midnight is skipped the day starts an hour later, where it comes twice at the first.
        index = pd.DatetimeIndex(local.astype("datetime64[ns]")).tz_localize(
            self.tz, nonexistent="shift_forward", ambiguous=np.ones(len(local), dtype=bool)
        )
        return index.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[ns]")

    def floor(self, times: Times) -> Times:
        """Return the UTC start of the interval that holds each of `times`."""
        return self.start(self.number(times))

    def span(self, first: np.datetime64, last: np.datetime64) -> Times:
        """Return the starts of all intervals from the one of `first` to the one of `last`."""
        low, high = self.number(np.array([first, last], dtype="datetime64[ns]"))
        return self.start(np.arange(low, high + 1))

    def bounds(self, starts: Times) -> Times:
        """Return the bounds (T, 2) of the intervals that begin at `starts`."""
        following = self.start(self.number(starts) + 1)
        return np.stack([starts.astype("datetime64[ns]"), following], axis=1)

    def _moved_to(self, start: Times) -> TimeStep:
        """Return this step with its anchor moved so that an interval begins at `start` (1,)."""
        floor = self.floor(start)
        if len(start) == 0 or floor[0] == start[0]:
            return self
        unit = "M" if self.unit == "month" else "ns"
        ends = [
            self._local(at).astype(f"datetime64[{unit}]").astype(np.int64) for at in (start, floor)
        ]
        return replace(self, offset=self.offset + int((ends[0] - ends[1])[0]))

    def _local(self, times: Times) -> Times:
        if self.tz == "UTC" or self.unit == "fixed":
            return times.astype("datetime64[ns]")
        index = pd.DatetimeIndex(times).tz_localize("UTC").tz_convert(self.tz)
        return index.tz_localize(None).to_numpy().astype("datetime64[ns]")


@cache
def _farthest_ahead(tz: str) -> int:
    """Return the largest offset of a zone from UTC since 1970, in nanoseconds."""
    days = np.arange("1970-01-01", "2038-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
    local = TimeStep("day", 1, 0, "1D", tz)._local(days)
    return int((local - days).astype(np.int64).max())


def _from_offset(offset: Any, freq: str, tz: str) -> TimeStep:
    kind = type(offset).__name__
    if kind == "Day":
        return TimeStep("day", offset.n, 0, f"{offset.n}D", tz)
    if kind == "Week":
        first_day = 0 if offset.weekday is None else (offset.weekday + 1) % 7
        anchor = (first_day - EPOCH_WEEKDAY) % 7 * DAY_NS
        return TimeStep("day", 7 * offset.n, anchor, f"{offset.n}{offset.rule_code}", tz)
    if isinstance(offset, pd.tseries.offsets.Tick):
        return _from_length(int(pd.Timedelta(offset).value), tz)
    months = _months(offset)
    if months is None:
        raise _unknown_frequency(freq)
    return TimeStep("month", *months, freq if freq[0].isdigit() else f"1{freq}", tz)


def _from_length(length_ns: int, tz: str) -> TimeStep:
    if length_ns % DAY_NS == 0:
        return TimeStep("day", length_ns // DAY_NS, 0, f"{length_ns // DAY_NS}D", tz)
    return TimeStep("fixed", length_ns, 0, _fixed_freq(length_ns), tz)


def _months(offset: Any) -> tuple[int, int] | None:
    """Return the length in months and the first month of a calendar offset."""
    kind = type(offset).__name__
    if kind in ("MonthBegin", "MonthEnd"):
        return offset.n, 0
    if kind == "QuarterBegin":
        return 3 * offset.n, (offset.startingMonth - 1) % 3
    if kind == "QuarterEnd":
        return 3 * offset.n, offset.startingMonth % 3
    if kind == "YearBegin":
        return 12 * offset.n, (offset.month - 1) % 12
    if kind == "YearEnd":
        return 12 * offset.n, offset.month % 12
    return None


def _infer_fixed(stamps: NDArray[np.int64], length: int) -> TimeStep | None:
    if np.any(np.diff(stamps) % length):
        return None
    return TimeStep("fixed", length, int(stamps[0] % length), _fixed_freq(length))


def _infer_local(times: Times, tz: str) -> TimeStep | None:
    """Return the step in local days or months that holds all `times`, or None."""
    local = TimeStep("day", 1, 0, "1D", tz)._local(times)
    clock = (local - local.astype("datetime64[D]")).astype(np.int64)
    if np.any(clock != clock[0]):
        return None
    days = local.astype("datetime64[D]").astype(np.int64)
    lengths = np.diff(days)
    if not np.any(lengths % lengths.min()):
        count = int(lengths.min())
        offset = int(days[0] % count * DAY_NS + clock[0])
        return TimeStep("day", count, offset, f"{count}D", tz)
    months = local.astype("datetime64[M]")
    if clock[0] or np.any(local != months):
        return None
    count = reduce(gcd, np.diff(months.astype(np.int64)).tolist())
    return TimeStep("month", count, int(months.astype(np.int64)[0] % count), f"{count}MS", tz)


def _fixed_freq(length_ns: int) -> str:
    for unit, size in FIXED_UNITS.items():
        if length_ns % size == 0:
            return f"{length_ns // size}{unit}"
    return f"{length_ns}ns"


def _unknown_frequency(freq: str) -> InvalidParameter:
    return InvalidParameter(
        f"Frequency {freq!r} is not a regular time step; use one such as 30min, 1h, 1D, W or MS."
    )
