"""External features as the networks read them: standardised once, when fitted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .calendar import iso
from .errors import IncompatibleModel, InvalidParameter, MissingColumn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .covariates import Covariates
    from .grid import NestedGrid


@dataclass(frozen=True)
class Features:
    """How external features become part of the context, fixed when fitted.

    Parameters
    ----------
    names : tuple of str
        Columns per time.
    mean, spread : tuple of float
        Of each column in training.
    cell_names : tuple of str
        Covariates per cell.
    """

    names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    cell_names: tuple[str, ...] = ()

    @classmethod
    def of(cls, external: Covariates | None, times: NDArray[np.datetime64]) -> Features:
        """Learn the standardisation from the training `times`."""
        if external is None:
            return cls()
        cells = () if external.per_cell is None else tuple(map(str, external.per_cell.data_vars))
        if external.per_time is None:
            return cls(cell_names=cells)
        values = external.align(times)
        empty = np.flatnonzero(~np.isfinite(values).any(axis=0))
        if len(empty):
            raise InvalidParameter(
                f"The external feature {external.per_time.columns[empty[0]]!r} has no value from "
                f"{iso(times[0])} to {iso(times[-1])}, where the model is trained; give one that "
                "covers it, or leave it out."
            )
        mean, spread = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        names = tuple(map(str, external.per_time.columns))
        return cls(names, tuple(map(float, mean)), tuple(map(float, spread)), cells)

    def context(
        self, external: Covariates | None, times: NDArray[np.datetime64]
    ) -> NDArray[np.float32]:
        """Return standardised features (T, F) and a flag (T, 1) of missing ones."""
        if not self.names:
            return np.zeros((len(times), 0), np.float32)
        if external is None or external.per_time is None:
            raise IncompatibleModel(
                f"The model was fitted with the external features {', '.join(self.names)}; "
                "give them again with --external."
            )
        absent = sorted(set(self.names) - set(map(str, external.per_time.columns)))
        if absent:
            raise MissingColumn(
                f"The external features lack {absent[0]!r}, which the model was fitted with; "
                "add the column, or fit the model again without it."
            )
        chosen = replace(external, per_time=external.per_time[list(self.names)])
        values = chosen.align(times)
        known = np.isfinite(values)
        standard = (values - self.mean) / np.maximum(self.spread, 1e-9)
        lacking = (~known).any(axis=1, keepdims=True)
        return np.concatenate([np.where(known, standard, 0.0), lacking], axis=1).astype(np.float32)

    def cells(self, external: Covariates | None, grid: NestedGrid) -> NDArray[np.float32]:
        """Return standardised covariates (S, I, J) of the coarse cells."""
        if not self.cell_names:
            return np.zeros((0, *grid.shape), np.float32)
        if external is None or external.per_cell is None:
            raise IncompatibleModel(
                f"The model was fitted with the cell covariates {', '.join(self.cell_names)}; "
                "give them again with --external."
            )
        values, level = external.cells(grid)
        if level == "fine":
            count, rows, columns = values.shape
            factor = grid.factor
            split = values.reshape(count, rows // factor, factor, columns // factor, factor)
            values = np.nanmean(split, axis=(2, 4))
        centre = np.nanmean(values, axis=(1, 2), keepdims=True)
        spread = np.maximum(np.nanstd(values, axis=(1, 2), keepdims=True), 1e-9)
        return np.nan_to_num((values - centre) / spread).astype(np.float32)
