import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geodiffrecon.consistency import match, multinomial, whole_numbers
from geodiffrecon.windows import to_blocks

FINE = arrays(np.float64, (2, 6, 4), elements=st.floats(0, 1e4))
COARSE = arrays(np.float64, (2, 3, 2), elements=st.floats(0, 1e5))


@settings(deadline=None)
@given(FINE, COARSE)
def test_blocks_pool_to_the_coarse_cell(fine, coarse):
    flat = coarse.reshape(2, -1)
    for signed in (False, True):
        summed = to_blocks(match(fine, coarse, 2, "sum", signed=signed), 2).sum(-1)
        assert (np.abs(summed - flat) <= 1e-4 * np.maximum(1, flat)).all()
        mean = to_blocks(match(fine, coarse, 2, "mean", signed=signed), 2).mean(-1)
        assert (np.abs(mean - flat) <= 1e-4 * np.maximum(1, flat)).all()


@settings(deadline=None)
@given(FINE, arrays(np.int64, (2, 3, 2), elements=st.integers(0, 5000)))
def test_whole_numbers_add_up_exactly_and_stay_near(fine, totals):
    whole = whole_numbers(fine, totals.astype(float), 2)
    assert (whole == np.round(whole)).all()
    assert whole.min() >= 0
    np.testing.assert_array_equal(to_blocks(whole, 2).sum(-1), totals.reshape(2, -1))
    scaled = match(fine, totals.astype(float), 2, "sum", signed=False)
    assert np.abs(whole - scaled).max() <= 1 + 1e-6


def test_unknown_coarse_cells_leave_their_block_alone():
    fine = np.arange(16.0).reshape(1, 4, 4)
    coarse = np.array([[[np.nan, 4.0], [8.0, 12.0]]])
    assert (match(fine, coarse, 2, "sum", signed=False)[0, :2, :2] == fine[0, :2, :2]).all()


def test_multinomial_keeps_totals_and_expectation():
    rng = np.random.default_rng(0)
    shares = np.array([[0.7, 0.1], [0.1, 0.1]])
    drawn = np.mean([multinomial(rng, np.array([[50.0]]), shares, 2) for _ in range(400)], axis=0)
    assert drawn.sum() == pytest.approx(50)
    np.testing.assert_allclose(drawn, 50 * shares, atol=1)


def test_values_below_zero_do_not_blow_a_positive_block_up():
    fine = np.array([[[1.0, -0.999], [0.5, -0.5]]])
    matched = match(fine, np.array([[[6.0]]]), 2, "sum", signed=False)
    assert matched == pytest.approx(np.array([[[4.0, 0.0], [2.0, 0.0]]]))
