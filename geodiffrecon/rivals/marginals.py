"""Distribution of the truth given a mean, learnt from validation, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy.special import ndtr, ndtri

from ..calibration import KNOTS, Calibration, GaussianPredictive, randomised_pit
from ..scaling import Transform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..forecast import Distribution

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]

SEEN, HIDDEN = 0, 1
SHRINK = 20.0  # frames that the pooled spread counts for beside a cell's own
CLASSES = 60  # of means, in the table of quantiles
LIMIT = 3.5  # normal scores beyond which the tables end
SCORES = np.linspace(-LIMIT, LIMIT, 141)


class Marginal(Protocol):
    """How the truth is distributed about a mean, for cells that were seen and for hidden ones."""

    def distribution(self, mean: Array, hidden: Mask) -> Distribution:
        """Return the distribution about means (F, N I, N J)."""
        ...

    def values(self, mean: Array, hidden: Mask, scores: Array) -> Array:
        """Return the values whose standing among all possible ones the normal `scores` tell."""
        ...

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all of it as arrays."""
        ...


@dataclass(frozen=True)
class GaussianErrors:
    """Gaussian in transformed units, one spread per cell, levels corrected; not for sums.

    Parameters
    ----------
    transform : Transform
        Between raw and transformed units.
    spread : array (2, N I, N J)
        Of seen and of hidden cells.
    levels : array (2, L)
        Predicted levels at the `KNOTS`.
    """

    transform: Transform
    spread: Array
    levels: Array

    @classmethod
    def fit(cls, kind: str, mean: Array, truth: Array, hidden: Mask) -> GaussianErrors:
        """Learn from means and truth (F, N I, N J)."""
        transform = Transform(kind)  # type: ignore[arg-type]
        square = (transform.forward(truth) - transform.forward(mean)) ** 2
        spread = np.stack([_spread(square, hidden == group) for group in (False, True)])
        plain = cls(transform, spread, np.array([KNOTS, KNOTS]))
        pit = randomised_pit(plain._predictive(mean, hidden), truth, seed=0)
        levels = [
            Calibration.fit_levels(pit[hidden == group]) if (hidden == group).any() else KNOTS
            for group in (False, True)
        ]
        return cls(transform, spread, np.array(levels))

    def distribution(self, mean: Array, hidden: Mask) -> TwoGroups:
        """Return the calibrated distribution about means (F, N I, N J)."""
        return TwoGroups(self._predictive(mean, hidden), hidden, self._calibrations)

    def values(self, mean: Array, hidden: Mask, scores: Array) -> Array:
        """Return mean + spread x score in raw units, the scores bent as the levels say."""
        bent = scores.copy()
        for group, calibration in enumerate(self._calibrations):
            chosen = hidden == bool(group)
            level = np.interp(ndtr(SCORES), *calibration.map())
            bent[chosen] = np.interp(scores[chosen], SCORES, ndtri(np.clip(level, 1e-6, 1 - 1e-6)))
        predictive = self._predictive(mean, hidden)
        return np.asarray(self.transform.inverse(predictive.mean + predictive.spread * bent))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return spread and levels."""
        return {"spread": self.spread, "levels": self.levels}

    @property
    def _calibrations(self) -> tuple[Calibration, Calibration]:
        return Calibration(levels=tuple(self.levels[0])), Calibration(levels=tuple(self.levels[1]))

    def _predictive(self, mean: Array, hidden: Mask) -> GaussianPredictive:
        spread = np.where(hidden, self.spread[HIDDEN], self.spread[SEEN])
        return GaussianPredictive(self.transform.forward(mean), spread, self.transform)


@dataclass(frozen=True)
class TwoGroups:
    """A predictive distribution whose levels are corrected apart for seen and hidden cells.

    Parameters
    ----------
    predictive : GaussianPredictive
        Per cell.
    hidden : array of bool
        Which cells lie in a hidden coarse cell.
    calibrations : tuple of Calibration
        Of seen and of hidden cells.
    """

    predictive: GaussianPredictive
    hidden: Mask
    calibrations: tuple[Calibration, Calibration]

    def pit(self, truth: Array, seed: int) -> Array:
        """Return calibrated, randomised PIT values of `truth`."""
        seen, hidden = (c.pit(self.predictive, truth, seed) for c in self.calibrations)
        return np.where(self.hidden, hidden, seen)

    def quantile(self, level: float) -> Array:
        """Return the calibrated quantile of `level`."""
        seen, hidden = (c.quantile(self.predictive, level) for c in self.calibrations)
        return np.where(self.hidden, hidden, seen)


@dataclass(frozen=True)
class TableErrors:
    """Quantiles of the truth in classes of the mean, as validation showed them; for sums.

    Sums have a spread, a skew and a share of zeros that change with their size; a table of what
    happened needs no assumption on them (Walz et al. 2024 call the idea EasyUQ).

    Parameters
    ----------
    edges : array (2, C - 1)
        Means that part the classes, of seen and of hidden cells.
    quantiles : array (2, C, Q)
        Of the truth in each class, at the levels of the normal `SCORES`.
    """

    edges: Array
    quantiles: Array

    @classmethod
    def fit(cls, mean: Array, truth: Array, hidden: Mask) -> TableErrors:
        """Learn from means and truth (F, N I, N J)."""
        # Classes get smaller towards large means, where the few largest sums differ most.
        shares = 1 - (1 - np.arange(1, CLASSES) / CLASSES) ** 2
        edges, tables = [], []
        for group in (False, True):
            chosen = hidden == group
            chosen = chosen if chosen.any() else np.ones_like(chosen)
            level, value = mean[chosen], truth[chosen]
            edge = np.quantile(level, shares)
            number = np.searchsorted(edge, level)
            rows = [value[number == c] for c in range(CLASSES)]
            edges.append(edge)
            tables.append(_filled([_quantiles(row) for row in rows]))
        return cls(np.stack(edges), np.stack(tables))

    def distribution(self, mean: Array, hidden: Mask) -> TableDistribution:
        """Return the distribution about means (F, N I, N J)."""
        return TableDistribution(
            self.quantiles, hidden.astype(np.intp), self._classes(mean, hidden)
        )

    def values(self, mean: Array, hidden: Mask, scores: Array) -> Array:
        """Return the quantiles that the normal scores ask for."""
        column = (np.clip(scores, -LIMIT, LIMIT) + LIMIT) / (2 * LIMIT) * (len(SCORES) - 1)
        column = np.rint(column).astype(np.intp)
        return np.asarray(
            self.quantiles[hidden.astype(np.intp), self._classes(mean, hidden), column]
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return edges and quantiles."""
        return {"edges": self.edges, "quantiles": self.quantiles}

    def _classes(self, mean: Array, hidden: Mask) -> NDArray[np.intp]:
        seen, unseen = (np.searchsorted(edge, mean) for edge in self.edges)
        return np.where(hidden, unseen, seen)


@dataclass(frozen=True)
class TableDistribution:
    """Distribution of every cell, as the row of a table.

    Parameters
    ----------
    quantiles : array (2, C, Q)
        The table.
    group, row : array of int
        Group and class of each cell.
    """

    quantiles: Array
    group: NDArray[np.intp]
    row: NDArray[np.intp]

    def pit(self, truth: Array, seed: int) -> Array:
        """Return randomised PIT values of `truth`."""
        level = np.concatenate([[0.0], (ndtr(SCORES[1:]) + ndtr(SCORES[:-1])) / 2, [1.0]])
        below, at = np.empty(truth.shape), np.empty(truth.shape)
        key = self.group * self.quantiles.shape[1] + self.row
        for number in np.unique(key):
            chosen = key == number
            row = self.quantiles.reshape(-1, len(SCORES))[number]
            below[chosen] = level[np.searchsorted(row, truth[chosen], side="left")]
            at[chosen] = level[np.searchsorted(row, truth[chosen], side="right")]
        position = np.random.default_rng(seed).random(truth.shape)
        return np.asarray(below + position * (at - below) + 0 * truth)

    def quantile(self, level: float) -> Array:
        """Return the quantile of `level`."""
        column = int(np.abs(ndtr(SCORES) - level).argmin())
        return np.asarray(self.quantiles[self.group, self.row, column])


def _spread(square: Array, chosen: Mask) -> Array:
    """Return spreads (N I, N J) of squared errors, shrunk to their pooled value."""
    pooled = square[chosen].mean() if chosen.any() else square.mean()
    count, total = chosen.sum(axis=0), np.where(chosen, square, 0).sum(axis=0)
    return np.maximum(np.sqrt((total + SHRINK * pooled) / (count + SHRINK)), 1e-9)


def _quantiles(values: Array) -> Array | None:
    if not len(values):
        return None
    return np.asarray(np.quantile(values, ndtr(SCORES), method="inverted_cdf"))


def _filled(rows: list[Array | None]) -> Array:
    """Give classes without any value the quantiles of the class below."""
    last = next(row for row in rows if row is not None)
    found = []
    for row in rows:
        last = last if row is None else row
        found.append(last)
    return np.stack(found)
