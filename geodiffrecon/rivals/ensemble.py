"""The cheapest calibrated ensemble of a mean: its errors on validation, as a Gaussian field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from ..scaling import Transform
from .marginals import GaussianErrors, TableErrors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..forecast import Distribution
    from .marginals import Marginal

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]

FIELDS = 160  # most error fields that are kept


@dataclass(frozen=True)
class ErrorField:
    """How wrong a mean has been, apart for cells whose coarse cell was seen or hidden.

    Cells have the distribution that validation showed; a Gaussian field with the correlation of
    the validation errors joins them to draws.

    Parameters
    ----------
    marginal : Marginal
        Of every cell.
    fields : array (n, N I, N J)
        Normal scores of validation errors, each cell of unit variance.
    persistence : float
        Correlation of the scores from one frame to the next.
    """

    marginal: Marginal
    fields: NDArray[np.float32]
    persistence: float

    @classmethod
    def fit(
        cls, kind: str, aggregation: str, mean: Array, truth: Array, hidden: Mask, follows: Mask
    ) -> ErrorField:
        """Learn from validation means and truth (F, N I, N J) and which cells were hidden.

        `follows` (F,) says which frames come right after the one before, under the same mask.
        """
        if kind == "count" or aggregation == "sum":
            marginal: Marginal = TableErrors.fit(mean, truth, hidden)
        else:
            marginal = GaussianErrors.fit(kind, mean, truth, hidden)
        uniform = marginal.distribution(mean, hidden).pit(truth, seed=1)
        scores = ndtri(np.clip(uniform, 1e-3, 1 - 1e-3))
        later, before = scores[follows], scores[np.flatnonzero(follows) - 1]
        rho = (later * before).mean() / max((before**2).mean(), 1e-9) if follows.any() else 0.0
        chosen = np.linspace(0, len(scores) - 1, min(len(scores), FIELDS)).astype(int)
        spread = np.sqrt((scores[chosen] ** 2).mean(axis=0))
        fields = (scores[chosen] / np.maximum(spread, 1e-3)).astype(np.float32)
        return cls(marginal, fields, float(np.clip(rho, 0.0, 0.98)))

    def distribution(self, mean: Array, hidden: Mask) -> Distribution:
        """Return the calibrated distribution of means (F, N I, N J)."""
        return self.marginal.distribution(mean, hidden)

    def draws(
        self, mean: Array, hidden: Mask, samples: int, seed: int, steps: NDArray[np.int64]
    ) -> Array:
        """Return draws (K, F, N I, N J); draw k does not depend on how many there are.

        `steps` (F,) are step numbers since the epoch; what a draw holds persists from each frame
        of the list to the next.
        """
        return np.stack(
            [
                self.marginal.values(mean, hidden, self._scores(k, seed, steps))
                for k in range(samples)
            ]
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all of it as arrays."""
        own = {"fields": self.fields, "persistence": np.asarray(self.persistence)}
        return {**own, **self.marginal.to_arrays()}

    @classmethod
    def from_arrays(cls, kind: str, arrays: dict[str, NDArray[Any]]) -> ErrorField:
        """Rebuild it."""
        if "quantiles" in arrays:
            marginal: Marginal = TableErrors(arrays["edges"], arrays["quantiles"])
        else:
            transform = Transform(kind)  # type: ignore[arg-type]
            marginal = GaussianErrors(transform, arrays["spread"], arrays["levels"])
        return cls(marginal, arrays["fields"], arrays["persistence"].item())

    def _scores(self, draw: int, seed: int, steps: NDArray[np.int64]) -> Array:
        """Return the normal scores (F, N I, N J) of one draw."""
        size = len(self.fields)
        weights = np.empty((len(steps), size))
        for row, step in enumerate(steps):
            fresh = np.random.default_rng([seed, draw, int(step)]).standard_normal(size)
            if row:
                rho = self.persistence ** float(step - steps[row - 1])
                fresh = rho * weights[row - 1] + np.sqrt(1 - rho**2) * fresh
            weights[row] = fresh
        flat = weights @ self.fields.reshape(size, -1) / np.sqrt(size)  # (F, N I N J)
        return np.asarray(flat.reshape(len(steps), *self.fields.shape[1:]))
