"""Numbers that a caller asks for: limits, levels of probability, places; one sentence if none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InvalidParameter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def limits_of(exceed: Any) -> tuple[float, ...]:
    """Return the limits whose chance of being exceeded is asked for: none, one, or several.

    Raises
    ------
    InvalidParameter
        If one is no finite number.

    Examples
    --------
    >>> limits_of(None), limits_of(35), limits_of(["35", 75.0])
    ((), (35.0,), (35.0, 75.0))
    """
    if exceed is None:
        return ()
    asked = [exceed] if isinstance(exceed, str) or np.ndim(exceed) == 0 else list(exceed)
    return tuple(dict.fromkeys(_number(limit, "A limit (exceed)") for limit in asked))


def level_of(level: Any) -> float:
    """Return the level of a quantile, a share between 0 and 1.

    Raises
    ------
    InvalidParameter
        If it is something else, such as per cent, or several at once.
    """
    found = _number(level, "The level of a quantile")
    if not 0 < found < 1:
        hint = f"; for {found:g} % write {found / 100:g}" if 1 < found < 100 else ""
        raise InvalidParameter(
            f"The level of a quantile lies between 0 and 1, and is {found:g}{hint}."
        )
    return found


def threshold_of(limit: Any) -> float:
    """Return one limit of values, or raise InvalidParameter."""
    return _number(limit, "A limit")


def places_of(x: Any, y: Any) -> tuple[Array, Array]:
    """Return coordinates of P places as two arrays (P,).

    Raises
    ------
    InvalidParameter
        If they are no numbers, or not one x for each y.
    """
    try:
        east, north = (np.atleast_1d(np.asarray(part, dtype=np.float64)) for part in (x, y))
    except (TypeError, ValueError) as error:
        raise InvalidParameter(
            "Coordinates x and y must be numbers, one for each place."
        ) from error
    if east.ndim > 1 or east.shape != north.shape:
        raise InvalidParameter(
            f"Coordinates have the shapes {east.shape} and {north.shape}; give one x and one y for "
            "each place (those of a mesh by .ravel())."
        )
    return east, north


def _number(given: Any, what: str) -> float:
    if np.ndim(given) > 0 and not isinstance(given, str):
        raise InvalidParameter(f"{what} must be one number, got {given!r}; ask for each by itself.")
    try:
        number = float("nan") if isinstance(given, bool | np.bool_) else float(given)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number):
        raise InvalidParameter(f"{what} must be a number, got {given!r}.")
    return number
