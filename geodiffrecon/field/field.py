"""A field that readings have spoken of: its distribution at any place, and draws of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .choice import Choice, Raw, mixture
from .kriging import Factor
from .neighbours import free_draws
from .predictive import Predictive, parts_of_draws, shaped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .covariance import Sites

    Array = NDArray[np.float64]

EXACT_DRAWS = 1500  # places up to which draws use the whole covariance
IN_WINDOW = 1200  # readings that the map of one date is made from, where there are more


@dataclass(frozen=True, eq=False)
class Field:
    """What `choice` makes of `raw`, exactly: every reading counts at every place.

    Parameters
    ----------
    raw : Raw
        The readings.
    choice : Choice
        Covariances, transform and calibration.
    checked : array of int (c,)
        Which readings were left out; `choice.left_out` is about them.
    """

    raw: Raw
    choice: Choice
    checked: NDArray[np.int64]

    @cached_property
    def parts(self) -> list[tuple[float, Factor]]:
        """Weighted kriging systems."""
        readings, values = self.raw.working(self.choice.transform)
        return [
            (weight, Factor(known, readings, values[:, None], sill))
            for weight, known, sill in self.choice.parts
        ]

    @property
    def own(self) -> int:
        """White numbers of a draw that belong to no place: of the readings and the features."""
        return len(self.raw.values) + self.raw.sites.features.shape[1]

    def at_day(self, day: float) -> Field:
        """Return the field as the readings nearest in time to `day` know it."""
        days = self.raw.sites.days
        if days is None or len(days) <= IN_WINDOW:
            return self
        near = np.sort(np.argsort(np.abs(days - day), kind="stable")[:IN_WINDOW])
        kept = np.isin(self.checked, near)
        told = self.choice.left_out
        left_out = replace(told, location=told.location[kept], scale=told.scale[kept])
        checked = np.searchsorted(near, self.checked[kept])
        return Field(self.raw[near], replace(self.choice, left_out=left_out), checked)

    def predict(self, sites: Sites) -> Predictive:
        """Return the distribution of a new reading at each of `sites`."""
        found = [(weight, *factor.predict(sites, 0)) for weight, factor in self.parts]
        mean, variance = mixture(found)
        return Predictive(mean, np.sqrt(variance), self.choice.transform, self.choice.shape)

    def draws(self, sites: Sites, normals: Array, told: Predictive | None = None) -> Array:
        """Return joint draws (K, m) in raw units, whose single places have the law of `predict`.

        Parameters
        ----------
        sites : Sites
            m places.
        normals : array (K, own + m)
            White noise, a row a draw: as many numbers as `own` says, and one for every place.
        told : Predictive, optional
            What `predict` says of `sites`.
        """
        told = told or self.predict(sites)
        return told.raw(self.errors(sites, normals, told))

    def errors(self, sites: Sites, normals: Array, told: Predictive) -> Array:
        """Return joint draws (K, m) as errors in units of the scale of `told`; as `draws`."""
        work = np.empty((len(normals), len(sites)))
        rows_of = parts_of_draws([weight for weight, _ in self.parts], len(normals))
        for (_, factor), rows in zip(self.parts, rows_of, strict=True):
            if not len(rows):
                continue
            if len(sites) <= EXACT_DRAWS:
                mean, covariance = factor.joint(sites, 0)
                work[rows] = mean + normals[rows, self.own :] @ root_of(covariance).T
            else:
                free, there = free_draws(factor, sites, normals[rows])
                work[rows] = factor.conditioned(sites, 0, free, there)
        return shaped(work, told)


def root_of(covariance: Array) -> Array:
    """Return the lower root (m, m) of a covariance that rounding may have left a little negative.

    Raises
    ------
    numpy.linalg.LinAlgError
        If it is no covariance even when a millionth of its largest variance is added.
    """
    largest = float(np.diagonal(covariance).max())
    for share in (1e-9, 1e-8, 1e-7):
        try:
            return np.asarray(
                np.linalg.cholesky(covariance + share * largest * np.eye(len(covariance)))
            )
        except np.linalg.LinAlgError:
            continue
    return np.asarray(np.linalg.cholesky(covariance + 1e-6 * largest * np.eye(len(covariance))))
