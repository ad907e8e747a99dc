"""Forward noising, training loss and the network's three kinds of prediction (paper eq 2–10)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .errors import InvalidParameter

if TYPE_CHECKING:
    from .schedule import NoiseLevels

NetworkFn = Callable[[Tensor, Tensor], Tensor]
"""``network_fn(x_t, level) -> raw``: level (B,) is t / T in (0, 1]; raw has the shape of x_t."""

PREDICTIONS = ("v", "eps", "x0")


@dataclass(frozen=True)
class Diffusion:
    """A variance-preserving diffusion and what its network predicts.

    Parameters
    ----------
    levels : NoiseLevels
        Noise levels of the training.
    prediction : {"v", "eps", "x0"}
        Meaning of the raw network output: velocity, noise (the paper) or clean field.

    Raises
    ------
    InvalidParameter
        For an unknown prediction, or "eps" with levels whose last keeps no signal at all.

    Examples
    --------
    >>> from geodiffrecon.schedule import noise_levels
    >>> diffusion = Diffusion(noise_levels(20), "v")
    >>> x0 = torch.ones(2, 1, 4, 4)
    >>> loss = diffusion.loss(lambda x, level: x, x0, generator=torch.Generator().manual_seed(0))
    >>> loss.shape
    torch.Size([])
    """

    levels: NoiseLevels
    prediction: str = "v"

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise InvalidParameter(
                f"Unknown prediction {self.prediction!r}; use one of {', '.join(PREDICTIONS)}."
            )
        if self.prediction == "eps" and float(self.levels.abar[-1]) == 0:
            raise InvalidParameter(
                "Prediction 'eps' cannot recover a field from the last noise level, which keeps "
                "no signal; use prediction 'v' or zero_terminal_snr=False."
            )

    def level(self, index: Tensor) -> Tensor:
        """Return t / T in (0, 1], what the network is told of level t."""
        return index.to(torch.float32) / self.levels.T

    def draw_index(self, batch: int, *, generator: torch.Generator | None) -> Tensor:
        """Draw one level from 1 to T for each of `batch` items, on the generator's device.

        Each comes from its own of `batch` equal parts of the levels, in random order: as likely
        as any other, and a batch tells of all levels (Kingma et al. 2021, appendix I.1).
        """
        device = generator.device if generator is not None else None
        part = torch.randperm(batch, generator=generator, device=device)
        share = (part + torch.rand(batch, generator=generator, device=device)) / batch
        return 1 + (share * self.levels.T).long().clamp(max=self.levels.T - 1)

    def noised(self, x0: Tensor, index: Tensor, noise: Tensor) -> Tensor:
        r"""Return :math:`\sqrt{\bar\alpha} x_0 + \sqrt{1-\bar\alpha}\,\epsilon` (eq 4)."""
        signal, sigma = self.levels.coefficients(index, x0)
        return signal * x0 + sigma * noise

    def target(self, x0: Tensor, index: Tensor, noise: Tensor) -> Tensor:
        """Return what the raw network output should be."""
        if self.prediction == "x0":
            return x0
        if self.prediction == "eps":
            return noise
        signal, sigma = self.levels.coefficients(index, x0)
        return signal * noise - sigma * x0

    def x0_and_eps(self, raw: Tensor, x_t: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Split a noised field into its clean and its noise part by the network's output.

        Eq 10 of the paper subtracts the predicted noise from the field, which is neither the
        clean field nor the next one; this solves eq 4 for the clean field instead.

        Parameters
        ----------
        raw : Tensor, shape (B, ...)
            Network output.
        x_t : Tensor, shape (B, ...)
            Noised field.
        index : Tensor of int64, shape (B,)
            Its level, 1 to T.

        Returns
        -------
        tuple of Tensor, each of the shape of x_t
            The estimates of the clean field and of the noise.
        """
        signal, sigma = self.levels.coefficients(index, x_t)
        if self.prediction == "v":
            return signal * x_t - sigma * raw, sigma * x_t + signal * raw
        if self.prediction == "eps":
            return (x_t - sigma * raw) / signal, raw
        return raw, (x_t - signal * raw) / sigma

    def denoise(self, network_fn: NetworkFn, x_t: Tensor, index: Tensor) -> Tensor:
        """Return the network's estimate of the clean field, in the dtype of `x_t`."""
        raw = network_fn(x_t, self.level(index)).to(x_t.dtype)
        return self.x0_and_eps(raw, x_t, index)[0]

    def loss(
        self,
        network_fn: NetworkFn,
        x0: Tensor,
        *,
        generator: torch.Generator | None,
        weight: Tensor | None = None,
        noise: Tensor | None = None,
        index: Tensor | None = None,
    ) -> Tensor:
        """Return the weighted mean squared error of one random level per item.

        Parameters
        ----------
        network_fn : callable
            ``network_fn(x_t, level) -> raw``.
        x0 : Tensor, shape (B, C, H, W)
            Clean fields, finite everywhere.
        generator : torch.Generator or None
            Source of the levels and of the noise.
        weight : Tensor, broadcastable to x0, optional
            Weight of each element, for instance 1 where missing and 0.1 where observed.
        noise : Tensor, shape of x0, optional
            Standard normal noise to use instead of drawing it.
        index : Tensor of int64, shape (B,), optional
            Levels to use instead of drawing them.

        Returns
        -------
        Tensor, shape ()
            Sum of weighted squared errors divided by the sum of the weights, in float32.
        """
        if index is None:
            index = self.draw_index(x0.shape[0], generator=generator)
        if noise is None:
            device = generator.device if generator is not None else x0.device
            noise = torch.randn(x0.shape, generator=generator, device=device, dtype=x0.dtype)
        index, noise = index.to(x0.device), noise.to(x0.device)
        raw = network_fn(self.noised(x0, index, noise), self.level(index))
        error = (raw.float() - self.target(x0, index, noise).float()).square()
        if weight is None:
            return error.mean()
        weight = weight.to(error).expand_as(error)
        return (weight * error).sum() / weight.sum().clamp(min=1e-12)
