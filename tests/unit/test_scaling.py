import numpy as np
import pytest
import torch

from geodiffrecon.errors import InvalidParameter
from geodiffrecon.scaling import Transform, propose_kind


@pytest.mark.parametrize("kind", ["real", "positive", "count"])
def test_round_trip(kind):
    values = np.array([0.0, 0.5, 7.0, 133.0])
    transform = Transform(kind)
    np.testing.assert_allclose(transform.inverse(transform.forward(values)), values)


@pytest.mark.parametrize("kind", ["real", "positive"])
def test_moments_are_those_of_a_large_sample(kind):
    z = np.random.default_rng(0).normal(3.0, 0.7, 400_000)
    raw = z**2 if kind == "positive" else z
    transform = Transform(kind)
    mean, variance = np.float64(3.0), np.float64(0.49)
    assert transform.mean(mean, variance) == pytest.approx(raw.mean(), rel=0.01)
    assert transform.variance(mean, variance) == pytest.approx(raw.var(), rel=0.02)


def test_tensors_and_arrays_agree():
    values = np.array([0.0, 2.0, 9.0])
    transform = Transform("count")
    np.testing.assert_allclose(
        transform.forward(torch.tensor(values)).numpy(), transform.forward(values)
    )


def test_kind_is_proposed_from_values():
    rng = np.random.default_rng(1)
    assert propose_kind(rng.poisson(3.0, 500).astype(float), "sum") == "count"
    assert propose_kind(rng.gamma(1.0, 20.0, 500), "mean") == "positive"
    assert propose_kind(rng.normal(0.0, 1.0, 500), "mean") == "real"
    assert propose_kind(rng.normal(280.0, 5.0, 500), "mean") == "real"


def test_unknown_kind_and_empty_history_are_refused():
    with pytest.raises(InvalidParameter, match="'odd'"):
        Transform("odd")
    with pytest.raises(InvalidParameter, match="no value at all"):
        propose_kind(np.array([np.nan]), "mean")
