"""Which rows belong to which station: by name and place, a moved station being two."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidParameter, MissingCRS
from .findings import counted
from .places import Places

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..grid import NestedGrid
    from ..points import PointTable

SAME_PLACE_KM = 0.1  # rounded coordinates of one station; a block of houses is not a move
MOST_PLACES = 50  # of one name; whoever stands at more is no fixed station
FIXED_ROWS = 10  # rows at a place that make it a station


@dataclass(frozen=True, eq=False)
class Sites:
    """Stations of a table and the rows of each.

    Parameters
    ----------
    names : tuple of str, (S,)
        Distinct names: the file's, with ``#2`` and so on for the later places of a moved station,
        or ``x, y`` where the file names none.
    x, y : float64, (S,)
        Position in the grid's CRS.
    given : (float64 (S,), float64 (S,))
        Position in the CRS of the table.
    near : bool, (S,)
        On the grid, or no farther from it than its own width and height.
    code : int64, (n,)
        Station of each row; -1 where the row has no position.
    moved : tuple of (str, tuple of int)
        Name in the file and the stations made of it, where it stood at several places.
    notes : tuple of str
        Sentences on what was assumed.
    """

    names: tuple[str, ...]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    given: tuple[NDArray[np.float64], NDArray[np.float64]]
    near: NDArray[np.bool_]
    code: NDArray[np.int64]
    moved: tuple[tuple[str, tuple[int, ...]], ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, table: PointTable, grid: NestedGrid) -> Sites:
        """Return the stations of `table`, sorted by name, then first time, then position.

        Raises
        ------
        MissingCRS
            If only one of points and grid has a CRS.
        """
        placed = np.flatnonzero(~(np.isnan(table.x) | np.isnan(table.y)))
        at, table_x, table_y = _paired(table.x[placed], table.y[placed])
        px, py = project(table, grid)(table_x, table_y)
        label, labels = _labels(table, placed)
        pair, who, where = _paired(label, at)
        rows = np.bincount(pair, minlength=len(who))
        named = np.array(labels, dtype=np.str_)[who] != ""
        home = _homes(who, named, rows, Places.of(grid).km(px, py)[where], (px[where], py[where]))
        first = _first_times(table.time[placed], home[pair], len(who))
        leads = np.unique(home)
        x, y = px[where[leads]], py[where[leads]]
        own = [
            labels[who[lead]] or f"{at_x:.10g}, {at_y:.10g}"
            for lead, at_x, at_y in zip(leads, x, y, strict=True)
        ]
        order = sorted(range(len(leads)), key=lambda i: (own[i], first[leads[i]], x[i], y[i]))
        number = np.empty(len(who), dtype=np.int64)
        number[leads[order]] = np.arange(len(leads))
        code = np.full(table.n_rows, -1, dtype=np.int64)
        code[placed] = number[home[pair]]
        names = [own[i] for i in order]
        x, y, spot = x[order], y[order], where[leads[order]]
        notes = _notes(table, placed, len(who) - len(leads))
        near = _near(grid, x, y)
        given = table_x[spot], table_y[spot]
        return cls(_distinct(names), x, y, given, near, code, _groups(names), notes)


def check_fixed(rows: NDArray[np.int64], steps: int) -> None:
    """Refuse points that move.

    Parameters
    ----------
    rows : int64, (S,)
        Rows at each place.
    steps : int
        Time steps that have any row.

    Raises
    ------
    InvalidParameter
        If half of the places are hardly ever seen again.
    """
    if not rows.size or np.median(rows) >= min(FIXED_ROWS, steps / 5):
        return
    raise InvalidParameter(
        f"Half of the {len(rows)} places have at most {int(np.median(rows))} rows in {steps} "
        "steps, so they are no fixed stations; training from points needs fixed stations, and "
        "mobile points become maps with `bin`."
    )


def project(table: PointTable, grid: NestedGrid) -> Any:
    """Return a function from coordinates of `table` to those of `grid`.

    Raises
    ------
    MissingCRS
        If only one of the two has a CRS.
    """
    if (table.crs is None) != (grid.crs is None):
        which, other = ("Points", "grid") if table.crs is None else ("The grid", "points")
        raise MissingCRS(
            f"{which} have local metres without a CRS, but the {other} do not; "
            "give both a CRS, or both none."
        )
    if table.crs is None or grid.crs is None or table.crs == grid.crs:
        return lambda x, y: (x, y)
    from pyproj import Transformer

    return Transformer.from_crs(table.crs.proj, grid.crs.proj, always_xy=True).transform


def _paired(
    left: NDArray[Any], right: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]]:
    """Return the code of each pair (n,), and left and right of each distinct pair."""
    import pandas as pd

    left_code, lefts = pd.factorize(left)
    right_code, rights = pd.factorize(right)
    code, pairs = pd.factorize(left_code.astype(np.int64) * max(len(rights), 1) + right_code)
    left_part, right_part = np.divmod(pairs, max(len(rights), 1))
    return code.astype(np.int64), np.asarray(lefts)[left_part], np.asarray(rights)[right_part]


def _labels(table: PointTable, placed: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[str]]:
    """Return the code of each placed row's station name, and the names; "" without a name."""
    if table.station is None:
        return np.zeros(len(placed), dtype=np.int64), [""]
    import pyarrow as pa

    text = pa.array(table.station[placed])  # in chunks where it is long
    coded = (
        text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text
    ).dictionary_encode()
    return coded.indices.to_numpy().astype(np.int64), coded.dictionary.to_pylist()


def _homes(
    who: NDArray[np.int64],
    named: NDArray[np.bool_],
    rows: NDArray[np.int64],
    km: NDArray[np.float64],
    position: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.int64]:
    """Return, for each (name, position), the (name, position) that stands for its place."""
    home = np.arange(len(who))
    order = np.lexsort((position[1], position[0], -rows, who))  # the most used position leads
    order = order[named[order]]
    for group in np.split(order, np.flatnonzero(np.diff(who[order])) + 1):
        if len(group) > 1:
            home[group] = _merged(group, km[group])
    return home


def _first_times(
    times: NDArray[np.datetime64], code: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """Return the first time of each code (size,), the largest number where it has none."""
    never = np.iinfo(np.int64).max
    first = np.full(size, never)
    np.minimum.at(first, code, np.where(np.isnat(times), never, times.astype(np.int64)))
    return first


def _merged(group: NDArray[np.int64], km: NDArray[np.float64]) -> NDArray[np.int64]:
    """Give positions (n, 2) of one name, most used first, to the first within reach."""
    home, free = group.copy(), np.ones(len(group), dtype=bool)
    for _ in range(MOST_PLACES):
        if not free.any():
            break
        lead = int(np.argmax(free))
        with np.errstate(invalid="ignore"):
            close = free & (np.hypot(*(km - km[lead]).T) <= SAME_PLACE_KM)
        close[lead] = True
        home[close], free[close] = group[lead], False
    return home


def _near(grid: NestedGrid, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    west, south, east, north = grid.bounds
    wide, high = east - west, north - south
    return np.asarray(
        (x >= west - wide) & (x <= east + wide) & (y >= south - high) & (y <= north + high)
    )


def _distinct(names: list[str]) -> tuple[str, ...]:
    """Return the names with #2, #3, … for repeated ones.

    Examples
    --------
    >>> _distinct(["a", "a", "b"])
    ('a', 'a#2', 'b')
    """
    taken, seen, found = set(names), Counter[str](), []
    for name in names:
        seen[name] += 1
        new = name if seen[name] == 1 else f"{name}#{seen[name]}"
        while seen[name] > 1 and new in taken:  # the file may have a station of that name
            new += "'"
        taken.add(new)
        found.append(new)
    return tuple(found)


def _groups(names: list[str]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        groups.setdefault(name, []).append(index)
    return tuple((name, tuple(held)) for name, held in groups.items() if len(held) > 1)


def _notes(table: PointTable, placed: NDArray[np.int64], merged: int) -> tuple[str, ...]:
    notes = []
    if table.station is not None:
        nameless = int((table.station[placed] == "").sum())
        if nameless:
            notes.append(f"{counted(nameless, 'row')} without a station name: named by position.")
    if merged:
        notes.append(
            f"{counted(merged, 'position')} within {SAME_PLACE_KM * 1000:.0f} m of the station's "
            "most used one: taken as that."
        )
    return tuple(notes)
