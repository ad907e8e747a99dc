import numpy as np
import pytest
from scipy import stats

from geodiffrecon.calibration import (
    Calibration,
    CountPredictive,
    GammaPredictive,
    GaussianPredictive,
    randomised_pit,
)
from geodiffrecon.metrics import coverage
from geodiffrecon.scaling import Transform


@pytest.mark.parametrize("count", [0, 1, 4, 20])
def test_counts_agree_with_scipy(count):
    mean = np.full(3, 5.0)
    found = CountPredictive(mean, np.array([10.0, 5.0, 2.5])).interval(np.full(3, float(count)))[1]
    expected = [
        stats.nbinom.cdf(count, 5, 0.5),
        stats.poisson.cdf(count, 5),
        stats.binom.cdf(count, 10, 0.5),
    ]
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("level", [0.05, 0.5, 0.95])
def test_quantiles_invert_the_distribution(level):
    counts = CountPredictive(np.array([0.3, 4.0, 80.0]), np.array([0.3, 9.0, 60.0]))
    quantile = counts.quantile(level)
    assert (counts.interval(quantile)[1] >= level).all()
    assert (counts.interval(quantile)[0] < level).all()
    amounts = GammaPredictive(np.array([2.0]), np.array([3.0]))
    assert amounts.interval(amounts.quantile(level))[1] == pytest.approx(level)
    field = GaussianPredictive(np.array([5.0]), np.array([1.0]), Transform("positive"))
    assert field.interval(field.quantile(level))[1] == pytest.approx(level)


def test_pit_of_right_distributions_is_uniform():
    rng = np.random.default_rng(0)
    mean = rng.uniform(0.1, 30, 20_000)
    truth = rng.poisson(mean).astype(float)
    pit = randomised_pit(CountPredictive(mean, mean), truth, seed=1)
    assert stats.kstest(pit, "uniform").pvalue > 0.01


def test_calibration_mends_a_spread_that_is_too_small():
    rng = np.random.default_rng(1)
    truth = rng.standard_normal(20_000)
    narrow = GaussianPredictive(np.zeros(20_000), np.full(20_000, 0.6), Transform("real"))
    raw = randomised_pit(narrow, truth, seed=0)
    assert coverage(raw, 0.9) < 0.75
    calibration = Calibration(levels=Calibration.fit_levels(raw[:10_000]))
    mended = calibration.pit(narrow, truth, seed=0)[10_000:]
    assert coverage(mended, 0.9) == pytest.approx(0.9, abs=0.01)
    assert coverage(mended, 0.5) == pytest.approx(0.5, abs=0.02)
    low, high = (calibration.quantile(narrow, q)[0] for q in (0.05, 0.95))
    assert ((truth > low) & (truth < high)).mean() == pytest.approx(0.9, abs=0.01)


def test_unknown_truth_has_no_pit():
    pit = Calibration().pit(
        CountPredictive(np.ones(2), np.ones(2)), np.array([1.0, np.nan]), seed=0
    )
    assert np.isfinite(pit[0])
    assert np.isnan(pit[1])
