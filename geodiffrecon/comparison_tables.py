"""The answer of a comparison in sentences, and its tables for terminal and Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .report import aligned
from .standings import SCORES, known, number_of, opponent, pivot, ratios, settings, units_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .standings import Line, Ratio, Result, Setting

MAIN = ("mae", "rmse", "crps")
COSTS = ("parameters", "fit_seconds", "seconds", "peak_mb")
UNKNOWN = "–"
# How a marked entry is written in Markdown.
BOLD = {"best": "**", "better": "**", "worse": "*"}


@dataclass(frozen=True)
class Entry:
    """A text of a table, and whether it is ``best``, ``better`` or ``worse`` beyond chance."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """A table for people; the first entry of a row names it and is marked with its role."""

    title: str
    head: list[str]
    rows: list[list[Entry]]
    note: str = ""


def verdict(result: Result, score: str = "mae") -> list[str]:
    """Return the answer in sentences.

    Parameters
    ----------
    result : mapping
        What a comparison wrote.
    score : str
        Key of `SCORES`.

    Returns
    -------
    list of str
        Which method is best in how many settings; how the first of our own does against outside
        methods alone; how often a paired comparison is beyond chance.

    Examples
    --------
    >>> rows = [{"method": m, "pattern": "block", "missing": 0.25, "mae": e}
    ...         for m, e in (("idw", 2.0), ("unet", 1.5))]
    >>> verdict({"rows": rows})
    ['unet has the best MAE in 1 of 1 settings (a pattern of holes at one missing ratio).']
    """
    columns, lines = settings(result), pivot(result, score)
    scored = [i for i in range(len(columns)) if any(line.cells[i] for line in lines)]
    if not scored:
        return [f"No method has a {SCORES[score].title} yet."]
    wins = {line: [columns[i] for i in scored if _is_best(line, i)] for line in lines}
    ranked = sorted((line for line in lines if wins[line]), key=lambda line: -len(wins[line]))
    top, others = ranked[0], ranked[1:]
    sentence = (
        f"{top.label} has the best {SCORES[score].title} in {len(wins[top])} of {len(scored)} "
        "settings (a pattern of holes at one missing ratio)"
    )
    rest = [f"{line.label} in {_listed(wins[line])}" for line in others]
    if sum(map(len, wins.values())) > len(scored):
        rest.append("a tie counts for each")
    answer = [f"{'; '.join([sentence, *rest])}."]
    return answer + _against_outside(lines, scored, score) + _beyond_chance(result, score)


def score_table(result: Result, score: str) -> Table:
    """Return a score by method and setting: mean over seeds, ± their standard deviation."""
    columns, lines = settings(result), pivot(result, score)
    show, lowest = number_format(score, lines), _best_mean(lines, score)
    rows = []
    for line in lines:
        entries = [Entry(line.label, line.role)]
        for cell in line.cells:
            spread = f" ±{show(cell.spread)}" if cell and cell.spread is not None else ""
            entries.append(Entry(UNKNOWN))
            if cell:
                entries[-1] = Entry(show(cell.mean) + spread, "best" if cell.best else "")
        mean = UNKNOWN if line.mean is None else show(line.mean)
        rows.append([*entries, Entry(mean, "best" if line.mean in lowest else "")])
    head = ["method", *(setting.title for setting in columns), "mean"]
    return Table(_heading(result, score), head, rows, _mean_note(lines))


def ratio_table(result: Result, score: str) -> Table | None:
    """Return the paired ratios of a score with their intervals; None where there are none."""
    rows = ratios(result, score)
    if not rows:
        return None
    title = f"{SCORES[score].title} of {opponent(result)} / {SCORES[score].title} of the method"
    head = ["method", *(setting.title for setting in settings(result))]
    return Table(title, head, [[Entry(n), *map(_ratio_entry, row)] for n, row in rows])


def cost_table(result: Result) -> Table:
    """Return what every method costs: weights, seconds and memory, each a mean over its rows."""
    keys = known(result, COSTS)
    rows = []
    for line in pivot(result, "mae"):
        own = [row for row in result["rows"] if str(row.get("method", "")) == line.method]
        entries = [Entry(line.label, line.role)]
        for key in keys:
            values = [v for row in own if (v := number_of(row.get(key))) is not None]
            entries.append(Entry(_plain_number(float(np.mean(values))) if values else UNKNOWN))
        rows.append(entries)
    return Table("Cost", ["method", *(SCORES[key].title for key in keys)], rows)


def sanity_table(result: Result) -> Table:
    """Return how each trained method does on complete input, beside past share × coarse."""
    rows = []
    for entry in result.get("sanity", ()):
        own, share = number_of(entry.get("complete_mae")), number_of(entry.get("share_mae"))
        passed = UNKNOWN if own is None or share is None else "yes" if own < share else "no"
        numbers = [number_of(entry.get(key)) for key in ("seed", "parameters")]
        texts = [UNKNOWN if v is None else _plain_number(v) for v in [*numbers, own, share]]
        name = str(entry.get("label") or entry.get("method", ""))
        rows.append([Entry(name), *map(Entry, texts), Entry(passed)])
    head = ["method", "seed", "parameters", "MAE, complete input", "MAE, share × coarse", "better"]
    return Table("Checks of what was trained", head, rows)


def terminal(result: Result) -> str:
    """Return MAE by method and setting as aligned text, with the means of all main scores.

    The best of a column has a star; sentences follow that say what it comes to.

    Examples
    --------
    >>> rows = [{"method": "idw", "pattern": "block", "missing": 0.25, "mae": 1.25}]
    >>> for line in terminal({"rows": rows}).splitlines()[:3]:
    ...     print(line)
    MAE      block     MAE
    method    25 %    mean
    idw     1.250*  1.250*
    """
    columns = settings(result)
    means = known(result, MAIN)
    tables = {key: {line.method: line for line in pivot(result, key)} for key in means}
    shows = {key: number_format(key, tables[key].values()) for key in means}
    texts = [
        [_heading(result, "mae"), *(c.pattern for c in columns), *(SCORES[k].title for k in means)],
        ["method", *(c.ratio for c in columns), *["mean"] * len(means)],
    ]
    for line in pivot(result, "mae"):
        shown = [(shows["mae"](c.mean) + "*" * c.best) if c else UNKNOWN + " " for c in line.cells]
        for key in means:
            mean, lowest = tables[key][line.method].mean, _best_mean(tables[key].values(), key)
            star = "*" if mean in lowest else ""
            shown.append(UNKNOWN if mean is None else shows[key](mean) + star)
        texts.append([line.label, *shown])
    return "\n".join([*aligned(texts), "", *verdict(result)])


def markdown(result: Result, scores: Sequence[str] = MAIN) -> str:
    """Return the tables of some scores, and of this system against each method, as Markdown.

    Parameters
    ----------
    result : mapping
        What a comparison wrote.
    scores : sequence of str
        Keys of `SCORES`; those that no row has are passed over.

    Returns
    -------
    str
        The best of each column is bold, and so is a ratio whose interval lies below 1; one whose
        interval lies above 1 is in italics.
    """
    parts = [" ".join(verdict(result))]
    tables = [score_table(result, key) for key in known(result, scores)]
    tables += [table for key in scores if (table := ratio_table(result, key))]
    for table in tables:
        parts += [f"### {table.title}", _pipes(table), table.note]
    return "\n\n".join(part for part in parts if part) + "\n"


def number_format(score: str, lines: Iterable[Line]) -> Callable[[float], str]:
    """Return how all numbers of a table are written: four digits of the usual one."""
    if SCORES[score].percent:
        return lambda value: f"{100 * value:.1f} %"
    sizes = [abs(cell.mean) for line in lines for cell in line.cells if cell and cell.mean]
    size = float(np.log10(np.median(sizes))) if sizes else 0.0
    if not -4 <= size < 9:
        return "{:.3e}".format
    return f"{{:.{max(0, 3 - int(np.floor(size)))}f}}".format


def _is_best(line: Line, column: int) -> bool:
    cell = line.cells[column]
    return cell is not None and cell.best


def _listed(found: list[Setting]) -> str:
    """Return up to three settings by name, more as a number."""
    if len(found) > 3:
        return str(len(found))
    return f"{len(found)} ({', '.join(setting.title for setting in found)})"


def _against_outside(lines: list[Line], scored: list[int], score: str) -> list[str]:
    """Return in how many settings the first of our own methods beats all outside ones."""
    ours = next((line for line in lines if line.role == "ours"), None)
    outside = [
        line for line in lines if line.role not in ("ours", "layer", "ablation", "published")
    ]
    if ours is None or not outside:
        return []
    won = met = 0
    for i in scored:
        theirs = [SCORES[score].distance(c.mean) for o in outside if (c := o.cells[i])]
        own = ours.cells[i]
        if own and theirs:
            met += 1
            won += SCORES[score].distance(own.mean) < min(theirs)
    return [f"Against outside methods alone, {ours.label} is best in {won} of {met}."]


def _beyond_chance(result: Result, score: str) -> list[str]:
    """Return how many paired comparisons are decided, and the lost ones by name."""
    columns = settings(result)
    entries = [
        (entry, f"{label}, {column.title}")
        for label, row in ratios(result, score)
        for entry, column in zip(row, columns, strict=True)
        if entry
    ]
    if not entries:
        return []
    better, lost = sum(e.better for e, _ in entries), [name for e, name in entries if e.worse]
    where = f" ({'; '.join(lost)})" if 0 < len(lost) <= 6 else ""
    return [
        f"Of {len(entries)} comparisons paired by frame, {opponent(result)} is better in {better} "
        f"and worse in {len(lost)}{where}, with a 95 % interval clear of a tie; "
        f"{len(entries) - better - len(lost)} are undecided."
    ]


def _heading(result: Result, score: str) -> str:
    units = units_of(result, score)
    return SCORES[score].title + (f", {units}" if units else "")


def _best_mean(lines: Iterable[Line], score: str) -> set[float]:
    """Return the best of the means over settings, as a set that is empty without any."""
    means = [line.mean for line in lines if line.mean is not None]
    return {min(means, key=SCORES[score].distance)} if means else set()


def _mean_note(lines: list[Line]) -> str:
    scored = [line for line in lines if any(line.cells)]
    columns = list(zip(*(line.cells for line in scored), strict=True))
    common, some = sum(map(all, columns)), sum(map(any, columns))
    if common == some:
        return ""
    if not common:
        return "No mean: there is no setting that every method has."
    return f"The mean is over the {common} settings, of {some}, that every method has."


def _ratio_entry(entry: Ratio | None) -> Entry:
    if entry is None:
        return Entry(UNKNOWN)
    interval = (UNKNOWN if end is None else f"{end:.3f}" for end in (entry.low, entry.high))
    mark = "better" if entry.better else "worse" if entry.worse else ""
    return Entry(f"{entry.ratio:.3f} [{', '.join(interval)}]", mark)


def _plain_number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.4g}"


def _pipes(table: Table) -> str:
    """Return a table in Markdown; texts cannot break out of their cells."""
    rows = [[_piped(text) for text in table.head], ["---", *["---:"] * (len(table.head) - 1)]]
    for row in table.rows:
        rows.append([f"{BOLD.get(e.mark, '')}{_piped(e.text)}{BOLD.get(e.mark, '')}" for e in row])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _piped(text: Any) -> str:
    plain = " ".join(str(text).split()).replace("\\", "\\\\")
    for sign in "|*_<`[":
        plain = plain.replace(sign, f"\\{sign}")
    return plain
