"""Covariates of places (elevation, land use): looked up where a spot lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import IncompatibleModel, MissingColumn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..covariates import Covariates
    from ..grid import NestedGrid

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Terrain:
    """How covariates of places are standardised.

    Parameters
    ----------
    names : tuple of str
        Of the maps.
    centre, width : tuple of float
        Over the grid.
    """

    names: tuple[str, ...] = ()
    centre: tuple[float, ...] = ()
    width: tuple[float, ...] = ()

    @classmethod
    def of(cls, external: Covariates | None, grid: NestedGrid) -> Terrain:
        """Learn the standardisation from the maps."""
        if external is None or external.per_cell is None:
            return cls()
        maps, _ = external.cells(grid)
        centre, width = np.nanmean(maps, axis=(1, 2)), np.nanstd(maps, axis=(1, 2))
        names = tuple(map(str, external.per_cell.data_vars))
        return cls(names, tuple(map(float, centre)), tuple(float(max(w, 1e-9)) for w in width))

    def at(self, external: Covariates | None, grid: NestedGrid, x: Array, y: Array) -> Array:
        """Return the standardised covariates (n, C) at `x`, `y` in the grid's CRS.

        Zero, the usual, outside the grid and where a map has no value.

        Raises
        ------
        IncompatibleModel, MissingColumn
            If the maps, or one of them, are missing.
        """
        if not self.names:
            return np.zeros((len(x), 0))
        if external is None or external.per_cell is None:
            raise IncompatibleModel(
                f"The model was fitted with the cell covariates {', '.join(self.names)}; give "
                "them again with --external."
            )
        absent = [name for name in self.names if name not in external.per_cell]
        if absent:
            raise MissingColumn(
                f"The cell covariates lack {absent[0]!r}, which the model was fitted with; add it "
                "to --external."
            )
        # by name: a file may hold other maps too, or the same ones in another order
        maps, level = external.only(self.names).cells(grid)
        row, column, inside = grid.cell_of(x, y, level=level)
        found = maps[:, np.where(inside, row, 0), np.where(inside, column, 0)].T
        standard = (found - np.array(self.centre)) / np.array(self.width)
        return np.nan_to_num(np.where(inside[:, None], standard, 0.0))
