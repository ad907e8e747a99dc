"""A fixed lattice of windows over the coarse grid, blended; tile sizes never change a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    Window = tuple[slice, slice]


@dataclass(frozen=True)
class WindowLattice:
    """Windows of coarse cells, anchored to the grid, that cover it with overlap.

    Parameters
    ----------
    shape : tuple of int
        Coarse rows and columns of the grid.
    size : int
        Rows and columns of a window; a grid that is no larger is one window.
    overlap : int
        Cells that neighbouring windows share.

    Examples
    --------
    >>> [window[0] for window in WindowLattice((20, 8), size=16, overlap=4).windows]
    [slice(0, 16, None), slice(4, 20, None)]
    """

    shape: tuple[int, int]
    size: int = 16
    overlap: int = 4

    @property
    def window_shape(self) -> tuple[int, int]:
        """Rows and columns of every window."""
        return (min(self.size, self.shape[0]), min(self.size, self.shape[1]))

    @property
    def windows(self) -> list[Window]:
        """All windows, row by row."""
        rows, columns = (self._starts(length) for length in self.shape)
        high, wide = self.window_shape
        return [(slice(r, r + high), slice(c, c + wide)) for r in rows for c in columns]

    def blend(self, parts: Sequence[Tensor], factor: int = 1) -> Tensor:
        """Merge window results (B, C, h factor, w factor) into (B, C, I factor, J factor)."""
        if len(parts) == 1:
            return parts[0]
        weight = self._weight(factor).to(parts[0])
        height, width = (length * factor for length in self.shape)
        total = parts[0].new_zeros(*parts[0].shape[:2], height, width)
        norm = parts[0].new_zeros(height, width)
        for part, (rows, columns) in zip(parts, self.windows, strict=True):
            at = tuple(slice(s.start * factor, s.stop * factor) for s in (rows, columns))
            total[..., at[0], at[1]] += part * weight
            norm[at] += weight
        return total / norm

    def map(self, apply: Callable[[Window], Tensor], factor: int = 1) -> Tensor:
        """Run `apply` on every window and blend the results."""
        return self.blend([apply(window) for window in self.windows], factor)

    def _starts(self, length: int) -> list[int]:
        last = length - min(self.size, length)
        step = max(1, self.size - self.overlap)
        return [*range(0, last, step), last]

    def _weight(self, factor: int) -> Tensor:
        sides = [self._taper(size * factor, self.overlap * factor) for size in self.window_shape]
        return sides[0][:, None] * sides[1][None, :]

    @staticmethod
    def _taper(size: int, overlap: int) -> Tensor:
        position = torch.arange(size, dtype=torch.float32) + 0.5
        edge = torch.minimum(position, size - position)
        return (edge / max(overlap, 1)).clamp(max=1.0)


def crop_of(field: Tensor, window: Window, factor: int = 1) -> Tensor:
    """Return one window of a field (..., I factor, J factor)."""
    rows, columns = (slice(s.start * factor, s.stop * factor) for s in window)
    return field[..., rows, columns]
