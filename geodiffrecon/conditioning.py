"""Points at their fine cells as conditions of refinement, coarse cell by coarse cell.

Completion takes the readings of a coarse cell as one uncertain reading of the cell's mean, which
loses where in the cell they stand. Refinement knows it. In transformed units the fine cells of a
coarse cell are ``z = b + B a + r``: ``a`` the anomalies of it and of the coarse cells around it,
``B`` what the ridge of `OffsetRefinement` makes of them (for the cell itself also its own spread),
and residuals ``r ~ N(0, R)`` with the spread and colour of refinement. A reading at the fine cell
``o`` is ``y = z_o + e`` with the error ``e ~ N(0, d)`` of instrument and site; it no longer stands
for a coarse cell.

**No reading is used twice.** Kriging has used the mean of the readings as a reading ``u`` of the
cell's own anomaly with the error variance ``E``: its mean ``k`` and variance ``v`` have that datum
in them, with the weight ``h = v / E``. Kriging from all the others alone has exactly (Dubrule 1983)

    the mean ``k - h / (1 - h) (u - k)`` and the variance ``v / (1 - h)``,

so the cell's own anomaly goes back to these before it meets the readings again, at their true fine
cells. A correction by the mean layer stays on top, and its spread is widened by the same factor.

**The update.** The anomalies without the readings, ``a ~ N(m, V)``, are taken as independent of
each other: ``V`` is diagonal, the cell's own variance that above, those around it as completion
left them. So the fine cells have the mean ``f = b + B m`` and the covariance ``S = B V B' + R``.
With ``H`` that picks the observed cells and ``G = S H' (H S H' + D)^-1``, all readings of the block
together move the mean to ``f + G (y - H f)`` and the covariance to ``S - G H S``. A draw of ``a``
and ``r`` without the readings moves by ``G`` times what its own readings, their errors drawn too,
miss of the true ones (Matheron's rule; Journel and Huijbregts 1978).

Readings change no other block here: what neighbours learn from them went through completion.

References
----------
Dubrule, O. (1983). Cross validation of kriging in a unique neighborhood. Mathematical Geology 15.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .cube import aggregate
from .errors import InvalidParameter
from .priors.offsets import OffsetRefinement, neighbourhoods
from .priors.prior import OWN_ERROR
from .windows import from_blocks, to_blocks

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from .noise import NoiseField
    from .priors.prior import Prior

    Array = NDArray[np.float64]
    Frames = NDArray[np.int64]

CONSISTENCIES = ("hard", "soft", "off")
MOST_WEIGHT = 0.95  # of a reading in kriging; any more would leave nothing of the others


@dataclass(frozen=True)
class Readings:
    """What points say of the fine cells in which they stand.

    Parameters
    ----------
    values : array (T, N I, N J)
        Mean of the points of a cell in raw units; NaN where there is none.
    counts : array (T, N I, N J)
        Number of points behind each.
    """

    values: NDArray[np.float32]
    counts: NDArray[np.int32]


def split_points(observations: xr.Dataset, aggregation: str) -> tuple[xr.Dataset, Readings | None]:
    """Return points in fine cells as the cube of their coarse cells, and as readings.

    Only what ``bin_points(..., level="fine")`` makes of means, for a model of means; any other
    cube comes back as it is, without readings.
    """
    about = observations.attrs
    name = str(about.get("value"))
    means = aggregation == "mean" == about.get("point_aggregation")
    if not means or about.get("level") != "fine" or f"{name}_n_obs" not in observations:
        return observations, None
    readings = Readings(observations[name].to_numpy(), observations[f"{name}_n_obs"].to_numpy())
    return aggregate(observations), readings


def consistency_of(observations: xr.Dataset, aggregation: str, asked: str | None) -> str:
    """Return how observed coarse cells are kept: as `asked`, or else "soft" for means of points.

    Raises
    ------
    InvalidParameter
        If `asked` is unknown.
    """
    if asked is not None and asked not in CONSISTENCIES:
        raise InvalidParameter(f"consistency must be {', '.join(CONSISTENCIES)}, not {asked!r}.")
    points = f"{observations.attrs['value']}_n_obs" in observations
    return asked or ("soft" if points and aggregation == "mean" else "hard")


@dataclass(frozen=True)
class Sites:
    """Readings of T frames, and the coarse belief as it was before each cell met its own.

    Parameters
    ----------
    prior : Prior
        Of the maps; its refinement is an `OffsetRefinement`.
    readings : Readings
        Of the frames.
    change : array (T, I, J)
        What the mean anomaly without a cell's own readings lies above the one with them.
    widen : array (T, I, J)
        Its spread in units of the one with them.
    """

    prior: Prior
    readings: Readings
    change: Array
    widen: Array

    @classmethod
    def of(
        cls,
        prior: Prior,
        readings: Readings | None,
        *,
        reading: Array,
        error: Array,
        mean: Array,
        spread: Array,
    ) -> Sites | None:
        """Return the sites, or None where there are none or the prior cannot use them.

        Parameters
        ----------
        prior : Prior
            Of the maps.
        readings : Readings, optional
            In fine cells.
        reading, error : array (T, I, J)
            Anomalies that kriging has read, and the spread of their errors; 0 where it read none.
        mean, spread : array (T, I, J)
            Of the anomalies by kriging.
        """
        if readings is None or not isinstance(prior.refinement, OffsetRefinement):
            return None
        return cls(prior, readings, *without_own(reading, error**2, mean, spread**2))

    def held(self, part: Frames) -> NDArray[np.bool_]:
        """Return which coarse cells (f, I, J) of the frames `part` have readings of their own."""
        blocks = to_blocks(self.readings.counts[part] > 0, self.prior.factor)
        return np.asarray(blocks.any(axis=-1).reshape(len(part), *self.prior.shape))

    def condition(
        self, part: Frames, location: Array, spread: Array, scale: Array, doubt: Array
    ) -> tuple[Array, Array]:
        """Return mean and spread (f, N I, N J) of the frames `part`, given the readings.

        Parameters
        ----------
        part : array (f,)
            Frames.
        location, spread : array (f, N I, N J)
            The same without them but for completion's use of them, in transformed units.
        scale : array (f, N I, N J)
            Spread of the fine residuals.
        doubt : array (f, I, J)
            Spread of the coarse anomalies.
        """
        mean, width, residual = (
            to_blocks(array, self.prior.factor) for array in (location, spread, scale)
        )
        for f, t in enumerate(part):
            update = self._update(t, residual[f], doubt[f])
            at = (f, update.blocks)
            mean[at] += update.own * self.change[t].ravel()[update.blocks, None]
            mean[at] += update.step(mean[at])
            width[at] = np.sqrt(update.variance)
        return self._maps(mean), self._maps(width)

    def condition_draws(
        self, part: Frames, drawn: Array, scale: Array, doubt: Array, excess: Array, errors: Array
    ) -> Array:
        """Return the draws `drawn` (f, K, N I, N J) of the frames `part`, given the readings.

        Parameters
        ----------
        part : array (f,)
            Frames.
        drawn : array (f, K, N I, N J)
            Draws in transformed units.
        scale : array (f, K, N I, N J)
            Spread of their fine residuals.
        doubt : array (f, I, J)
            Spread of the coarse anomalies.
        excess : array (f, K, I, J)
            What the drawn anomalies lie above their mean.
        errors : array (f, K, N I, N J)
            Standard normal, for the errors of drawn readings.
        """
        found = np.empty(drawn.shape)
        for f, t in enumerate(part):
            field, residual, noise = (
                to_blocks(array[f], self.prior.factor) for array in (drawn, scale, errors)
            )  # (K, P, N N)
            update = self._update(t, residual, doubt[f])
            at = (slice(None), update.blocks)
            moved = self.change[t] + (self.widen[t] - 1) * excess[f]
            field[at] += update.own * moved.reshape(len(moved), -1)[at][..., None]
            field[at] += update.step(field[at], noise[at])
            found[f] = self._maps(field)
        return found

    def _update(self, t: int, scale: Array, doubt: Array) -> Update:
        prior, refinement = self.prior, self.prior.refinement
        assert isinstance(refinement, OffsetRefinement)
        values, counts = (
            to_blocks(array[t, None], prior.factor)[0]
            for array in (self.readings.values, self.readings.counts)
        )
        blocks = np.flatnonzero((counts > 0).any(axis=-1))
        near = (2 * refinement.radius + 1) ** 2
        lever = refinement.coefficients[blocks, :near].astype(np.float64).swapaxes(1, 2)
        lever[..., near // 2] += prior.spread.ravel()[blocks, None]
        sway = neighbourhoods(doubt[None] ** 2, refinement.radius)[0, blocks]
        sway[:, near // 2] *= self.widen[t].ravel()[blocks] ** 2
        values = values[blocks].astype(np.float64)
        scale = scale[..., blocks, :]
        colour = None if refinement.colour is None else refinement.colour[blocks]
        return Update.of(
            blocks, prior.transform.forward(values), self._error(values, counts[blocks], scale),
            lever, sway, scale, colour,
        )  # fmt: skip

    def _error(self, values: Array, counts: NDArray[np.int32], scale: Array) -> Array:
        """Return the variance of readings: of instrument and site, and inside their fine cell.

        Below the usual level an instrument errs as at it. Where fields are smooth, the variance
        inside a fine cell is to that between the fine cells of a block as 1 to ``N N - 1``.
        """
        level = np.maximum(np.nan_to_num(values), self.prior.fine_level[0])
        own = (self.prior.point_noise * self.prior.transform.relative(level)) ** 2
        inside = scale**2 / max(self.prior.factor**2 - 1, 1)
        return np.asarray((own + inside) / np.maximum(counts, 1))

    def _maps(self, blocks: Array) -> Array:
        return np.asarray(from_blocks(blocks, self.prior.factor, self.prior.shape))


@dataclass(frozen=True)
class Update:
    """What readings do to the fine cells of the p blocks of a frame that have any, at most n each.

    Parameters
    ----------
    blocks : array (p,)
        Which blocks.
    cells : array (p, n)
        Fine cells with a reading; some without where a block has fewer than n.
    values : array (p, n)
        Reading in transformed units, NaN where `cells` has none.
    error : array (..., p, n)
        Spread of the error of each.
    own : array (p, N N)
        What the fine cells move by for a coarse anomaly of 1.
    gain : array (..., p, N N, n)
        What the fine cells move by for what a reading misses.
    variance : array (..., p, N N)
        Of the fine cells, given the readings.
    """

    blocks: Frames
    cells: NDArray[np.int64]
    values: Array
    error: Array
    own: Array
    gain: Array
    variance: Array

    @classmethod
    def of(
        cls,
        blocks: Frames,
        values: Array,
        error: Array,
        lever: Array,
        sway: Array,
        scale: Array,
        colour: NDArray[np.floating] | None,
    ) -> Update:
        """Return the update of blocks of fine cells by the readings in them.

        Parameters
        ----------
        blocks : array (p,)
            Which blocks.
        values : array (p, N N)
            Readings in transformed units, NaN where there is none.
        error : array (..., p, N N)
            Variance of their errors.
        lever : array (p, N N, M)
            What the fine cells move by for each of M coarse anomalies, that of the block in the
            middle.
        sway : array (p, M)
            Variance of these without the readings.
        scale : array (..., p, N N)
            Spread of the fine residuals.
        colour : array (p, N N, N N), optional
            Triangular factor of the correlation of the residuals; None: there is none.
        """
        seen, size = np.isfinite(values), values.shape[-1]
        most = int(seen.sum(axis=-1).max(initial=0))
        rows, cells = np.arange(len(blocks))[:, None], np.argsort(~seen, kind="stable")[:, :most]
        known, root = seen[rows, cells], np.eye(size) if colour is None else colour.astype(float)
        swayed = lever * np.sqrt(sway)[:, None]
        alike = np.broadcast_to(root @ root.swapaxes(-1, -2), (len(blocks), size, size))
        at = scale[..., rows, cells][..., None, :]
        cross = scale[..., None] * alike[rows, cells].swapaxes(1, 2) * at
        cross = (cross + swayed @ swayed[rows, cells].swapaxes(1, 2)) * known[:, None]
        noise = np.where(known, error[..., rows, cells], 1.0)
        system = cross[..., rows, cells, :] * known[..., None] + noise[..., None] * np.eye(most)
        gain = np.linalg.solve(system, cross.swapaxes(-1, -2)).swapaxes(-1, -2)
        variance = scale**2 + (swayed**2).sum(-1) - (gain * cross).sum(-1)
        found = np.where(known, values[rows, cells], np.nan)
        own = lever[..., lever.shape[-1] // 2]
        return cls(blocks, cells, found, np.sqrt(noise), own, gain, np.maximum(variance, 0.0))

    def step(self, fine: Array, noise: Array | None = None) -> Array:
        """Return what `fine` cells (..., p, N N) without the readings move by.

        `noise` (..., p, N N) is that of their own readings, in units of the spread of its error.
        """
        rows = np.arange(len(self.blocks))[:, None]
        reads = fine[..., rows, self.cells]
        if noise is not None:
            reads = reads + self.error * noise[..., rows, self.cells]
        missed = np.nan_to_num(self.values - reads)
        return np.asarray((self.gain @ missed[..., None])[..., 0])


def without_own(reading: Array, error: Array, mean: Array, variance: Array) -> tuple[Array, Array]:
    """Return what kriging's mean and spread become without each cell's own reading.

    Parameters
    ----------
    reading, error : array
        Of the cell, and the variance of its error; 0 where there is none.
    mean, variance : array
        By kriging with it.

    Returns
    -------
    tuple of array
        Change of the mean, and factor of the spread.

    Examples
    --------
    >>> change, factor = without_own(np.array(2.0), np.array(1.0), np.array(1.0), np.array(0.5))
    >>> round(float(change), 6), round(float(factor) ** 2, 6)
    (-1.0, 2.0)
    """
    weight = np.where(error > 0, variance / np.where(error > 0, error, 1.0), 0.0)
    weight = np.minimum(weight, MOST_WEIGHT)
    change = weight / (1 - weight) * (mean - reading)
    return change, 1 / np.sqrt(1 - weight)


def reading_errors(noise: NoiseField, steps: Frames, draws: range) -> Array:
    """Return standard normal errors (F, K, N I, N J) of readings that draws would have.

    Half of their variance stays with the place, as in rehearsal: the error of a site does not
    average out over time.
    """
    place = [
        noise.generator(2 * OWN_ERROR + draw, 0).standard_normal(noise.shape) for draw in draws
    ]
    own = [
        [
            noise.generator(OWN_ERROR + draw, int(step)).standard_normal(noise.shape)
            for draw in draws
        ]
        for step in steps
    ]
    return np.asarray((np.array(own) + np.array(place)) / np.sqrt(2))
