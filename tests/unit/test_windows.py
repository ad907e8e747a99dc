import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodiffrecon.errors import InvalidParameter, NoObservations
from geodiffrecon.windows import (
    Record,
    from_blocks,
    mask_series,
    observation_mask,
    repeat,
    split_in_time,
    to_blocks,
    without_outages,
)


@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 2, 3, 4, 8]))
def test_blocks_round_trip(rows, columns, factor):
    fine = np.arange(2.0 * rows * columns * factor**2).reshape(2, rows * factor, columns * factor)
    np.testing.assert_array_equal(
        from_blocks(to_blocks(fine, factor), factor, (rows, columns)), fine
    )


def test_coarse_is_the_pooled_fine_and_repeat_undoes_the_mean():
    coarse = np.arange(6.0).reshape(1, 2, 3)
    fine = repeat(coarse, 4).astype(np.float32)
    times = np.array(["2024-01-01"], "datetime64[ns]")
    np.testing.assert_allclose(Record(times, fine, 4, "mean").coarse, coarse)
    np.testing.assert_allclose(Record(times, fine, 4, "sum").coarse, 16 * coarse)


@pytest.mark.parametrize(("missing", "hidden"), [(0.2, 12), (0.4, 25), (0.6, 38), (0.8, 51)])
@pytest.mark.parametrize("pattern", ["fixed", "random"])
def test_masks_hide_the_papers_number_of_cells(pattern, missing, hidden):
    seen = observation_mask(pattern, missing, 5, (8, 8), seed=3)
    assert ((~seen).sum(axis=(1, 2)) == hidden).all()
    assert (seen == seen[:1]).all() == (pattern == "fixed")


def test_block_hides_the_lower_right_quarter():
    seen = observation_mask("block", 0.4, 2, (8, 8), seed=0)
    assert not seen[:, 4:, 4:].any()
    assert seen.sum() == 2 * 48


@pytest.mark.parametrize(("pattern", "missing"), [("odd", 0.4), ("fixed", 1.0), ("random", -0.1)])
def test_bad_masks_are_refused(pattern, missing):
    with pytest.raises(InvalidParameter):
        observation_mask(pattern, missing, 2, (8, 8), seed=0)


def test_training_masks_meet_every_ratio():
    seen = mask_series(np.random.default_rng(0), 2000, (8, 8), segment=20)
    share = seen.mean(axis=(1, 2))
    assert share.min() < 0.2
    assert share.max() > 0.8


def test_split_keeps_order_and_alternates_validation():
    split = split_in_time(np.ones(400, bool), block=10, folds=3)
    assert split.train[:300].all()
    assert not split.train[300:].any()
    assert not (split.gate & split.calibrate).any()
    assert (split.gate | split.calibrate)[300:].all()
    assert sorted(set(split.fold)) == [-1, 0, 1, 2]
    assert (split.all_folds >= 0).all()


def test_a_long_record_validates_in_every_season():
    split = split_in_time(np.ones(730, bool), block=1, folds=2, year=365, gap=3)
    later = split.gate | split.calibrate
    assert not later[:365].any()
    assert all(later[365 + q : 365 + q + 91].any() for q in (0, 91, 182, 273))
    near = np.convolve(later, np.ones(7), "same") > 0
    assert not (near & split.train)[365 + 3 :].any()


def test_split_needs_some_record():
    with pytest.raises(NoObservations, match="12 complete"):
        split_in_time(np.arange(50) < 12, block=5)


def test_outages_of_busy_sums_become_gaps_and_quiet_zeros_stay():
    times = np.arange("2024-01-01", "2024-01-05", dtype="datetime64[D]").astype("datetime64[ns]")
    busy = np.full((4, 4, 4), 5, np.float32)
    busy[2] = 0
    cleaned, count = without_outages(Record(times, busy, 2, "sum"))
    assert count == 1
    assert np.isnan(cleaned.fine[2]).all()
    quiet = np.zeros((4, 4, 4), np.float32)
    quiet[0, 0, 0] = 1
    assert without_outages(Record(times, quiet, 2, "sum"))[1] == 0


@pytest.mark.parametrize(("maps", "year", "gap"), [(48, 12, 6), (60, 13, 3), (45, 1, 0)])
def test_months_and_years_have_frames_that_stop_and_frames_that_calibrate(maps, year, gap):
    split = split_in_time(np.ones(maps, bool), block=1, year=year, gap=gap)
    assert split.gate.sum() >= 5
    assert split.calibrate.sum() >= 5
    assert split.train.sum() >= 30
