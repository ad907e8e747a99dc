"""Noise levels of the diffusion: variance-preserving schedules and their checks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import InvalidParameter

TERMINAL_LIMIT = 1e-3
"""Largest share of the signal's variance that may survive the last level."""

LOG_SNR_FLOOR = -8.0
"""Log signal-to-noise ratio below which a level holds nothing that a sampler could decide."""

_DEFAULT_BETAS = {"linear": (1e-4, 0.02, 1000), "quadratic": (1e-4, 0.5, 50)}


@dataclass(frozen=True, eq=False)
class NoiseLevels:
    r"""Signal share of every level of a variance-preserving diffusion (paper eq 4–5).

    Parameters
    ----------
    abar : Tensor, shape (T + 1,)
        :math:`\bar\alpha_\tau` for :math:`\tau = 0 \dots T`; ``abar[0]`` is 1 (clean) and
        ``abar[T]`` below 1e-3 (noise).

    Raises
    ------
    InvalidParameter
        When the values do not fall from 1 to below 1e-3.
    """

    abar: Tensor

    def __post_init__(self) -> None:
        if self.abar.ndim != 1 or self.abar.numel() < 2 or float(self.abar[0]) != 1.0:
            raise InvalidParameter(
                f"Noise levels must be one vector that starts at 1, but have the shape "
                f"{tuple(self.abar.shape)}; build them with noise_levels()."
            )
        if not bool((self.abar.diff() < 0).all()) or float(self.abar[-1]) < 0:
            raise InvalidParameter(
                "Noise levels must fall from level to level, but these do not; "
                "use betas between 0 and 1."
            )
        if float(self.abar[-1]) >= TERMINAL_LIMIT:
            raise InvalidParameter(
                f"The last of {self.T} noise levels keeps {float(self.abar[-1]):.3g} of the "
                f"signal's variance, but must keep less than {TERMINAL_LIMIT:g}; use more "
                "levels, larger betas or zero_terminal_snr=True."
            )

    @property
    def T(self) -> int:
        """Return the number of noise levels."""
        return self.abar.numel() - 1

    def coefficients(self, index: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return the signal and noise factors of some levels, ready to multiply a field.

        Parameters
        ----------
        index : Tensor of int64, shape (B,)
            Level of each item, 0 to T.
        like : Tensor, shape (B, ...)
            Field whose device, dtype and number of dimensions the result takes.

        Returns
        -------
        tuple of Tensor, each of shape (B, 1, ..., 1)
            :math:`\sqrt{\bar\alpha}` and :math:`\sqrt{1 - \bar\alpha}`.
        """
        abar = self.abar.to(index.device)[index].view(-1, *[1] * (like.ndim - 1))
        return abar.sqrt().to(like), (1 - abar).sqrt().to(like)


def noise_levels(
    count: int,
    *,
    schedule: str = "cosine",
    betas: tuple[float, float] | None = None,
    zero_terminal_snr: bool = False,
) -> NoiseLevels:
    r"""Build the noise levels of a named schedule.

    Parameters
    ----------
    count : int
        Number of levels T.
    schedule : {"cosine", "linear", "quadratic"}
        How :math:`\bar\alpha` falls. The betas of the last two grow linearly, or as the square of
        a line; by default they are scaled with 1/T so that every T ends in noise.
    betas : tuple of float, optional
        First and last beta of ``linear`` and ``quadratic``.
    zero_terminal_snr : bool
        Rescale so that nothing of the signal survives the last level; not for prediction "eps".

    Returns
    -------
    NoiseLevels

    Raises
    ------
    InvalidParameter
        For an unknown schedule, fewer than 2 levels, or a schedule that does not end in noise.

    Examples
    --------
    >>> levels = noise_levels(50)
    >>> levels.T, bool(levels.abar[-1] < 1e-3)
    (50, True)
    """
    if count < 2:
        raise InvalidParameter(f"A diffusion needs at least 2 noise levels, not {count}.")
    if schedule == "cosine":
        steps = _cosine_betas(count)
    elif schedule in _DEFAULT_BETAS:
        steps = _power_betas(count, schedule, betas)
    else:
        raise InvalidParameter(
            f"Unknown noise schedule {schedule!r}; use 'cosine', 'linear' or 'quadratic'."
        )
    abar = torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - steps, 0)])
    return NoiseLevels(_zero_terminal(abar) if zero_terminal_snr else abar)


def timesteps(levels: NoiseLevels, steps: int) -> list[int]:
    r"""Choose the levels that a few-step sampler visits, from T down to 0.

    Even in the log signal-to-noise ratio :math:`\log(\bar\alpha / (1 - \bar\alpha))`, in which
    every scale of a field is decided along an equal stretch; levels beyond ``LOG_SNR_FLOOR`` hold
    noise alone, and of them only T is visited. (Lu et al. 2022, DPM-Solver, section 3.)

    Parameters
    ----------
    levels : NoiseLevels
        Levels of the training.
    steps : int
        Number of network evaluations, 1 to T.

    Returns
    -------
    list of int, length steps + 1
        Falling level indices; the first is T, the last 0.

    Raises
    ------
    InvalidParameter
        When `steps` is not between 1 and T.

    Examples
    --------
    >>> timesteps(noise_levels(100), 4)
    [100, 85, 19, 1, 0]
    """
    count = levels.T
    if not 1 <= steps <= count:
        raise InvalidParameter(
            f"A sampler over {count} noise levels can take 1 to {count} steps, not {steps}."
        )
    if steps == 1:
        return [count, 0]
    abar = levels.abar[1:]
    log_snr = (abar / (1 - abar)).log()  # of levels 1 to T; falling
    first = max(float(log_snr[-1]), LOG_SNR_FLOOR)
    wanted = torch.linspace(first, float(log_snr[0]), steps, dtype=torch.float64)
    nearest = (log_snr[None] - wanted[:, None]).abs().argmin(dim=1) + 1
    visited = [count, *nearest[1:].tolist()]
    # Levels are whole numbers: where the wanted ones crowd, each stays below the one before it
    # and leaves room for those that follow.
    for i in range(1, steps):
        visited[i] = max(min(visited[i], visited[i - 1] - 1), steps - i)
    return [*visited, 0]


def _cosine_betas(count: int, offset: float = 0.008) -> Tensor:
    time = torch.linspace(0, 1, count + 1, dtype=torch.float64)
    curve = torch.cos((time + offset) / (1 + offset) * math.pi / 2).square()
    return (1 - curve[1:] / curve[:-1]).clamp(max=0.999)


def _power_betas(count: int, schedule: str, betas: tuple[float, float] | None) -> Tensor:
    low, high, reference = _DEFAULT_BETAS[schedule]
    first, last = betas or (low * reference / count, high * reference / count)
    if not 0 < first <= last:
        raise InvalidParameter(f"Betas must grow from above 0, but are {first:g} and {last:g}.")
    power = 2 if schedule == "quadratic" else 1
    line = torch.linspace(first ** (1 / power), last ** (1 / power), count, dtype=torch.float64)
    return (line**power).clamp(max=0.999)


def _zero_terminal(abar: Tensor) -> Tensor:
    # Shift and stretch sqrt(abar) so that level T becomes 0 while level 1 stays (Lin et al. 2024).
    root = abar[1:].sqrt()
    stretched = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return torch.cat([abar[:1], stretched.square()])
