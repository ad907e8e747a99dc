"""The whole prior of one variable: climatology, completion, and refinement of either kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..scaling import Transform
from ..windows import Record, contiguous_folds, from_blocks, pooled, to_blocks
from .climatology import Climatology
from .completion import GaussianCompletion
from .offsets import OffsetRefinement, colour_of, residuals_of_fold, spread_of
from .shares import ShareRefinement, dispersion_of, grain_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..calendar import Calendar
    from ..noise import NoiseField
    from ..scaling import Kind

DISPERSION_FLOOR = 0.5  # of counts, whose grain is known
OWN_ERROR = 1_000_000  # draws from here on are the errors of point observations
LEVEL = 2 * OWN_ERROR  # and from here on the unknown level
LEAST_SPREAD = 1e-3  # of an anomaly, below which it is known
SPREAD_FOLDS = 4  # blocks of time that cross-fit the spread of fine residuals


@dataclass(frozen=True)
class PriorSettings:
    """What cross-validation chose for a prior; refits use it unchanged.

    Parameters
    ----------
    lags, shrinkage, level
        Of `GaussianCompletion`.
    refinement : tuple of float
        Bandwidth and strength of the shares, or radius and penalty of the offsets.
    """

    lags: tuple[int, ...] = (0, 1)
    shrinkage: float = 0.15
    level: float = 0.3
    refinement: tuple[float, float] = (3.0, 30.0)


@dataclass(frozen=True)
class Prior:
    """Closed-form completion and refinement of one variable, in transformed units.

    Parameters
    ----------
    transform : Transform
        Between raw and transformed units.
    calendar : Calendar
        The cycles that the record has seen in full.
    shape : tuple of int
        Coarse rows and columns.
    factor : int
        Fine cells per coarse cell along one axis.
    climatology : Climatology
        Of the transformed coarse values.
    completion : GaussianCompletion, optional
        Kriging of the anomalies; None is the flat prior of the `paper` preset.
    refinement : ShareRefinement or OffsetRefinement, optional
        Of the fine cells; None is the flat prior.
    representativeness : array (I, J)
        Variance of one fine cell about its coarse cell, in transformed units: the error of a
        single point that stands for its cell.
    fine_level : tuple of float
        Mean and spread of all fine values (what the flat prior starts from, in its working units).
    point_noise : float
        Relative error of one point observation, beyond standing for its cell.
    """

    transform: Transform
    calendar: Calendar
    shape: tuple[int, int]
    factor: int
    climatology: Climatology
    completion: GaussianCompletion | None
    refinement: ShareRefinement | OffsetRefinement | None
    representativeness: NDArray[np.float64]
    fine_level: tuple[float, float]
    point_noise: float = 0.0

    @classmethod
    def select(
        cls, record: Record, calendar: Calendar, kind: Kind, fold: NDArray[np.int64]
    ) -> PriorSettings:
        """Choose lags, shrinkage and refinement on the blocked `fold` (T,) of the record."""
        parts = _Parts.of(record, calendar, kind, fold >= 0)
        options: Sequence[tuple[int, ...]] = [(0,), (0, 1), (0, 1, 2)]
        if calendar.slot:
            options = [*options, (0, 1, calendar.n_slots)]
        flat = parts.anomalies.reshape(len(fold), -1)
        best = GaussianCompletion.select(flat, parts.positions, fold, lag_options=options)
        if record.aggregation == "sum":
            chosen = ShareRefinement.select(
                parts.blocks, parts.slots, calendar.n_slots, fold, parts.grain(fold >= 0)
            )
        else:
            kriging = GaussianCompletion.fit(
                flat,
                parts.positions,
                frames=fold >= 0,
                own=parts.own,
                **best,  # type: ignore[arg-type]
            )
            whole = parts.whole_maps(kriging, fold >= 0)
            chosen = OffsetRefinement.select(parts.offsets, whole, parts.design, fold)
        return PriorSettings(refinement=tuple(chosen.values()), **best)  # type: ignore[arg-type]

    @classmethod
    def fit(
        cls,
        record: Record,
        calendar: Calendar,
        kind: Kind,
        fold: NDArray[np.int64],
        settings: PriorSettings,
    ) -> Prior:
        """Fit to the frames with ``fold >= 0``; the folds cross-fit the fine residual spread."""
        keep = fold >= 0
        parts = _Parts.of(record, calendar, kind, keep)
        completion = GaussianCompletion.fit(
            parts.anomalies.reshape(len(fold), -1), parts.positions, frames=keep,
            lags=settings.lags, shrinkage=settings.shrinkage, level=settings.level,
            own=parts.own,
        )  # fmt: skip
        first, second = settings.refinement
        refinement: ShareRefinement | OffsetRefinement
        if record.aggregation == "sum":
            shares = ShareRefinement.fit(
                parts.blocks[keep], parts.slots[keep], calendar.n_slots,
                bandwidth=first, strength=second, grain=parts.grain(keep),
            )  # fmt: skip
            totals = pooled(parts.blocks[keep], "sum")[..., None]
            fitted = totals * shares.predict(parts.slots[keep])
            found = dispersion_of(parts.blocks[keep], fitted)
            least = DISPERSION_FLOOR if kind == "count" else 1e-3 * parts.grain(keep)
            refinement = ShareRefinement(shares.shares, max(found, least))
        else:
            whole = parts.whole_maps(completion, keep)
            refinement = _cross_fitted_offsets(parts, whole, fold, first, second)
        return cls(
            parts.transform, calendar, parts.shape, record.factor, parts.climatology,
            completion, refinement, parts.representativeness(keep), _level(record.fine[keep]),
        )  # fmt: skip

    @classmethod
    def flat(cls, record: Record, calendar: Calendar, kind: Kind, keep: NDArray[np.bool_]) -> Prior:
        """Return the prior that knows only one mean and one spread (the `paper` preset)."""
        transform = Transform(kind)
        coarse = transform.forward(record.coarse)
        fine = transform.forward(record.fine[keep].astype(np.float64))
        shape = (coarse.shape[1], coarse.shape[2])
        cells = shape[0] * shape[1]
        mean, spread = float(np.nanmean(coarse[keep])), float(np.nanstd(coarse[keep])) or 1e-9
        design = calendar.climatology(record.times[:1]).shape[1]
        coefficients = np.zeros((design, cells))
        coefficients[0] = mean
        return cls(
            transform, calendar, shape, record.factor,
            Climatology(coefficients, np.full(cells, spread)),
            None, None, np.zeros(shape), _level(fine),
        )  # fmt: skip

    @property
    def spread(self) -> NDArray[np.float64]:
        """Spread of the anomalies (I, J) in transformed units."""
        return self.climatology.spread.reshape(self.shape)

    def centre(self, times: NDArray[np.datetime64]) -> NDArray[np.float64]:
        """Return the climatology (F, I, J) in transformed units."""
        expected = self.climatology.predict(self.calendar.climatology(times))
        return expected.reshape(-1, *self.shape)

    def anomalies(
        self, coarse: NDArray[np.floating], times: NDArray[np.datetime64]
    ) -> NDArray[np.float64]:
        """Return standardised anomalies (F, I, J) of raw `coarse` values; NaN stays NaN."""
        z = self.transform.forward(coarse.astype(np.float64))
        return (z - self.centre(times)) / self.spread

    def point_error(
        self, coarse: NDArray[np.floating], n_obs: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """Return the variance (T, I, J) of anomalies that `n_obs` points stand for."""
        value = np.nan_to_num(coarse.astype(np.float64))
        own = (self.point_noise * self.transform.relative(value)) ** 2
        single = (self.representativeness + own) / self.spread**2
        return np.where(np.isfinite(coarse), single / np.maximum(n_obs, 1), 0.0)

    def complete(
        self,
        anomalies: NDArray[np.float64],
        *,
        error: NDArray[np.float64] | None = None,
        frames: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and spread (F, I, J) of the anomalies, given the observed ones (T, I, J).

        `error` (T, I, J) is the variance of each observed anomaly about its cell's true one.
        """
        flat = anomalies.reshape(len(anomalies), -1)
        frames = np.arange(len(flat)) if frames is None else frames
        if self.completion is None:
            shape = (len(frames), *self.shape)
            return np.zeros(shape), np.ones(shape)
        error = None if error is None else error.reshape(flat.shape)
        mean, variance = self.completion.predict(flat, error=error, frames=frames)
        return mean.reshape(-1, *self.shape), np.sqrt(variance).reshape(-1, *self.shape)

    def posterior_noise(
        self,
        observed: NDArray[np.bool_],
        steps: NDArray[np.int64],
        noise: NoiseField,
        draws: Sequence[int],
        *,
        error: NDArray[np.float64] | None = None,
        frames: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Return conditional simulations (K, F, I, J) of the anomalies about their mean.

        A field simulated without data minus its own kriging from the observed cells (Matheron's
        rule; Journel and Huijbregts 1978), so that draws keep the space-time covariance; each cell
        in units of its spread, 0 where nothing is unknown.
        """
        assert self.completion is not None
        flat = observed.reshape(len(steps), -1)
        white = np.stack([noise.series(draw, steps) for draw in draws])
        fields = self.completion.colour(white)  # (K, T, P)
        level = [noise.generator(LEVEL + draw, 0).standard_normal() for draw in draws]
        fields = fields + np.sqrt(self.completion.level) * np.reshape(level, (-1, 1, 1))
        seen = np.where(flat, fields, np.nan)
        if error is not None:
            jitter = np.array(
                [
                    [
                        noise.generator(OWN_ERROR + d, int(t)).standard_normal(self.shape)
                        for t in steps
                    ]
                    for d in draws
                ]
            )
            seen = seen + (jitter * np.sqrt(error)).reshape(seen.shape)
            error = error.reshape(len(steps), -1)
        mean, _ = self.completion.predict_fields(seen, error=error, frames=frames)
        spread = np.sqrt(self.completion.simulated_variance(flat, error=error, frames=frames))
        drawn = (fields[:, frames] - mean) / np.maximum(spread, LEAST_SPREAD)
        return drawn.reshape(len(fields), len(frames), *self.shape)

    def coloured(self, white: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return fine noise (..., N I, N J) with the correlation of the residuals of refinement.

        Correlated inside coarse cells only, so that it is the same whatever part is computed.
        """
        if not isinstance(self.refinement, OffsetRefinement):
            return white
        flat = white.reshape(-1, *white.shape[-2:])
        blocks = self.refinement.coloured(to_blocks(flat, self.factor))
        return from_blocks(blocks, self.factor, self.shape).reshape(white.shape)


@dataclass(frozen=True)
class _Parts:
    """Everything that fitting shares, computed once."""

    transform: Transform
    shape: tuple[int, int]
    positions: NDArray[np.float64]
    design: NDArray[np.float64]
    slots: NDArray[np.int64]
    climatology: Climatology
    own: NDArray[np.float64]
    blocks: NDArray[np.float64]
    anomalies: NDArray[np.float64]
    offsets: NDArray[np.float64]

    @classmethod
    def of(cls, record: Record, calendar: Calendar, kind: Kind, keep: NDArray[np.bool_]) -> _Parts:
        transform, coarse = Transform(kind), record.coarse
        frames, rows, columns = coarse.shape
        design = calendar.climatology(record.times)
        z = transform.forward(coarse).reshape(frames, -1)
        blocks = to_blocks(record.fine.astype(np.float64), record.factor)
        grid = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
        positions = np.stack(grid, -1).reshape(-1, 2).astype(float)
        climatology, own = Climatology.fit(z[keep], design[keep]).borrowed(
            np.isfinite(z[keep]).sum(axis=0), positions, design[keep]
        )
        return cls(
            transform, (rows, columns), positions,
            design, calendar.slots(record.times), climatology, own, blocks,
            climatology.standardise(z, design).reshape(coarse.shape),
            transform.forward(blocks) - z[..., None],
        )  # fmt: skip

    def grain(self, keep: NDArray[np.bool_]) -> float:
        """Return the size of what sums are made of."""
        return 1.0 if self.transform.kind == "count" else grain_of(self.blocks[keep])

    def representativeness(self, keep: NDArray[np.bool_]) -> NDArray[np.float64]:
        squares = self.offsets[keep] ** 2
        never = np.isnan(squares).all(axis=(0, 2))
        squares[:, never] = 0.0
        found = np.nanmean(squares, axis=(0, 2))
        return np.where(never, found.max(), found).reshape(self.shape)

    def whole_maps(
        self, completion: GaussianCompletion, keep: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Return the anomalies (T, I, J), those unknown at `keep` (T,) kriged from their frame."""
        flat = self.anomalies.reshape(len(keep), -1)
        holes = np.flatnonzero(keep & np.isnan(flat).any(axis=1))
        whole = flat.copy()
        whole[holes] = completion.now.predict(flat, frames=holes)[0]
        return np.where(np.isfinite(flat), flat, whole).reshape(self.anomalies.shape)


def _cross_fitted_offsets(
    parts: _Parts,
    anomalies: NDArray[np.float64],
    fold: NDArray[np.int64],
    radius: float,
    penalty: float,
) -> OffsetRefinement:
    arrays = (parts.offsets, anomalies, parts.design)
    keep = fold >= 0
    fold = contiguous_folds(np.flatnonzero(keep), len(fold), SPREAD_FOLDS)
    model = OffsetRefinement.fit(
        *(array[keep] for array in arrays), radius=int(radius), penalty=penalty
    )
    residuals = np.concatenate(
        [
            residuals_of_fold(OffsetRefinement, *arrays, fold, f, radius, penalty)
            for f in np.unique(fold[keep])
        ]
    )
    spread = spread_of(residuals, parts.offsets[keep])
    floor = 1e-3 * float(np.sqrt(np.nanmean(parts.offsets[keep] ** 2))) or 1e-6
    return OffsetRefinement(
        model.coefficients, model.radius, np.maximum(spread, floor), colour_of(residuals)
    )


def _level(fine: NDArray[np.floating]) -> tuple[float, float]:
    return float(np.nanmean(fine)), float(np.nanstd(fine)) or 1e-9
