"""Samplers: from noise to a clean field, all with one signature (paper eq 6–7)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

from .errors import InvalidParameter
from .schedule import NoiseLevels, timesteps

DenoiseFn = Callable[[Tensor, Tensor], Tensor]
"""``denoise(x, index) -> x0_hat`` on the whole field; index (B,) int64 is the level, 1 to T."""

NoiseFn = Callable[[int], Tensor]
"""``noise(step) -> z``: fresh standard normal noise of the shape of x for sampler step 0, 1, …"""

StepCallback = Callable[[int, Tensor], None]
"""``callback(step, x0_hat)`` after every step; it may raise to cancel."""


class Sampler(Protocol):
    """What every sampler looks like."""

    def __call__(
        self,
        denoise: DenoiseFn,
        x: Tensor,
        levels: NoiseLevels,
        *,
        steps: int,
        noise: NoiseFn | None = None,
        callback: StepCallback | None = None,
    ) -> Tensor:
        """Return a clean field drawn from the noise `x`."""
        ...


def ancestral(
    denoise: DenoiseFn,
    x: Tensor,
    levels: NoiseLevels,
    *,
    steps: int,
    noise: NoiseFn | None = None,
    callback: StepCallback | None = None,
) -> Tensor:
    r"""Sample by the DDPM chain with the fixed posterior variance (eq 6–7).

    The paper writes a learned variance but no loss for it; here it is the variance
    :math:`\tilde\beta` of the true posterior, over whatever levels are visited.

    Parameters
    ----------
    denoise : callable
        ``denoise(x, index) -> x0_hat``; windows, clamps and projections live inside it.
    x : Tensor, shape (B, ...)
        Initial standard normal noise.
    levels : NoiseLevels
        Levels of the training.
    steps : int
        Number of denoiser evaluations, 1 to T.
    noise : callable
        ``noise(step) -> Tensor`` of the shape of x.
    callback : callable, optional
        Called as ``callback(step, x0_hat)``.

    Returns
    -------
    Tensor, shape (B, ...)
        The sampled clean field.

    Raises
    ------
    InvalidParameter
        When `noise` is missing or `steps` out of range.
    """
    return ddim(denoise, x, levels, steps=steps, noise=noise, callback=callback, eta=1.0)


def ddim(
    denoise: DenoiseFn,
    x: Tensor,
    levels: NoiseLevels,
    *,
    steps: int,
    noise: NoiseFn | None = None,
    callback: StepCallback | None = None,
    eta: float = 0.0,
) -> Tensor:
    """Sample by DDIM: deterministic for ``eta=0``, the ancestral chain for ``eta=1``.

    Parameters
    ----------
    denoise, x, levels, steps, callback
        As for `ancestral`.
    noise : callable, optional
        As for `ancestral`; needed when `eta` is above 0.
    eta : float
        Share of the posterior standard deviation that each step adds as fresh noise.

    Returns
    -------
    Tensor, shape (B, ...)
        The sampled clean field.

    Raises
    ------
    InvalidParameter
        When `noise` is missing although `eta` is above 0, or `steps` out of range.

    Examples
    --------
    >>> from geodiffrecon.schedule import noise_levels
    >>> ddim(lambda x, index: torch.full_like(x, 3.0), torch.randn(1, 2), noise_levels(20), steps=4)
    tensor([[3., 3.]])
    """
    if eta > 0 and noise is None:
        raise InvalidParameter("A stochastic sampler needs noise; pass noise=... or use ddim.")
    visited = timesteps(levels, steps)
    for step, (t, s) in enumerate(pairwise(visited)):
        x0 = denoise(x, _index(x, t))
        abar_t, abar_s = float(levels.abar[t]), float(levels.abar[s])
        variance = eta**2 * (1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s)
        eps = (x - math.sqrt(abar_t) * x0) / math.sqrt(1 - abar_t)
        x = math.sqrt(abar_s) * x0 + math.sqrt(max(1 - abar_s - variance, 0.0)) * eps
        if noise is not None and variance > 0:
            x = x + math.sqrt(variance) * noise(step).to(x)
        if callback is not None:
            callback(step, x0)
    return x


def dpmpp_2m(
    denoise: DenoiseFn,
    x: Tensor,
    levels: NoiseLevels,
    *,
    steps: int,
    noise: NoiseFn | None = None,
    callback: StepCallback | None = None,
) -> Tensor:
    """Sample by DPM-Solver++(2M): deterministic, second order in the log signal-to-noise ratio.

    Parameters
    ----------
    denoise, x, levels, steps, callback
        As for `ancestral`.
    noise : callable, optional
        Accepted for the common signature and not used.

    Returns
    -------
    Tensor, shape (B, ...)
        The sampled clean field.

    Raises
    ------
    InvalidParameter
        When `steps` is out of range.
    """
    visited = timesteps(levels, steps)
    previous, last_gap = None, math.inf
    for step, (t, s) in enumerate(pairwise(visited)):
        x0 = denoise(x, _index(x, t))
        abar_t, abar_s = float(levels.abar[t]), float(levels.abar[s])
        gap = _half_log_snr(abar_s) - _half_log_snr(abar_t)
        # The last gap is infinite and so is the first from zero signal: both are first order.
        ratio = 0.5 * gap / last_gap if math.isfinite(gap) and previous is not None else 0.0
        slope = x0 if previous is None else x0 + ratio * (x0 - previous)
        keep = math.sqrt((1 - abar_s) / (1 - abar_t))
        x = keep * x - math.sqrt(abar_s) * math.expm1(-gap) * slope
        previous, last_gap = x0, gap
        if callback is not None:
            callback(step, x0)
    return x


SAMPLERS: Mapping[str, Sampler] = MappingProxyType(
    {"ancestral": ancestral, "ddim": ddim, "dpmpp_2m": dpmpp_2m}
)
"""Every sampler by its name."""


def _index(x: Tensor, t: int) -> Tensor:
    return torch.full((x.shape[0],), t, dtype=torch.int64, device=x.device)


def _half_log_snr(abar: float) -> float:
    if abar <= 0:
        return -math.inf
    return math.inf if abar >= 1 else 0.5 * math.log(abar / (1 - abar))
