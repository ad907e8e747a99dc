"""Histories as arrays: blocks of time, missing patterns and lagged windows. No leak passes here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from .calendar import iso
from .cube import outages
from .errors import InvalidParameter, NoObservations

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pattern = Literal["fixed", "random", "block"]
PATTERNS: tuple[str, ...] = get_args(Pattern)
MIN_FRAMES = 40  # usable maps below which nothing is fitted
USABLE = 0.2  # share of coarse cells, of those ever known, that makes a map usable
KNOWN_CELLS = 0.5  # share of its fine cells that makes a coarse mean known
KNOWN_TOTAL = 0.8  # share of its usual total that makes a coarse sum known
HALF_MONTHS = 24  # in a year


@dataclass(frozen=True)
class Record:
    """A fine history as arrays, with its coarse aggregate.

    Parameters
    ----------
    times : array (T,)
        UTC starts of the regular steps.
    fine : array (T, N I, N J)
        Raw values; NaN where unknown.
    factor : int
        Fine cells per coarse cell along one axis.
    aggregation : {"mean", "sum"}
        How fine values make a coarse one.
    """

    times: NDArray[np.datetime64]
    fine: NDArray[np.float32]
    factor: int
    aggregation: str

    @cached_property
    def coarse(self) -> NDArray[np.float64]:
        """Coarse values (T, I, J): block means or sums, as `pooled` knows them."""
        blocks = to_blocks(self.fine.astype(np.float64), self.factor)
        rows, columns = (size // self.factor for size in self.fine.shape[1:])
        return pooled(blocks, self.aggregation).reshape(len(self.fine), rows, columns)

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Frames (T,) without any missing value."""
        return np.asarray(np.isfinite(self.fine).all(axis=(1, 2)))

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Frames (T,) that can train: a fifth of the coarse cells that are ever known is known."""
        known = np.isfinite(self.coarse)
        ever = max(int(known.any(axis=0).sum()), 1)
        return np.asarray(known.sum(axis=(1, 2)) >= USABLE * ever)


def without_outages(record: Record) -> tuple[Record, int]:
    """Return the record with maps that are `cube.outages` made gaps, and how many there were."""
    gone = outages(record.fine) if record.aggregation == "sum" else np.zeros(0, bool)
    if not gone.any():
        return record, 0
    fine = record.fine.copy()
    fine[gone] = np.nan
    return Record(record.times, fine, record.factor, record.aggregation), int(gone.sum())


def to_blocks(fine: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return `fine` (T, N I, N J) as (T, I J, N N): the fine cells of every coarse cell.

    Examples
    --------
    >>> to_blocks(np.arange(16.0).reshape(1, 4, 4), 2)[0, 0]
    array([0., 1., 4., 5.])
    """
    frames, height, width = fine.shape
    split = fine.reshape(frames, height // factor, factor, width // factor, factor)
    return split.transpose(0, 1, 3, 2, 4).reshape(frames, -1, factor * factor)


def pooled(blocks: NDArray[np.float64], aggregation: str) -> NDArray[np.float64]:
    """Return the coarse values (T, P) of fine `blocks` (T, P, N N), NaN where not known.

    A mean is that of the known cells where they are half of the block or more. A sum is the known
    sum over the share of the block's usual total that the known cells have, where that is four
    fifths or more; whole numbers stay whole.

    Examples
    --------
    >>> pooled(np.array([[[1.0, 3.0, np.nan, np.nan], [5.0, np.nan, np.nan, np.nan]]]), "mean")
    array([[ 2., nan]])
    """
    whole = blocks.sum(-1) if aggregation == "sum" else blocks.mean(-1)
    known = np.isfinite(blocks)
    if not (known.any(-1) & np.isnan(whole)).any():
        return np.asarray(whole)
    total = np.where(known, blocks, 0.0).sum(-1)
    if aggregation == "sum":
        part = (known * _usual_shares(blocks, known)).sum(-1)
        enough = part >= KNOWN_TOTAL
    else:
        part = known.sum(-1)
        enough = part >= KNOWN_CELLS * blocks.shape[-1]
    partly = np.where(enough, total / np.where(enough, part, 1), np.nan)
    if aggregation == "sum" and np.all(blocks[known] == np.rint(blocks[known])):
        partly = np.rint(partly)
    return np.where(np.isfinite(whole), whole, partly)


def _usual_shares(blocks: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the share (P, N N) of every cell in its block; one never known has a mean one."""
    counts = known.sum(axis=0)
    usual = np.where(known, blocks, 0.0).sum(axis=0) / np.maximum(counts, 1)
    seen = counts > 0
    mean = usual.sum(-1, keepdims=True) / np.maximum(seen.sum(-1, keepdims=True), 1)
    usual = np.where(seen, usual, mean) + np.where(mean > 0, 0.0, 1.0)  # nothing there: evenly
    return np.asarray(usual / usual.sum(-1, keepdims=True))


def from_blocks(blocks: NDArray[Any], factor: int, shape: tuple[int, int]) -> NDArray[Any]:
    """Return fine maps (T, N I, N J) of `blocks` (T, I J, N N) on a coarse grid of `shape`."""
    split = blocks.reshape(len(blocks), *shape, factor, factor)
    return split.transpose(0, 1, 3, 2, 4).reshape(len(blocks), shape[0] * factor, shape[1] * factor)


def repeat(coarse: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return `coarse` (..., I, J) with every value repeated over its fine cells."""
    return coarse.repeat(factor, axis=-2).repeat(factor, axis=-1)


@dataclass(frozen=True)
class Split:
    """Which frames train, which stop and gate, and which calibrate.

    Parameters
    ----------
    fold : array (T,) of int
        Contiguous training blocks 0, 1, ...; -1 elsewhere.
    gate, calibrate : array (T,) of bool
        Alternating blocks of the last part of the record.
    """

    fold: NDArray[np.int64]
    gate: NDArray[np.bool_]
    calibrate: NDArray[np.bool_]

    @property
    def train(self) -> NDArray[np.bool_]:
        """Frames (T,) that train."""
        return self.fold >= 0

    @property
    def all_folds(self) -> NDArray[np.int64]:
        """Fold of every frame when validation is used for training as well."""
        used = np.flatnonzero(self.train | self.gate | self.calibrate)
        return contiguous_folds(used, len(self.fold), int(self.fold.max()) + 1)

    def spans(self, times: NDArray[np.datetime64]) -> dict[str, str]:
        """Return start and end of training and validation as ISO times, ends exclusive."""
        step = times[1] - times[0]
        learn, later = np.flatnonzero(self.train), np.flatnonzero(self.gate | self.calibrate)
        ends = {
            "train_start": times[learn[0]],
            "train_end": times[learn[-1]] + step,
            "validation_start": times[later[0]],
            "end": times[max(learn[-1], later[-1])] + step,
        }
        return {name: iso(stamp) for name, stamp in ends.items()}


def split_in_time(
    frames: NDArray[np.bool_],
    *,
    block: int,
    what: str = "complete fine maps",
    validation: float = 0.25,
    folds: int = 3,
    year: int = 0,
    gap: int = 0,
) -> Split:
    """Split the `frames` (T,) of a record in time: its last part validates.

    Validation alternates between gating and calibration in blocks of `block` frames. With `year`
    frames to a year and a record of a year and a half, every second half-month of the last year
    validates, so that errors are calibrated in every season; `gap` frames at the edges of what
    still trains between them are left out. A year of too few frames, as of months, is not cut so.
    `what` these frames are is for the error.

    Raises
    ------
    NoObservations
        If there are fewer than `MIN_FRAMES`.
    """
    usable = np.flatnonzero(frames)
    if len(usable) < MIN_FRAMES:
        raise NoObservations(
            f"The history has {len(usable)} {what} before the end of training; "
            f"at least {MIN_FRAMES} are needed. Give a longer history or a later --until."
        )
    season = max(2 * gap + 1, year // HALF_MONTHS)
    if 4 * season <= year and usable[-1] - usable[0] >= 1.5 * year:
        return _seasonal_split(usable, len(frames), folds, year, gap, season)
    cut = usable[int(len(usable) * (1 - validation))]
    train, rest = usable[usable < cut], usable[usable >= cut]
    block = max(1, min(block, len(rest) // 4))
    return _split(train, rest, (rest - cut) // block, len(frames), folds)


def _seasonal_split(
    usable: NDArray[np.int64], length: int, folds: int, year: int, gap: int, block: int
) -> Split:
    start = int(usable[-1]) + 1 - year
    number, within = (usable - start) // block, (usable - start) % block
    last_year, validates = usable >= start, number % 2 == 0
    edge = (within < gap) | (within >= block - gap)
    train = usable[~last_year | (~validates & ~edge)]
    rest = usable[last_year & validates]
    return _split(train, rest, number[last_year & validates] // 2, length, folds)


def _split(
    train: NDArray[np.int64],
    rest: NDArray[np.int64],
    number: NDArray[np.int64],
    length: int,
    folds: int,
) -> Split:
    gate, calibrate = (np.zeros(length, bool) for _ in range(2))
    gate[rest[number % 2 == 0]], calibrate[rest[number % 2 == 1]] = True, True
    return Split(contiguous_folds(train, length, folds), gate, calibrate)


def contiguous_folds(used: NDArray[np.int64], length: int, folds: int) -> NDArray[np.int64]:
    """Return the fold (length,) of each frame of `used`, in `folds` blocks; -1 elsewhere."""
    fold = np.full(length, -1)
    fold[used] = np.arange(len(used)) * folds // max(len(used), 1)
    return fold


def observation_mask(
    pattern: Pattern, missing: float, frames: int, shape: tuple[int, int], seed: int
) -> NDArray[np.bool_]:
    """Return which coarse cells (T, I, J) are observed in a test of `pattern`.

    ``fixed`` hides the same cells in every frame, ``random`` others each time, ``block`` the lower
    right quarter (`missing` is then ignored). ``int(missing * I * J)`` cells are hidden.

    Examples
    --------
    >>> int((~observation_mask("fixed", 0.4, 2, (8, 8), seed=0)).sum())
    50
    """
    if pattern not in PATTERNS:
        raise InvalidParameter(f"pattern must be one of {', '.join(PATTERNS)}, not {pattern!r}.")
    if not 0 <= missing < 1:
        raise InvalidParameter(f"missing must be a ratio from 0 to below 1, not {missing}.")
    rng = np.random.default_rng([seed, PATTERNS.index(pattern), round(missing * 1000)])
    cells = shape[0] * shape[1]
    hidden = int(missing * cells)
    if pattern == "block":
        seen = np.ones((frames, *shape), bool)
        seen[:, shape[0] // 2 :, shape[1] // 2 :] = False
        return seen
    draws = 1 if pattern == "fixed" else frames
    order = rng.random((draws, cells)).argsort(axis=1).argsort(axis=1)
    seen = (order >= hidden).reshape(draws, *shape)
    return np.broadcast_to(seen, (frames, *shape)).copy()


def mask_series(
    rng: np.random.Generator, frames: int, shape: tuple[int, int], *, segment: int
) -> NDArray[np.bool_]:
    """Return which cells (T, I, J) a training series observes: every pattern, in segments.

    Each segment of `segment` frames has a missing ratio of 10 to 90 % and is random, fixed, or
    lacks a rectangle, so that a network meets every pattern with a consistent past.
    """
    observed = np.empty((frames, *shape), bool)
    for start in range(0, frames, segment):
        length = min(segment, frames - start)
        noise = rng.random((length, *shape))
        kind = rng.random()
        if kind < 0.45:
            noise[:] = noise[:1]
        part = noise > rng.uniform(0.1, 0.9)
        if kind > 0.9:
            part = noise > 0.1
            rows, columns = (_interval(rng, size) for size in shape)
            part[:, rows, columns] = False
        observed[start : start + length] = part
    return observed


def _interval(rng: np.random.Generator, size: int) -> slice:
    length = int(rng.integers(1, max(2, size // 2 + 1)))
    start = int(rng.integers(0, size - length + 1))
    return slice(start, start + length)
