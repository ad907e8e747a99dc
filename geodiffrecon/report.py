"""Scores for people: a table on the terminal and a page that stands alone."""

from __future__ import annotations

import html
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .outputs import whole_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

COLUMNS = {
    "method": "method",
    "pattern": "pattern",
    "missing": "missing",
    "mae": "MAE",
    "rmse": "RMSE",
    "bias": "bias",
    "crps": "CRPS",
    "coverage50": "in 50 %",
    "coverage90": "in 90 %",
    "seconds": "seconds",
    "peak_mb": "MB",
}
PERCENT = {"missing", "coverage50", "coverage90"}
WHOLE = {"peak_mb"}
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "table{border-collapse:collapse}th,td{padding:.3rem .7rem;text-align:right;"
    "border-bottom:1px solid #ccc}th:first-child,td:first-child{text-align:left}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dd{margin:0;"
    "overflow-wrap:anywhere}"
)
EXPLANATION = (
    "MAE, RMSE and bias are per fine cell, in the unit of the variable. CRPS scores the whole "
    "predictive distribution; lower is better. “In 90 %” is how often the truth lies in the "
    "90 % interval; the nearer to 90 %, the more honest the stated error."
)


def table(result: Mapping[str, Any]) -> str:
    """Return the rows of a score file as aligned text.

    Parameters
    ----------
    result : mapping
        What `evaluate` returned: ``rows`` and the provenance.

    Returns
    -------
    str

    Examples
    --------
    >>> print(table({"rows": [{"method": "prior", "missing": 0.4, "mae": 1.25}]}))
    method  missing    MAE
    prior      40 %  1.250
    """
    rows = list(result["rows"])
    keys = [key for key in COLUMNS if any(key in row for row in rows)]
    texts = [[COLUMNS[key] for key in keys]]
    texts += [[_text(key, row.get(key)) for key in keys] for row in rows]
    return "\n".join([*aligned(texts), *_warnings(result)])


def page(result: Mapping[str, Any]) -> str:
    """Return the scores and their provenance as one HTML page that needs no other file."""
    rows = list(result["rows"])
    keys = [key for key in COLUMNS if any(key in row for row in rows)]
    head = "".join(f"<th>{html.escape(COLUMNS[key])}</th>" for key in keys)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_text(k, row.get(k)))}</td>" for k in keys) + "</tr>"
        for row in rows
    )
    origin = "".join(
        f"<dt>{html.escape(key.replace('_', ' '))}</dt><dd>{html.escape(_plain(value))}</dd>"
        for key, value in result.items()
        if key != "rows"
    )
    warnings = "".join(f"<p><strong>{html.escape(line)}</strong></p>" for line in _warnings(result))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>geodiffrecon evaluation'
        f"</title><style>{STYLE}</style></head><body><h1>Evaluation</h1>{warnings}"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"<p>{EXPLANATION}</p><h2>Where this comes from</h2><dl>{origin}</dl></body></html>\n"
    )


def write(
    result: Mapping[str, Any], *, json_file: Path | None = None, html_file: Path | None = None
) -> list[Path]:
    """Write the score file and the page, each whole or not at all; return what was written."""
    texts: list[tuple[Path, str]] = []
    if json_file is not None:
        text = json.dumps(result, indent=1, sort_keys=True, default=str)
        texts.append((json_file, text + "\n"))
    if html_file is not None:
        texts.append((html_file, page(result)))
    return write_texts(texts)


def write_texts(texts: Sequence[tuple[Path, str]]) -> list[Path]:
    """Write text files, each whole or not at all; return their paths."""
    for path, text in texts:
        with whole_files(path.parent) as draft:
            (draft / path.name).write_text(text, encoding="utf-8")
    return [path for path, _ in texts]


def finite(value: Any) -> Any:
    """Return a copy of plain numbers, in which those that are not finite are None.

    Examples
    --------
    >>> finite({"mae": float("nan"), "rows": (1, np.float32(0.5))})
    {'mae': None, 'rows': [1, 0.5]}
    """
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines of text: the first column to the left, all others right.

    Examples
    --------
    >>> aligned([["a", "b"], ["long", "1"]])
    ['a     b', 'long  1']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def _text(key: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or "–"
    if key in PERCENT:
        return f"{100 * value:.3g} %"
    return (
        f"{value:.0f}" if key in WHOLE else f"{value:.4g}" if abs(value) >= 10 else f"{value:.3f}"
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _warnings(result: Mapping[str, Any]) -> list[str]:
    if not result.get("in_sample"):
        return []
    return ["IN-SAMPLE: the model has seen these frames; the scores flatter it."]
