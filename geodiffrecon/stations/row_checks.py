"""Checks of rows and positions: repeats, contradictions, codes, stations that moved or stray."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..words import agreed
from .findings import AVERAGED, KEPT, LEFT_OUT, Finding, counted, joined
from .places import Places
from .sites import project

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .survey import Survey

FEW = 3  # stations named one by one; more make one sentence


def repeated_rows(survey: Survey) -> list[Finding]:
    """Return rows of one station and time that repeat or contradict each other."""
    shared, same_time, same_value = _sharing(survey)
    if not len(shared):
        return []
    code, time = survey.sites.code[shared], survey.table.time[shared]
    assert survey.table.value is not None
    value = survey.table.value[shared]
    group = np.cumsum(~same_time)
    contradicted = np.isin(group, group[same_time & ~same_value])
    found = []
    for station in np.unique(code):
        mine, name = code == station, survey.sites.names[station]
        again = np.flatnonzero(mine & same_time & same_value)
        if len(again):
            found.append(_repeats(name, len(again), survey.when(time[again].min())))
        rows = np.flatnonzero(mine & contradicted)
        if len(rows):
            seen = value[rows[group[rows] == group[rows[0]]]]  # of the first time
            first = survey.when(time[rows[0]])
            found.append(_contradiction(name, len(np.unique(group[rows])), first, seen))
    return found


def missing_codes(survey: Survey) -> list[Finding]:
    """Return values that stand for a missing one, as the reader has told them."""
    found = [
        Finding("missing code", None, int(note.split()[0]), None, note, LEFT_OUT)
        for note in survey.table.notes
        if "taken as missing" in note and note.split()[0].isdigit()
    ]
    value = survey.table.value
    assert value is not None
    endless = np.flatnonzero(np.isinf(value) & ~survey.table.missing_place)
    if len(endless):
        first = survey.when(survey.table.time[endless].min())
        text = f"{len(endless)} values are infinite, first {first}; they are taken as missing."
        text = agreed(len(endless), text)
        found.append(Finding("missing code", None, len(endless), first, text, LEFT_OUT))
    return found


def strays(survey: Survey) -> list[Finding]:
    """Return stations off the grid: with x and y swapped, near it, or far away."""
    swapped = _swapped(survey)
    found = _swap_findings(survey, np.flatnonzero(swapped))
    away = ~survey.inside & ~swapped
    edge, far = np.flatnonzero(away & survey.sites.near), np.flatnonzero(away & ~survey.sites.near)
    if len(edge):
        text = f"{_stations(survey, edge)} outside the grid but near; its values inform the edge."
        found.append(Finding("outside", _only(survey, edge), len(edge), None, text, KEPT))
    if len(far):
        rows = counted(int(survey.rows[far].sum()), "row")
        at = survey.spot(far[0])
        text = (
            f"{_stations(survey, far)} far outside the grid (the first at {at}), {rows} not used; "
            "check the bounds and the CRS."
        )
        found.append(Finding("outside", _only(survey, far), len(far), None, text, LEFT_OUT))
    return found


def moved_stations(survey: Survey) -> list[Finding]:
    """Return stations of one name at several places."""
    found = []
    for name, held in survey.sites.moved:
        parts, starts = [], []
        for station in held:
            time = survey.table.time[survey.sites.code == station]
            time = time[~np.isnat(time)]
            if len(time):
                starts.append(time.min())
                begun = f"{survey.spot(station)} from {survey.when(starts[-1])}"
                parts.append(f"{survey.sites.names[station]} at {begun}")
        first = survey.when(sorted(starts)[1]) if len(starts) > 1 else None
        text = (
            f"Station {name} stands at {len(held)} places, {joined(parts)}; each is taken as a "
            "station of its own, so correct the positions if it never moved."
        )
        found.append(Finding("moved", name, len(held), first, text, KEPT))
    return found


def shared_cells(survey: Survey) -> list[Finding]:
    """Return fine cells that hold several stations."""
    row, col, inside = survey.grid.cell_of(survey.sites.x, survey.sites.y, level="fine")
    cell = np.where(inside, row * survey.grid.fine_shape[1] + col, -1)
    km = Places.of(survey.grid).km(survey.sites.x, survey.sites.y)
    cells, sizes = np.unique(cell[inside], return_counts=True)
    found = []
    for index in cells[sizes > 1]:
        held = np.flatnonzero(cell == index)
        apart = float(np.hypot(*(km[held] - km[held[0]]).T).max())
        where = "at one position" if apart == 0 else f"up to {apart:.2g} km apart"
        names = joined([survey.sites.names[station] for station in held])
        text = (
            f"Stations {names} stand in one fine cell (row {row[held[0]]}, column {col[held[0]]}), "
            f"{where}; all are kept as they are, so remove one if it is the other's copy."
        )
        found.append(Finding("same cell", None, len(held), None, text, KEPT))
    return found


def silent_stations(survey: Survey) -> list[Finding]:
    """Return stations with rows and no value."""
    if survey.readings is None:
        return []
    silent: NDArray[np.bool_] = np.asarray(~np.isfinite(survey.readings.values).any(axis=0))
    found = []
    for station in survey.near[silent[survey.near]]:
        name, rows = survey.sites.names[station], int(survey.rows[station])
        text = f"Station {name} has {counted(rows, 'row')} and no value; check its column."
        found.append(Finding("no value", name, rows, None, text, LEFT_OUT))
    return found


def _sharing(
    survey: Survey,
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return rows that share station and time, sorted, and whether each equals the one before."""
    import pandas as pd

    table = survey.table
    assert table.value is not None
    used = np.flatnonzero(np.isfinite(table.value) & ~table.missing_place)
    frame = pd.DataFrame({"code": survey.sites.code[used], "time": table.time[used]})
    shared = used[frame.duplicated(keep=False).to_numpy()]
    code, time, value = survey.sites.code[shared], table.time[shared], table.value[shared]
    order = np.lexsort((value, time, code))
    same_time = np.zeros(len(order), dtype=bool)
    same_time[1:] = (np.diff(code[order]) == 0) & (np.diff(time[order].astype(np.int64)) == 0)
    same_value = np.zeros(len(order), dtype=bool)
    same_value[1:] = np.diff(value[order]) == 0
    return shared[order], same_time, same_value


def _repeats(name: str, count: int, first: str) -> Finding:
    text = (
        f"Station {name} has {counted(count, 'row')} that repeat another exactly, first {first}; "
        "each reading counts once."
    )
    return Finding("repeated row", name, count, first, text, LEFT_OUT)


def _contradiction(name: str, count: int, first: str, seen: NDArray[np.float64]) -> Finding:
    values = joined([f"{value:g}" for value in np.unique(seen)])
    text = (
        f"Station {name} has different values for the same time at {counted(count, 'time')}, "
        f"first {first} ({values}); their mean is taken, so correct the file."
    )
    return Finding("contradiction", name, count, first, text, AVERAGED)


def _swapped(survey: Survey) -> NDArray[np.bool_]:
    """Return stations off the grid that would be on it with x and y swapped, (S,)."""
    table, sites = survey.table, survey.sites
    x, y = project(table, survey.grid)(*sites.given[::-1])
    would = survey.grid.cell_of(x, y, level="fine")[2]
    degrees = table.crs is not None and bool(table.crs.geographic)
    return np.asarray(would & ~survey.inside & (~sites.near | degrees))


def _swap_findings(survey: Survey, swapped: NDArray[np.int64]) -> list[Finding]:
    groups = [swapped] if len(swapped) > FEW else [swapped[i : i + 1] for i in range(len(swapped))]
    found = []
    for group in groups:
        if not len(group):
            continue
        rows = int(survey.rows[group].sum())
        kept = bool(survey.sites.near[group].all())
        at = survey.spot(group[0])
        text = (
            f"{_stations(survey, group)} off the grid at {at}, but on it if x and y are swapped; "
            f"swap them ({counted(rows, 'row')} {'maybe misplaced' if kept else 'not used'})."
        )
        action = KEPT if kept else LEFT_OUT
        found.append(Finding("swapped", _only(survey, group), rows, None, text, action))
    return found


def _stations(survey: Survey, held: NDArray[np.int64]) -> str:
    """Return the subject and verb of a sentence on stations."""
    names = joined([survey.sites.names[station] for station in held])
    return f"Station {names} stands" if len(held) == 1 else f"{len(held)} stations ({names}) stand"


def _only(survey: Survey, held: NDArray[np.int64]) -> str | None:
    return survey.sites.names[held[0]] if len(held) == 1 else None
