import numpy as np
import pytest

from geodiffrecon.errors import InvalidParameter
from geodiffrecon.fields import (
    block_bootstrap_ratio,
    brier,
    energy_score,
    radial_spectrum,
    spectral_distance,
    top_share,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def smooth(noise):
    """Average each cell with its neighbours, across the edges."""
    for axis in (-1, -2):
        noise = (np.roll(noise, 1, axis) + 2 * noise + np.roll(noise, -1, axis)) / 4
    return noise


def correlated(rng, size, rho):
    series = np.zeros(size)
    for i, shock in enumerate(rng.standard_normal(size)[1:], 1):
        series[i] = rho * series[i - 1] + shock
    return series


def test_energy_score_agrees_with_scoringrules(rng):
    rules = pytest.importorskip("scoringrules")
    truth, draws = rng.standard_normal((6, 4, 5)), rng.standard_normal((8, 6, 4, 5)) + 280
    flat = np.moveaxis(draws.reshape(8, 6, 20), 0, 1)
    expected = rules.es_ensemble(truth.reshape(6, 20), flat, estimator="fair") / np.sqrt(20)
    np.testing.assert_allclose(energy_score(truth, draws), expected, rtol=1e-10)


def test_energy_score_of_one_cell_is_the_crps(rng):
    from geodiffrecon.metrics import fair_crps

    truth, draws = rng.standard_normal((9, 1, 1)), rng.standard_normal((5, 9, 1, 1))
    np.testing.assert_allclose(energy_score(truth, draws), fair_crps(truth, draws).ravel())


def test_energy_score_rewards_the_right_correlation(rng):
    truth = smooth(rng.standard_normal((300, 8, 8)))
    right = smooth(rng.standard_normal((16, 300, 8, 8)))
    wrong = rng.standard_normal((16, 300, 8, 8)) * right.std()
    assert energy_score(truth, right).mean() < energy_score(truth, wrong).mean()


def test_energy_score_does_not_depend_on_the_number_of_draws(rng):
    truth = rng.standard_normal((800, 4, 4))
    few, many = (energy_score(truth, rng.standard_normal((k, 800, 4, 4))).mean() for k in (3, 40))
    assert few == pytest.approx(many, rel=0.02)


def test_unknown_cells_are_left_out(rng):
    truth, draws = rng.standard_normal((3, 4, 4)), rng.standard_normal((5, 3, 4, 4))
    half = truth.copy()
    half[:, 2:] = np.nan
    half[2] = np.nan
    for score in (energy_score, lambda t, d: brier(t, d, 0.3)):
        np.testing.assert_allclose(score(half, draws)[:2], score(truth[:2, :2], draws[:, :2, :2]))
        assert np.isnan(score(half, draws)[2])


def test_fair_brier_is_unbiased_in_the_number_of_draws(rng):
    truth = rng.random((400, 5, 5))
    for size in (2, 30):
        score = brier(truth, rng.random((size, 400, 5, 5)), 0.7).mean()
        assert score == pytest.approx(0.7 * 0.3, abs=0.01)


def test_brier_agrees_with_scoringrules(rng):
    rules = pytest.importorskip("scoringrules")
    truth, draws = rng.random((5, 1, 1)), rng.random((40, 5, 1, 1))
    chance = (draws > 0.5).mean(axis=0)
    plain = rules.brier_score((truth > 0.5).astype(float), chance)
    expected = plain - chance * (1 - chance) / 39
    np.testing.assert_allclose(brier(truth, draws, 0.5), expected.ravel(), atol=1e-12)


@pytest.mark.parametrize("score", [energy_score, lambda t, d: brier(t, d, 0.0)])
def test_draws_must_be_an_ensemble_of_the_truth(score):
    with pytest.raises(InvalidParameter, match="not 1"):
        score(np.zeros((3, 2, 2)), np.zeros((1, 3, 2, 2)))
    with pytest.raises(InvalidParameter, match="do not fit"):
        score(np.zeros((3, 2, 2)), np.zeros((4, 3, 2, 1)))


def test_white_noise_has_a_flat_spectrum_and_a_smooth_field_a_falling_one(rng):
    noise = rng.standard_normal((400, 16, 24)) * 3 + 50
    np.testing.assert_allclose(radial_spectrum(noise)[1:], 9.0, rtol=0.1)
    falling = radial_spectrum(smooth(noise))
    assert len(falling) == 8
    assert (np.diff(falling[1:]) < 0).all()


def test_a_wave_is_found_at_its_wavenumber():
    wave = np.sin(2 * np.pi * 5 * np.arange(32) / 32) * np.ones((32, 1))
    assert radial_spectrum(wave).argmax() == 4  # bins start at one wave
    assert radial_spectrum(wave.T).argmax() == 4


def test_spectral_distance_tells_too_smooth_draws(rng):
    truth = rng.standard_normal((100, 16, 16))
    same, blurred = rng.standard_normal((4, 100, 16, 16)), smooth(truth)[None]
    assert spectral_distance(truth, same) < 0.05
    assert spectral_distance(truth, blurred) > 0.3
    assert spectral_distance(truth, np.sqrt(10) * truth[None]) == pytest.approx(1)
    assert spectral_distance(truth, truth[None]) == 0


def test_frames_with_holes_do_not_spoil_the_spectrum(rng):
    truth = rng.standard_normal((50, 8, 8))
    holed = np.concatenate([truth, np.full((1, 8, 8), np.nan)])
    draws = np.concatenate([truth, 1e6 * np.ones((1, 8, 8))])[None]
    assert spectral_distance(holed, draws) == 0
    assert np.isnan(radial_spectrum(holed[50:])).all()


def test_constant_draws_are_infinitely_far():
    truth = np.random.default_rng(1).standard_normal((5, 8, 8))
    assert spectral_distance(truth, np.zeros((2, 5, 8, 8))) == np.inf


def test_top_share_skips_unknown_truth(rng):
    truth = rng.random((100, 10, 10))
    truth[0] = np.nan
    assert (truth > top_share(truth)).sum() == pytest.approx(99, abs=1)


def test_the_interval_holds_the_ratio_of_paired_errors(rng):
    hard = 1 + rng.random(300)
    ratio, low, high = block_bootstrap_ratio(0.9 * hard + 0.05 * rng.random(300), hard, 10, 0)
    assert low < ratio < high < 0.95
    assert high - low < 0.01  # paired: what is hard for both cancels
    again = block_bootstrap_ratio(0.9 * hard, hard, 10, 3, root=True)
    np.testing.assert_allclose(again, np.sqrt(0.9))


def test_blocks_widen_the_interval_of_a_slow_series(rng):
    slow, noise = correlated(rng, 600, 0.95), rng.standard_normal(600)
    widths = []
    for block in (1, 30):
        _, low, high = block_bootstrap_ratio(20 + slow, 20 + 0.1 * noise, block, 0)
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


def test_the_interval_covers_the_truth_as_often_as_it_says():
    hits = 0
    for seed in range(100):
        draw = np.random.default_rng(seed).random((2, 120))
        _, low, high = block_bootstrap_ratio(draw[0], draw[1], 4, seed, repeats=200)
        hits += low < 1 < high
    assert 85 <= hits <= 100


def test_the_bootstrap_repeats_itself_and_says_when_it_cannot_tell(rng):
    pair = rng.random((2, 50))
    assert block_bootstrap_ratio(*pair, 5, 7) == block_bootstrap_ratio(*pair, block=5, seed=7)
    ratio, low, high = block_bootstrap_ratio(*pair, 40, 0)
    assert ratio == pytest.approx(pair[0].mean() / pair[1].mean())
    assert np.isnan([low, high]).all()
    assert np.isnan(block_bootstrap_ratio(pair[0], np.zeros(50), 5, 0)).all()
    holed = np.where(np.arange(50) < 5, np.nan, pair[0])
    expected = block_bootstrap_ratio(pair[0, 5:], pair[1, 5:], 5, 0)
    assert block_bootstrap_ratio(holed, pair[1], 5, 0) == expected
    with pytest.raises(InvalidParameter, match="same frames"):
        block_bootstrap_ratio(pair[0], pair[1, :9], 5, 0)
