"""Observations and a prior's belief, put together as the tensors that networks read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .priors.offsets import OffsetRefinement
from .priors.shares import ShareRefinement
from .series import Series
from .units import OffsetUnits, ShareUnits
from .windows import from_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from .conditioning import Readings
    from .priors.prior import Prior

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Observations:
    """What is observed of the coarse maps, on regular steps with gaps explicit.

    Parameters
    ----------
    times : array (T,)
        UTC starts of the steps.
    coarse : array (T, I, J)
        Raw values, NaN where not observed.
    context : array (T, E)
        Calendar and covariates.
    cells : array (S, I, J)
        Standardised covariates of the cells; S may be 0.
    n_obs : array (T, I, J), optional
        Number of points behind each value, for observations that are points and not cell means.
    readings : Readings, optional
        The same points at their fine cells.
    """

    times: NDArray[np.datetime64]
    coarse: Array
    context: NDArray[np.float32]
    cells: NDArray[np.float32]
    n_obs: NDArray[np.int64] | None = None
    readings: Readings | None = None


def assemble(
    prior: Prior,
    observations: Observations,
    anomalies: Array,
    error: Array,
    mean: Array,
    spread: Array,
    fit: NDArray[np.int64] | None = None,
) -> Series:
    """Return a `Series` of R variants from arrays (R, T, I, J); NaN anomalies are not observed.

    `fit` (T,) says which of several fits of the prior each frame is refined with.
    """
    times = observations.times
    seen = np.isfinite(anomalies)
    aggregated = isinstance(prior.refinement, ShareRefinement)
    terms = (
        prior.calendar.slots(times)[:, None] if aggregated else prior.calendar.climatology(times)
    )
    fit = np.zeros(len(times), np.int64) if fit is None else fit

    def tensor(array: NDArray[np.floating]) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array), dtype=torch.float32)

    return Series(
        values=tensor(np.where(seen, anomalies, 0.0)),
        error=tensor(np.sqrt(error)),
        observed=torch.as_tensor(seen),
        mean=tensor(mean),
        spread=tensor(spread),
        completed=tensor(mean),
        exists=torch.as_tensor(seen.any(axis=(0, 2, 3))),
        context=tensor(observations.context),
        centre=tensor(prior.centre(times)),
        scale=tensor(prior.spread),
        calendar=tensor(np.concatenate([fit[:, None], terms], axis=1)),
        statics=tensor(np.concatenate([statics(prior), observations.cells])),
        transform=prior.transform,
    )


STATICS = 4  # channels of `statics`


def statics(prior: Prior) -> Array:
    """Return what tells coarse cells apart (4, I, J): usual level, usual spread, row, column."""
    level = prior.climatology.coefficients[0].reshape(prior.shape)
    maps = [level, np.log(prior.spread)]
    maps += list(np.meshgrid(*(np.arange(n, dtype=float) for n in prior.shape), indexing="ij"))
    return np.stack([(m - m.mean()) / max(float(m.std()), 1e-6) for m in maps])


def units_of(priors: Sequence[Prior]) -> ShareUnits | OffsetUnits:
    """Return the units of one variable, with the fine belief of each of `priors`."""
    last = priors[-1]
    rows, columns = last.shape
    mean, spread = last.fine_level
    if isinstance(last.refinement, ShareRefinement):
        shares = np.concatenate([_shares(prior) for prior in priors])  # (G S, P, N N)
        maps = torch.as_tensor(from_blocks(shares, last.factor, last.shape))
        slots = len(shares) // len(priors)
        dispersion = last.refinement.dispersion
        grain = 1.0 if last.transform.kind == "count" else dispersion
        return ShareUnits(last.factor, maps, slots, dispersion, mean, grain)
    if last.refinement is None:
        flat = torch.full((rows * last.factor, columns * last.factor), spread)
        return OffsetUnits(last.factor, last.transform, None, 0, flat, mean)
    fits = [_offsets(prior) for prior in priors]
    ridge = torch.stack([torch.as_tensor(fit.coefficients) for fit in fits])
    width = from_blocks(last.refinement.spread[None], last.factor, last.shape)[0]
    return OffsetUnits(
        last.factor, last.transform, ridge.unflatten(1, (rows, columns)),
        last.refinement.radius, torch.as_tensor(width),
    )  # fmt: skip


def _shares(prior: Prior) -> NDArray[np.float32]:
    assert isinstance(prior.refinement, ShareRefinement)
    return prior.refinement.shares


def _offsets(prior: Prior) -> OffsetRefinement:
    assert isinstance(prior.refinement, OffsetRefinement)
    return prior.refinement
