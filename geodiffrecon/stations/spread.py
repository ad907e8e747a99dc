"""The local spread: kriging errs more in hours, and near stations, where it has just erred more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .forecast import MID_LEVELS, Power, standard_quantile
from .surroundings import SPREAD_COLUMNS

if TYPE_CHECKING:
    from .surroundings import Cases

STEPS, BATCH, RATE = 300, 2048, 0.02
LEVELS = 31  # of the quadrature that training uses


@dataclass(frozen=True)
class LocalSpread:
    """Factor of the kriging spread, log-linear in the residuals of the readings around.

    Readings' own residuals, each hidden from its own prediction, tell how far kriging is off near
    a spot in this step, over the last day, and over the whole network; how high the value is
    expected says what the power of the transformation leaves. Fitted by CRPS, so that it is what
    makes the distribution sharp and honest at once.

    Parameters
    ----------
    centre, width : tuple of float
        Of the columns in training.
    coefficients : tuple of float
        Intercept, then one for each of the first `SPREAD_COLUMNS` columns of a query.

    References
    ----------
    Gneiting, T., Raftery, A. E., Westveld, A. H. and Goldman, T. (2005). Calibrated probabilistic
    forecasting using ensemble model output statistics and minimum CRPS estimation. Mon. Weather
    Rev. 133.
    """

    centre: tuple[float, ...] = (0.0,) * SPREAD_COLUMNS
    width: tuple[float, ...] = (1.0,) * SPREAD_COLUMNS
    coefficients: tuple[float, ...] = (0.0,) * (SPREAD_COLUMNS + 1)

    @classmethod
    def fit(cls, cases: Cases, truth: Tensor, power: Power, seed: int) -> LocalSpread:
        """Fit to `cases` whose raw `truth` (n,) is known."""
        columns = cases.query[:, :SPREAD_COLUMNS].double()
        centre, width = columns.mean(dim=0), columns.std(dim=0).clamp_min(1e-6)
        design = (columns - centre) / width
        weights = torch.zeros(SPREAD_COLUMNS + 1, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.Adam([weights], lr=RATE)
        generator = torch.Generator().manual_seed(seed)
        usual = truth.abs().mean().clamp_min(1e-9)
        for _ in range(STEPS):
            rows = torch.randint(len(truth), (BATCH,), generator=generator)
            factor = torch.exp(weights[0] + design[rows] @ weights[1:])
            score = crps_of(truth[rows], cases.mean[rows], cases.spread[rows] * factor, power)
            optimiser.zero_grad()
            (score.mean() / usual).backward()
            optimiser.step()
        found = (tuple(map(float, part)) for part in (centre, width, weights.detach()))
        return cls(*found)

    def factor(self, query: Tensor) -> Tensor:
        """Return the factor (n,) of the kriging spread."""
        centre, width, weights = (
            torch.tensor(part, dtype=torch.float64)
            for part in (self.centre, self.width, self.coefficients)
        )
        design = (query[:, :SPREAD_COLUMNS].double() - centre) / width
        return torch.exp(weights[0] + design.clamp(-4, 4) @ weights[1:])


def crps_of(truth: Tensor, mean: Tensor, spread: Tensor, power: Power) -> Tensor:
    """Return the CRPS (n,) of raw `truth` under Gaussians in transformed units, by quadrature."""
    levels = torch.as_tensor((np.arange(LEVELS) + 0.5) / LEVELS, dtype=truth.dtype)
    standard = torch.as_tensor(standard_quantile(levels.double().numpy(), ()), dtype=truth.dtype)
    error = truth[:, None] - power.inverse(mean[:, None] + spread[:, None] * standard)
    return 2 * torch.maximum(levels * error, (levels - 1) * error).mean(dim=1)


def exact_crps(
    truth: Tensor, mean: Tensor, spread: Tensor, power: Power, shape: tuple[float, ...] = ()
) -> Tensor:
    """Return the CRPS (n,) as `SiteForecast.crps` does, in batches."""
    levels = torch.as_tensor(MID_LEVELS)
    standard = torch.as_tensor(standard_quantile(MID_LEVELS, shape))
    found = []
    for rows in torch.arange(len(truth)).split(50_000):
        value = power.inverse(mean[rows, None] + spread[rows, None] * standard)
        error = truth[rows, None] - value
        found.append(2 * torch.maximum(levels * error, (levels - 1) * error).mean(dim=1))
    return torch.cat(found)
