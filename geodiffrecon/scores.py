"""All scores of one forecast: of its mean, its intervals and its ensemble."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .fields import brier, energy_score, spectral_distance
from .metrics import bias, coverage, fair_crps, mae, rmse
from .windows import to_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .forecast import Forecast

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Yardstick:
    """What scores need to know beside truth and forecast.

    Parameters
    ----------
    factor : int
        Fine cells per coarse cell along one axis.
    aggregation : {"mean", "sum"}
        How fine values make a coarse one.
    day : int
        Steps of a day, over which draws are averaged for the daily CRPS.
    threshold : float
        Exceeded by the highest values of training; of the Brier score.
    top : float
        Exceeded by one in a hundred values of the truth that is scored.
    """

    factor: int
    aggregation: str
    day: int
    threshold: float
    top: float


@dataclass(frozen=True)
class Scored:
    """Scores of one forecast.

    Parameters
    ----------
    total : dict of float
        By name.
    frames : dict of array (F,)
        ``mae``, ``mse`` and, with draws, ``crps`` per frame, for paired comparisons.
    """

    total: dict[str, float]
    frames: dict[str, Array]


def score(truth: Array, forecast: Forecast, yardstick: Yardstick, *, seed: int = 0) -> Scored:
    """Return every score of a forecast of `truth` (F, N I, N J), in raw units."""
    mean = forecast.mean
    difference = mean - truth
    top = truth >= yardstick.top
    total = {
        "mae": mae(truth, mean), "rmse": rmse(truth, mean), "bias": bias(truth, mean),
        "bias_percent": 100 * bias(truth, mean) / max(float(np.abs(truth).mean()), 1e-9),
        "mae_rounded": mae(truth, np.rint(mean)),
        "mae_top1": float(np.abs(difference[top]).mean()),
        "rmse_top1": float(np.sqrt((difference[top] ** 2).mean())),
    }  # fmt: skip
    if forecast.distribution is not None or forecast.draws is not None:
        pit = forecast.pit(truth, seed)
        total |= {"coverage50": coverage(pit, 0.5), "coverage90": coverage(pit, 0.9)}
    if forecast.distribution is not None:
        total["mae_median"] = mae(truth, forecast.distribution.quantile(0.5))
    frames = {"mae": np.abs(difference).mean((1, 2)), "mse": (difference**2).mean((1, 2))}
    if forecast.draws is not None:
        crps = fair_crps(truth, forecast.draws)
        total |= {"crps": float(crps.mean()), "crps_top1": float(crps[top].mean())}
        total |= _of_fields(truth, forecast.draws, yardstick)
        frames["crps"] = crps.mean((1, 2))
    return Scored(total, frames)


def _of_fields(truth: Array, draws: Array, yardstick: Yardstick) -> dict[str, float]:
    """Return scores of whole maps, coarse cells, totals and days, which need joint draws."""
    blocks = _pooled(truth[None], yardstick)[0], _pooled(draws, yardstick)
    found = {
        "mae_one_draw": mae(truth, draws[0]),
        "energy": float(energy_score(truth, draws).mean()),
        "spectrum": spectral_distance(truth, draws),
        "brier": float(brier(truth, draws, yardstick.threshold).mean()),
        "crps_block": float(fair_crps(*blocks).mean()),
        "crps_total": float(fair_crps(truth.mean((1, 2)), draws.mean((2, 3))).mean()),
    }
    days = len(truth) // yardstick.day
    if yardstick.day > 1 and days:
        found["crps_day"] = float(
            fair_crps(_days(truth[None], yardstick.day)[0], _days(draws, yardstick.day)).mean()
        )
    return found


def _pooled(maps: Array, yardstick: Yardstick) -> Array:
    """Return coarse values (K, F, I J) of maps (K, F, N I, N J)."""
    blocks = to_blocks(maps.reshape(-1, *maps.shape[2:]), yardstick.factor)
    pooled = blocks.sum(-1) if yardstick.aggregation == "sum" else blocks.mean(-1)
    return pooled.reshape(*maps.shape[:2], -1)


def _days(maps: Array, day: int) -> Array:
    """Return means of whole days (K, D, N I, N J)."""
    days = maps.shape[1] // day
    return maps[:, : days * day].reshape(len(maps), days, day, *maps.shape[2:]).mean(axis=2)
