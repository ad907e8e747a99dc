"""Tables in text files: separated by commas, semicolons, tabs, bars or blanks."""

from __future__ import annotations

import csv as plain_csv
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .columns import blanked
from .errors import UnreadableFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SEPARATORS = ",;\t|"
BLANKS = r"\s+"
WKT_NAMES = {"wkt", "ewkt", "geometry", "geom", "the_geom", "wkb_geometry", "shape"}
HEAD_BYTES = 1 << 16
HAN = r"[\u4e00-\u9fff\u3000-\u303f\uff01-\uff5e]"
ENCODINGS = (
    ("Windows-1251", r"[\u0410-\u042f]?[\u0430-\u044f]{2,}|[\u0410-\u042f]{3,}"),
    ("Shift-JIS", rf"({HAN}|[\u3040-\u30ff])+"),
    ("GB18030", rf"{HAN}+"),
)


@dataclass(frozen=True)
class TextTable:
    """A table in a text file.

    Parameters
    ----------
    path : Path
        The file, compressed or not.

    Raises
    ------
    UnreadableFile
        If it is empty, or in no encoding of Unicode.
    """

    path: Path
    separator: str = field(init=False)
    encoding: str = field(init=False)
    above: int = field(init=False)  # lines of comment before the header

    def __post_init__(self) -> None:
        encoding = _encoding(self._bytes(HEAD_BYTES))
        head = self._head(encoding)
        above = _comments(head)
        object.__setattr__(self, "encoding", encoding)
        object.__setattr__(self, "above", above)
        object.__setattr__(self, "separator", _separator(head[above:]))

    @property
    def label(self) -> str:
        """How sentences call it."""
        return self.path.name

    @cached_property
    def names(self) -> list[str]:
        """Names of the columns."""
        head = self._head(self.encoding)[self.above :]
        if self.separator == BLANKS:
            return [name.strip("\"'") for name in re.split(r"\s+", head[0].strip())]
        row = next(plain_csv.reader(head[:1], delimiter=self.separator))
        return [name.strip() for name in row]

    @property
    def geometry(self) -> str | None:
        """The column of positions as WKT, if there is one."""
        return next((name for name in self.names if name.lower() in WKT_NAMES), None)

    @property
    def comma(self) -> bool:
        """Whether a comma can only be a decimal one."""
        return self.separator == ";"

    def columns(self, wanted: Sequence[str], numbers: Sequence[str] = ()) -> dict[str, Any]:
        """Return columns as Arrow text, `numbers` as such where they are plain ones."""
        import pyarrow as pa
        from pyarrow import csv

        if self.separator == BLANKS:
            return self._between_blanks(wanted)
        kinds = dict.fromkeys(wanted, pa.string()) | dict.fromkeys(numbers, pa.float64())
        blanks = ["", "NaN", "nan", "NULL", "null", "NA", "N/A", "None"]
        read = csv.ReadOptions(
            column_names=self.names, skip_rows=self.above + 1, encoding=self.encoding
        )
        try:
            table = csv.read_csv(
                self.path,
                read_options=read,
                parse_options=csv.ParseOptions(delimiter=self.separator),
                convert_options=csv.ConvertOptions(
                    include_columns=list(wanted),
                    column_types=kinds,
                    null_values=blanks,
                    strings_can_be_null=True,
                ),
            )
        except pa.ArrowInvalid as error:
            if numbers and "conversion error" in str(error):
                return self.columns(wanted)  # decimal commas, or what is no number
            raise self._unreadable(str(error)) from error
        return {name: table[name] for name in wanted}

    def _between_blanks(self, wanted: Sequence[str]) -> dict[str, Any]:
        import pandas as pd
        import pyarrow as pa

        frame = pd.read_csv(
            self.path, sep=BLANKS, dtype=str, encoding=self.encoding, keep_default_na=False,
            skiprows=self.above,
        )  # fmt: skip
        return {name: blanked(pa.array(frame[name].astype(object), pa.string())) for name in wanted}

    def _head(self, encoding: str) -> list[str]:
        text = self._bytes(HEAD_BYTES).decode(encoding, errors="replace").lstrip("\ufeff")
        lines = text.splitlines()
        if lines and "\ufffd" in lines[0]:
            raise self._unreadable("UTF-8")
        if not lines or not lines[0].strip():
            raise UnreadableFile(
                f"{self.path} is empty; a CSV needs a header line with column names."
            )
        return lines

    def _bytes(self, size: int) -> bytes:
        import pyarrow as pa

        with pa.input_stream(str(self.path), compression="detect") as stream:
            return bytes(stream.read(size))

    def _unreadable(self, why: str) -> UnreadableFile:
        if "UTF8" in why or "UTF-8" in why:
            raw = self._bytes(1 << 28)
            seen, line = _seen(raw)
            return UnreadableFile(
                f"{self.path} is not in UTF-8 (line {line}); it looks like {seen}, so save it as "
                "UTF-8."
            )
        first = why.strip().splitlines()[0].rstrip(".")
        return UnreadableFile(f"{self.path} is no readable CSV ({first}).")


def _encoding(head: bytes) -> str:
    """Return the encoding that the first bytes tell; UTF-8 without a mark."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if head[:2000].count(b"\0") > len(head[:2000]) // 4:
        return "utf-16-le" if head[1:2] == b"\0" else "utf-16-be"
    return "utf-8"


def _seen(raw: bytes) -> tuple[str, int]:
    """Return what encoding bytes that are not UTF-8 seem to have, and the first line of them."""
    try:
        raw.decode("utf-8")
        line = 1
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
    found = re.findall(rb"[\x80-\xff][\x40-\xff]*", raw)[:200]
    alone = sum(len(run) == 1 for run in re.findall(rb"[\x80-\xff]+", raw)[:200])
    looks = [name for name, letters in ENCODINGS if _all_look(found, name, letters)]
    return looks[0] if looks and 2 * alone < len(found) else "Windows-1252 (Latin-1)", line


def _all_look(runs: list[bytes], encoding: str, looks: str) -> bool:
    """Tell whether bytes beyond ASCII make letters of a script and nothing else."""
    try:
        texts = [re.sub(r"[\x00-\x7f]", "", run.decode(encoding)) for run in runs]
    except UnicodeDecodeError:
        return False
    return bool(texts) and all(re.fullmatch(looks, text) for text in texts)


def _comments(head: list[str]) -> int:
    """Return how many lines of # stand above the header, which may begin with one itself."""
    above = next((n for n, line in enumerate(head) if not line.startswith("#")), 0)
    if above and _separator(head[above:]) == _separator(head[above - 1 :]) != BLANKS:
        separator = _separator(head[above:])
        own, after = (line.count(separator) for line in head[above - 1 : above + 1])
        return above - (own == after > 0)
    return above


def _separator(head: list[str]) -> str:
    """Return what separates the columns of the header, outside quotes."""
    bare = re.sub(r'"[^"]*"', "", head[0])
    found = max(SEPARATORS, key=bare.count)
    if bare.count(found) or len(head[0].split()) < 2:
        return found
    return BLANKS
