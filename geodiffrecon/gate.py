"""The gate: whether a layer gains enough on validation, counted in independent blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from .words import agreed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.int64]

LENGTHS = 10  # residual correlation lengths to a block, whose means are then all but independent
MIN_BLOCKS = 4
CONFIDENCE = 0.92  # a worthless layer is kept in less than a tenth of all cases
MAX_LAG = 200
MIN_PAIRS = 50


@dataclass(frozen=True)
class Verdict:
    """Whether a layer was kept, and the figures behind it.

    Parameters
    ----------
    layer, score : str
        What was judged, and by which score.
    before, after : float
        Mean score without and with the layer.
    error : float
        Standard error of the gain over blocks of time.
    blocks : int
        How many there are. With fewer than `MIN_BLOCKS` there is no judgement, and the layer keeps
        its default: it is left out, for a network that nothing speaks for does harm more often.
    """

    layer: str
    score: str
    before: float
    after: float
    error: float
    blocks: int

    @property
    def judged(self) -> bool:
        """Whether there are enough blocks to tell."""
        return self.blocks >= MIN_BLOCKS

    @property
    def kept(self) -> bool:
        """A layer is kept if it gains beyond doubt, by Student's t over blocks."""
        if not self.judged:
            return False
        return self.before - self.after > stdtrit(self.blocks - 1, CONFIDENCE) * self.error

    def sentence(self) -> str:
        """Return the verdict in words."""
        figures = f"{self.score} {self.before:.4g} without, {self.after:.4g} with"
        if not self.judged:
            blocks = agreed(self.blocks, f"{self.blocks} independent blocks")
            return (
                f"{self.layer}: left out, as by default ({figures}, but validation has only "
                f"{blocks} of time; {MIN_BLOCKS} are needed to judge)"
            )
        word = "kept" if self.kept else "left out"
        return (
            f"{self.layer}: {word} ({figures}, standard error of the gain {self.error:.2g} over "
            f"{self.blocks} blocks)"
        )


def judge(layer: str, score: str, without: Array, using: Array, block: Index) -> Verdict:
    """Return the verdict on per-frame scores (F,) without and with a layer, in `block` (F,)."""
    labels, member = np.unique(block, return_inverse=True)
    count = np.bincount(member)
    gains = np.bincount(member, without - using) / count
    if len(labels) < 2:
        error = float("inf")
    else:
        # Blocks are of unequal length at the edges of validation: they count by their frames.
        weight = count / count.sum()
        centred = gains - (weight * gains).sum()
        share = len(labels) / (len(labels) - 1)
        error = float(np.sqrt(share * (weight**2 * centred**2).sum()))
    return Verdict(layer, score, float(without.mean()), float(using.mean()), error, len(labels))


def blocks_of(frames: Index, length: float) -> Index:
    """Return the block of time (F,) of each of `frames`, for residuals of a correlation `length`.

    Blocks are cut in time, not in the list of frames, so that leaving frames out moves no border.
    """
    size = max(1, int(np.ceil(LENGTHS * length)))
    return np.asarray((frames - frames.min()) // size)


def correlation_length(residuals: Array) -> float:
    """Return the steps after which residuals (V, T, H, W) are correlated by 1/e only.

    Parameters
    ----------
    residuals : array (V, T, H, W)
        Standardised errors, NaN where unknown or held.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> white = rng.standard_normal((1, 300, 8, 8))
    >>> correlation_length(white) < 1
    True
    """
    centred = residuals - np.nanmean(residuals) if np.isfinite(residuals).any() else residuals
    filled, known = np.nan_to_num(centred), np.isfinite(centred)
    before = 1.0
    for lag in range(1, min(MAX_LAG, residuals.shape[1] - 1)):
        both = known[:, lag:] & known[:, :-lag]
        if both.sum() < MIN_PAIRS:
            break
        late, early = filled[:, lag:][both], filled[:, :-lag][both]
        scale = np.sqrt((late**2).mean() * (early**2).mean())
        now = float((late * early).mean() / max(scale, 1e-12))
        if now < np.exp(-1):
            # log-linear between the two lags around 1/e
            fall = np.log(max(before, 1e-12)) - np.log(max(now, 1e-3))
            return float(lag - 1 + (np.log(before) + 1) / max(fall, 1e-6))
        before = now
    return float(min(MAX_LAG, residuals.shape[1]))
