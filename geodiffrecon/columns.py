"""Columns of any kind as Arrow arrays, and what they hold as numbers or as text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InvalidParameter, MissingColumn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MISSING = {"", "nan", "nat", "null", "none", "na", "n/a"}
NUMBER = r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?"
THOUSANDS = r"^[+-]?[1-9]\d{0,2}([.,]\d{3})+$"
LIMIT = re.compile(r"\s*[<>≤≥]\s*" + NUMBER)


def as_arrow(values: Any) -> Any:
    """Return values of any kind as one Arrow array: text as `string`, no dictionary, no view."""
    import pyarrow as pa

    if not isinstance(values, pa.Array | pa.ChunkedArray):
        values = _from_python(values)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.ChunkedArray):  # longer than one array of text can be
        values = pa.concat_arrays(values.cast(pa.large_string()).chunks)
    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.cast(kind.value_type), kind.value_type
    views = (pa.types.is_large_string, getattr(pa.types, "is_string_view", lambda kind: False))
    short = values.nbytes < 1 << 31
    return values.cast(pa.string()) if short and any(view(kind) for view in views) else values


def _from_python(values: Any) -> Any:
    import pandas as pd
    import pyarrow as pa

    plain = getattr(values, "array", values)
    if hasattr(plain, "to_dense"):  # sparse columns of pandas
        values = np.asarray(plain.to_dense())
    kind = getattr(values, "dtype", None)
    if isinstance(kind, pd.PeriodDtype):
        values, kind = values.astype("datetime64[ns]"), None
    if isinstance(kind, np.dtype) and not kind.isnative:
        values = np.asarray(values).astype(kind.newbyteorder("="))
    if isinstance(kind, np.dtype) and kind.kind == "f" and kind.itemsize > 8:
        values = np.asarray(values, dtype=np.float64)
    if getattr(kind, "kind", "") == "O" and any(hasattr(v, "isoformat") for v in values):
        values = [v.isoformat() if hasattr(v, "isoformat") else v for v in values]
    try:
        return pa.Array.from_pandas(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        texts = [None if pd.api.types.is_scalar(v) and pd.isna(v) else str(v) for v in values]
        return pa.array(texts, pa.string())


def floats(column: Any, what: str, remedy: str, *, comma: bool = False) -> NDArray[np.float64]:
    """Return an Arrow column as float64 (n,), NaN where missing.

    Parameters
    ----------
    column : pyarrow array, (n,)
        Numbers, or text that holds numbers.
    what : str
        What it is, for sentences.
    remedy : str
        Options that name another column.
    comma : bool
        Commas separate columns nowhere in this file, so that 1,234 has three decimals.

    Raises
    ------
    InvalidParameter
        If it holds something else: one sentence with the row and its value.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    column = as_arrow(column)
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        try:
            return _numpy(column.cast(pa.float64()))
        except pa.ArrowInvalid:
            return _numpy(_text_numbers(column, what, comma))
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif pa.types.is_decimal(kind):
        column = pc.cast(column, pa.float64())
    elif not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise InvalidParameter(f"{what} are {kind} values, not numbers; name others with {remedy}.")
    return _numpy(column.cast(pa.float64(), safe=False))


def names(column: Any) -> NDArray[np.str_]:
    """Return a column as text (n,), trimmed, empty where missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.utf8_trim_whitespace(as_arrow(column).cast(pa.string()))
    # Few names stand on many rows: each is turned into text once.
    coded = pc.fill_null(text, "").dictionary_encode()
    kinds = np.array(coded.dictionary.to_pylist() or [""], dtype=np.str_)
    return kinds[coded.indices.to_numpy(zero_copy_only=False)]


def blanked(text: Any) -> Any:
    """Return Arrow text trimmed, null where it is a word for a missing value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(text)
    blank = pc.is_in(pc.utf8_lower(trimmed), pa.array(sorted(MISSING), trimmed.type))
    return pc.if_else(blank, None, trimmed)


def require(wanted: Sequence[str], existing: Sequence[str], where: str) -> None:
    """Raise MissingColumn if a column does not exist, InvalidParameter if it does twice."""
    for name in wanted:
        if name not in existing:
            raise MissingColumn(missing_column(name, existing, where))
        if list(existing).count(name) > 1:
            raise InvalidParameter(
                f"{where} has {list(existing).count(name)} columns {name!r}; rename or drop all "
                "but one."
            )


def missing_column(name: str, existing: Sequence[str], where: str) -> str:
    """Return the sentence for a column that does not exist."""
    listed = ", ".join(existing[:12]) + (", …" if len(existing) > 12 else "")
    return f"{where} has no column {name!r}; its columns are {listed}."


def _numpy(column: Any) -> NDArray[np.float64]:
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _text_numbers(column: Any, what: str, comma: bool) -> Any:
    """Return text as numbers, decimal commas too where they are no thousands."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = blanked(column)
    odd = pc.invert(pc.match_substring_regex(text, rf"^({NUMBER}|[+-]?(?i:inf|infinity))$"))
    if pc.any(odd).as_py():
        row = pc.index(odd, True).as_py()
        raise InvalidParameter(_no_number(str(text[row]), row, what))
    commas = pc.match_substring(text, ",")
    if not pc.any(commas).as_py():
        return text.cast(pa.float64())
    points = pc.match_substring(text, ".")
    if pc.any(points).as_py():
        first, second = (pc.index(each, True).as_py() for each in (points, commas))
        raise InvalidParameter(
            f"{what} mix points and commas ({text[first]} in row {first + 1}, {text[second]} in "
            f"row {second + 1}), so their decimals are not certain; write all numbers alike and "
            "without thousands separators."
        )
    if not comma and pc.all(pc.match_substring_regex(text.filter(commas), THOUSANDS)).as_py():
        row = pc.index(commas, True).as_py()
        raise InvalidParameter(
            f"{what} hold {text[row]} (row {row + 1}), which may have thousands or decimals; write "
            "decimal points and no thousands separators."
        )
    return pc.replace_substring(text, ",", ".").cast(pa.float64())


def _no_number(text: str, row: int, what: str) -> str:
    if LIMIT.fullmatch(text):
        return (
            f"{what} hold {text!r} (row {row + 1}), a detection limit and no number; write a "
            "number, such as half of the limit, or leave it empty."
        )
    return (
        f"{what} hold {text!r} (row {row + 1}), which is no number; correct it, or leave it empty."
    )
