"""Vector files that GDAL reads: one layer of points, its columns and positions."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .errors import InvalidParameter, MissingColumn, UnreadableFile
from .geometries import positions
from .words import agreed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .geometries import Places

JSON_SUFFIXES = {".geojson", ".json", ".geojsonl", ".geojsons"}
SQLITE_SUFFIXES = {".gpkg", ".sqlite", ".db"}
SPECIAL = set("!?")  # in names of files, which pyogrio takes for archives and queries


@dataclass(frozen=True)
class VectorTable:
    """One layer of a vector file.

    Parameters
    ----------
    path : Path
        The file.
    layer : str, optional
        Its layer; the only one that has points by default.

    Raises
    ------
    UnreadableFile
        If GDAL cannot read it.
    InvalidParameter
        If several layers have points and none is named.
    MissingColumn
        If there is no layer of that name.
    """

    path: Path
    layer: str | None = None
    notes: tuple[str, ...] = field(default=(), init=False)
    comma = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer", self._chosen(self.layer))

    @property
    def label(self) -> str:
        """How sentences call it."""
        return self.path.name

    @cached_property
    def about(self) -> dict[str, Any]:
        """What GDAL tells of the layer."""
        import pyogrio

        return asked(self.path, pyogrio.read_info, layer=self.layer)

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return [str(name) for name in self.about["fields"]]

    @property
    def geometry(self) -> str | None:
        """The column of positions."""
        if self.about["geometry_type"] is None:
            return None
        return self.about.get("geometry_name") or "wkb_geometry"

    def columns(self, wanted: Sequence[str], numbers: Sequence[str] = ()) -> dict[str, Any]:
        """Return columns as Arrow arrays."""
        return self._read(wanted, geometry=False)[1]

    def places(self, wanted: Sequence[str]) -> tuple[Places, Any, dict[str, Any]]:
        """Return positions, CRS and columns."""
        crs, found, table = self._read(wanted, geometry=True)
        name = self.geometry if self.geometry in table.column_names else "wkb_geometry"
        if name not in table.column_names:
            raise MissingColumn(
                f"{self.label} has no geometry; name coordinate columns by --x and --y."
            )
        return positions(table[name]), crs, found

    def _read(self, wanted: Sequence[str], *, geometry: bool) -> tuple[Any, dict[str, Any], Any]:
        import pyogrio

        # GDAL drops the Z of stamps in a GeoJSON whose offsets differ, unless they stay text.
        json = self.path.suffix.lower() in JSON_SUFFIXES
        as_text = {"DATE_AS_STRING": "YES"} if json else {}
        meta, table = asked(self.path,
            pyogrio.read_arrow, layer=self.layer, columns=list(wanted), read_geometry=geometry,
            datetime_as_string=True, **as_text,
        )  # fmt: skip
        found = {name: table[name] for name in wanted}
        if self.path.suffix.lower() in SQLITE_SUFFIXES:
            self._check_texts(found)
        return meta.get("crs"), found, table

    def _chosen(self, layer: str | None) -> str | None:
        """Return the layer to read."""
        import pyogrio

        layers = {str(name): kind for name, kind in asked(self.path, pyogrio.list_layers)}
        if layer is not None:
            if layer not in layers:
                raise MissingColumn(
                    f"{self.label} has no layer {layer!r}; its layers are {', '.join(layers)}."
                )
            return layer
        if len(layers) < 2:
            return None
        points = [name for name, kind in layers.items() if kind and "Point" in kind]
        placed = points or [name for name, kind in layers.items() if kind]
        rows = {name: count(self.path, name) for name in placed or layers}
        full = [name for name, number in rows.items() if number != 0] or list(rows)
        if len(full) > 1:
            listed = ", ".join(agreed(rows[n], f"{n!r} ({rows[n]} rows)") for n in full)
            raise InvalidParameter(
                f"{self.label} has {len(full)} layers with rows, {listed}; name one with --layer."
            )
        return full[0]

    def _check_texts(self, found: dict[str, Any]) -> None:
        """Refuse texts in columns of numbers or times, of which GDAL makes 0 or nothing.

        SQLite lets any value stand in any column.
        """
        import sqlite3

        import pyarrow as pa

        kinds = {name: column.type for name, column in found.items()}
        typed = dict(zip(self.about["fields"], self.about["dtypes"], strict=True))
        number = [n for n, kind in kinds.items() if pa.types.is_floating(kind)
                  or pa.types.is_integer(kind)]  # fmt: skip
        time = [n for n in found if str(typed.get(n, "")).startswith("datetime")]
        table = str(self.layer or self.about["layer_name"])
        where = {name: f"typeof({_sql(name)}) IN ('text', 'blob')" for name in number}
        where |= {
            name: f"{_sql(name)} IS NOT NULL AND julianday({_sql(name)}) IS NULL" for name in time
        }
        uri = f"{self.path.resolve().as_uri()}?mode=ro"
        try:
            with closing(sqlite3.connect(uri, uri=True)) as opened:
                for name, test in where.items():
                    ask = f"SELECT {_sql(name)} FROM {_sql(table)} WHERE {test} LIMIT 1"
                    row = opened.execute(ask).fetchone()
                    if row is not None:
                        raise InvalidParameter(_misplaced(name, row[0], name in time))
        except sqlite3.Error:
            return  # a view of GDAL's own, say


def asked(path: Path, ask: Any, **options: Any) -> Any:
    """Return what pyogrio answers of a file, or raise one sentence."""
    name = str(path)
    if SPECIAL & set(name):
        name = f"/vsisubfile/0,{path.resolve()}"
    try:
        return ask(name, **options)
    except IndexError as error:
        raise UnreadableFile(
            f"{path} has no layer that can be read; it may be damaged, so write it anew."
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        first = str(error).strip().split(" It might help to")[0].splitlines() or [""]
        why = first[0].replace("/vsisubfile/0,", "").rstrip(".;")
        if "not recognized" in why and path.suffix.lower() in JSON_SUFFIXES:
            why = "it is no GeoJSON: write its rows as CSV"
        raise UnreadableFile(f"{path} cannot be read ({why}).") from error


def count(path: Path, layer: str) -> int:
    """Return how many rows a layer has."""
    import pyogrio

    about = asked(path, pyogrio.read_info, layer=layer, force_feature_count=True)
    return int(about["features"])


def layers_of(path: Path) -> dict[str, tuple[int, str | None]]:
    """Return the rows and the kind of geometry of each layer of a file that has several."""
    import pyogrio

    found = {str(name): kind for name, kind in asked(path, pyogrio.list_layers)}
    if len(found) < 2:
        return {}
    return {name: (count(path, name), kind) for name, kind in found.items()}


def _sql(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _misplaced(name: str, value: Any, time: bool) -> str:
    shown = value if isinstance(value, str) else repr(value)
    what = "a time" if time else "a number"
    return (
        f"Column {name!r} is for {'times' if time else 'numbers'} and holds {shown!r}, which is "
        f"not {what}; correct it, or leave it empty."
    )
