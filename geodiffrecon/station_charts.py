"""Charts of a trial on held-out stations, as matplotlib figures.

All need matplotlib (the extra ``plot``) and return None where the trial holds nothing to draw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .charts import FAINT, INK, in_common_look
from .marks import LAYERS, MARKERS, OURS, OUTSIDE, Style, label_beside
from .metrics import coverage
from .picture import DIFFERENCES, ERRORS, READABLE_UNITS, VALUES, blank

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from .stations.trial import Trial

    Array = NDArray[np.float64]

WIDTH = 10.5
NOMINAL = np.arange(10, 100, 10)  # percent
WORST_DAYS, NAMED, BINS = 5, 3, 60
COLUMNS = 3
BAND = "#C6DBEF"
HOUR = pd.Timedelta(hours=1)
PLAIN = Style(INK, "o", 1.0, 4.0, "normal", 3)


def units_of(trial: Trial) -> str:
    """Return the unit of the readings as people read it; empty where it is not known."""
    units = str(trial.meta.get("units") or "")
    return READABLE_UNITS.get(units, units)


def with_units(text: str, trial: Trial) -> str:
    """Return a title with the unit behind a comma, where it is known."""
    units = units_of(trial)
    return f"{text}, {units}" if units else text


def looks(methods: Iterable[str], ours: str) -> dict[str, Style]:
    """Return how each method is drawn in all charts: ours strong, the others thin."""
    found = {ours: Style(OURS[0], "o", 2.8, 6.0, "bold", 5)}
    for number, method in enumerate(method for method in methods if method != ours):
        colour, marker = OUTSIDE[number % len(OUTSIDE)], MARKERS[1 + number % (len(MARKERS) - 1)]
        found[method] = Style(colour, marker, 1.1, 4.0, "normal", 3)
    return found


@in_common_look
def station_maps(trial: Trial, ours: str, *, geographic: bool) -> Any | None:
    """Draw the stations where they stand, coloured by their mean absolute error and by bias."""
    from matplotlib.patheffects import withStroke

    absolute, bias = (
        np.array(trial.by_station[ours][score], dtype=np.float64) for score in ("mae", "bias")
    )
    known = np.isfinite(absolute)
    if not known.any():
        return None
    aspect = 1 / np.cos(np.radians(float(np.mean(trial.y)))) if geographic else 1.0
    limit = float(np.max(np.abs(bias[known]))) or 1.0
    scales = [
        ("Mean absolute error", absolute, {"cmap": ERRORS, "vmin": 0}),
        ("Bias: forecast minus truth", bias, {"cmap": DIFFERENCES, "vmin": -limit, "vmax": limit}),
    ]
    ratio = aspect * float(np.ptp(trial.y) or 1.0) / float(np.ptp(trial.x) or 1.0)
    figure = blank((WIDTH, float(np.clip(0.37 * WIDTH * ratio, 3.0, 5.0))), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    for axis, (title, values, scale) in zip(axes, scales, strict=True):
        drawn = axis.scatter(
            trial.x[known], trial.y[known], c=values[known], s=62, edgecolors=INK, linewidths=0.6,
            zorder=4, **scale,
        )  # fmt: skip
        axis.set(title=title, facecolor="0.97")
        axis.margins(0.14)
        axis.set_aspect(aspect)
        axis.locator_params(nbins=5)
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_formatter("{x:g}°" if geographic else "{x:,.0f}")
        axis.grid(color="white", lw=0.8)
        figure.colorbar(drawn, ax=axis, label=units_of(trial), shrink=0.9)
    worst = np.argsort(np.where(known, -absolute, np.inf), kind="stable")[: min(NAMED, known.sum())]
    points = [(float(trial.x[i]), float(trial.y[i])) for i in worst]
    label_beside(axes[0], points, [(_short(trial.names[i]), PLAIN) for i in worst])
    for name in axes[0].texts:
        name.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
    return figure


@in_common_look
def scatter(trial: Trial, methods: list[str]) -> Any | None:
    """Draw how often which truth met which predicted median, a panel a method (two at most)."""
    from matplotlib.colors import LogNorm

    known = np.isfinite(trial.truth)
    if not known.any():
        return None
    truth, shown = trial.truth[known], methods[:2]
    medians = [trial.forecasts[method].median[known] for method in shown]
    low = float(np.nanmin([truth, *medians]))
    high = max(float(np.nanquantile([truth, *medians], 0.999)), low + 1e-9)
    counts = [np.histogram2d(truth, m, BINS, ((low, high), (low, high)))[0].T for m in medians]
    norm = LogNorm(1, max(2.0, *(float(count.max()) for count in counts)))
    figure = blank((WIDTH if len(shown) > 1 else 0.55 * WIDTH, 4.7), layout="constrained")
    axes = figure.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
    for axis, method, count in zip(axes, shown, counts, strict=True):
        drawn = axis.imshow(
            np.where(count > 0, count, np.nan), origin="lower", extent=(low, high, low, high),
            cmap=VALUES, norm=norm, interpolation="nearest",
        )  # fmt: skip
        axis.plot([low, high], [low, high], color=OURS[0], lw=1.2)
        axis.set(title=method, xlabel=with_units("observed", trial))
    axes[0].set_ylabel(with_units("predicted median", trial))
    bar = figure.colorbar(drawn, ax=list(axes), label="forecasts in a cell", shrink=0.9)
    bar.ax.yaxis.set_major_formatter("{x:g}")
    return figure


@in_common_look
def reliability(trial: Trial, ours: str) -> Any | None:
    """Draw stated against actual coverage of all methods, and the PIT histogram of ours."""
    if not np.isfinite(trial.truth).any():
        return None
    figure = blank((WIDTH, 5.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 100], [0, 100], color=INK, lw=1)
    for method, mark in looks(trial.forecasts, ours).items():
        pit = trial.forecasts[method].pit(trial.truth, 0)
        actual = [100 * coverage(pit, level / 100) for level in NOMINAL]
        _curve(left, NOMINAL, actual, mark, method)
    row = next(row for row in trial.rows if row["method"] == ours)
    days = {level: row.get(f"daily_coverage{level}") for level in (50, 90)}
    told = [(level, 100 * share) for level, share in days.items() if share is not None]
    if told:
        left.plot(*zip(*told, strict=True), "D", ms=9, mfc="none", mec=OURS[0], mew=1.6,
                  label=f"{ours}, day means", zorder=6)  # fmt: skip
    left.set(xlim=(0, 100), ylim=(0, 100), aspect="equal", title="Coverage of intervals")
    left.set(xlabel="stated: an interval for so many %", ylabel="actual: truth inside it, %")
    left.grid(color=FAINT, lw=0.5)
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8,
        frameon=False,
    )  # fmt: skip
    _draw_pit(right, trial, ours)
    return figure


@in_common_look
def spread_skill(trial: Trial, ours: str) -> Any | None:
    """Draw the actual error of forecasts against the error that they stated, in ten bins."""
    curves = {method: trial.spread_skill[method] for method in looks(trial.spread_skill, ours)}
    values = [row[key] for rows in curves.values() for row in rows for key in ("std", "rmse")]
    if not values:
        return None
    figure = blank((0.75 * WIDTH, 4.6), layout="constrained")
    axis = figure.subplots()
    top = 1.05 * max(values)
    axis.plot([0, top], [0, top], color=INK, lw=1)
    for method, mark in looks(curves, ours).items():
        rows = curves[method]
        _curve(axis, [row["std"] for row in rows], [row["rmse"] for row in rows], mark, method)
    axis.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    axis.set_xlabel(with_units("stated error: standard deviation", trial))
    axis.set_ylabel(with_units("actual error: root mean square", trial))
    axis.grid(color=FAINT, lw=0.5)
    figure.legend(fontsize=8, frameon=False, loc="outside right upper")
    return figure


@in_common_look
def by_distance(trial: Trial, ours: str) -> Any | None:
    """Draw the mean absolute error by distance to the nearest station that was given."""
    bins = [row for row in trial.by_distance.get(ours, []) if row["n"]]
    if not bins:
        return None
    starts = [row["from_km"] for row in bins]
    figure = blank((0.85 * WIDTH, 4.2), layout="constrained")
    axis = figure.subplots()
    for method, mark in looks(trial.by_distance, ours).items():
        rows = [row for row in trial.by_distance[method] if row["n"] and row["from_km"] in starts]
        places = [starts.index(row["from_km"]) for row in rows]
        _curve(axis, places, [row["mae"] for row in rows], mark, method)
    axis.set_xticks(range(len(bins)), [f"{_span(row)}\n({row['n']:,})" for row in bins])
    axis.set_xlim(-0.4, len(bins) - 0.6)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("distance to the nearest station that was given (values scored)")
    axis.set_ylabel(with_units("mean absolute error", trial))
    axis.grid(color=FAINT, lw=0.5)
    figure.legend(fontsize=8, frameon=False, loc="outside right upper")
    return figure


@in_common_look
def worst_days(trial: Trial, ours: str, zone: str) -> Any | None:
    """Draw the days with the largest mean absolute error, each at its worst station."""
    days = find_worst_days(trial, ours, zone)
    if not days:
        return None
    forecast, local = trial.forecasts[ours], _local(trial.times, zone)
    low, middle, high = (forecast.quantile(level) for level in (0.05, 0.5, 0.95))
    rows = -(-(len(days) + 1) // COLUMNS)
    figure = blank((WIDTH, 2.25 * rows + 0.3), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axis, (day, site) in zip(panels, days, strict=False):
        near = (local >= day - 12 * HOUR) & (local < day + 36 * HOUR)
        hours = np.asarray((local[near] - day) / HOUR)
        axis.axvspan(0, 24, color="#F4F4F4", lw=0, zorder=0)
        band = axis.fill_between(hours, low[near, site], high[near, site], color=BAND, lw=0)
        (line,) = axis.plot(hours, middle[near, site], color=LAYERS[0], lw=1.6)
        (dots,) = axis.plot(hours, trial.truth[near, site], "o", color=OURS[0], ms=3.5, zorder=4)
        axis.set_title(f"{day:%Y-%m-%d}, {_short(trial.names[site])}", fontsize=9)
        axis.set_xticks(range(-12, 37, 12), ["12", "0", "12", "24", "12"])
        axis.set_xlim(-12, 36)
        axis.set_ylim(bottom=min(0.0, float(np.nanmin(low[near, site], initial=0.0))))
        axis.locator_params(axis="y", nbins=5)
        axis.grid(color=FAINT, lw=0.5)
    for axis in panels[len(days) :]:
        axis.set_axis_off()
    names = ["observed", "predicted median", "90 % interval"]
    panels[-1].legend([dots, line, band], names, loc="center", frameon=False, fontsize=9)
    figure.supxlabel(f"hour of the day ({zone})", fontsize=9)
    figure.supylabel(units_of(trial), fontsize=9)
    return figure


def find_worst_days(trial: Trial, method: str, zone: str) -> list[tuple[pd.Timestamp, int]]:
    """Return the days with the largest mean absolute error of the median.

    Parameters
    ----------
    trial : Trial
        What was scored.
    method : str
        Whose errors.
    zone : str
        IANA zone in which days are cut.

    Returns
    -------
    list of (Timestamp, int)
        Local midnights without a zone, the worst day first, each with the number of its worst
        station. Days, and stations of a day, of which little is known are left out.
    """
    error = np.abs(trial.forecasts[method].median - trial.truth)
    days, start = np.unique(_local(trial.times, zone).normalize(), return_index=True)
    known = np.isfinite(error)
    if not known.any():
        return []
    count = np.add.reduceat(known.astype(np.int64), start, axis=0)  # (D, P)
    total = np.add.reduceat(np.where(known, error, 0.0), start, axis=0)
    many = count.sum(axis=1)
    usual = many >= np.median(many[many > 0]) / 2
    level = np.where(usual, total.sum(axis=1) / np.maximum(many, 1), -1.0)
    order = [int(i) for i in np.argsort(-level, kind="stable")[:WORST_DAYS] if level[i] >= 0]
    often = count >= count.max(axis=1, keepdims=True) / 2
    own = np.where(often, total / np.maximum(count, 1), -1.0)
    return [(pd.Timestamp(days[i]), int(np.argmax(own[i]))) for i in order]


def _local(times: NDArray[np.datetime64], zone: str) -> pd.DatetimeIndex:
    """Return UTC `times` as local ones, without their zone."""
    return pd.DatetimeIndex(times).tz_localize("UTC").tz_convert(zone).tz_localize(None)


def _curve(axis: Any, x: Any, y: Any, mark: Style, name: str) -> None:
    axis.plot(
        x, y, color=mark.colour, marker=mark.marker, ms=mark.size, lw=mark.width,
        zorder=mark.layer, label=name,
    )  # fmt: skip


def _draw_pit(axis: Any, trial: Trial, ours: str) -> None:
    """Draw the densities of single steps as bars and those of day means as a line."""
    bars = trial.pit[ours]
    edges = np.linspace(0, 1, len(bars) + 1)
    axis.stairs(bars, edges, fill=True, color=OURS[0], alpha=0.6, label="single steps")
    days = trial.daily_pit.get(ours, [])
    if any(days):
        axis.stairs(days, np.linspace(0, 1, len(days) + 1), color=LAYERS[2], lw=1.5,
                    label="day means")  # fmt: skip
    axis.axhline(1, color=INK, lw=1)
    axis.set(xlim=(0, 1), xlabel="where the truth falls: 0 lowest, 1 highest that was thought of")
    axis.set(ylabel="density; 1 everywhere if honest", title=f"PIT histogram, {ours}")
    axis.set_ylim(0, 1.25 * max([1.2, *bars, *days]))
    axis.legend(fontsize=8, frameon=False, loc="upper right")


def _span(row: dict[str, Any]) -> str:
    if row["to_km"] is None:
        return f"over {row['from_km']:g} km"
    return f"{row['from_km']:g}–{row['to_km']:g} km"


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
