"""The gate: a layer stays if it gains beyond chance on independent blocks of time."""

import numpy as np
import pytest

from geodiffrecon.gate import MIN_BLOCKS, blocks_of, correlation_length, judge


def persistent(rng, steps, rho, *shape):
    """Return unit AR(1) series (..., steps) that start stationary."""
    white = rng.standard_normal((*shape, steps))
    found = np.empty_like(white)
    found[..., 0] = white[..., 0]
    for t in range(1, steps):
        found[..., t] = rho * found[..., t - 1] + np.sqrt(1 - rho**2) * white[..., t]
    return found


def kept_share(rng, gain, *, steps=400, rho=0.9, cases=400):
    """Return how often a layer is kept whose score is better by `gain` in the mean."""
    frames, length = np.arange(steps), -1 / np.log(rho)
    difference = gain + persistent(rng, steps, rho, cases)
    blocks = blocks_of(frames, length)
    level = np.full(steps, 10.0)
    verdicts = [judge("mean", "CRPS", level, level - row, blocks) for row in difference]
    return np.mean([verdict.kept for verdict in verdicts])


@pytest.mark.parametrize("rho", [0.3, 0.8, 0.9])
def test_a_worthless_layer_is_kept_in_a_tenth_of_cases_at_most(rho):
    assert kept_share(np.random.default_rng(3), 0.0, rho=rho) <= 0.12  # 0.1 and its sampling error


def test_a_layer_of_worth_is_kept():
    assert kept_share(np.random.default_rng(4), 1.0) >= 0.8


def test_borders_of_blocks_lie_in_time_whatever_frames_are_left_out():
    frames = np.r_[0:40, 90:140]
    blocks = blocks_of(frames, 2.0)  # 20 steps to a block
    assert blocks.tolist() == [*[0] * 20, *[1] * 20, *[4] * 10, *[5] * 20, *[6] * 20]
    few = np.array([0, 25, 95, 100, 139])
    assert blocks_of(frames, 2.0)[np.searchsorted(frames, few)].tolist() == [0, 1, 4, 5, 6]


def test_too_few_blocks_leave_the_layer_at_its_default_and_say_so():
    blocks = np.arange(60) // 20
    assert len(np.unique(blocks)) == MIN_BLOCKS - 1
    verdict = judge("refinement mean", "MAE", np.full(60, 2.0), np.full(60, 1.0), blocks)
    assert not verdict.kept
    assert "left out, as by default" in verdict.sentence()
    assert "only 3 independent blocks" in verdict.sentence()


def test_gains_that_agree_in_every_block_have_no_error():
    verdict = judge("mean", "MAE", np.full(80, 2.0), np.full(80, 1.5), np.arange(80) // 20)
    assert verdict.error < 1e-12
    assert verdict.kept


@pytest.mark.parametrize("rho", [0.5, 0.8, 0.95])
def test_the_correlation_length_is_that_of_the_errors(rho):
    rng = np.random.default_rng(5)
    errors = persistent(rng, 600, rho, 16).T.reshape(1, 600, 4, 4)
    errors = np.where(rng.random(errors.shape) < 0.4, np.nan, errors)  # held cells are no errors
    assert correlation_length(errors) == pytest.approx(-1 / np.log(rho), rel=0.25)
