"""Time stamps of any form to UTC; a stamp without a zone is never given one by guess."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .calendar import known_zone
from .errors import InvalidParameter, InvalidTime

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Times = NDArray[np.datetime64]

MISSING = {"", "nan", "nat", "null", "none", "na", "n/a"}
ZONE = re.compile(r"[T ]\d{2}.*?(Z|[+-]\d{2}(:?\d{2})?)$", re.IGNORECASE)
OFFSET = re.compile(r"^[+-]\d{2}:?\d{2}$")


def utc_stamps(values: Any, *, tz: str | None, what: str) -> tuple[Times, list[str]]:
    """Return `values` as UTC times and a sentence for every convention applied.

    Parameters
    ----------
    values : pyarrow array, pandas Series or sequence of str, (n,)
        Time stamps: typed, or ISO 8601 text (offsets may differ from row to row).
    tz : str or None
        IANA zone or fixed offset (``+08:00``) of stamps without one.
    what : str
        Name of the column, for messages.

    Returns
    -------
    times : datetime64[ns], (n,)
        UTC; NaT where missing.
    notes : list of str

    Raises
    ------
    InvalidTime
        If a stamp cannot be read, or has no zone and `tz` is None.

    Examples
    --------
    >>> utc_stamps(["2024-01-01T08:00+08:00", ""], tz=None, what="time")[0].tolist()[1] is None
    True
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else _as_arrow(values)
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        zone = getattr(kind, "tz", None)
        stamps = column.cast(pa.timestamp("ns", zone)).cast(pa.timestamp("ns")).to_numpy()
        return (stamps, []) if zone else _localized(stamps, tz, what)
    if pa.types.is_null(kind):
        return np.full(len(column), np.datetime64("NaT", "ns")), []
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise InvalidTime(
            f"Column {what!r} holds {kind} values, not times; name the time column with --time."
        )
    # Stations share their stamps, so each distinct text is parsed once.
    encoded = pc.dictionary_encode(pa.chunked_array([column]).combine_chunks())
    distinct, notes = _parsed(encoded.dictionary.to_pylist(), tz, what)
    index = pc.fill_null(encoded.indices, len(distinct)).to_numpy()
    return np.append(distinct, np.datetime64("NaT", "ns"))[index], notes


def utc_stamp(value: Any, tz: str) -> np.datetime64:
    """Return one time in UTC; text or a datetime without a zone is in `tz`.

    Raises
    ------
    InvalidTime
        If it cannot be read.
    """
    try:
        stamp = pd.Timestamp(value)
    except (ValueError, TypeError) as error:
        raise InvalidTime(_unreadable(value, "period")) from error
    if pd.isna(stamp):
        raise InvalidTime(_unreadable(value, "period"))
    if stamp.tzinfo is None:
        stamp = stamp.tz_localize(checked_zone(tz), ambiguous=True, nonexistent="shift_forward")
    utc: Times = np.array([stamp.tz_convert("UTC").tz_localize(None)], dtype="datetime64[ns]")
    first: np.datetime64 = utc[0]
    return first


def checked_zone(tz: str) -> str:
    """Return `tz` if it is an IANA zone or a fixed offset, else raise InvalidParameter."""
    if OFFSET.match(tz):
        return tz if ":" in tz else f"{tz[:3]}:{tz[3:]}"
    if not tz:
        raise InvalidParameter("Time zone is empty; give an IANA name such as Asia/Shanghai.")
    return known_zone(tz)


def _as_arrow(values: Any) -> Any:
    import pyarrow as pa

    if isinstance(values, pd.Series | pd.DatetimeIndex) and values.dtype == object:
        values = [v.isoformat() if hasattr(v, "isoformat") else v for v in values]
    try:
        return pa.Array.from_pandas(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if v is None else str(v) for v in values])


def _parsed(texts: list[str], tz: str | None, what: str) -> tuple[Times, list[str]]:
    """Return the distinct `texts` as UTC times."""
    times = np.full(len(texts), np.datetime64("NaT", "ns"))
    clean = [_normal(text) for text in texts]
    present = np.array([text.lower() not in MISSING for text in clean], dtype=bool)
    zoned = np.array([ZONE.search(text) is not None for text in clean], dtype=bool) & present
    naive = present & ~zoned
    notes: list[str] = []
    for chosen, aware in ((zoned, True), (naive, False)):
        index = np.flatnonzero(chosen)
        parsed = pd.to_datetime(
            [clean[i] for i in index], format="ISO8601", utc=aware, errors="coerce"
        )
        if parsed.isna().any():
            raise InvalidTime(_unreadable(texts[index[np.argmax(parsed.isna())]], what))
        stamps = (parsed.tz_localize(None) if aware else parsed).to_numpy()
        times[index] = stamps.astype("datetime64[ns]")
    if naive.any():
        times[naive], notes = _localized(times[naive], tz, what)
    return times, notes


def _normal(text: str) -> str:
    text = text.strip().replace(" UTC", "Z")
    date, rest = text[:10].replace("/", "-"), text[10:]
    return date + re.sub(r"\s+([+-]\d{2}:?\d{2})$", r"\1", rest)


def _localized(stamps: Times, tz: str | None, what: str) -> tuple[Times, list[str]]:
    """Return naive `stamps` of zone `tz` in UTC, noting hours that clocks skip or repeat."""
    known = ~np.isnat(stamps)
    if tz is None:
        if not known.any():
            return stamps, []
        first = pd.Timestamp(stamps[np.argmax(known)]).isoformat()
        raise InvalidTime(
            f"Time {first} in column {what!r} has no zone; give it with --tz, "
            "for example --tz UTC or --tz Asia/Shanghai."
        )
    index, zone = pd.DatetimeIndex(stamps), checked_zone(tz)
    first_pass, second_pass = (
        index.tz_localize(zone, ambiguous=np.full(len(index), dst), nonexistent="shift_forward")
        for dst in (True, False)
    )
    repeated = int((first_pass != second_pass)[known].sum())
    skipped = int((first_pass.tz_localize(None) != index)[known].sum())
    notes = []
    if repeated:
        notes.append(f"{repeated} times in the hour that clocks repeat are taken as the first.")
    if skipped:
        notes.append(f"{skipped} times in the hour that clocks skip are moved to its end.")
    utc = first_pass.tz_convert("UTC").tz_localize(None).to_numpy()
    return utc.astype("datetime64[ns]"), notes


def _unreadable(value: Any, what: str) -> str:
    return (
        f"Time {value!r} in {what!r} cannot be read; write it as ISO 8601, "
        "for example 2024-01-31T06:00+08:00."
    )
