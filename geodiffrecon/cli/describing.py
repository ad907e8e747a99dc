"""What ``geodiffrecon info`` says of a table, and which command it proposes for a file."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import GeoDiffReconError, InvalidTime
from ..words import agreed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from ..files.sources import MapSource
    from ..tables import Positions, Table
    from .inputs import PointOptions

ENOUGH = 40  # steps that a model learns from
FEW_DATES = 40  # of which each gets a map at once
LEAST = 3
READINGS = 5  # of one date, for a map of it
HOLES = 1e-3  # share of the cells
SHOWN = 24
LEAST_APART = (("1MS", np.timedelta64(27, "D")), ("1D", np.timedelta64(12, "h")))
PARTS = {"year", "month", "day", "hour", "minute"}
NO_VALUES = {"id", "fid", "ogcfid", "objectid", "index", "code", "station", "stationid", "siteid",
             "zip", "elevation", "altitude"}  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Seen:
    """What was found in a table of n rows."""

    at: Positions
    crs: Any
    times: NDArray[np.datetime64] | None
    time: str | None
    zoned: bool
    value: str | None
    valued: NDArray[np.bool_]


def describe_table(path: Path, wanted: PointOptions) -> dict[str, Any]:
    """Return what is in a file of points, line by line, and what the next command would be."""
    from ..tables import is_flat, open_table
    from ..vectors import layers_of

    found: dict[str, Any] = {"file": str(path)}
    layers, layer = {} if is_flat(path) else layers_of(path), wanted.choice.layer
    if len(layers) > 1:
        found["layers"] = [f"{name} ({agreed(rows, f'{rows} rows')}, {kind or 'no geometry'})"
                           for name, (rows, kind) in layers.items()]  # fmt: skip
        first = next((name for name, (rows, kind) in layers.items() if rows and kind), None)
        layer = layer or first or next(iter(layers))
        found["shown"] = f"{layer}; name another with --layer"
    table = open_table(path, layer)
    read, rows = _columns(table)
    more = f", … ({len(table.names)})" if len(table.names) > SHOWN else ""
    found |= {"rows": rows, "columns": ", ".join(table.names[:SHOWN]) + more}
    numbers = [name for name, column in read.items() if _is_number(column)]
    found["numbers"] = (", ".join(numbers) or "none") + (", …" if more else "")
    found["missing"] = _missing(read, rows)
    if not rows:
        return {**found, "as_points": f"{path.name} has no rows."}
    try:
        seen, notes = _looked(table, wanted, numbers)
    except GeoDiffReconError as error:
        return {**found, "as_points": str(error)}
    found |= _placed(seen)
    found["times"] = _times(seen)
    command = _next_of_table(path, seen, {"--layer": layer if len(layers) > 1 else None}, wanted)
    return {**found, "notes": notes, "next": command}


def next_of_maps(path: Path, source: MapSource, options: Mapping[str, Any], holes: float) -> str:
    """Return the command that comes next for maps, with the options that this one was given."""
    from ..files.record import record_of

    if holes == 1:
        return "nothing: no cell has a value"
    given = {**options, "--crs": options.get("--crs") or (
        "EPSG:CODE" if source.box.crs is None else None)}  # fmt: skip
    if source.times is None:
        if source.count > 1:
            given["--select"] = [*(given.get("--select") or []), "band=1"]
        if HOLES < holes < 1:
            return _line("map", path, given, "--out DIR")
        return _line("plot", path, given)
    zone = str(source.attrs.get("calendar_tz", "UTC"))
    try:
        own = options.get("--freq") or source.attrs.get("freq")
        record_of(source.times, tz=zone, freq=own, starts=source.starts)
    except InvalidTime:
        if source.count > 1:
            given["--freq"] = "1D"
    if source.attrs.get("level") == "coarse":
        return _line("reconstruct", path, given, "--model MODEL --out DIR")
    if source.count < ENOUGH:
        return _line("plot", path, given)
    rows, cols = source.box.shape
    factor = next((n for n in (4, 3, 2, 5) if rows % n == 0 and cols % n == 0), None)
    cut = f"--factor {factor}" if factor else "--factor 4 --trim"
    return _line("fit", path, given, f"--model MODEL {cut} --aggregation mean")


def _line(command: str, path: Path, given: Mapping[str, Any], more: str = "") -> str:
    """Return a command line as a shell reads it."""
    words = ["geodiffrecon", command, shlex.quote(path.name)]
    for name, value in given.items():
        if value is True:
            words.append(name)
        elif value is not None and value is not False:
            for each in value if isinstance(value, list | tuple) else [value]:
                words += [name, shlex.quote(str(each))]
    return " ".join([*words, more]).strip()


def _columns(table: Table) -> tuple[dict[str, Any], int]:
    """Return the columns of a table that Arrow can tell something of, and the number of rows."""
    import pyarrow as pa

    from ..columns import as_arrow, blanked

    once = [name for name in dict.fromkeys(table.names) if table.names.count(name) == 1]
    held = table.columns(once[:SHOWN]) if once else {}
    read = {name: as_arrow(column) for name, column in held.items()}
    texts = {name: blanked(column) if pa.types.is_string(column.type) else column
             for name, column in read.items()}  # fmt: skip
    return texts, len(next(iter(read.values()))) if read else _rows(table)


def _rows(table: Table) -> int:
    from ..vectors import VectorTable

    return int(table.about["features"]) if isinstance(table, VectorTable) else 0


def _is_number(column: Any) -> bool:
    import pyarrow as pa

    from ..columns import floats
    from ..errors import InvalidParameter

    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind)
                    or pa.types.is_decimal(kind))  # fmt: skip
    try:
        floats(column.slice(0, 1000), "", "", comma=True)
    except InvalidParameter:
        return False
    return column.null_count < len(column)


def _valued(table: Table, value: str | None, rows: int) -> NDArray[np.bool_]:
    """Return the rows (n,) that have a value; all where it cannot be told."""
    from ..columns import floats

    every = np.ones(rows, dtype=bool)
    if value is None or value not in table.names:
        return every
    known = np.isfinite(floats(table.columns([value])[value], "Values", "--value", comma=True))
    return known if len(known) == rows else every


def _varies(table: Table, name: str) -> bool:
    import pyarrow.compute as pc

    return len(pc.unique(table.columns([name])[name]).drop_null()) > 1


def _missing(read: Mapping[str, Any], rows: int) -> str:
    import pyarrow as pa

    lacking = {name: column.null_count for name, column in read.items()}
    for name, column in read.items():
        if pa.types.is_floating(column.type):
            lacking[name] += int(np.isnan(column.drop_null().to_numpy(zero_copy_only=False)).sum())
    told = [f"{name} {100 * n / rows:.3g} %" for name, n in lacking.items() if n]
    return ", ".join(told) or "nothing"


def _looked(table: Table, wanted: PointOptions, numbers: list[str]) -> tuple[_Seen, list[str]]:
    """Return the positions and times of a table, read as all commands read them."""
    from ..points import plausible, points_crs
    from ..rows import read_rows

    notes: list[str] = []
    time = _time_of(table, wanted)
    pair = None if wanted.x is None or wanted.y is None else (wanted.x, wanted.y)
    read = read_rows(table, value=None, time=time, station=None, xy=pair, choice=wanted.choice)
    try:
        crs, told = points_crs(read.at, wanted.crs, table.label)
        x, y, placed = plausible(read.at.x, read.at.y, crs)
    except GeoDiffReconError as error:
        crs, told, placed, x, y = None, [str(error)], [], read.at.x, read.at.y
    from ..tables import Positions, simple

    at = Positions(x, y, read.columns, read.at.crs, read.at.names)
    notes += [*read.notes, *told, *placed]
    times, zoned = (None, True) if not read.time else _stamps(read.columns, read.time, wanted.tz)
    beside = {*(read.at.names or ()), *read.time}
    melted = "value" if wanted.choice.melt else None
    value = wanted.value or melted or next(
        (n for n in numbers if n not in beside and simple(n) not in NO_VALUES | PARTS
         and _varies(table, n)), None,
    )  # fmt: skip
    return _Seen(at, crs, times, time, zoned, value, _valued(table, value, len(x))), notes


def _time_of(table: Table, wanted: PointOptions) -> str | None:
    """Return the columns of times: those named, of usual names, or of the parts of a date."""
    from ..rows import TIMES
    from ..tables import simple

    if wanted.time != "time":
        return wanted.time
    usual = {simple(name): name for name in reversed(table.names)}
    date = next((usual[n] for n in ("date", "day") if n in usual), None)
    if "year" in usual and "month" in usual and "day" in usual:
        return ",".join(usual[n] for n in ("year", "month", "day", "hour", "minute") if n in usual)
    found = next((usual[name] for name in ("time", *TIMES) if name in usual), None)
    if found is not None and found == date and "hour" in usual:
        return f"{found},{usual['hour']}"
    return found


def _stamps(
    columns: Mapping[str, Any], names: tuple[str, ...], tz: str | None
) -> tuple[NDArray[np.datetime64], bool]:
    """Return times, and whether their zone is known."""
    from ..stamps import joined, read_stamps

    held = [columns[name] for name in names]
    column = held[0] if len(held) == 1 else joined(held)
    try:
        return read_stamps(column, tz=tz, what=",".join(names))[0], True
    except InvalidTime as error:
        if "has no zone" not in str(error):
            raise
        return read_stamps(column, tz="UTC", what=",".join(names))[0], False


def _placed(seen: _Seen) -> dict[str, Any]:
    x, y = seen.at.x, seen.at.y
    known = np.isfinite(x) & np.isfinite(y)
    told = "geometry" if seen.at.names is None else " and ".join(seen.at.names)
    lacking = f", {100 * np.mean(~known):.3g} % missing" if not known.all() else ""
    found = {"positions": f"{told}{lacking}", "crs": "none" if seen.crs is None else str(seen.crs)}
    if known.any():
        edges = (x[known].min(), y[known].min(), x[known].max(), y[known].max())
        found["extent"] = f"({', '.join(f'{edge:.6g}' for edge in edges)})"
    return found


def _times(seen: _Seen) -> str:
    from ..calendar import iso

    if seen.times is None or np.isnat(seen.times).all():
        return "no time"
    known = seen.times[~np.isnat(seen.times)]
    zone = "" if seen.zoned else ", without a zone: give it with --tz"
    number = len(np.unique(known))
    many = f"{number} from {iso(known.min())} to {iso(known.max())}" if number > 1 else iso(
        known.min()
    )  # fmt: skip
    return f"{many} in {seen.time}{zone}"


def _next_of_table(
    path: Path, seen: _Seen, given: Mapping[str, Any], wanted: PointOptions
) -> str:  # fmt: skip
    """Return a map of one or few dates, a model of stations, or the cells of moving points."""
    known = np.isfinite(seen.at.x) & np.isfinite(seen.at.y)
    choice = {f"--{name}": value for name, value in vars(wanted.choice).items() if name != "layer"}
    crs = wanted.crs or ("EPSG:CODE" if seen.crs is None else None)
    options = {**given, **choice, "--x": wanted.x, "--y": wanted.y, "--crs": crs}
    dates = 0
    if seen.times is not None:
        dates = len(np.unique(seen.times[~np.isnat(seen.times)]))
        options |= {"--tz": wanted.tz or (None if seen.zoned else "ZONE")}
    at = {"--value": seen.value, "--time": seen.time}
    known &= seen.valued
    spots = np.stack([seen.at.x[known], seen.at.y[known]])
    places = len(np.unique(spots, axis=1).T)
    if seen.value is not None and places >= LEAST:
        if dates < 2:
            return _line("map", path, {**options, "--value": seen.value, "--tz": None}, "--out DIR")
        if dates >= ENOUGH and 2 * places <= known.sum():
            return _line("fit", path, {**options, **at}, f"--model MODEL {_steps(seen, known)} "
                         "--factor 4 --aggregation mean")  # fmt: skip
        if dates <= FEW_DATES and known.sum() >= READINGS * dates:
            return _line("map", path, {**options, **at}, "--out DIR")
    if places < LEAST:
        return f"nothing: a map needs {LEAST} places, and the file has {places}"
    if not dates:
        return "nothing: no column holds values of which a map can be made"
    pooled = {**at, "--agg": "mean"} if seen.value else {"--time": seen.time, "--agg": "count"}
    return _line("bin", path, {**options, **pooled}, f"{_steps(seen, known)} --out CUBE.nc")


def _steps(seen: _Seen, known: NDArray[np.bool_]) -> str:
    """Return a step and a grid that suit the rows (n,) which are known."""
    x, y = seen.at.x[known], seen.at.y[known]
    margin = [max(1e-3, 0.02 * float(np.ptp(part))) for part in (x, y)]
    bounds = (x.min() - margin[0], y.min() - margin[1], x.max() + margin[0], y.max() + margin[1])
    assert seen.times is not None
    stamps = np.unique(seen.times[~np.isnat(seen.times)])
    apart = np.median(np.diff(stamps)) if len(stamps) > 1 else np.timedelta64(1, "D")
    freq = next((name for name, least in LEAST_APART if apart >= least), "1h")
    return f"--freq {freq} --bounds {' '.join(f'{edge:.6g}' for edge in bounds)} --shape 8 8"
