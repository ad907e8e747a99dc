import numpy as np
import pytest

from geodiffrecon.errors import InvalidParameter
from geodiffrecon.metrics import bias, coverage, fair_crps, mae, rmse


def test_scores_skip_unknown_truth():
    truth, forecast = np.array([1.0, np.nan, 4.0]), np.array([2.0, 5.0, 2.0])
    assert mae(truth, forecast) == 1.5
    assert rmse(truth, forecast) == pytest.approx(np.sqrt(2.5))
    assert bias(truth, forecast) == -0.5


def test_crps_agrees_with_scoringrules():
    rules = pytest.importorskip("scoringrules")
    rng = np.random.default_rng(0)
    truth, draws = rng.standard_normal(50), rng.standard_normal((20, 50))
    expected = rules.crps_ensemble(truth, draws.T, estimator="fair")
    np.testing.assert_allclose(fair_crps(truth, draws), expected, rtol=1e-6)


def test_crps_does_not_depend_on_the_number_of_draws():
    rng = np.random.default_rng(1)
    truth = rng.standard_normal(20_000)
    few, many = (fair_crps(truth, rng.standard_normal((k, 20_000))).mean() for k in (4, 60))
    assert few == pytest.approx(many, rel=0.02)


def test_crps_needs_two_draws():
    with pytest.raises(InvalidParameter, match="not 1"):
        fair_crps(np.zeros(3), np.zeros((1, 3)))


def test_coverage_counts_the_central_interval():
    assert coverage(np.array([0.01, 0.3, 0.6, 0.97, np.nan]), 0.9) == 0.5
