"""The data quality report: what looks wrong in a stations file, said and never silently changed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import InvalidParameter
from ..points import COVERAGE
from .findings import Action, Finding, findings_table, to_rows
from .row_checks import (
    missing_codes,
    moved_stations,
    repeated_rows,
    shared_cells,
    silent_stations,
    strays,
)
from .survey import Negative, Survey
from .value_checks import (
    MADE,
    constants,
    empty_days,
    flat_lines,
    limits,
    negative_readings,
    negatives,
    spikes,
    units,
)

if TYPE_CHECKING:
    from ..grid import NestedGrid
    from ..points import PointTable
    from ..scaling import Kind
    from .network import StationNetwork

__all__ = ["Action", "Finding", "cleaned", "findings_table", "inspect", "to_rows"]

OF_ROWS = (strays, moved_stations, shared_cells, repeated_rows, missing_codes, silent_stations)
OF_READINGS = (units, negatives, limits, constants, flat_lines, spikes, empty_days)


def inspect(
    table: PointTable,
    grid: NestedGrid,
    *,
    freq: str,
    calendar_tz: str = "UTC",
    label: Literal["start", "end"] = "start",
    kind: Kind | None = None,
    coverage: float = COVERAGE,
    negative: Negative = "keep",
) -> list[Finding]:
    """Return what looks wrong in a table of station readings, one finding per station and check.

    Nothing is changed here. What the network changes itself (repeats, contradictions, stations far
    away) and what `cleaned` changes (negative readings) is said by the finding's `action`.

    Parameters
    ----------
    table : PointTable
        Rows of stations with values, in any order.
    grid : NestedGrid
        Where maps are wanted.
    freq, calendar_tz, label
        As in `StationNetwork.of`.
    kind : {"real", "positive", "count"}, optional
        Of the field; without it few negative readings are errors and many are a field of both
        signs.
    coverage : float
        As in `StationNetwork.of`.
    negative : {"keep", "zero", "drop"}
        As in `cleaned`.

    Raises
    ------
    InvalidParameter
        If the table has no value column, or frequency, zone or label are unknown.
    MissingCRS, MemoryEstimateExceeded
        If only one of points and grid has a CRS, or the steps do not fit in memory.
    """
    if table.value is None:
        raise InvalidParameter("Stations need a value column; name it with --value.")
    survey = Survey.of(
        table,
        grid,
        freq=freq,
        calendar_tz=calendar_tz,
        label=label,
        kind=kind,
        coverage=coverage,
        negative=negative,
    )
    found = [finding for check in OF_ROWS for finding in check(survey)]
    if survey.readings is None:
        return found
    return found + [finding for check in OF_READINGS for finding in check(survey)]


def cleaned(
    network: StationNetwork, kind: Kind, negative: Negative = "keep"
) -> tuple[StationNetwork, list[Finding]]:
    """Return the network with only the announced changes, and the findings that announce them.

    Of a field that has no values below zero, such readings are kept, set to zero or dropped.

    Parameters
    ----------
    network : StationNetwork
        Readings (T, S).
    kind : {"real", "positive", "count"}
        Of the field.
    negative : {"keep", "zero", "drop"}
        Kept ones are noise about zero, without which means were too high; in the transformed
        units of a positive field they are zero.
    """
    if negative not in MADE:
        raise InvalidParameter(f"negative must be keep, zero or drop, not {negative!r}.")
    if kind == "real":
        return network, []
    found = negative_readings(
        network.names, network.times, network.values, network.calendar_tz, negative
    )
    if not found or negative == "keep":
        return network, found
    instead = 0.0 if negative == "zero" else np.nan
    return replace(network, values=np.where(network.values < 0, instead, network.values)), found
