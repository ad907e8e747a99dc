"""Sharing a coarse value among its fine cells, and moving fields between the two grids."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..errors import GridMismatch, InvalidParameter


def block_sum(fine: Tensor, factor: int) -> Tensor:
    """Sum the fine cells of every coarse cell.

    Parameters
    ----------
    fine : Tensor, shape (..., N * I, N * J)
        Field on the fine grid.
    factor : int
        N.

    Returns
    -------
    Tensor, shape (..., I, J)

    Raises
    ------
    GridMismatch
        When the factor does not divide the grid.

    Examples
    --------
    >>> import torch
    >>> block_sum(torch.ones(4, 6), 2)
    tensor([[4., 4., 4.],
            [4., 4., 4.]])
    """
    return _blocks(fine, factor).sum((-3, -1))


def block_mean(fine: Tensor, factor: int) -> Tensor:
    """Average the fine cells of every coarse cell; shapes as in `block_sum`."""
    return _blocks(fine, factor).mean((-3, -1))


def nearest_up(coarse: Tensor, factor: int) -> Tensor:
    """Repeat every coarse cell over its fine cells.

    Parameters
    ----------
    coarse : Tensor, shape (..., I, J)
        Field on the coarse grid.
    factor : int
        N.

    Returns
    -------
    Tensor, shape (..., N * I, N * J)

    Examples
    --------
    >>> import torch
    >>> nearest_up(torch.tensor([[1, 2]]), 2)
    tensor([[1, 1, 2, 2],
            [1, 1, 2, 2]])
    """
    *lead, rows, cols = coarse.shape
    spread = coarse[..., :, None, :, None].expand(*lead, rows, factor, cols, factor)
    return spread.reshape(*lead, rows * factor, cols * factor)


def block_log_softmax(logits: Tensor, factor: int) -> Tensor:
    """Return the logarithm of `block_softmax`, for a multinomial likelihood."""
    blocks = _blocks(logits, factor).transpose(-3, -2)  # (..., I, J, N, N)
    logs = F.log_softmax(blocks.flatten(-2), dim=-1).view(blocks.shape)
    return logs.transpose(-3, -2).reshape(logits.shape)


def block_softmax(logits: Tensor, factor: int) -> Tensor:
    """Turn logits into the shares of each fine cell in its coarse cell.

    Parameters
    ----------
    logits : Tensor, shape (..., N * I, N * J)
        One logit per fine cell.
    factor : int
        N.

    Returns
    -------
    Tensor, shape of logits
        Positive shares that sum to 1 over every coarse cell.

    Raises
    ------
    GridMismatch
        When the factor does not divide the grid.

    Examples
    --------
    >>> import torch
    >>> block_softmax(torch.zeros(2, 2), 2)
    tensor([[0.2500, 0.2500],
            [0.2500, 0.2500]])
    """
    return block_log_softmax(logits, factor).exp()


def distribute(coarse: Tensor, shares: Tensor, factor: int, *, aggregation: str = "sum") -> Tensor:
    """Split coarse values by shares so that pooling the result gives them back.

    Parameters
    ----------
    coarse : Tensor, shape (..., I, J)
        Values on the coarse grid.
    shares : Tensor, shape (..., N * I, N * J)
        Shares that sum to 1 over every coarse cell.
    factor : int
        N.
    aggregation : {"sum", "mean"}
        How fine cells make up a coarse one.

    Returns
    -------
    Tensor, shape (..., N * I, N * J)

    Raises
    ------
    InvalidParameter
        For an unknown aggregation.
    """
    if aggregation not in ("sum", "mean"):
        raise InvalidParameter(f"Unknown aggregation {aggregation!r}; use 'sum' or 'mean'.")
    scale = factor**2 if aggregation == "mean" else 1
    return nearest_up(coarse, factor) * shares * scale


def centre(offsets: Tensor, factor: int) -> Tensor:
    """Remove the mean of every coarse cell, so that adding the result keeps block means.

    Parameters
    ----------
    offsets : Tensor, shape (..., N * I, N * J)
        Field on the fine grid.
    factor : int
        N.

    Returns
    -------
    Tensor, shape of offsets

    Raises
    ------
    GridMismatch
        When the factor does not divide the grid.
    """
    return offsets - nearest_up(block_mean(offsets, factor), factor)


def _blocks(fine: Tensor, factor: int) -> Tensor:
    *lead, height, width = fine.shape
    if height % factor or width % factor:
        raise GridMismatch(
            f"A grid of {height}×{width} fine cells cannot be cut into blocks of "
            f"{factor}×{factor}; use a grid whose rows and columns the factor divides."
        )
    return fine.reshape(*lead, height // factor, factor, width // factor, factor)
