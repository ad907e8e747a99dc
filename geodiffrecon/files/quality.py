"""What is odd in readings: numbers that stand for a missing value although nothing declares it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..words import agreed

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NINES = (99.0, 999.0, 9999.0, 99999.0, 999999.0, 9999999.0, 99.9, 999.9, 9999.9, 99.99, 999.99)
_LOW = (777.0, 7777.0, 888.0, 8888.0, 9900.0, 32767.0, 32768.0, 2147483647.0, 2147483648.0)
_HIGH = (255.0, 32767.0, 65535.0, 2147483647.0, 4294967295.0)
_CODES = np.array(sorted({-code for code in (*_NINES, *_LOW)} | {*_NINES, *_HIGH}))
# Programs' own words for nothing: NetCDF, CMIP, Ferret, GrADS, Surfer, ESRI, GDAL.
_FILLS = np.array([9.99e8, 1e10, 1e15, 1e20, 9.999e20, 1e30, 9.999e30, 1e32, 9.99e33, 1e34,
                   1e35, 1e36, 9.96921e36, 1e37, 1.70141e38, 3.4028235e38,
                   1.7976931348623157e308])  # fmt: skip
ROUNDED = 1e-3  # of a fill that was written as text with a few digits
SURE = 9999.0  # a positive code as large as this is believed where it stands once
BEYOND = 2.0  # times the largest other value: where a positive code stands alone
SAMPLE = 1 << 16  # values that the middle of the others is told from


def isolated_codes(values: NDArray[Any]) -> dict[float, int]:
    """Return the codes for a missing value among `values`, and how often each is there.

    A usual code is one only where it stands alone, far outside the other values: below them by
    more than they spread between their least and their middle, or at least twice as large as
    the largest. A temperature of -99.9 among others of -40 to 40 is a code, a height of
    -99 among others of -120 to 3000 is not, nor are 999 trips among others of up to 800.

    Parameters
    ----------
    values : array of float, any shape
        Values; those that are not finite do not count.

    Returns
    -------
    dict of float to int
        From the least to the largest; empty where there are none.

    Examples
    --------
    >>> isolated_codes(np.array([12.0, -999.0, 31.0, -999.0, 18.0]))
    {-999.0: 2}
    >>> isolated_codes(np.array([980.0, 999.0, 1012.0]))
    {}
    """
    numbers = np.asarray(values)
    finite = numbers[np.isfinite(numbers)]
    if not len(finite) or not _coded(np.array([finite.min(), finite.max()])).any():
        return {}  # a code is the least or the largest value, or hides behind one that is
    coded = _coded(finite)
    found, counts = np.unique(finite[coded], return_counts=True)
    others = finite[~coded].astype(np.float64)
    alone = [_alone(float(c), int(n), others) for c, n in zip(found, counts, strict=True)]
    return {float(c): int(n) for c, n, kept in zip(found, counts, alone, strict=True) if kept}


def blank_codes(
    values: NDArray[Any],
    what: str,
    *,
    noun: str = "cells",
    packing: tuple[float, float] = (1.0, 0.0),
) -> list[str]:
    """Set what is not finite, and isolated codes, to NaN in place; say how many of each.

    Parameters
    ----------
    values : array of float, any shape
        Changed in place. Give all values of one variable at once: a code is told by the others.
    what : str
        Name of the variable, for the sentences.
    noun : str
        What one value is called: ``cells`` of maps, ``values`` of tables.
    packing : (scale, offset)
        Of the numbers that the file stores, among which codes are told.

    Returns
    -------
    list of str
        One sentence for infinite values and one for each code.

    Examples
    --------
    >>> maps = np.array([[20.0, -9999.0], [np.inf, 31.0]])
    >>> blank_codes(maps, "pm25")[1]
    "1 cell of 'pm25' is -9999, which nothing declares; it is taken as missing."
    """
    endless = np.isinf(values)
    told = int(np.count_nonzero(endless))
    endless_ones = f"{told} {noun} of {what!r} are infinite; they are taken as missing."
    notes = [agreed(told, endless_ones)] if told else []
    if told:
        values[endless] = np.nan
    scale, offset = packing
    packed = scale != 1 or offset != 0
    kind = values.dtype.type
    stored = np.rint((values - kind(offset)) / kind(scale)) if packed else values
    for code, count in isolated_codes(stored).items():
        values[stored == np.asarray(code, dtype=stored.dtype)] = np.nan
        named = f"{code:.6g} as stored" if packed else f"{code:.6g}"
        coded = (
            f"{count} {noun} of {what!r} are {named}, which nothing declares; they are taken as "
            "missing."
        )
        notes.append(agreed(count, coded))
    return notes


def _coded(finite: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which numbers are codes, whatever lies around them."""
    kind = finite.dtype if np.issubdtype(finite.dtype, np.floating) else np.dtype(np.float64)
    coded = np.isin(finite, np.unique(_CODES.astype(kind)))
    large = np.flatnonzero(np.abs(finite) >= (1 - ROUNDED) * _FILLS[0])
    if len(large):
        size = np.log(np.abs(finite[large].astype(np.float64)))
        fills = np.log(_FILLS)
        above = fills.searchsorted(size).clip(1, len(fills) - 1)
        off = np.minimum(np.abs(size - fills[above - 1]), np.abs(size - fills[above]))
        coded[large] |= off < ROUNDED
    return np.asarray(coded)


def _alone(code: float, count: int, others: NDArray[np.float64]) -> bool:
    """Tell whether a code lies far outside the `others` (n,), which hold no code."""
    if not len(others):
        return code < 0 or code >= SURE
    low, high = float(others.min()), float(others.max())
    if code < 0:
        middle = float(np.median(others[:: -(-len(others) // SAMPLE)]))
        return code < low and (low >= 0 or low - code > middle - low)
    return code > BEYOND * max(high, 0.0) and (count > 1 or code >= SURE)
