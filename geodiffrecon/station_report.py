"""What a trial on held-out stations found, for people: text for a terminal and a page."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from . import station_charts as charts
from .axes import parse_crs
from .charts import data_uri
from .comparison_tables import Entry, Table
from .episode import episode_figure
from .pages import NO_CHARTS, WIDE, definitions, html_table
from .report import STYLE, finite, write_texts
from .station_tables import ours_of, ratio_tables, score_tables, table, verdict
from .stations.bench import ORACLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import xarray as xr

    from .stations.network import StationNetwork
    from .stations.trial import Trial

    Row = Mapping[str, Any]
    Maps = tuple[xr.Dataset, StationNetwork]

__all__ = ["page", "table", "write"]

TEXT = (
    ".findings td,.findings th{text-align:left}td.words{white-space:normal;min-width:22rem}"
    ".note{max-width:60rem}"
    "tr:has(td.aside){color:#777}.verdict{font-size:1.1rem}"
)
TRIAL = (
    "Stations are hidden in turn, and all methods predict them from the others. A hidden station "
    "is in nothing that its forecast rests on: neither in training nor in the readings given. The "
    "best of each column is shaded."
)
ASIDE = (
    f"The {ORACLE} has learnt from the hidden station's own past, which no map can know: a bound, "
    "not a rival."
)
RATIOS = (
    "Error of the method in the row divided by the error of the one named above, on the same "
    "values: below 1 is better. In brackets two 95 % intervals: over time (blocks of days drawn "
    "again), then over stations (stations drawn again). Coloured where both lie on one side of 1."
)
DATA = (
    "What stands out in the readings. Nothing is left out or averaged in silence: the last column "
    "says what happened to the values."
)
WORDS = {
    "Where it is right and wrong": "Every station at its place, hidden in turn. Left: its mean "
    "absolute error, dark is worse; the three worst are named. Right: its mean error; red, the "
    "forecast is too high there, blue, too low. Colours that go together in one corner say that "
    "something acts there which the other stations do not tell of.",
    "Forecast against truth": "How many readings (colour) met which predicted median. On the line "
    "the forecast is right. A cloud flatter than the line means that high values are predicted "
    "too low and low ones too high, as in any forecast that knows only part of what happens.",
    "Does the stated error hold?": "Left: of the intervals stated to hold so many per cent, how "
    "many do. On the line the stated error is honest; below it, errors are larger than stated. "
    "Right: where in its forecast the truth falls. A flat histogram is honest; a U means stated "
    "errors are too small, a hump too large, a slope that forecasts are too low or too high.",
    "Does it know when it is unsure?": "All forecasts in ten groups, from those stated as surest "
    "to those stated as least sure: the error that they stated and the one that they made. On the "
    "line both agree; the longer a curve, the better sure is told from unsure.",
    "How far from the next station": "The mean absolute error by distance to the nearest station "
    "that was given and reported; in brackets, how many values were scored at that distance. The "
    "error at sites without a station is read off at their distance.",
    "The worst days": "The days with the largest error over all stations, the worst first, each at "
    "its worst station, with half a day before and after. On usual days one dot in ten lies "
    "outside the band; on days that are shown because they are bad, more do.",
    "An episode": "Steps around the highest mean, from left to right.",
}
MOST_SHOWN = 12  # findings; more are folded
NO_FINDINGS = "Nothing stands out in the readings, or they were not inspected."
MEANING = {
    "MAE": "Mean absolute error of the predicted median, in the unit of the variable; “MAE of "
    "mean” is that of the predicted mean.",
    "RMSE, bias": "Root mean squared error and mean error (forecast minus truth) of the mean.",
    "CRPS": "Scores the whole predicted distribution, in the unit of the variable; lower is "
    "better. For a forecast without spread it is the MAE.",
    "in 50 %, in 90 %": "How often the truth lies in the interval that is stated to hold 50 or "
    "90 % of cases. Nearest to that number is best: less is overconfident, more is timid.",
    "day means": "Means over the known steps of a local day, where enough of them are known. "
    "Their intervals are right only if errors go together in time as stated.",
}


@dataclass(frozen=True)
class _Chart:
    """A section with a picture: its heading, and what it shows and how to read it."""

    title: str
    words: str
    draw: Callable[[], Any | None]


def page(trial: Trial, findings: Sequence[Row] = (), *, maps: Maps | None = None) -> str:
    """Return a trial as one HTML page that needs no other file.

    Parameters
    ----------
    trial : Trial
        What `evaluate_stations` found.
    findings : sequence of mapping
        Rows of the data quality report, as `quality.to_rows` gives them.
    maps : (xarray.Dataset, StationNetwork), optional
        Maps of an episode and the readings under them, to be drawn as well.

    Returns
    -------
    str
        The answer first, then tables, charts with how to read them, what stands out in the data,
        and where all comes from. Without matplotlib there are no charts, and the page says so.
    """
    first, *more = (_unbroken(html.escape(sentence)) for sentence in verdict(trial))
    parts = [
        f'<p class="verdict"><strong>{first}</strong></p>',
        f"<ul>{''.join(f'<li>{sentence}</li>' for sentence in more)}</ul>",
        *_scores(trial),
        *_charts(trial, maps),
        *_findings(findings),
        f"<h2>What the words mean</h2>{definitions(MEANING)}",
        f"<h2>Where this comes from</h2>{definitions(_origin(trial))}",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>geodiffrecon trial on stations'
        f"</title><style>{STYLE}{WIDE}{TEXT}</style></head><body><h1>Trial on hidden stations</h1>"
        f"{''.join(parts)}</body></html>\n"
    )


def write(
    trial: Trial,
    findings: Sequence[Row] = (),
    *,
    json_file: Path | None = None,
    html_file: Path | None = None,
    maps: Maps | None = None,
) -> list[Path]:
    """Write scores and page, each whole or not at all.

    Parameters
    ----------
    trial, findings, maps
        As for `page`.
    json_file, html_file : Path, optional
        What to write. Numbers that are not finite become null.

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
        result = finite({**trial.to_dict(), "quality": [dict(row) for row in findings]})
        text = json.dumps(result, indent=1, sort_keys=True, default=str, allow_nan=False)
        texts.append((json_file, text + "\n"))
    if html_file is not None:
        texts.append((html_file, page(trial, findings, maps=maps)))
    return write_texts(texts)


def _scores(trial: Trial) -> Iterator[str]:
    aside = [row for row in trial.rows if not row.get("admissible", True)]
    yield f'<h2>Scores</h2><p class="note">{TRIAL} {ASIDE if aside else ""}</p>'
    yield from map(html_table, score_tables(trial))
    ratios = list(ratio_tables(trial))
    if ratios:
        yield f'<h2>Against kriging</h2><p class="note">{RATIOS}</p>'
    yield from map(html_table, ratios)


def _charts(trial: Trial, maps: Maps | None) -> Iterator[str]:
    """Yield the charts as images inside the page, or why there are none."""
    try:
        figures = [(chart, chart.draw()) for chart in _planned(trial, maps)]
    except ModuleNotFoundError:
        yield f"<h2>Charts</h2><p>{NO_CHARTS}</p>"
        return
    for chart, figure in figures:
        if figure is not None:
            width = min(100, round(100 * figure.get_figwidth() / charts.WIDTH))
            image = f'<img style="width:{width}%" alt="{chart.title}" src="{data_uri(figure)}">'
            words = f"<figcaption>{html.escape(chart.words)}</figcaption>"
            yield f"<h2>{chart.title}</h2><figure>{image}{words}</figure>"


def _planned(trial: Trial, maps: Maps | None) -> Iterator[_Chart]:
    """Yield all charts in the order of the page."""
    ours, zone = ours_of(trial), str(trial.meta["calendar_tz"])
    references = [str(entry["reference"]) for entry in trial.ratios]
    compared = list(dict.fromkeys([ours, *references[-1:]]))
    draws: dict[str, Callable[[], Any | None]] = {
        "Where it is right and wrong": partial(
            charts.station_maps, trial, ours, geographic=_geographic(trial)
        ),
        "Forecast against truth": partial(charts.scatter, trial, compared),
        "Does the stated error hold?": partial(charts.reliability, trial, ours),
        "Does it know when it is unsure?": partial(charts.spread_skill, trial, ours),
        "How far from the next station": partial(charts.by_distance, trial, ours),
        "The worst days": partial(charts.worst_days, trial, ours, zone),
    }
    yield from (_Chart(title, WORDS[title], draw) for title, draw in draws.items())
    if maps is not None:
        yield _Chart("An episode", WORDS["An episode"], partial(_episode, maps))


def _geographic(trial: Trial) -> bool:
    """Return whether positions are degrees."""
    crs = parse_crs(trial.meta.get("crs"))
    return crs is not None and bool(crs.geographic)


def _episode(maps: Maps) -> Any:
    """Draw the maps, with the first chance of exceeding that they hold."""
    cube, network = maps
    start = f"{cube.attrs['value']}_exceed_"
    limits = [str(n).removeprefix(start) for n in cube.data_vars if str(n).startswith(start)]
    return episode_figure(cube, network, threshold=float(limits[0]) if limits else None)


def _findings(findings: Sequence[Row]) -> Iterator[str]:
    yield f'<h2>Data quality</h2><p class="note">{DATA if findings else NO_FINDINGS}</p>'
    if findings:
        head = ["check", "station", "count", "first", "what was seen", "values"]
        rows = list(map(_finding, findings))
        shown = " open" if len(rows) <= MOST_SHOWN else ""
        body = html_table(Table("", head, rows), title=False)
        yield f'<details class="findings"{shown}><summary>{len(rows)} findings</summary>{body}'
        yield "</details>"


def _finding(row: Row) -> list[Entry]:
    texts = [str(row[key] or "") for key in ("check", "station", "count", "first")]
    return [*map(Entry, texts), Entry(str(row["sentence"]), "words"), Entry(str(row["action"]))]


def _origin(trial: Trial) -> dict[str, str]:
    """Return what the trial was made of, as texts."""
    return {
        key.replace("_", " "): value if isinstance(value, str) else _plain(value)
        for key, value in trial.meta.items()
    }


def _unbroken(text: str) -> str:
    """Keep numbers and their per cent on one line."""
    return text.replace(" %", "&nbsp;%")


def _plain(value: Any) -> str:
    return json.dumps(finite(value), default=str, ensure_ascii=False)
