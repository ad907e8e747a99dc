"""Scores of whole fields: ensembles as maps, spectra, exceedances, and ratios with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import InvalidParameter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Maps = NDArray[np.floating]


def energy_score(truth: Maps, draws: Maps) -> Array:
    """Return the fair energy score of every frame, in the unit of the variable.

    Parameters
    ----------
    truth : array (F, H, W)
        NaN cells are left out; a frame of only NaN scores NaN.
    draws : array (K, F, H, W)
        The ensemble, at least two draws.

    Returns
    -------
    array (F,)
        Euclidean over the known cells, divided by the root of their number: a frame whose cells
        are all off by one scores one. Unbiased in K.

    Raises
    ------
    InvalidParameter
        With fewer than two draws, or draws of another shape than the truth.

    References
    ----------
    Gneiting, T., Raftery, A. E. (2007). Strictly proper scoring rules, prediction, and
    estimation. J. Am. Stat. Assoc. 102. Eq 21.

    Examples
    --------
    >>> energy_score(np.zeros((1, 2, 2)), np.ones((3, 1, 2, 2)))
    array([1.])
    """
    _check(truth, draws)
    return np.array([_frame_energy(truth[f], draws[:, f]) for f in range(len(truth))])


def brier(truth: Maps, draws: Maps, threshold: float) -> Array:
    """Return the fair Brier score of exceeding `threshold`, of every frame.

    Parameters
    ----------
    truth : array (F, H, W)
        NaN cells are left out; a frame of only NaN scores NaN.
    draws : array (K, F, H, W)
        The ensemble, at least two draws; unbiased in their number.
    threshold : float
        An event is a cell above it.

    Returns
    -------
    array (F,)

    Raises
    ------
    InvalidParameter
        With fewer than two draws, or draws of another shape than the truth.

    References
    ----------
    Ferro, C. A. T. (2014). Fair scores for ensemble forecasts. Q. J. R. Meteorol. Soc. 140.

    Examples
    --------
    >>> brier(np.array([[[5.0, 0.0]]]), np.array([[[[5.0, 5.0]]], [[[5.0, 5.0]]]]), 1.0)
    array([0.5])
    """
    _check(truth, draws)
    chance = (draws > threshold).mean(axis=0)
    score = (chance - (truth > threshold)) ** 2 - chance * (1 - chance) / (len(draws) - 1)
    known = np.isfinite(truth)
    count = known.sum(axis=(1, 2))
    total = np.where(known, score, 0.0).sum(axis=(1, 2))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def radial_spectrum(maps: Maps) -> Array:
    """Return the mean power per wavenumber.

    Maps need not be periodic: each loses its mean and fades to its edges under a Hann window.

    Parameters
    ----------
    maps : array (..., H, W)
        Maps with a NaN are left out.

    Returns
    -------
    array (min(H, W) // 2,)
        Power at 1, 2, … waves along the shorter side, averaged over directions and maps;
        white noise of variance v has power v from two waves up (the mean takes some of one wave).
        NaN without a whole map.

    Examples
    --------
    >>> noise = np.random.default_rng(0).standard_normal((500, 16, 16))
    >>> radial_spectrum(noise).round(1)
    array([0.7, 1. , 1. , 1. , 1. , 1. , 1. , 1. ])
    """
    rows, columns = maps.shape[-2:]
    flat = maps.reshape(-1, rows, columns)
    flat = flat[np.isfinite(flat).all(axis=(1, 2))]
    side = min(rows, columns)
    if not len(flat):
        return np.full(side // 2, np.nan)
    window = np.outer(_hann(rows), _hann(columns))
    level = (flat * window).sum(axis=(1, 2), keepdims=True) / window.sum()
    power = np.abs(np.fft.fft2((flat - level) * window)) ** 2
    waves = np.hypot(np.fft.fftfreq(rows)[:, None] * side, np.fft.fftfreq(columns) * side)
    ring = np.rint(waves).astype(int).ravel()
    total = np.bincount(ring, power.mean(axis=0).ravel() / (window**2).sum())
    return np.asarray(total / np.maximum(np.bincount(ring), 1))[1 : side // 2 + 1]


def spectral_distance(truth: Maps, draws: Maps) -> float:
    """Return how far the texture of draws is from the texture of the truth.

    Parameters
    ----------
    truth : array (F, H, W)
        Frames with a NaN are left out, in the draws too.
    draws : array (K, F, H, W)
        The ensemble; one draw is enough.

    Returns
    -------
    float
        Root mean square, over wavenumbers, of the log10 ratio of the mean power of draws to that
        of the truth: 0 is the same texture, 1 is ten times too rough or too smooth.
    """
    whole = np.isfinite(truth).all(axis=(1, 2))
    wanted = radial_spectrum(truth[whole])
    power = np.mean([radial_spectrum(draw[whole]) for draw in draws], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(power == wanted, 0.0, np.log10(power / wanted))
    return float(np.sqrt(np.mean(ratio**2)))


def top_share(truth: Maps, share: float = 0.01) -> float:
    """Return the value above which the top `share` of the known truth lies.

    Examples
    --------
    >>> top_share(np.arange(101.0), share=0.1)
    90.0
    """
    return float(np.nanquantile(truth, 1 - share))


def block_bootstrap_ratio(
    errors: NDArray[np.floating],
    reference: NDArray[np.floating],
    block: int,
    seed: int,
    *,
    repeats: int = 1000,
    root: bool = False,
) -> tuple[float, float, float]:
    """Return the ratio of mean errors with its 95 % moving-block bootstrap interval.

    Both are resampled together, in blocks of consecutive frames, so that what makes a frame hard
    for both, and what makes neighbours alike, does not pass for evidence.

    Parameters
    ----------
    errors, reference : array (F,)
        Mean error of every frame; frames where either is NaN are left out.
    block : int
        Frames in a block.
    seed : int
        Of the resampling.
    repeats : int
        Resamples.
    root : bool
        Errors are mean squares; the ratio is that of the roots of their means (RMSE).

    Returns
    -------
    ratio, low, high : float
        `errors` to `reference`: below 1 the first is better. Without two blocks in the record
        the interval is NaN; so is all, where the reference is without error.

    Raises
    ------
    InvalidParameter
        If the two have different lengths.

    References
    ----------
    Künsch, H. R. (1989). The jackknife and the bootstrap for general stationary observations.
    Ann. Stat. 17.

    Examples
    --------
    >>> error = np.random.default_rng(0).random(200)
    >>> block_bootstrap_ratio(0.5 * error, error, 10, 0)
    (0.5, 0.5, 0.5)
    """
    if errors.shape != reference.shape:
        raise InvalidParameter(
            f"A paired ratio needs errors of the same frames, not {errors.shape} and "
            f"{reference.shape}; score both on the same test."
        )
    known = np.isfinite(errors) & np.isfinite(reference)
    pair = np.stack([errors[known], reference[known]]).astype(np.float64)
    size, block = pair.shape[1], max(1, block)
    if not size or not pair[1].any():
        return np.nan, np.nan, np.nan
    ratio = _ratio(pair.mean(axis=1), root)
    if size < 2 * block:
        return float(ratio), np.nan, np.nan
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, size - block + 1, (repeats, -(-size // block)))
    picks = (starts[..., None] + np.arange(block)).reshape(repeats, -1)[:, :size]
    low, high = np.nanquantile(_ratio(pair[:, picks].mean(axis=2), root), [0.025, 0.975])
    return float(ratio), float(low), float(high)


def _check(truth: Maps, draws: Maps) -> None:
    if len(draws) < 2:
        raise InvalidParameter(f"A score of an ensemble needs at least 2 draws, not {len(draws)}.")
    if draws.shape[1:] != truth.shape:
        raise InvalidParameter(
            f"Draws {draws.shape} do not fit a truth of {truth.shape}; they need one more axis, "
            "the draws, in front."
        )


def _frame_energy(truth: Maps, draws: Maps) -> float:
    known = np.isfinite(truth)
    if not known.any():
        return float("nan")
    cells = draws[:, known].astype(np.float64)  # (K, cells)
    size = len(cells)
    error = np.linalg.norm(cells - truth[known], axis=1).mean()
    # Centred, so that distances do not drown in the squares of a large level.
    cells -= cells.mean(axis=0)
    gram = cells @ cells.T
    norms = np.diag(gram)
    apart = np.sqrt(np.maximum(norms[:, None] + norms - 2 * gram, 0.0))
    np.fill_diagonal(apart, 0.0)
    spread = apart.sum() / (2 * size * (size - 1))
    return float((error - spread) / np.sqrt(known.sum()))


def _hann(size: int) -> Array:
    """Return a Hann window without zeros at its ends."""
    return np.asarray(np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2)


def _ratio(means: Array, root: bool) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = means[0] / means[1]
    return np.sqrt(ratio) if root else np.asarray(ratio)
