"""Who stands where in a comparison: methods by settings, means over seeds, the best of each."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Result = Mapping[str, Any]

# What a reader looks for first: this system, then its own layers, then all others.
ROLES = ("ours", "layer", "outside", "ablation", "published")
PATTERNS = ("complete", "random", "fixed", "block")


@dataclass(frozen=True)
class Score:
    """A column of a score file.

    Parameters
    ----------
    title : str
        For people.
    words : str
        What it means, in plain words.
    unit : bool
        Whether it has the unit of the variable.
    percent : bool
        Whether it is a share, shown in percent.
    target : float, optional
        The best value; without one, lower is better.
    """

    title: str
    words: str
    unit: bool = False
    percent: bool = False
    target: float | None = None

    def distance(self, value: float) -> float:
        """Return how far a value is from the best: what methods are ordered by."""
        return value if self.target is None else abs(value - self.target)


SCORES = {
    "mae": Score("MAE", "Mean absolute error per fine cell, over all test frames.", unit=True),
    "rmse": Score(
        "RMSE", "Root mean squared error per fine cell; large errors weigh more.", unit=True
    ),
    "crps": Score(
        "CRPS",
        "Scores the whole predictive distribution of each cell; for a forecast without spread it "
        "is the MAE. It rewards being right and being honest about how sure one is.",
        unit=True,
    ),
    "energy": Score(
        "energy score",
        "The CRPS of whole maps: it also asks whether errors in neighbouring cells go together.",
        unit=True,
    ),
    "spectrum": Score(
        "spectral distance",
        "Whether single draws are as rough as the truth: root mean square, over wavenumbers, of "
        "the log10 ratio of power. 0 is the same texture, 1 is ten times too much or too little.",
    ),
    "brier": Score(
        "Brier score",
        "Mean squared error of the stated chance that a cell exceeds the value that one in twenty "
        "exceeded in training.",
    ),
    "coverage50": Score(
        "in 50 %",
        "How often the truth lies in the 50 % interval; nearest to 50 % is best.",
        percent=True,
        target=0.5,
    ),
    "coverage90": Score(
        "in 90 %",
        "How often the truth lies in the 90 % interval; nearest to 90 % is best.",
        percent=True,
        target=0.9,
    ),
    "crps_block": Score(
        "CRPS of coarse blocks", "The CRPS of the value of coarse cells.", unit=True
    ),
    "crps_day": Score("CRPS of days", "The CRPS of means over a day.", unit=True),
    "crps_total": Score("CRPS of the total", "The CRPS of the value of the whole map.", unit=True),
    "mae_top1": Score("MAE, top 1 %", "MAE in the cells where the truth is highest.", unit=True),
    "rmse_top1": Score("RMSE, top 1 %", "RMSE in the cells where the truth is highest.", unit=True),
    "crps_top1": Score("CRPS, top 1 %", "CRPS in the cells where the truth is highest.", unit=True),
    "mae_rounded": Score(
        "MAE, rounded", "MAE of the maps rounded to whole numbers, as some papers do.", unit=True
    ),
    "mae_median": Score("MAE, median", "MAE of the median in place of the mean.", unit=True),
    "mae_one_draw": Score("MAE, one draw", "MAE of a single draw of the ensemble.", unit=True),
    "bias": Score("bias", "Mean of reconstruction minus truth.", unit=True, target=0.0),
    "bias_percent": Score(
        "bias, %", "Mean of reconstruction minus truth, in percent of the mean truth.", target=0.0
    ),
    "fit_seconds": Score("training, s", "Seconds that learning took."),
    "fit_cpu": Score("training, CPU s", "Seconds of the processor that learning took."),
    "seconds": Score("reconstruction, s", "Seconds to reconstruct all test frames once."),
    "peak_mb": Score("memory, MB", "Peak memory of the process."),
    "parameters": Score("parameters", "Learnt weights."),
}


@dataclass(frozen=True)
class Setting:
    """A pattern of holes at one missing ratio."""

    pattern: str
    missing: float | None

    @property
    def ratio(self) -> str:
        """The missing ratio for people; empty where the pattern has none."""
        if self.pattern == "complete" or self.missing is None:
            return ""
        return f"{100 * self.missing:.3g} %"

    @property
    def title(self) -> str:
        """The setting for people."""
        return f"{self.pattern} {self.ratio}".strip()


@dataclass(frozen=True)
class Cell:
    """The score of a method in a setting: mean over seeds, its spread from two seeds on."""

    mean: float
    spread: float | None
    best: bool


@dataclass(frozen=True)
class Line:
    """A method: one cell for each of `settings`, and the mean over those that all methods have."""

    method: str
    label: str
    role: str
    cells: tuple[Cell | None, ...]
    mean: float | None


@dataclass(frozen=True)
class Ratio:
    """Error of this system in terms of another's, with its 95 % interval; below 1 is better."""

    ratio: float
    low: float | None
    high: float | None

    @property
    def better(self) -> bool:
        """Whether the whole interval is below 1."""
        return self.high is not None and self.high < 1

    @property
    def worse(self) -> bool:
        """Whether the whole interval is above 1."""
        return self.low is not None and self.low > 1


def settings(result: Result) -> list[Setting]:
    """Return the settings of a result, complete input first, sparser to the right."""
    found = {_setting(row) for row in result.get("rows", ())}
    return sorted(found, key=_place)


def pivot(result: Result, score: str) -> list[Line]:
    """Return one line per method, with a cell for each of `settings`.

    Parameters
    ----------
    result : mapping
        What a comparison wrote.
    score : str
        Key of `SCORES`.

    Returns
    -------
    list of Line
        This system, its layers, the others; in each group by the mean score, of which each
        setting has an equal share. A method with settings missing is ordered by those it has.

    Examples
    --------
    >>> rows = [{"method": m, "pattern": "block", "missing": 0.25, "mae": e}
    ...         for m, e in (("idw", 2.0), ("unet", 1.5))]
    >>> [(line.label, line.cells[0].best) for line in pivot({"rows": rows}, "mae")]
    [('unet', True), ('idw', False)]
    """
    columns = settings(result)
    groups = _grouped(result, score)
    methods = list(dict.fromkeys(str(row.get("method", "")) for row in result.get("rows", ())))
    means = np.full((len(methods), len(columns)), np.nan)
    spreads = np.full_like(means, np.nan)
    for (method, setting), values in groups.items():
        at = methods.index(method), columns.index(setting)
        means[at] = np.mean(values)
        spreads[at] = np.std(values, ddof=1) if len(values) > 1 else np.nan
    far = np.array([[SCORES[score].distance(v) for v in line] for line in means])
    best = np.isclose(far, _least(far), rtol=1e-9, atol=0)
    scored = np.isfinite(means).any(axis=1)
    common = np.isfinite(means[scored]).all(axis=0) if scored.any() else np.zeros(0, bool)
    names = _names(result)
    lines = []
    for i, method in enumerate(methods):
        cells = tuple(map(_cell, means[i], spreads[i], best[i]))
        mean = float(means[i, common].mean()) if scored[i] and common.any() else None
        lines.append(Line(method, *names[method], cells, mean))
    ranks = _ranks(far)
    order = sorted(range(len(lines)), key=lambda i: (_role(lines[i].role), ranks[i]))
    return [lines[i] for i in order]


def ratios(result: Result, score: str) -> list[tuple[str, list[Ratio | None]]]:
    """Return label and paired ratios, one for each of `settings`, in the order of `pivot`."""
    columns = settings(result)
    labels = {line.method: line.label for line in pivot(result, score)}
    found: dict[str, list[Ratio | None]] = {name: [None] * len(columns) for name in labels}
    for entry in result.get("paired", ()):
        method, ratio = str(entry.get("method")), number_of(entry.get("ratio"))
        if entry.get("score") != score or ratio is None or _setting(entry) not in columns:
            continue
        row = found.setdefault(method, [None] * len(columns))
        row[columns.index(_setting(entry))] = Ratio(
            ratio, number_of(entry.get("low")), number_of(entry.get("high"))
        )
    return [(labels.get(name, name), row) for name, row in found.items() if any(row)]


def opponent(result: Result) -> str:
    """Return the label of the method that all others are paired with."""
    method = next((str(p["against"]) for p in result.get("paired", ()) if p.get("against")), "")
    return _names(result).get(method, (method or "default",))[0]


def known(result: Result, wanted: Sequence[str] = tuple(SCORES)) -> list[str]:
    """Return the scores that at least one row has, in the order of `wanted`."""
    rows = result.get("rows", ())
    return [key for key in wanted if any(number_of(row.get(key)) is not None for row in rows)]


def number_of(value: Any) -> float | None:
    """Return a finite number, or None for whatever is not one."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    return float(value) if np.isfinite(float(value)) else None


def _setting(row: Mapping[str, Any]) -> Setting:
    return Setting(str(row.get("pattern", "")), number_of(row.get("missing")))


def _place(setting: Setting) -> tuple[int, str, float]:
    known_as = setting.pattern in PATTERNS
    rank = PATTERNS.index(setting.pattern) if known_as else len(PATTERNS)
    return rank, setting.pattern, setting.missing or 0.0


def _grouped(result: Result, score: str) -> dict[tuple[str, Setting], list[float]]:
    """Return the values of all seeds; of a row that is there twice, the later."""
    seeds: dict[tuple[str, Setting], dict[Any, float]] = {}
    for row in result.get("rows", ()):
        value = number_of(row.get(score))
        if value is not None:
            key = str(row.get("method", "")), _setting(row)
            seeds.setdefault(key, {})[row.get("seed")] = value
    return {key: list(values.values()) for key, values in seeds.items()}


def _names(result: Result) -> dict[str, tuple[str, str]]:
    """Return label and role of every method."""
    names = {}
    for row in result.get("rows", ()):
        method = str(row.get("method", ""))
        names[method] = str(row.get("label") or method), str(row.get("role") or "outside")
    return names


def _role(role: str) -> int:
    return ROLES.index(role) if role in ROLES else len(ROLES)


def _least(far: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.where(np.isfinite(far), far, np.inf).min(axis=0, initial=np.inf)


def _ranks(far: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    """Return the mean, over the settings a method has, of its error in terms of the usual one."""
    usual = np.array([np.mean([v for v in column if np.isfinite(v)] or [1.0]) for column in far.T])
    shares = far / np.where(usual > 0, usual, 1.0)
    return [float(np.mean(s[np.isfinite(s)])) if np.isfinite(s).any() else np.inf for s in shares]


def _cell(mean: float, spread: float, best: bool) -> Cell | None:
    if not np.isfinite(mean):
        return None
    return Cell(float(mean), float(spread) if np.isfinite(spread) else None, bool(best))


def units_of(result: Result, score: str) -> str:
    """Return the unit of a score; empty for counts, whose unit "1" says nothing."""
    units = str(result.get("units") or "") if SCORES[score].unit else ""
    return "" if units == "1" else units
