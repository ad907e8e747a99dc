"""The page and the picture that come with a map of ``geodiffrecon map``."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from ..charts import in_common_look
from ..grid import NestedGrid
from ..picture import ERRORS, VALUES, blank, heading, units_of, when
from ..report import STYLE
from .belief import described, residuals

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from .belief import Interpolation

WORST, BINS, MOST_DOTS = 10, 14, 3000
MEANING = (
    "“Left out” is what the other readings say of a place; its 90 % interval should hold the "
    "reading nine times of ten. The variogram shows how readings differ with their distance; the "
    "line is what the map was made with. The worst points are the ones least like their "
    "neighbours: look there for mistakes of measuring first."
)


@in_common_look
def figure_of(maps: xr.Dataset, made: Interpolation | None, step: int = 0) -> Any:
    """Return a figure of one map and its error, with the points where they are known."""
    grid = NestedGrid.of(maps)
    west, south, east, north = grid.bounds
    name = str(maps.attrs["value"])
    aspect = 1 / np.cos(np.radians((south + north) / 2)) if grid.geographic else 1.0
    shape = (north - south) * aspect / (east - west)
    figure = blank((11, float(np.clip(5.2 * shape, 3, 9)) + 0.9), layout="constrained")
    axes = figure.subplots(1, 2)
    layers = ((name, VALUES, heading(maps)), (f"{name}_std", ERRORS, "How far off: ±1 std"))
    for axis, (layer, colours, title) in zip(axes, layers, strict=True):
        values = maps[layer].values
        values = values[step] if "time" in maps[layer].dims else values
        low, high = np.nanquantile(values, [0.005, 0.995])
        low = 0 if layer.endswith("_std") else low
        drawn = axis.imshow(
            values, extent=(west, east, south, north), cmap=colours, vmin=low, vmax=high
        )
        figure.colorbar(drawn, ax=axis, shrink=0.85, label=units_of(maps), extend="both")
        axis.set(xlim=(west, east), ylim=(south, north), aspect=aspect, title=title)
        axis.set_facecolor("0.93")
        axis.locator_params(nbins=4)
        axis.ticklabel_format(useOffset=False, style="plain")
        if made is not None and made.survey.grid is None:
            rows = made.of_date(step)
            if len(rows) <= MOST_DOTS and made.survey.crs == grid.crs:
                filled: dict[str, Any] = {"facecolors": "none"}
                if layer == name:
                    filled = {"c": made.survey.value[rows], "cmap": colours, "vmin": low,
                              "vmax": high}  # fmt: skip
                x, y = made.survey.x[rows], made.survey.y[rows]
                axis.scatter(x, y, s=14, edgecolors="black", linewidths=0.5, **filled)
    if "time" in maps.dims:
        figure.suptitle(when(maps, step))
    return figure


@in_common_look
def checks(made: Interpolation) -> Any:
    """Return a figure of left-out readings, their reliability and the variogram."""
    figure = blank((11, 3.6), layout="constrained")
    scatter, reliable, variogram = figure.subplots(1, 3)
    left = residuals(made)
    values, guess = left[made.survey.name].to_numpy(), left["left_out"].to_numpy()
    scatter.plot(guess, values, ".", ms=4, alpha=0.6)
    ends = [min(values.min(), guess.min()), max(values.max(), guess.max())]
    scatter.plot(ends, ends, color="black", lw=0.8)
    scatter.set(xlabel="left out: expected", ylabel="measured", title="Left out in turn")
    told = made.fields[0].choice.left_out
    levels = np.linspace(0.1, 0.9, 9)
    sides = [(told.quantile(0.5 - q / 2), told.quantile(0.5 + q / 2)) for q in levels]
    held = [float(np.mean((values >= low) & (values <= high))) for low, high in sides]
    reliable.plot([0, 1], [0, 1], color="black", lw=0.8)
    reliable.plot(levels, held, "o-", ms=4)
    reliable.set(xlabel="interval", ylabel="share inside", title="Reliability")
    _draw_variogram(variogram, made)
    return figure


def _draw_variogram(axis: Any, made: Interpolation) -> None:
    """Draw half squared differences by distance, in working units, with the line used."""
    field = made.fields[0]
    rng = np.random.default_rng(0)
    n = len(field.raw.values)
    a, b = rng.integers(n, size=(2, 60_000)) if n > 350 else np.triu_indices(n, 1)
    sites = field.raw.sites
    if sites.days is not None:
        same = sites.days[a] == sites.days[b]
        a, b = a[same], b[same]
    work = field.choice.transform.forward(field.raw.values)
    far = np.linalg.norm(sites.xy[a] - sites.xy[b], axis=1)
    half = 0.5 * (work[a] - work[b]) ** 2
    reach = float(np.quantile(far, 0.6)) if len(far) else 1.0
    edges = np.linspace(0, reach, BINS + 1)
    which = np.digitize(far, edges) - 1
    some = [k for k in range(BINS) if (which == k).sum() > 4]
    axis.plot([far[which == k].mean() for k in some], [half[which == k].mean() for k in some], "o")
    from ..field.covariance import matern

    h = np.linspace(1e-6, reach, 100)
    sill = np.mean([half[which == k].mean() for k in some[-4:]]) if some else 1.0
    line = sum(
        w * (k.nugget + (1 - k.nugget) * (1 - matern(h, k.nu, k.scale)))
        for w, k, _ in field.choice.parts
    )
    axis.plot(h, sill * line, color="black", lw=1)
    axis.set(xlabel="distance, km", ylabel="semivariance (working units)", title="Variogram")
    axis.set_ylim(bottom=0)


def page(maps: xr.Dataset, made: Interpolation) -> str:
    """Return one HTML page that needs no other file."""
    title = f"Map of {html.escape(made.survey.name)}"
    told = "".join(f"<p>{html.escape(line)}</p>" for line in described(made))
    pictures = [figure_of(maps, made, 0), checks(made)]
    images = "".join(
        f'<figure><img alt="chart" src="data:image/png;base64,{_png(f)}"></figure>'
        for f in pictures
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}img{{width:100%}}figure{{margin:1rem 0}}</style>"
        f"</head><body><h1>{title}</h1>{told}{images}<p>{MEANING}</p>{_worst(made)}</body></html>\n"
    )


def _png(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _worst(made: Interpolation) -> str:
    """Return the readings least like what the others say, as a table."""
    left = residuals(made)
    left = left.loc[left["z"].abs().sort_values(ascending=False).index[:WORST]]
    names = ["x", "y", "measured", "expected", "± std", "deviation"]
    head = "".join(f"<th>{name}</th>" for name in names)
    name = made.survey.name
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{value:.6g}</td>"
            for value in (row.geometry.x, row.geometry.y, row[name], row.left_out, row["std"])
        )
        + f"<td>{row.z:+.1f} std</td></tr>"
        for _, row in left.iterrows()
    )
    return (
        f"<h2>Worst points</h2><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def write_picture(maps: xr.Dataset, path: Path, step: int = 0) -> None:
    """Write the picture of one map as PNG."""
    figure = figure_of(maps, maps.gdr.source, step)
    figure.savefig(path, format="png", metadata={"Software": None})
