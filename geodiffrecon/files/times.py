"""When maps are: from the file's axis, its tags, its name, or as the caller says."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..axes import is_time, time_along
from ..errors import GeoDiffReconError, InvalidParameter, InvalidTime
from ..stamps import utc_stamps

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from numpy.typing import NDArray

    Times = NDArray[np.datetime64]

FIRST, LAST = np.datetime64("1678-01-01"), np.datetime64("2262-01-01")
CLOCK = r"(?:[T_ ]?\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d+)?)?)?(?:Z|[+-]\d{2}:?\d{2})?)?"
STAMP = re.compile(rf"(?<!\d)(?:\d{{4}}-\d{{2}}-\d{{2}}|\d{{8}}){CLOCK}(?!\d)")
COMPACT = re.compile(r"^(\d{4})-?(\d{2})-?(\d{2})[T_ ]?(\d{2})?:?(\d{2})?:?(\d{2})?(\.\d+)?(.*)$")
CALENDAR_UNITS = re.compile(
    r"^\s*(month|year)s?\s+since\s+(-?\d{1,4})(?:-(\d{1,2}))?", re.IGNORECASE
)
REMEDY = "give them with --times, or read them from its name with --time-from"


def given_times(times: Any) -> Times:
    """Return times that a caller gives as UTC: texts, dates or any index of times.

    Raises
    ------
    InvalidTime
        If one cannot be read or lies outside 1678 to 2261.
    """
    try:
        index = pd.DatetimeIndex(times)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidTime(
            f"The times {str(times)[:60]} cannot be read; write them as ISO 8601, for example "
            "2024-01-31T06:00Z."
        ) from error
    index = index if index.tz is None else index.tz_convert("UTC").tz_localize(None)
    return in_range(index.to_numpy(), "the times given")


def parse_times(text: str) -> list[str]:
    """Return the times of an option: separated by commas, or the lines of a file."""
    path = Path(text)
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else text.split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidParameter(f"--times {text} cannot be read as a file of times.") from error
    return [line.strip() for line in lines if line.strip()]


def times_from(names: list[str], pattern: str) -> Times:
    """Return the times in `names` by a pattern such as ``lst_%Y%j`` or ``%Y-%m-%d``.

    Raises
    ------
    InvalidTime
        If a name does not hold the pattern.
    """
    signs = {"Y": r"\d{4}", "m": r"\d{2}", "d": r"\d{2}", "H": r"\d{2}", "M": r"\d{2}",
             "S": r"\d{2}", "j": r"\d{3}", "y": r"\d{2}", "b": r"[A-Za-z]{3}"}  # fmt: skip
    parts = re.split(r"%([A-Za-z])", pattern)
    if len(parts) < 3 or any(sign not in signs for sign in parts[1::2]):
        raise InvalidParameter(
            f"--time-from {pattern!r} names no time; write it such as %Y%m%d or lst_%Y%j."
        )
    found = re.compile("".join(
        f"({signs[part]})" if i % 2 else ".*?".join(map(re.escape, part.split("*")))
        for i, part in enumerate(parts)
    ))  # fmt: skip
    times = []
    for name in names:
        match = found.search(name)
        try:
            if match is None:
                raise ValueError
            form = " ".join(f"%{sign}" for sign in parts[1::2])
            times.append(datetime.strptime(" ".join(match.groups()), form))
        except ValueError as error:
            raise InvalidTime(
                f"{repr(name) if name.strip() else 'A band without a name'} holds no time of the "
                f"form {pattern!r}; correct --time-from."
            ) from error
    return np.array(times, dtype="datetime64[ns]")


def in_range(times: Any, what: str) -> Times:
    """Return times as datetime64[ns], or raise InvalidTime outside 1678 to 2261."""
    stamps = np.asarray(times)
    days = stamps.astype("datetime64[D]")
    wrong = ~np.isnat(days) & ((days < FIRST) | (days >= LAST))
    if wrong.any():
        raise InvalidTime(
            f"Time {stamps[np.argmax(wrong)]} of {what} lies outside 1678 to 2261; correct it, or "
            "leave that map out."
        )
    return stamps.astype("datetime64[ns]")


def cf_times(dataset: xr.Dataset, dim: str | None, path: Path) -> tuple[Times, bool, list[str]]:
    """Return the times of a file, whether they are starts by its bounds, and notes.

    Without a time dimension a single time among the coordinates is that of the one map.

    Raises
    ------
    InvalidTime
        If there is none, or it cannot be decoded.
    """
    name = scalar_time(dataset) if dim is None else time_along(dataset, dim)
    if name is None:
        raise InvalidTime(f"{path.name} has no time coordinate: {REMEDY}.")
    time = dataset[name]
    bounds = str(time.attrs.get("bounds") or time.encoding.get("bounds") or "")
    if bounds in dataset.variables and dataset[bounds].shape[-1:] == (2,):
        attrs = {**_encoded(time), **_encoded(dataset[bounds])}
        edges = np.asarray(dataset[bounds].values).reshape(-1, 2)
        low, _ = _decoded(edges[:, 0], attrs, name, path)
        high, notes = _decoded(edges[:, 1], attrs, name, path)
        if np.all(low < high):
            return low, True, notes
    times, notes = _decoded(np.atleast_1d(time.values), _encoded(time), name, path)
    return times, False, notes


def scalar_time(dataset: xr.Dataset) -> str | None:
    """Return the name of the one time of a file that has no time dimension."""
    single = [
        str(name)
        for name, array in dataset.variables.items()
        if array.size == 1 and array.dtype.kind in "iufM" and is_time(dataset, str(name))
    ]
    usual = [n for n in single if dataset[n].attrs.get("standard_name") == "time"
             or n.lower() in ("time", "valid_time", "t")]  # fmt: skip
    return next(iter(sorted(usual, key=lambda n: n != "valid_time") or single), None)


def _encoded(time: Any) -> dict[str, Any]:
    return {**time.encoding, **time.attrs}


def _decoded(
    values: NDArray[Any], attrs: Mapping[str, Any], name: str, path: Path
) -> tuple[Times, list[str]]:
    """Return stored numbers as UTC times."""
    if values.dtype.kind == "M":
        return in_range(values, path.name), []
    units, calendar = str(attrs.get("units", "")), str(attrs.get("calendar", "standard")).lower()
    if match := CALENDAR_UNITS.match(units):
        return _calendar_count(values, match, path)
    days = _dates_as_numbers(values) if " since " not in units else None
    if days is not None:
        return in_range(days, path.name), [
            f"Numbers such as {int(np.ravel(values)[0])} in {name!r} are taken as dates."
        ]
    import cftime

    try:
        dates = cftime.num2date(np.asarray(values), units, calendar)
        return _real(np.ravel(np.asarray(dates, dtype=object)), calendar, path)
    except GeoDiffReconError:
        raise
    except (ValueError, OverflowError, TypeError, AttributeError) as error:
        raise InvalidTime(
            f"The time axis {name!r} of {path.name} cannot be decoded (units {units!r}); give it "
            f"CF units such as 'hours since 2024-01-01', or {REMEDY}."
        ) from error


def _dates_as_numbers(values: NDArray[Any]) -> Times | None:
    """Return the times of numbers such as 20240131 or 20240131.25, or None if one is no date."""
    numbers = np.ravel(np.asarray(values, dtype=np.float64))
    if not len(numbers) or not np.all((numbers >= 16780101) & (numbers < 22620101)):
        return None
    whole = np.floor(numbers + 1e-6)
    try:
        days = pd.to_datetime([f"{int(n)}" for n in whole], format="%Y%m%d")
    except ValueError:
        return None
    seconds = np.round((numbers - whole) * 86400 / 60).clip(0) * 60  # to the minute
    return (days.to_numpy() + seconds.astype("timedelta64[s]")).astype("datetime64[ns]")


def _calendar_count(values: NDArray[Any], match: Any, path: Path) -> tuple[Times, list[str]]:
    """Return the months that values of "months since" or "years since" lie in."""
    unit, year, month = match.groups()
    each = 1 if unit.lower() == "month" else 12
    first = (int(year) - 1970) * 12 + int(month or 1) - 1
    count = np.floor(np.asarray(values, dtype=np.float64) * each + first + 1e-6).astype(np.int64)
    return in_range(count.astype("datetime64[M]"), path.name), []


def _real(dates: NDArray[Any], calendar: str, path: Path) -> tuple[Times, list[str]]:
    """Return dates of any calendar as those of the real one, where all of them exist."""
    texts = [date.isoformat() for date in dates]
    years = [date.year for date in dates]
    wrong = next((i for i, year in enumerate(years) if not 1678 <= year <= 2261), None)
    if wrong is not None:
        raise InvalidTime(
            f"Time {texts[wrong]} of {path.name} lies outside 1678 to 2261; correct it, or leave "
            "that map out."
        )
    if calendar in ("standard", "gregorian", "proleptic_gregorian"):
        return np.array(texts, dtype="datetime64[ns]"), []
    try:
        times = np.array(texts, dtype="datetime64[ns]")
    except ValueError as error:
        raise InvalidTime(
            f"{path.name} is in the calendar {calendar!r}, which has days that do not exist; turn "
            "it to the real one first (xarray: convert_calendar('standard', align_on='date'))."
        ) from error
    return times, [f"{path.name} is in the calendar {calendar!r}; absent days become gaps."]


def band_times(
    tags: list[dict[str, str]],
    names: list[str],
    general: Mapping[str, str],
    path: Path,
    zone: str | None,
) -> tuple[Times | None, list[str]]:
    """Return the times of the bands of a raster, None where it has none, and notes.

    Parameters
    ----------
    tags : list of dict
        Tags of each band: ``TIME``, or what GDAL copies from NetCDF and GRIB.
    names : list of str
        Description of each band.
    general : mapping
        Tags of the file.
    path : Path
        The file.
    zone : str or None
        Zone of dates without a clock time.
    """
    counted = [t.get("GRIB_VALID_TIME") for t in tags]
    if all(counted):
        seconds = [int(re.split(r"\D", str(text).strip())[0]) for text in counted]
        return in_range(np.array(seconds, "datetime64[s]"), path.name), []
    for key in ("NETCDF_DIM_time", "NETCDF_DIM_valid_time", "NETCDF_DIM_t"):
        numbers, name = [t.get(key) for t in tags], key.removeprefix("NETCDF_DIM_")
        units = general.get(f"{name}#units")
        if units and all(numbers):
            attrs = {"units": units, "calendar": general.get(f"{name}#calendar", "standard")}
            return _decoded(np.array([float(str(n)) for n in numbers]), attrs, name, path)
    texts = [
        _stamp(t.get("TIME") or name, path, band)
        for band, (t, name) in enumerate(zip(tags, names, strict=True), start=1)
    ]
    if len(texts) == 1 and texts[0] is None and general.get("TIFFTAG_DATETIME"):
        date, _, clock = general["TIFFTAG_DATETIME"].strip().partition(" ")
        texts = [f"{date.replace(':', '-')}T{clock or '00:00:00'}"]
    if all(text is None for text in texts):
        return None, []
    without = next((band for band, text in enumerate(texts, start=1) if text is None), None)
    if without is not None:
        raise InvalidTime(
            f"Band {without} of {path.name} has no time in its TIME tag or description "
            f"({names[without - 1]!r}) though others have; {REMEDY}."
        )
    return _zoned([str(text) for text in texts], path, zone)


def _zoned(texts: list[str], path: Path, zone: str | None) -> tuple[Times, list[str]]:
    dates_only = all(len(text) <= 10 for text in texts)
    naive = not dates_only and not any(re.search(r"(Z|[T ].*[+-]\d{2}:?\d{2})$", t) for t in texts)
    times, notes = utc_stamps(texts, tz=(zone or "UTC") if dates_only else "UTC", what=path.name)
    if naive:
        notes.append(f"Band times of {path.name} have no zone and are taken as UTC.")
    return in_range(times, path.name), notes


def _stamp(text: str, path: Path, band: int) -> str | None:
    """Return the one time in a text as ISO 8601; of an ISO period its start."""
    found = [match.group() for match in STAMP.finditer(text)]
    found = [stamp for stamp in found if _month(stamp)]
    if not found:
        return None
    if len(found) > 1 and not (len(found) == 2 and re.search(r"\d[Z]?/\d{4}", text)):
        raise InvalidTime(
            f"Band {band} of {path.name} names several times ({text!r}); write one, or a period "
            f"such as 2024-01-01/2024-01-16, or {REMEDY}."
        )
    year, month, day, hour, minute, second, part, zone = COMPACT.match(found[0]).groups()  # type: ignore[union-attr]
    if hour is None:
        return f"{year}-{month}-{day}"
    return f"{year}-{month}-{day}T{hour}:{minute or '00'}:{second or '00'}{part or ''}{zone}"


def _month(stamp: str) -> bool:
    digits = stamp.replace("-", "")
    return 1 <= int(digits[4:6]) <= 12 and 1 <= int(digits[6:8]) <= 31
