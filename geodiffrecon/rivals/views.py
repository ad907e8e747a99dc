"""A record as neural rivals see it: scaled, with holes, the holes filled from next door."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..windows import mask_series
from .filling import nearest_filled

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..assembly import Observations
    from ..lesson import Lesson

    Array = NDArray[np.float64]

SEGMENT_DAYS = 1.5


@dataclass(frozen=True)
class Scale:
    """Between raw units and those of the networks, in which pooling is always averaging.

    Parameters
    ----------
    offset, spread : float
        Of coarse values; the offset of values with a natural zero is zero.
    cells : float
        Fine cells per coarse one for sums, 1 for means.
    signed : bool
        Whether values may lie below zero.
    """

    offset: float
    spread: float
    cells: float
    signed: bool

    @classmethod
    def of(cls, lesson: Lesson, frames: NDArray[np.bool_]) -> Scale:
        """Learn the scale from the training `frames` (T,)."""
        coarse = lesson.record.coarse[frames]
        signed = lesson.kind == "real"
        offset = float(np.nanmean(coarse)) if signed else 0.0
        cells = float(lesson.record.factor**2) if lesson.record.aggregation == "sum" else 1.0
        return cls(offset, max(float(np.nanstd(coarse)), 1e-9), cells, signed)

    def coarse(self, raw: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return raw coarse values as networks read them."""
        return ((raw - self.offset) / self.spread).astype(np.float32)

    def fine(self, raw: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return raw fine values as networks are scored on."""
        return self.coarse(raw * self.cells)

    def raw_fine(self, scaled: NDArray[np.floating]) -> Array:
        """Return fine values in raw units."""
        raw = (scaled.astype(np.float64) * self.spread + self.offset) / self.cells
        return raw if self.signed else np.maximum(raw, 0.0)


@dataclass(frozen=True)
class Case:
    """A batch of B problems, in scaled units; t frames, oldest first, the current one last.

    Parameters
    ----------
    filled : Tensor (B, t, I, J)
        Coarse maps, holes filled with the nearest observed value; zero before the record.
    observed : Tensor (B, t, I, J) of bool
        Which coarse cells are seen; False before the record.
    context : Tensor (B, E)
        Calendar and covariates of the current frame.
    coarse, fine : Tensor (B, I, J) and (B, N I, N J), optional
        Truth of the current frame, in training only.
    index : Tensor (B,), optional
        Number of the frame in the record, in training only.
    generator : torch.Generator, optional
        For what is random in training; fixed for validation batches.
    """

    filled: Tensor
    observed: Tensor
    context: Tensor
    coarse: Tensor | None = None
    fine: Tensor | None = None
    index: Tensor | None = None
    generator: torch.Generator | None = None

    @property
    def now(self) -> Tensor:
        """Current filled map (B, 1, I, J)."""
        return self.filled[:, -1:]

    @property
    def truth(self) -> tuple[Tensor, Tensor]:
        """True coarse and fine map of the current frame."""
        assert self.coarse is not None
        assert self.fine is not None
        return self.coarse, self.fine


@dataclass(frozen=True)
class Views:
    """R views of T frames as tensors.

    Parameters
    ----------
    filled, observed : Tensor (R, T, I, J)
        As in `Case`.
    context : Tensor (T, E)
        Calendar and covariates.
    coarse, fine : Tensor (T, I, J) and (T, N I, N J), optional
        Truth; zero in gaps of the record, which no batch asks for.
    """

    filled: Tensor
    observed: Tensor
    context: Tensor
    coarse: Tensor | None = None
    fine: Tensor | None = None

    @classmethod
    def of_record(
        cls, lesson: Lesson, scale: Scale, seen: NDArray[np.bool_], level: Array
    ) -> Views:
        """Return the record through masks `seen` (R, T, I, J); `level` (I, J) fills empty maps."""
        record = lesson.record
        coarse = record.coarse
        filled = [nearest_filled(np.where(mask, coarse, np.nan), level) for mask in seen]
        known = record.complete[:, None, None]
        return cls(
            _tensor(scale.coarse(np.stack(filled))),
            torch.as_tensor(seen & known),
            _tensor(lesson.context),
            _tensor(np.where(known, scale.coarse(coarse), 0)),
            _tensor(np.where(known, scale.fine(record.fine), 0)),
        )

    @classmethod
    def of_observations(cls, given: Observations, scale: Scale, level: Array) -> Views:
        """Return what is observed as the only view, without truth."""
        filled = scale.coarse(nearest_filled(given.coarse, level))[None]
        seen = np.isfinite(given.coarse)[None]
        return cls(_tensor(filled), torch.as_tensor(seen), _tensor(given.context))

    def case(
        self,
        variant: Tensor,
        frame: Tensor,
        lags: tuple[int, ...],
        generator: torch.Generator | None = None,
    ) -> Case:
        """Return the problems of `frame` (B,) in view `variant` (B,), read `lags` frames back."""
        past = frame[:, None] - torch.tensor(lags)[None, :]  # (B, t)
        inside = (past >= 0)[..., None, None]
        past = past.clamp(min=0)
        rows = variant[:, None].expand_as(past)
        return Case(
            self.filled[rows, past] * inside,
            self.observed[rows, past] & inside,
            self.context[frame],
            None if self.coarse is None else self.coarse[frame],
            None if self.fine is None else self.fine[frame],
            None if self.fine is None else frame,
            generator,
        )


def mixed_masks(lesson: Lesson, views: int, seed: int) -> NDArray[np.bool_]:
    """Return masks (R, T, I, J) of all patterns and ratios, as the models train on; one complete.

    The first view hides nothing, so that every rival also learns from complete coarse maps.
    """
    frames = len(lesson.record.times)
    segment = max(4, round(SEGMENT_DAYS * lesson.calendar.n_slots))
    masks = [np.ones((frames, *lesson.shape), bool)]
    for number in range(1, views):
        rng = np.random.default_rng([seed, number])
        masks.append(mask_series(rng, frames, lesson.shape, segment=segment))
    return np.stack(masks)


def usual_level(lesson: Lesson, frames: NDArray[np.bool_]) -> Array:
    """Return the mean coarse map (I, J) of `frames` (T,)."""
    return np.asarray(np.nanmean(lesson.record.coarse[frames], axis=0))


def _tensor(array: NDArray[np.floating]) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(array), dtype=torch.float32)
