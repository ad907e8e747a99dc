"""A comparison as one page that stands alone, and all its files."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING

from . import charts
from .comparison_tables import (
    COSTS,
    MAIN,
    cost_table,
    markdown,
    ratio_table,
    sanity_table,
    score_table,
    terminal,
    verdict,
)
from .pages import NO_CHARTS, WIDE, definitions, html_table
from .report import STYLE, finite, write_texts
from .standings import SCORES, known, pivot, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .comparison_tables import Table
    from .standings import Result

__all__ = ["markdown", "page", "pivot", "terminal", "verdict", "write"]

NOT_PROVENANCE = {"rows", "paired", "sanity"}
PATTERNS = {
    "complete": "No coarse cell is missing: what is scored is refinement alone.",
    "random": "Other coarse cells are missing in every frame.",
    "fixed": "The same coarse cells are missing in all frames.",
    "block": "One corner of the map is missing in all frames.",
}
METHODS = (
    "Methods stand in three groups, each from best to worst mean: this system, its own layers, and "
    "all others. The best of each column is shaded. ± is the standard deviation over seeds, shown "
    "where there is more than one."
)
RATIOS = (
    "Error of this system divided by that of the method: below 1, this system is better. In "
    "brackets, the 95 % interval of a bootstrap over blocks of frames that resamples both together."
)
CHECKS = (
    "On input without holes a trained network should do better than historical share × coarse, "
    "which only repeats how each coarse value was spread in the past."
)


def page(result: Result) -> str:
    """Return a comparison as one HTML page that needs no other file.

    Parameters
    ----------
    result : mapping
        What a comparison wrote; whatever it lacks is shown as unknown.

    Returns
    -------
    str
        The answer first, then tables, charts, what the scores mean, and where all comes from.
        Without matplotlib there are no charts, and the page says so.
    """
    first, *more = (html.escape(sentence) for sentence in verdict(result))
    present = [key for key in known(result) if key not in COSTS]
    parts = [
        f"<p><strong>{first}</strong> {' '.join(more)}</p>",
        *_main_scores(result, present),
        *_charts(result),
        *_paired(result),
        *_other_scores(result, present),
        *_section(cost_table(result)),
        *_section(sanity_table(result), CHECKS),
        *_meaning(result, present),
        *_origin(result),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>geodiffrecon comparison'
        f"</title><style>{STYLE}{WIDE}</style></head><body><h1>Comparison</h1>{''.join(parts)}"
        "</body></html>\n"
    )


def write(
    result: Result,
    *,
    json_file: Path | None = None,
    html_file: Path | None = None,
    markdown_file: Path | None = None,
) -> list[Path]:
    """Write result, page and tables, each whole or not at all.

    Parameters
    ----------
    result : mapping
        What a comparison found. Numbers that are not finite become null.
    json_file, html_file, markdown_file : Path, optional
        What to write.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    InvalidParameter
        If a folder cannot be written to.
    """
    texts: list[tuple[Path, str]] = []
    if json_file is not None:
        text = json.dumps(finite(result), indent=1, sort_keys=True, default=str, allow_nan=False)
        texts.append((json_file, text + "\n"))
    if html_file is not None:
        texts.append((html_file, page(result)))
    if markdown_file is not None:
        texts.append((markdown_file, markdown(result)))
    return write_texts(texts)


def _main_scores(result: Result, present: list[str]) -> Iterator[str]:
    yield f'<h2>Scores</h2><p class="note">{METHODS}</p>'
    for key in MAIN:
        if key in present:
            yield html_table(score_table(result, key))


def _other_scores(result: Result, present: list[str]) -> Iterator[str]:
    """Yield one folded table for each score that is not among the main ones."""
    others = [key for key in present if key not in MAIN]
    if others:
        yield "<h2>More scores</h2>"
    for key in others:
        table = score_table(result, key)
        title = html.escape(table.title)
        yield f"<details><summary>{title}</summary>{html_table(table)}</details>"


def _paired(result: Result) -> Iterator[str]:
    tables = [table for key in SCORES if (table := ratio_table(result, key))]
    if tables:
        yield f'<h2>Against each method</h2><p class="note">{RATIOS}</p>'
    yield from map(html_table, tables)


def _section(table: Table, words: str = "") -> Iterator[str]:
    if table.rows:
        yield f'<h2>{html.escape(table.title)}</h2><p class="note">{words}</p>'
        yield html_table(table, title=False)


def _charts(result: Result) -> Iterator[str]:
    """Yield the charts as images inside the page, or why there are none."""
    drawings = {
        "Error as cells go missing; bars show ± over seeds. Lower is better.": (
            charts.error_by_missing
        ),
        "Error of this system in terms of each method's, with 95 % intervals.": charts.ratio_chart,
        "What accuracy costs: lower left is better.": charts.cost,
        "How each trained method learnt, seeds on top of each other.": charts.training,
    }
    yield "<h2>Charts</h2>"
    try:
        figures = {caption: draw(result) for caption, draw in drawings.items()}
    except ModuleNotFoundError:
        yield f"<p>{NO_CHARTS}</p>"
        return
    for caption, figure in figures.items():
        if figure is not None:
            image = f'<img alt="{caption}" src="{charts.data_uri(figure)}">'
            yield f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _meaning(result: Result, present: list[str]) -> Iterator[str]:
    """Yield in plain words what the scores and patterns of this page mean."""
    found = {setting.pattern for setting in settings(result)}
    words = {SCORES[key].title: SCORES[key].words for key in present}
    words |= {name: text for name, text in PATTERNS.items() if name in found}
    yield f"<h2>What the words mean</h2>{definitions(words)}"


def _origin(result: Result) -> Iterator[str]:
    facts = {
        key.replace("_", " "): value if isinstance(value, str) else json.dumps(value, default=str)
        for key, value in result.items()
        if key not in NOT_PROVENANCE
    }
    if facts:
        yield f"<h2>Where this comes from</h2>{definitions(facts)}"
