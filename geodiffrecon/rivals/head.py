"""The head that all neural rivals share: a raw fine field becomes one that pools to its input."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..networks.heads import block_mean, centre, nearest_up

EPSILON = 1e-12


def upsampled(raw: Tensor, coarse: Tensor, factor: int, *, signed: bool) -> Tensor:
    """Return a fine field whose blocks average to `coarse` (distributional upsampling).

    Parameters
    ----------
    raw : Tensor (B, 1, N I, N J) or (B, N I, N J)
        Output of a network, of any sign.
    coarse : Tensor (B, I, J)
        Coarse map in scaled units.
    factor : int
        N.
    signed : bool
        Whether values may lie below zero: the field is then added to the coarse map with its
        block means removed, because shares of signed values mean nothing.

    Returns
    -------
    Tensor (B, N I, N J)

    Notes
    -----
    N²-normalisation of Liang et al. 2019 (UrbanFM), with softplus where they have ReLU: a block
    of zeros would have no gradient.
    """
    field = raw[:, 0] if raw.ndim == 4 else raw
    wide = nearest_up(coarse, factor)
    if signed:
        return wide + centre(field, factor)
    # Clamped and not added to the sum: every block then pools to its coarse value exactly.
    density = F.softplus(field).clamp(min=EPSILON)
    return wide * density / nearest_up(block_mean(density, factor), factor)
