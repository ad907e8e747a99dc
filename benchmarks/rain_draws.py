"""One map of the rain benchmark beside single draws of several ensembles, as a picture.

    python benchmarks/rain_draws.py windows.nc rain.work rain_draws.png

Reads the trainings that `geodiffrecon compare` left in its journal (`rain.work`); trains nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from geodiffrecon.comparison import Comparison, Protocol
from geodiffrecon.contenders import METHODS, restore
from geodiffrecon.history import open_history
from geodiffrecon.journal import TERMS, Journal
from geodiffrecon.tasks import recent

SHOWN = {"default": "draw, with diffusion", "mean": "draw, mean layer",
         "simulation": "draw, Gaussian simulation"}  # fmt: skip
PATTERN, MISSING = "random", 0.4


def main() -> None:
    """Draw the wettest test map."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("windows", "journal", "out"):
        parser.add_argument(name, type=Path)
    chosen = parser.parse_args()
    terms = json.loads((chosen.journal / TERMS).read_text())
    cube = open_history(chosen.windows, crs="none", factor=4, aggregation="mean")
    protocol = Protocol(
        masks=terms["masks"], samples=terms["samples"], max_minutes=terms["max_minutes"]
    )
    comparison = Comparison.of(
        cube, protocol, Journal(chosen.journal), kind=terms["kind"], until=terms["until"]
    )
    task = comparison.task
    frame = task.frames[[int(task.truth.mean((1, 2)).argmax())]]
    given = task.observe(PATTERN, MISSING, 0)
    panels = {"truth": task.record.fine[frame[0]], "observed": given.coarse[frame[0]]}
    for name, title in SHOWN.items():
        spec = METHODS[name]
        folder = comparison.journal.training(f"{spec.fit}-0")
        fitted = restore(spec.fit, 0, spec.part, comparison.training, folder)
        cut, at = recent(given, frame, fitted.history)
        forecast = fitted.forecast(cut, at, samples=2, seed=0)
        if name == "default":
            panels["mean"] = forecast.mean[0]
        panels[title] = forecast.draws[0, 0]
    picture(panels, chosen.out)


def picture(panels: dict[str, np.ndarray], path: Path) -> None:
    """Draw the panels side by side in one scale of colours."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.4 * len(panels), 2.9), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    top = float(np.quantile(panels["truth"], 0.995))
    for axis, (title, values) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        axis.set_facecolor("0.85")
        drawn = axis.imshow(values, cmap="cividis", vmin=0, vmax=top)
        axis.set_title(title, fontsize=10)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.colorbar(drawn, ax=figure.axes, shrink=0.8, label="mm in 5 minutes", extend="max")
    figure.savefig(path, metadata={"Software": None})


if __name__ == "__main__":
    main()
