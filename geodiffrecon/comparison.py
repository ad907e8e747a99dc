"""Methods x patterns x ratios x seeds on one history: the same frames, masks and budget for all."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import __version__
from .calendar import iso
from .contenders import METHODS, Training, methods_of, relay, restore, train
from .cube import as_cube, fingerprint
from .errors import InvalidParameter
from .fields import block_bootstrap_ratio
from .lesson import Lesson
from .memory import check_maps, forget_peak, peak_mb
from .progress import Progress, silent
from .scores import Yardstick, score
from .tasks import COMPLETE, Task, recent
from .variable import Variable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import xarray as xr
    from numpy.typing import NDArray

    from .contenders import Fitted
    from .covariates import Covariates
    from .journal import Journal

    Array = NDArray[np.float64]
    Setting = tuple[str, float]

TEST_SHARE = 0.25  # of the record, where no end of training is given
DRAW_MASKS = 2  # masks for which ensembles are drawn; means are scored on all
SLOW_FRAMES, SLOW_DRAWS = 4, 8  # of methods whose mean is one of draws: every 4th frame, 8 draws
WEEK = 7
ENSEMBLES = 3  # copies of an ensemble that scoring holds at once
PAIRED = ("mae", "rmse", "crps")
BY_FRAME = ("per_frame", "first_mask", "index")
BLOCK = 0.5  # days in a block of the bootstrap


@dataclass(frozen=True)
class Protocol:
    """What is compared, the same for every method.

    Parameters
    ----------
    patterns : tuple of str
        Of ``random, fixed, block, complete``.
    missing : tuple of float
        Ratios of hidden coarse cells, for random and fixed.
    masks : int
        Masks 0, 1, ... of each pattern and ratio.
    samples : int
        Draws of every ensemble; 0 leaves ensembles out.
    max_minutes : float, optional
        Time that every training may take.
    seed : int
        Of draws and bootstraps.
    """

    patterns: tuple[str, ...] = ("complete", "random", "fixed", "block")
    missing: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 0.95)
    masks: int = 5
    samples: int = 32
    max_minutes: float | None = 4.0
    seed: int = 0

    def settings(self) -> list[Setting]:
        """Return every pattern and missing ratio, in the order of tables."""
        found: list[Setting] = []
        for pattern in self.patterns:
            if pattern == COMPLETE:
                found.append((pattern, 0.0))
            elif pattern == "block":
                found.append((pattern, 0.25))
            else:
                found += [(pattern, ratio) for ratio in self.missing]
        return found


@dataclass(frozen=True)
class Comparison:
    """One comparison: a history, its protocol, and the journal of what is done.

    Parameters
    ----------
    training : Training
        What every training needs.
    task : Task
        What every method is tested on.
    protocol : Protocol
        Patterns, ratios, masks.
    journal : Journal
        On disk.
    """

    training: Training
    task: Task
    protocol: Protocol
    journal: Journal

    @classmethod
    def of(
        cls,
        history: xr.Dataset,
        protocol: Protocol,
        journal: Journal,
        *,
        aggregation: str | None = None,
        kind: str | None = None,
        until: str | None = None,
        external: Covariates | None = None,
        country: str | None = None,
        device: str = "auto",
        progress: Progress = silent,
        log: Callable[[str], None] = lambda sentence: None,
    ) -> Comparison:
        """Prepare a comparison; parameters as `DiffRecon.fit`, `until` three quarters by default.

        Raises
        ------
        InvalidParameter
            If the journal was begun with other terms.
        """
        history = as_cube(history)
        variable = Variable.of_history(history, aggregation)
        times = history["time"].to_numpy()
        until = until or iso(times[int(len(times) * (1 - TEST_SHARE))])
        lesson = Lesson.of(
            history, variable, kind=kind, until=until, external=external, country=country, log=log
        )
        task = Task.of(
            history, variable, lesson.calendar, lesson.features,
            first=variable.instant(until), last=times[-1],
            before=(WEEK + 1) * lesson.calendar.n_slots, external=external,
        )  # fmt: skip
        check_maps(len(task.frames), variable.grid.fine_shape, ENSEMBLES * protocol.samples)
        training = Training(
            history, lesson, until, kind, external, country, protocol.max_minutes, device,
            progress, log,
        )  # fmt: skip
        journal.agree(
            {"data_fingerprint": fingerprint(history), "until": until, "masks": protocol.masks,
             "samples": protocol.samples, "max_minutes": protocol.max_minutes,
             "seed": protocol.seed, "kind": lesson.kind, "country": country,
             "aggregation": variable.aggregation,
             "external": [*lesson.features.names, *lesson.features.cell_names]}
        )  # fmt: skip
        return cls(training, task, protocol, journal)

    def run(self, methods: list[str], seeds: int) -> None:
        """Train and score what is not in the journal yet: `methods` with seeds 0, 1, ...

        Raises
        ------
        InvalidParameter
            If there is no method of a name.
        """
        if seeds < 1:
            raise InvalidParameter(f"seeds is {seeds}; at least one is needed.")
        for seed in range(seeds):
            for name in methods_of(methods):
                self._run_method(name, seed)

    def _run_method(self, name: str, seed: int) -> None:
        spec, fitted = METHODS[name], None
        for pattern, missing in self.protocol.settings():
            key = _key(name, seed, pattern, missing)
            if self.journal.row(key) or (spec.one_mask and pattern != "fixed"):
                continue
            if fitted is None or spec.one_mask:
                fitted = self._fitted(name, seed, missing)
            self.training.progress(0, 1, f"scoring {name}, {pattern} {missing:.0%}")
            whole = self.journal.row(_key(spec.fit, seed, pattern, missing))
            if spec.part == "mean" and whole and not fitted.diffuses:
                # Without diffusion the mean layer is the whole model: nothing new to score.
                row = {**whole, "method": name, "label": spec.label, "role": spec.role}
            else:
                row = self._row(name, seed, pattern, missing, fitted)
            self.journal.keep(key, row)
            self.training.log(
                f"{name}, seed {seed}, {pattern} {missing:.0%}: MAE {row['mae']:.4g}."
            )

    def result(self, command: str = "") -> dict[str, Any]:
        """Return everything that the journal holds, as JSON types.

        Returns
        -------
        dict
            ``rows``, ``paired`` ratios of this system to every method with intervals, ``sanity``
            of every training, and the provenance.
        """
        rows = self.journal.rows()
        plain = [{k: v for k, v in row.items() if k not in BY_FRAME} for row in rows]
        variable = Variable.of_history(self.training.history, self._aggregation)
        first, last = (iso(self.task.record.times[self.task.frames[i]]) for i in (0, -1))
        return {
            "rows": plain, "paired": list(self._paired(rows)), "sanity": list(self._sanity(rows)),
            "command": command, "commit": _commit(), "geodiffrecon_version": __version__,
            "torch": _torch(), "device": _device(self.training.device),
            "data_fingerprint": fingerprint(self.training.history), "value": variable.name,
            "units": variable.attrs.get("units", ""), "grid": str(variable.grid),
            "first": first, "last": last, "frames": len(self.task.frames),
            "end": self.training.until, "masks": self.protocol.masks,
            "samples": self.protocol.samples, "max_minutes": self.protocol.max_minutes,
            "seed": self.protocol.seed, "seeds": 1 + max((row["seed"] for row in rows), default=0),
        }  # fmt: skip

    # --- inside --------------------------------------------------------------------------------

    @property
    def _aggregation(self) -> str:
        return self.training.lesson.record.aggregation

    def _fitted(self, name: str, seed: int, missing: float) -> Fitted:
        spec = METHODS[name]
        mask = (missing, 0) if spec.one_mask else None
        fitted = self._trained(spec.fit, seed, spec.part, mask)
        return (
            relay(self._trained("default", seed, "all", None), fitted) if spec.completed else fitted
        )

    def _trained(self, fit: str, seed: int, part: str, mask: tuple[float, int] | None) -> Fitted:
        key = f"{fit}-{seed}" + (f"-mask-{mask[0]:g}" if mask else "")
        folder = self.journal.training(key)
        if not self.journal.trained(key):
            self.training.log(f"Training {key}.")
            train(fit, seed, mask, self.training, folder)
        return restore(fit, seed, part, self.training, folder)

    def _row(
        self, name: str, seed: int, pattern: str, missing: float, fitted: Fitted
    ) -> dict[str, Any]:
        """Score one method on one pattern and ratio: the mean over its masks."""
        forget_peak()
        began, totals, per_frame = time.monotonic(), [], []
        spec, slow = METHODS[name], fitted.draws_only
        index = np.arange(0, len(self.task.frames), SLOW_FRAMES if slow else 1)
        masks = (
            1 if slow or spec.one_mask or pattern in (COMPLETE, "block") else self.protocol.masks
        )
        for mask in range(masks):
            samples = SLOW_DRAWS if slow else self.protocol.samples if mask < DRAW_MASKS else 0
            given = self.task.observe(pattern, missing, mask)
            given, frames = recent(given, self.task.frames[index], fitted.history)
            forecast = fitted.forecast(
                given, frames, samples=samples, seed=self.protocol.seed + 1000 * seed + mask
            )
            scored = score(self.task.truth[index], forecast, self._yardstick, seed=mask)
            totals.append(scored.total)
            per_frame.append(scored.frames)
        return {
            "method": name, "label": spec.label, "role": spec.role, "seed": seed,
            "pattern": pattern, "missing": missing, "masks": masks, "frames": len(index),
            "samples": SLOW_DRAWS if slow else self.protocol.samples,
            **_means(totals), "seconds": round((time.monotonic() - began) / masks, 2),
            "fit_seconds": fitted.about.get("seconds"), "fit_cpu": fitted.about.get("cpu_seconds"),
            "peak_mb": max(peak_mb(), fitted.about.get("peak_mb", 0)),
            "parameters": fitted.about.get("parameters"), "index": index.tolist(),
            "per_frame": {k: _mean_of(per_frame, k) for k in per_frame[0]},
            "first_mask": {k: _mean_of(per_frame[:1], k) for k in per_frame[0]},
        }  # fmt: skip

    @cached_property
    def _yardstick(self) -> Yardstick:
        lesson = self.training.lesson
        seen = lesson.record.fine[lesson.record.complete]
        return Yardstick(
            lesson.record.factor, lesson.record.aggregation, lesson.calendar.n_slots,
            float(np.quantile(seen, 0.95)), float(np.quantile(self.task.truth, 0.99)),
        )  # fmt: skip

    def _paired(self, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the ratio of this system's errors to every method's, on their common frames.

        Where this system has not run, as in a table of ablations, `apart` stands in its place.
        """
        first = {(r["method"], r["pattern"], r["missing"]): r for r in rows if r["seed"] == 0}
        against = "default" if any(method == "default" for method, _, _ in first) else "apart"
        block = max(2, round(BLOCK * self.training.lesson.calendar.n_slots))
        for (method, pattern, missing), row in first.items():
            ours = first.get((against, pattern, missing))
            if method == against or ours is None:
                continue
            common = np.intersect1d(ours["index"], row["index"])
            step = 1 if len(common) < 2 else int(np.diff(common).min())
            for name in PAIRED:
                key = "mse" if name == "rmse" else name
                # Fewer masks are the first ones: only that one is common to both.
                source = "per_frame" if ours["masks"] == row["masks"] else "first_mask"
                if key not in ours[source] or key not in row[source]:
                    continue
                a, b = (
                    np.asarray(r[source][key])[np.isin(r["index"], common)] for r in (ours, row)
                )
                ratio, low, high = block_bootstrap_ratio(
                    a, b, max(1, block // step), seed=self.protocol.seed, root=name == "rmse"
                )
                yield {"pattern": pattern, "missing": missing, "method": method, "score": name,
                       "against": against, "ratio": ratio, "low": low, "high": high}  # fmt: skip

    def _sanity(self, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield parameters, training curves and the error on complete coarse maps."""
        complete = {(r["method"], r["seed"]): r["mae"] for r in rows if r["pattern"] == COMPLETE}
        for method, seed in sorted({(row["method"], row["seed"]) for row in rows}):
            spec = METHODS.get(method)
            key = f"{spec.fit}-{seed}" if spec else ""
            if spec is None or spec.part != "all" or not self.journal.trained(key):
                continue
            if spec.one_mask or spec.completed:  # not the training of that name
                continue
            about = self.journal.about(key)
            yield {
                "method": method, "label": spec.label, "seed": seed,
                "parameters": about.get("parameters"), "curves": about.get("curves", {}),
                "verdicts": about.get("verdicts", []), "fit_seconds": about.get("seconds"),
                "complete_mae": complete.get((method, seed)),
                "share_mae": complete.get(("share", 0)),
            }  # fmt: skip


def _key(name: str, seed: int, pattern: str, missing: float) -> str:
    return f"{name}-{seed}-{pattern}-{missing:g}"


def _means(totals: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of every score over the masks that have it."""
    names = dict.fromkeys(name for total in totals for name in total)
    return {n: float(np.mean([t[n] for t in totals if n in t])) for n in names}


def _mean_of(frames: list[dict[str, Array]], name: str) -> list[float]:
    values = np.mean([frame[name] for frame in frames if name in frame], axis=0)
    return [float(f"{value:.6g}") for value in values]


def _commit() -> str:
    """Return the commit of the working copy that runs, empty outside of one."""
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent,
            capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return run.stdout.strip()


def _torch() -> str:
    import torch

    return str(torch.__version__)


def _device(asked: str) -> str:
    import torch

    gpu = asked != "cpu" and torch.cuda.is_available()
    return str(torch.cuda.get_device_name()) if gpu else f"cpu, {torch.get_num_threads()} threads"
