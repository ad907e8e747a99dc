"""Learning from maps with holes: what is hidden is never read, and what is known is enough."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from worlds import forced, history_cube, quick, sparse

from geodiffrecon.assembly import Observations
from geodiffrecon.errors import NoObservations
from geodiffrecon.evidence import patch_crps
from geodiffrecon.lesson import Lesson
from geodiffrecon.model import DiffRecon
from geodiffrecon.priors.climatology import Climatology
from geodiffrecon.priors.definite import definite
from geodiffrecon.priors.offsets import OffsetRefinement, colour_of
from geodiffrecon.priors.shares import ShareRefinement
from geodiffrecon.rehearsal import Source
from geodiffrecon.scaling import Transform
from geodiffrecon.series import CoarseCase, FineCase
from geodiffrecon.synthetic import counts, plumes
from geodiffrecon.training import completion_loss, fine_loss
from geodiffrecon.units import OffsetUnits, ShareUnits
from geodiffrecon.variable import Variable
from geodiffrecon.windows import Record, pooled, without_outages

UNTIL, TEST = "2024-09-07", 40  # of 290 days


def holes(shape, how, seed=0):
    """Return 30 % hidden cells: anywhere, or in rectangles like clouds."""
    rng = np.random.default_rng(seed)
    if how == "random":
        return rng.random(shape) < 0.3
    hidden = np.zeros(shape, bool)
    while hidden.mean() < 0.3:
        frame, row, column = (int(rng.integers(size)) for size in shape)
        high, wide = rng.integers(2, 6, 2)
        hidden[frame, row : row + high, column : column + wide] = True
    return hidden


def without(cube, hidden):
    """Return the cube with the cells `hidden` (T, H, W) missing."""
    return cube.assign(v=cube["v"].where(~hidden)).assign_attrs(cube.attrs)


def days(number):
    return np.datetime64("2024-01-01", "ns") + np.arange(number) * np.timedelta64(86400, "s")


def scored(model, truth_cube):
    """Return MAE and coverage of the 90 % interval against the whole truth, after the end."""
    test = truth_cube.isel(time=slice(-TEST, None))
    truth, errors, inside = test["v"].values, [], []
    for seed in range(3):
        maps = model.reconstruct(sparse(test, seed=seed))
        errors.append(np.abs(maps["v"].values - truth).mean())
        inside.append((truth >= maps["v_q05"].values) & (truth <= maps["v_q95"].values))
    return float(np.mean(errors)), float(np.mean(inside))


# --- what is known of a coarse cell -------------------------------------------------------


def test_a_coarse_mean_needs_half_of_its_cells():
    blocks = np.array([[[1.0, 3, np.nan, np.nan], [5, np.nan, np.nan, np.nan], [1, 2, 3, 6]]])
    np.testing.assert_array_equal(pooled(blocks, "mean"), [[2, np.nan, 3]])


def test_a_coarse_sum_is_scaled_up_by_the_usual_shares():
    blocks = np.tile(np.array([80.0, 10, 6, 4]), (10, 1, 1))
    blocks[0, 0, 3] = blocks[1, 0, 0] = np.nan
    blocks[2] = np.nan
    found = pooled(blocks, "sum")[:, 0]
    assert found[0] == 100
    assert np.isnan(found[1:3]).all()  # 20 % of the usual total, and nothing
    assert (found[3:] == 100).all()


def test_whole_numbers_stay_whole():
    blocks = np.random.default_rng(0).poisson(9, (50, 3, 9)).astype(float)
    blocks[np.random.default_rng(1).random(blocks.shape) < 0.1] = np.nan
    found = pooled(blocks, "sum")
    known = np.isfinite(found)
    assert known.mean() > 0.8
    assert (found[known] == np.rint(found[known])).all()


def test_a_map_is_usable_if_it_knows_a_fifth_of_what_is_ever_known():
    fine = np.ones((4, 4, 10), np.float32)
    fine[:, :, 8:] = np.nan  # two coarse cells of ten are never known
    fine[1, :, 2:] = np.nan
    fine[2, 1:, :] = np.nan
    fine[3] = np.nan
    record = Record(days(4), fine, 2, "mean")
    assert record.usable.tolist() == [True, True, True, False]
    assert not record.complete.any()
    fine[2, 0] = np.nan
    assert not Record(days(4), fine, 2, "mean").usable[2]


def test_an_outage_with_holes_is_an_outage():
    fine = np.full((6, 4, 4), 5, np.float32)
    fine[:, 0, 0] = np.nan
    fine[2, 0] = fine[3] = np.nan
    fine[2, 1:] = 0
    cleaned, count = without_outages(Record(days(6), fine, 2, "sum"))
    assert count == 1
    assert np.isnan(cleaned.fine[2]).all()


def test_too_few_usable_maps_are_told_with_what_usable_means():
    cube = history_cube(plumes((6, 6), 60, seed=1), factor=2, freq="1D", aggregation="mean")
    hidden = np.zeros(cube["v"].shape, bool)
    hidden[5:] = True
    hidden[5:, 0, 0] = False
    with pytest.raises(NoObservations, match=r"5 usable fine maps .*20% of the coarse .* 40"):
        DiffRecon(settings=quick()).fit(without(cube, hidden))
    with pytest.raises(NoObservations, match="usable"):
        DiffRecon(settings=quick()).fit(without(cube, np.ones_like(hidden)))


def test_methods_that_cannot_mind_holes_are_given_complete_maps():
    cube = history_cube(plumes((6, 6), 100, seed=1), factor=2, freq="1D", aggregation="mean")
    hidden = np.zeros(cube["v"].shape, bool)
    hidden[::2, 0, 0] = True
    lesson = Lesson.of(without(cube, hidden), Variable.of_history(cube, None))
    whole, partly = (lesson.split(folds=2, gap=0, partly=p) for p in (False, True))
    assert not whole.train[::2].any()
    assert partly.train[:70].all()


# --- what networks see ----------------------------------------------------------------------


def source(fine, factor=2):
    frames = len(fine)
    record = Record(days(frames), fine, factor, "mean")
    return Source(record, np.zeros((frames, 1), np.float32), np.zeros((0, 2, 2), np.float32), 0.1)


def test_points_are_known_cells_only():
    fine = np.random.default_rng(0).gamma(4, 2, (30, 4, 4)).astype(np.float32)
    hidden = np.random.default_rng(1).random(fine.shape) < 0.4
    seen = np.ones((30, 2, 2), bool)
    holed = np.where(hidden, np.nan, fine)
    found = source(holed).as_points(seen, np.random.default_rng(2))
    whole = source(fine).as_points(seen, np.random.default_rng(2))
    same = found.n_obs == whole.n_obs
    np.testing.assert_array_equal(found.coarse[same][np.isfinite(found.coarse[same])],
                                  whole.coarse[same][np.isfinite(found.coarse[same])])  # fmt: skip
    assert np.isnan(found.coarse).any()
    assert (found.n_obs < whole.n_obs).any()
    nothing = source(np.full_like(fine, np.nan)).as_points(seen, np.random.default_rng(2))
    assert np.isnan(nothing.coarse).all()


def test_cells_hidden_in_the_record_are_not_observed():
    fine = np.ones((3, 4, 4), np.float32)
    fine[:, :2, :2] = np.nan
    found: Observations = source(fine).as_cells(np.ones((3, 2, 2), bool))
    assert np.isnan(found.coarse[:, 0, 0]).all()
    assert (found.coarse[:, 1] == 1).all()


# --- losses -----------------------------------------------------------------------------------


def coarse_case(rng):
    def tensor(*shape):
        return torch.as_tensor(rng.standard_normal(shape), dtype=torch.float32)

    return CoarseCase(
        tensor(2, 1, 2, 3, 3), torch.ones(2, 1, 3, 3, dtype=torch.bool), tensor(2, 0, 3, 3),
        tensor(2, 1, 1), tensor(2, 3, 3), tensor(2, 3, 3).abs() + 0.1, tensor(0, 3, 3),
    )  # fmt: skip


def test_unknown_coarse_cells_pull_at_nothing():
    rng = np.random.default_rng(3)
    case, raw = coarse_case(rng), torch.zeros(2, 2, 3, 3, requires_grad=True)
    truth = torch.as_tensor(rng.standard_normal((2, 3, 3)), dtype=torch.float32)
    truth[:, 1] = torch.nan
    rest = (case, raw, truth, torch.full((2, 3, 3), 5.0), torch.ones(3, 3), Transform("positive"))
    completion_loss(*rest).backward()
    assert raw.grad.isfinite().all()
    assert (raw.grad[:, :, 1] == 0).all()
    assert (raw.grad[:, 0, 0] != 0).all()


def fine_case(rng):
    belief = torch.as_tensor(rng.random((2, 4, 4)), dtype=torch.float32)
    coarse = torch.full((2, 2, 2), 9.0)
    empty = torch.zeros(0)
    return FineCase(coarse, *[empty] * 5, belief, belief + 0.5, empty, empty)


UNITS = {
    "offsets": OffsetUnits(2, Transform("positive"), None, 0, torch.ones(4, 4)),
    "shares": ShareUnits(2, torch.full((1, 4, 4), 0.25), 1, 1.0, 1.0),
}


@pytest.mark.parametrize("name", UNITS)
def test_unknown_fine_cells_pull_at_nothing_and_the_known_as_ever(name):
    rng, units = np.random.default_rng(4), UNITS[name]
    before, after = fine_case(rng), fine_case(rng)
    belief = after.belief.requires_grad_()
    fine = torch.as_tensor(rng.gamma(4, 2, (2, 4, 4)), dtype=torch.float32)
    (whole,) = torch.autograd.grad(units.loss(after, before, fine), belief)
    (same,) = torch.autograd.grad(fine_loss(after, before, fine, units), belief)
    torch.testing.assert_close(same, whole, rtol=0, atol=0)
    known = torch.rand(fine.shape, generator=torch.Generator().manual_seed(0)) < 0.6
    holed = torch.where(known, fine, torch.nan)
    (found,) = torch.autograd.grad(fine_loss(after, before, holed, units), belief)
    assert (found[~known] == 0).all()
    # What is known weighs more, in proportion: by number, or by the total that sums divide by.
    share = known.float().mean() if name == "offsets" else fine[known].sum() / fine.sum()
    torch.testing.assert_close(found[known] * share, whole[known])
    nothing = fine_loss(after, before, torch.full_like(fine, torch.nan), units)
    assert nothing.isfinite()
    assert (torch.autograd.grad(nothing, belief)[0] == 0).all()


def test_scores_of_patches_skip_what_is_unknown():
    rng = np.random.default_rng(5)
    truth, draws = rng.standard_normal((4, 8, 8)), rng.standard_normal((6, 4, 8, 8))
    truth[:, :4] = np.nan
    other = draws.copy()
    other[:, :, :4] = 1e6
    np.testing.assert_array_equal(patch_crps(truth, draws), patch_crps(truth, other))
    assert np.isfinite(patch_crps(truth, draws)).all()


# --- priors -----------------------------------------------------------------------------------


def test_pairs_that_contradict_each_other_are_mended_and_others_left():
    good = np.array([[2.0, 0.5], [0.5, 1.0]])
    assert definite(good) is good
    bad = np.array([[1.0, 0.9, -0.9], [0.9, 4.0, 1.8], [-0.9, 1.8, 1.0]])
    mended = definite(np.stack([bad, 4 * np.eye(3)]))
    assert np.linalg.eigvalsh(mended).min() > 0
    np.testing.assert_allclose(np.diagonal(mended[0]), np.diagonal(bad))
    np.testing.assert_allclose(mended[1], 4 * np.eye(3))


def test_a_cell_never_known_borrows_the_level_around_it_and_says_how_badly():
    place = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0), indexing="ij"), -1).reshape(-1, 2)
    rng = np.random.default_rng(6)
    level = 10 + 3 * place[:, 1]
    values = level + rng.standard_normal((200, 36))
    values[:, 14] = np.nan
    design = np.ones((200, 1))
    found, own = Climatology.fit(values, design).borrowed(
        np.isfinite(values).sum(axis=0), place, design
    )
    assert found.predict(design)[0, 14] == pytest.approx(level[14], abs=1)
    assert (own < 1).tolist() == [cell == 14 for cell in range(36)]
    assert found.spread[14] > 1.3
    assert own[14] * found.spread[14] == pytest.approx(1, abs=0.1)


def test_offsets_are_learnt_from_the_cells_that_are_known():
    rng = np.random.default_rng(9)
    anomalies = rng.standard_normal((300, 5, 5))
    gradient = np.diff(np.pad(anomalies, ((0, 0), (0, 0), (0, 1))), axis=2)
    whole = gradient.reshape(300, 25, 1) * [-1.0, 1.0, -1.0, 1.0]
    offsets = np.where(rng.random(whole.shape) < 0.4, np.nan, whole)
    offsets[:, 7, 2] = offsets[:, 11] = np.nan
    design = np.ones((300, 1))
    model = OffsetRefinement.fit(offsets, anomalies, design, radius=1, penalty=0.1)
    error = np.abs(model.predict(anomalies, design) - whole)
    inside = np.ones((25, 4), bool)
    inside[7, 2] = inside[11] = False
    assert error[:, inside].max() < 0.05
    assert error[:, 11].mean() < 0.7 * np.abs(whole[:, 11]).mean()  # as elsewhere in the grid
    assert model.spread[11].min() > 0
    length = np.linalg.norm(colour_of(offsets), axis=-1)
    assert length == pytest.approx(np.ones((25, 4)), abs=1e-3)


def test_shares_are_those_of_the_known_cells_at_their_own_times():
    rng = np.random.default_rng(10)
    shares = rng.dirichlet(np.ones(4), 3)
    busy = rng.gamma(2, 200, (600, 3, 1))
    blocks = rng.poisson(busy * shares).astype(float)
    smallest = shares.argmin(axis=1)
    for cell, place in enumerate(smallest):  # unknown whenever much goes on
        blocks[busy[:, cell, 0] > 400, cell, place] = np.nan
    model = ShareRefinement.fit(blocks, np.zeros(600, int), 1, strength=3.0)
    np.testing.assert_allclose(model.shares[0], shares, atol=0.02)


def test_a_share_never_known_is_the_mean_of_those_beside_it():
    blocks = np.tile(np.array([[2.0, 2, 4, 8], [1, 1, 1, np.nan]]), (50, 1, 1))
    model = ShareRefinement.fit(blocks, np.zeros(50, int), 1)
    assert model.shares[0, 1] == pytest.approx([0.25] * 4, abs=0.01)


# --- whole fits -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world():
    return history_cube(plumes((9, 12), 290, seed=2), factor=3, freq="1D", aggregation="mean")


@pytest.fixture(scope="module")
def reference(world):
    return DiffRecon(settings=quick(diffusion=False)).fit(world, until=UNTIL)


@pytest.mark.parametrize("how", ["random", "clouds"])
def test_holes_cost_little_accuracy_and_no_calibration(world, reference, how):
    hidden = holes(world["v"].shape, how)
    assert (hidden.any(axis=(1, 2))).mean() > 0.97  # hardly a complete map: nothing without holes
    said = []
    model = DiffRecon(settings=quick(diffusion=False))
    model.fit(without(world, hidden), until=UNTIL, log=said.append)
    assert any("% of the values of the history are missing" in sentence for sentence in said)
    (error, covered), (best, _) = scored(model, world), scored(reference, world)
    assert error < 1.1 * best
    assert 0.84 < covered < 0.96


@pytest.mark.parametrize("aggregation", ["mean", "sum"])
def test_every_layer_trains_on_holes_and_reads_nothing_behind_them(aggregation):
    if aggregation == "mean":
        values, freq, until, factor = plumes((9, 12), 90, seed=2), "1D", "2024-03-10", 3
    else:
        values, freq, until, factor = counts((6, 8), 130, seed=1), "1h", "2024-01-05", 2
    hidden = holes(values.shape, "clouds") | holes(values.shape, "random", 1)
    hidden[[7, 8, 30]] = True  # gaps
    hidden[:, :factor, -factor:] = True  # a coarse cell that is never known
    hidden[:, -1, 0] = True  # and a fine one
    hashes = []
    for shift in (0, 1000):
        cube = history_cube(
            np.where(hidden, values + shift, values).astype(np.float32), factor=factor, freq=freq,
            aggregation=aggregation,
        )  # fmt: skip
        if shift and aggregation == "mean":
            break
        said = []
        model = DiffRecon(settings=quick())
        model.settings = replace(model.settings, gated=False)
        model.fit(without(cube, hidden), until=until, log=said.append)
        hashes.append(model.model_hash)
        assert any(f"{factor**2 + 1} fine cells are never known" in text for text in said)
    assert len(set(hashes)) == 1
    given = sparse(cube.isel(time=slice(-6, None)))
    # what stood behind the holes of a sum is far above what was learnt: known, and wanted here
    far = aggregation == "sum"
    maps = model.reconstruct(given, samples=2, keep_draws=True, accept_units=far)
    for name in maps.data_vars:
        assert np.isfinite(maps[name].values).all()


def test_a_gap_stays_a_gap():
    cube = history_cube(plumes((6, 6), 80, seed=4), factor=2, freq="1D", aggregation="mean")
    hidden = np.zeros(cube["v"].shape, bool)
    hidden[20:25] = True
    lesson = Lesson.of(without(cube, hidden), Variable.of_history(cube, None))
    split = lesson.split(folds=2, gap=0, partly=True)
    assert not (split.train | split.gate | split.calibrate)[20:25].any()
    assert not lesson.record.usable[20:25].any()


def test_coarse_cells_never_seen_get_wide_maps(world):
    hidden = np.zeros(world["v"].shape, bool)
    hidden[:, 3:6, 6:9] = hidden[:, :3, :3] = True
    model = DiffRecon(settings=quick(mean=False, diffusion=False))
    model.fit(without(world, hidden), until=UNTIL)
    test = world.isel(time=slice(-TEST, None))
    given = sparse(test)
    given["v"][:, 1, 2] = given["v"][:, 0, 0] = np.nan
    maps, never = model.reconstruct(given), hidden[0]
    truth = test["v"].values
    inside = (truth >= maps["v_q05"].values) & (truth <= maps["v_q95"].values)
    assert inside[:, never].mean() > 0.86
    error = np.abs(maps["v"].values - truth)[:, never].mean()
    assert maps["v_std"].values[:, never].mean() > 1.2 * maps["v_std"].values[:, ~never].mean()
    assert maps["v_std"].values[:, never].mean() < 4 * error


def test_without_a_prior_holes_are_no_hindrance(plumes_cube):
    hidden = holes(plumes_cube["v"].shape, "clouds")
    settings = quick(prior=False, mean=False, literal=True, daily=False, members=1)
    model = forced(DiffRecon(settings=settings), without(plumes_cube, hidden), "2024-03-20")
    maps = model.reconstruct(sparse(plumes_cube.isel(time=slice(-4, None))), samples=3)
    assert np.isfinite(maps["v"].values).all()


def test_a_window_may_know_nothing_at_all():
    cube = history_cube(plumes((10, 12), 60, seed=3), factor=2, freq="1D", aggregation="mean")
    hidden = np.zeros(cube["v"].shape, bool)
    hidden[:, :, :6] = True  # the first windows are never known
    model = DiffRecon(settings=quick(window=3, overlap=1))
    model.settings = replace(model.settings, gated=False)
    model.fit(without(cube, hidden), until="2024-02-22")
    maps = model.reconstruct(sparse(cube.isel(time=slice(-4, None))), samples=2, keep_draws=True)
    assert np.isfinite(maps["v_draws"].values).all()
