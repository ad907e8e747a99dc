"""Which rows of a file are read: their layer, condition and stations, and several things in one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .columns import as_arrow, blanked, names, require
from .errors import InvalidParameter, MissingColumn
from .tables import Positions, open_table, read_positions, simple
from .where import Condition
from .words import agreed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .tables import Table

# Names of columns, in small letters and figures only.
TIMES = (
    "datetime", "timestamp", "datetimeutc", "timeutc", "utctime", "dateutc", "datetimelocal",
    "datelocal", "timestamputc", "timestamplocal", "sampledate", "obstime", "phenomenontime",
    "date",
)  # fmt: skip
THINGS = {
    "parameter", "parameters", "parametername", "parametercode", "parameterid", "pollutant",
    "pollutantname", "pollutantcode", "airpollutant", "airpollutantcode", "species",
    "speciescode", "component", "componentcode", "analyte", "contaminant", "variable",
    "variablename", "measurand", "observedproperty", "unit", "units", "unitofmeasure",
    "unitsofmeasure", "uom", "aggtype", "aggregationtype", "averagingperiod", "averagingtime",
    "averagetime", "sampleduration", "samplingduration",
}  # fmt: skip
FLAGS = {
    "validity", "valid", "isvalid", "qc", "qcflag", "qa", "qaflag", "flag", "flags", "quality",
    "qualityflag", "qualitycode", "status", "statuscode", "verification", "qualifier",
}  # fmt: skip
ENDS = {
    "start": "end", "begin": "end", "datetimebegin": "datetimeend", "datetimestart": "datetimeend",
    "datetimefrom": "datetimeto", "from": "to", "starttime": "endtime", "begintime": "endtime",
    "timestart": "timeend", "startdate": "enddate", "periodstart": "periodend",
}  # fmt: skip
SHOWN = 4


@dataclass(frozen=True)
class RowChoice:
    """Which rows of a points file are read; as the options of `read_points`.

    Parameters
    ----------
    layer, where, end, sites, on : str, optional
        As in `read_points`.
    melt : bool
        Whether columns are stations.
    """

    layer: str | None = None
    where: str | None = None
    end: str | None = None
    sites: str | None = None
    on: str | None = None
    melt: bool = False


@dataclass(frozen=True, eq=False)
class Read:
    """The rows (n,) that were chosen, and which of their columns is what."""

    at: Positions
    columns: dict[str, Any]
    time: tuple[str, ...]
    value: str | None
    station: str | None
    end: str | None
    notes: list[str]


@dataclass(frozen=True, eq=False)
class Melted:
    """A wide table, a column for each station, as a long one."""

    table: Table
    kept: tuple[str, ...]
    stations: tuple[str, ...]
    value: str
    on: str

    @property
    def label(self) -> str:
        """How sentences call it."""
        return self.table.label

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return [*self.kept, self.on, self.value]

    @property
    def geometry(self) -> str | None:
        """None: positions are in the table of the stations."""
        return None

    @property
    def comma(self) -> bool:
        """Whether a comma can only be a decimal one."""
        return self.table.comma

    def columns(self, wanted: Sequence[str], numbers: Sequence[str] = ()) -> dict[str, Any]:
        """Return columns (n · stations,), station by station."""
        import pyarrow as pa

        kept = [name for name in wanted if name in self.kept]
        read = self.table.columns(list(dict.fromkeys([*kept, *self.stations])))
        size = len(read[self.stations[0]])
        found = {name: pa.concat_arrays([as_arrow(read[name])] * len(self.stations))
                 for name in kept}  # fmt: skip
        if self.value in wanted:
            texts = [as_arrow(read[name]).cast(pa.string()) for name in self.stations]
            found[self.value] = pa.concat_arrays(texts)
        if self.on in wanted:
            found[self.on] = pa.array(np.repeat(np.array(self.stations), size))
        return found


def read_rows(
    table: Table,
    *,
    value: str | None,
    time: str | None,
    station: str | None,
    xy: tuple[str, str] | None,
    choice: RowChoice,
    also: Sequence[str] = (),
) -> Read:
    """Return the rows of a table that `choice` takes; `also` names further columns to read.

    Raises
    ------
    MissingColumn, UnreadableFile
        If a column or file does not exist.
    InvalidParameter
        If one column holds several things and no condition says which.
    """
    notes: list[str] = []
    # frames may call their columns by numbers
    value, time, station = (None if n is None else str(n) for n in (value, time, station))
    times = () if time is None else _time_columns(time, table.names, table.label, notes)
    here, there = _keys(choice, table)
    if choice.melt:
        table = _melted(table, times, value, here, there, choice)
        value = value or "value"
    require([*times, *filter(None, (value, station, choice.end))], table.names, table.label)
    end = choice.end or (_end_of(times[0], table.names) if len(times) == 1 else None)
    condition = None if choice.where is None else Condition(choice.where)
    asked = condition.columns if condition else ()
    taken = {*asked, *times, *also, value, station, here}
    odd = () if value is None else _odd_columns(table.names, taken)
    wanted = [*times, *filter(None, (value, station, end, here)), *asked, *also, *odd]
    if choice.sites is None:
        at = read_positions(table, columns=wanted, xy=xy)
    else:
        at = _joined(table, wanted, Path(choice.sites), (here, there), xy, notes)
        station = station or here
    if at.names is not None and xy is None and choice.sites is None:
        lower = [name.lower() for name in at.names]
        if lower not in (["lon", "lat"], ["longitude", "latitude"], ["x", "y"]):
            notes.append(f"Positions are those of the columns {' and '.join(at.names)}.")
    kept = at.columns
    if condition is not None:
        chosen = condition.rows(kept)
        number = int(chosen.sum())
        told = f"{number} of {len(chosen)} rows fulfil --where {choice.where!r}."
        notes.append(agreed(len(chosen), told))
        kept = {name: as_arrow(column).filter(_mask(chosen)) for name, column in kept.items()}
        at = Positions(at.x[chosen], at.y[chosen], kept, at.crs, at.names)
    _check_one_thing({name: kept[name] for name in odd}, notes)
    return Read(at, kept, times, value, station, end, notes)


def _mask(chosen: NDArray[np.bool_]) -> Any:
    import pyarrow as pa

    return pa.array(chosen)


def _time_columns(
    time: str, existing: Sequence[str], label: str, notes: list[str]
) -> tuple[str, ...]:
    """Return the columns that make the stamps."""
    if time in existing:
        return (time,)
    parts = tuple(part.strip() for part in time.split(","))
    if len(parts) > 1:
        require(parts, existing, label)
        return parts
    if time == "time":
        usual = {simple(name): name for name in reversed(existing)}
        found = next((usual[name] for name in ("time", *TIMES) if name in usual), None)
        if found is not None:
            notes.append(f"Times are those of the column {found}.")
            return (found,)
    require([time], existing, label)
    return (time,)


def _keys(choice: RowChoice, table: Table) -> tuple[str | None, str | None]:
    """Return the column of stations in the file and in the table of their positions."""
    if choice.sites is None:
        if choice.melt or choice.on is not None:
            raise InvalidParameter(
                "Give the file of the stations' positions with --sites, which --melt and --on need."
            )
        return None, None
    if choice.on is None:
        raise InvalidParameter(
            "--sites needs --on, the column of stations that both files have, such as --on id."
        )
    here, _, there = choice.on.partition("=")
    if not choice.melt:
        require([here], table.names, table.label)
    return here, there or here


def _melted(
    table: Table,
    times: tuple[str, ...],
    value: str | None,
    here: str | None,
    there: str | None,
    choice: RowChoice,
) -> Melted:
    assert here is not None
    sites = open_table(Path(str(choice.sites)))
    require([str(there)], sites.names, sites.label)
    known = set(names(sites.columns([str(there)])[str(there)]).tolist())
    stations = tuple(name for name in table.names if name in known and name not in times)
    if not stations:
        listed = ", ".join(sorted(known)[:SHOWN])
        raise MissingColumn(
            f"No column of {table.label} is a station of {sites.label} ({listed}, …); check --on."
        )
    return Melted(table, times, stations, value or "value", here)


def _joined(
    table: Table,
    wanted: Sequence[str],
    path: Path,
    on: tuple[str | None, str | None],
    xy: tuple[str, str] | None,
    notes: list[str],
) -> Positions:
    """Return the rows with the positions of their stations."""
    import pandas as pd

    here, there = str(on[0]), str(on[1])
    sites = open_table(path)
    found = read_positions(sites, columns=[there], xy=xy)
    keys = names(found.columns[there])
    first = pd.Series(np.arange(len(keys)), index=keys)
    twice = first.index.duplicated()
    if twice.any():
        again = pd.DataFrame({"x": found.x, "y": found.y}, index=keys).drop_duplicates()
        if again.index.duplicated().any():
            name = again.index[again.index.duplicated()][0]
            raise InvalidParameter(
                f"{sites.label} has station {name!r} at several places; keep one of them."
            )
    read = table.columns(list(dict.fromkeys(wanted)))
    row = first[~twice].reindex(names(read[here])).to_numpy()
    lost = np.isnan(row)
    if lost.any():
        unknown = sorted(set(names(read[here])[lost].tolist()))
        told = (
            f"{int(lost.sum())} rows have no position: {sites.label} does not know "
            f"{', '.join(unknown[:SHOWN])}."
        )
        notes.append(agreed(int(lost.sum()), told))
    index = np.where(lost, len(keys), row).astype(np.int64)
    x, y = (np.append(part, np.nan)[index] for part in (found.x, found.y))
    return Positions(x, y, read, found.crs, found.names)


def _end_of(time: str, existing: Sequence[str]) -> str | None:
    """Return the column of the ends of periods, where the time is that of their starts."""
    partner = ENDS.get(simple(time))
    return next((name for name in existing if simple(name) == partner), None)


def _odd_columns(existing: Sequence[str], taken: set[str | None]) -> tuple[str, ...]:
    """Return columns that tell apart what must not be mixed, and that nothing else names."""
    return tuple(
        name
        for name in dict.fromkeys(existing)
        if name not in taken and simple(name) in THINGS | FLAGS
    )


def _check_one_thing(columns: dict[str, Any], notes: list[str]) -> None:
    """Refuse several pollutants, units or periods in one column, and rows flagged as invalid."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name, column in columns.items():
        kinds = pc.unique(blanked(as_arrow(column).cast(pa.string()))).drop_null().to_pylist()
        if len(kinds) < 2:
            continue
        shown = sorted(kinds)[:SHOWN]
        listed = " and ".join([", ".join(shown[:-1]), shown[-1]])
        listed += f" and {len(kinds) - SHOWN} more" if len(kinds) > SHOWN else ""
        if simple(name) in THINGS:
            raise InvalidParameter(
                f"Column {name!r} holds {listed}; keep one, for example with "
                f"--where {_quoted(name, kinds[0])}."
            )
        told = f"Column {name!r}, which may flag invalid rows, holds {listed}"
        if _says_invalid(kinds, least="valid" in simple(name)):
            valid = "true" if {k.lower() for k in kinds} <= {"true", "false"} else None
            test = _quoted(name, valid) if valid else f'"{_ticked(name)} > 0"'
            raise InvalidParameter(f"{told}; keep the valid ones, for example with --where {test}.")
        notes.append(f"{told}; all rows are used, so choose with --where.")


def _says_invalid(kinds: list[str], *, least: bool) -> bool:
    """Tell whether flags are true and false, or numbers below zero (or of zero) and above."""
    if {kind.lower() for kind in kinds} == {"true", "false"}:
        return True
    try:
        numbers = [float(kind) for kind in kinds]
    except ValueError:
        return False
    return max(numbers) > 0 and (min(numbers) < 0 or (least and min(numbers) == 0))


def _ticked(name: str) -> str:
    return name if name.isidentifier() else f"`{name}`"


def _quoted(name: str, kind: str) -> str:
    return f"\"{_ticked(name)} == '{kind}'\""
