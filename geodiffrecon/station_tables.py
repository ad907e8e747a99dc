"""The answer of a trial on held-out stations in sentences, and its tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .comparison_tables import UNKNOWN, Entry, Table
from .report import aligned
from .station_charts import units_of, with_units
from .stations.trial import MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .stations.trial import Trial

    Row = Mapping[str, Any]

# Heading of each score and the value that is best.
SCORES = {
    "mae": ("MAE", 0.0),
    "mae_mean": ("MAE of mean", 0.0),
    "rmse": ("RMSE", 0.0),
    "bias": ("bias", 0.0),
    "crps": ("CRPS", 0.0),
    "coverage50": ("in 50 %", 0.5),
    "coverage90": ("in 90 %", 0.9),
}
SPANS = {"": "Single steps", "daily_": "Day means"}


def table(trial: Trial) -> str:
    """Return the scores and the ratios of the model as aligned text for a terminal.

    Parameters
    ----------
    trial : Trial
        What `evaluate_stations` found. Scores that are not known are shown as –.

    Returns
    -------
    str
    """
    lines: list[str] = []
    for found in score_tables(trial):
        texts = [[entry.text for entry in row] for row in found.rows]
        lines += [found.title, *aligned([found.head, *texts]), ""]
    lines += verdict(trial)
    return "\n".join(lines)


def ours_of(trial: Trial) -> str:
    """Return the method in focus: the model, or the first one where it was not tried."""
    names = [str(row["method"]) for row in trial.rows]
    return MODEL if MODEL in names else names[0]


def verdict(trial: Trial) -> list[str]:
    """Return the answer in sentences: error, honesty of the intervals, ratios to references."""
    ours, units = ours_of(trial), units_of(trial)
    row = next(row for row in trial.rows if row["method"] == ours)
    if row.get("mae") is None:
        return [f"No value was scored at the {len(trial.names)} hidden stations."]
    sentences = [
        f"At {len(trial.names)} hidden stations {ours} is off by "
        f"{' '.join([_number(row['mae']), units]).strip()} on average (median, {row['n']:,} "
        f"values); its 50 % interval holds {_percent(row['coverage50'])} of them and its 90 % "
        f"interval {_percent(row['coverage90'])}."
    ]
    if row.get("daily_mae") is not None:
        sentences.append(
            f"For day means it is off by {_number(row['daily_mae'])}, and its 90 % interval holds "
            f"{_percent(row['daily_coverage90'])}."
        )
    return sentences + [
        f"Its {SCORES[entry['score']][0]} is {entry['ratio']:.3f} times that of "
        f"{entry['reference']} (95 % interval {_interval(entry, 'low', 'high')} over time, "
        f"{_interval(entry, 'station_low', 'station_high')} over stations)."
        for entry in trial.ratios
        if entry["method"] == ours and entry["score"] in SCORES and entry["ratio"] is not None
    ]


def score_tables(trial: Trial) -> Iterator[Table]:
    """Yield the scores of single steps and, where there are any, of day means."""
    for prefix, title in SPANS.items():
        if any(row.get(f"{prefix}mae") is not None for row in trial.rows):
            known = [row for row in trial.rows if row.get(f"{prefix}mae") is not None]
            lowest = _best(known, prefix)
            rows = [
                [_name(trial, row), *[_score(row, prefix, key, lowest) for key in SCORES]]
                for row in trial.rows
            ]
            count = f"{int(max(row[f'{prefix}n'] for row in known)):,} values"
            title = with_units(title, trial)
            head = ["method", *(name for name, _ in SCORES.values())]
            yield Table(f"{title} ({count})", head, rows)


def _best(rows: Sequence[Row], prefix: str) -> dict[str, float]:
    """Return how far from best the nearest admissible method is, for every score."""
    fair = [row for row in rows if row.get("admissible", True)]
    return {
        key: min((abs(row[prefix + key] - best) for row in fair), default=-1.0)
        for key, (_, best) in SCORES.items()
    }


def _name(trial: Trial, row: Row) -> Entry:
    mark = "ours" if row["method"] == ours_of(trial) else ""
    return Entry(str(row["method"]), mark if row.get("admissible", True) else "aside")


def _score(row: Row, prefix: str, key: str, lowest: dict[str, float]) -> Entry:
    value = row.get(prefix + key)
    if value is None:
        return Entry(UNKNOWN)
    best = row.get("admissible", True) and abs(value - SCORES[key][1]) <= lowest[key]
    text = _percent(value) if key.startswith("coverage") else _number(value)
    return Entry(text, "best" if best else "")


def ratio_tables(trial: Trial) -> Iterator[Table]:
    """Yield for each reference the ratios of all methods to it, a column a score."""
    rows = {str(row["method"]): row for row in trial.rows}
    for reference in dict.fromkeys(entry["reference"] for entry in trial.ratios):
        entries = {
            (entry["method"], entry["score"]): entry
            for entry in trial.ratios
            if entry["reference"] == reference and entry["ratio"] is not None
        }
        keys = list(dict.fromkeys(score for _, score in entries))
        body = [
            [_name(trial, rows[name]), *[_ratio(entries.get((name, key))) for key in keys]]
            for name in dict.fromkeys(method for method, _ in entries)
        ]
        if body:
            yield Table(f"Against {reference}", ["method", *map(_heading, keys)], body)


def _ratio(entry: Row | None) -> Entry:
    if entry is None:
        return Entry(UNKNOWN)
    edges = [entry[key] for key in ("low", "high", "station_low", "station_high")]
    mark = ""
    if None not in edges:
        mark = "better" if max(edges) < 1 else "worse" if min(edges) > 1 else ""
    over_time, over_stations = (
        _interval(entry, f"{kind}low", f"{kind}high") for kind in ("", "station_")
    )
    return Entry(f"{entry['ratio']:.3f} ({over_time}; {over_stations})", mark)


def _heading(score: str) -> str:
    """Return the heading of a score such as ``daily_mae``."""
    bare = score.removeprefix("daily_")
    return f"{SCORES[bare][0]}, day means" if bare != score else SCORES[bare][0]


def _interval(entry: Row, low: str, high: str) -> str:
    edges = entry[low], entry[high]
    return UNKNOWN if None in edges else f"{edges[0]:.2f}–{edges[1]:.2f}"


def _number(value: float) -> str:
    return f"{value:.{3 if abs(value) < 10 else 2 if abs(value) < 1000 else 0}f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
