import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from worlds import history_cube

from geodiffrecon.assembly import Observations
from geodiffrecon.lesson import Lesson
from geodiffrecon.networks.heads import block_mean
from geodiffrecon.rivals.filling import nearest_filled
from geodiffrecon.rivals.fode import FODE, Flow, augmented
from geodiffrecon.rivals.head import upsampled
from geodiffrecon.rivals.method import Course
from geodiffrecon.rivals.neural import VIEWS, NeuralMethod, Size
from geodiffrecon.rivals.srcnn import SRCNN
from geodiffrecon.rivals.srresnet import SRResNet
from geodiffrecon.rivals.trunk import shuffled_up
from geodiffrecon.rivals.urbanfm import UrbanFM
from geodiffrecon.rivals.views import Case, Scale, Views, mixed_masks, usual_level
from geodiffrecon.synthetic import plumes
from geodiffrecon.variable import Variable
from geodiffrecon.windows import Record, repeat

SHORT = {"steps": 80, "rate": 1e-2, "batch": 8}
RECIPES = {
    "srcnn": SRCNN(width=8, **SHORT),
    "srresnet": SRResNet(width=8, blocks=1, **SHORT),
    "urbanfm": UrbanFM(width=8, blocks=1, **SHORT),
    "urbanfm-ne": UrbanFM(width=8, blocks=1, external=False, **SHORT),
    "fode": FODE(width=8, solver=1, **SHORT),
    "fode without ode": FODE(width=8, ode=False, blocks=1, **SHORT),
}
EVERY = [pytest.param(recipe, id=name) for name, recipe in RECIPES.items()]
TRUNKS = [pytest.param(RECIPES[name], id=name) for name in ("srcnn", "urbanfm", "fode")]
WORLDS = ["counts", "plumes", "temperature"]


def lesson_of(cube, kind=None):
    return Lesson.of(cube, Variable.of_history(cube, None), kind=kind)


@pytest.fixture(scope="module")
def lessons(counts_cube, plumes_cube):
    """Sums with factor 2, means with factor 3, and signed means: name -> lesson."""
    celsius = plumes((6, 8), 100, seed=3) / 3 - 12
    cold = history_cube(celsius, factor=2, freq="1D", aggregation="mean")
    return {
        "counts": lesson_of(counts_cube),
        "plumes": lesson_of(plumes_cube),
        "temperature": lesson_of(cold, "real"),
    }


def course_of(lesson, **changes):
    split = lesson.split(folds=2, gap=0)
    return Course(lesson, split.train, **{"stop": split.gate, **changes})


def observations(lesson, coarse=None):
    shown = lesson.record.coarse if coarse is None else coarse
    return Observations(lesson.record.times, shown, lesson.context, lesson.cells)


def sparse(lesson, seed=0):
    coarse = lesson.record.coarse
    hidden = np.random.default_rng(seed).random(coarse.shape) < 0.4
    return np.where(hidden, np.nan, coarse)


def pooled(fine, record):
    return Record(record.times, fine, record.factor, record.aggregation).coarse


def views_of(lesson, seen):
    course = course_of(lesson)
    scale = Scale.of(lesson, course.frames)
    return Views.of_record(lesson, scale, seen, usual_level(lesson, course.frames))


def case_of(size, batch=3, seed=0):
    torch.manual_seed(seed)
    filled = torch.rand(batch, 1, *size.shape) + 0.1
    return Case(filled, torch.ones_like(filled, dtype=torch.bool), torch.randn(batch, 5))


@pytest.fixture(scope="module")
def trained(lessons):
    """Every recipe trained on counts: name -> (method, course, steps)."""
    found = {}
    for name, recipe in RECIPES.items():
        course = course_of(lessons["counts"])
        method = NeuralMethod(recipe)
        found[name] = method, course, method.fit(course)
    return found


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("signed", [True, False])
def test_the_head_pools_to_its_input(factor, signed):
    torch.manual_seed(factor)
    raw = torch.randn(3, 1, 4 * factor, 5 * factor)
    coarse = torch.randn(3, 4, 5) if signed else torch.rand(3, 4, 5) * 4
    fine = upsampled(raw, coarse, factor, signed=signed)
    torch.testing.assert_close(block_mean(fine, factor), coarse, rtol=1e-4, atol=1e-4)
    assert signed or fine.min() >= 0


def test_the_head_keeps_empty_cells_empty():
    coarse = torch.tensor([[[0.0, 1.0], [0.0, 2.0]]])
    fine = upsampled(torch.randn(1, 4, 4), coarse, 2, signed=False)
    assert (fine[0, :, :2] == 0).all()


def test_augmented_normalisation_pools_to_its_input_and_follows_the_external_map():
    torch.manual_seed(0)
    raw, coarse = torch.randn(2, 6, 9), torch.rand(2, 2, 3)
    plain = augmented(raw, torch.zeros_like(raw), coarse, 3)
    torch.testing.assert_close(block_mean(plain, 3), coarse, rtol=1e-4, atol=1e-4)
    # An external map without contrast in a cell changes nothing.
    expected = upsampled(raw, coarse, 3, signed=False)
    torch.testing.assert_close(plain, expected, rtol=1e-3, atol=1e-4)
    busy = torch.zeros_like(raw)
    busy[:, 0, 0] = 5.0
    assert (augmented(raw, busy, coarse, 3)[:, 0, 0] > plain[:, 0, 0]).all()


def test_the_flow_solves_an_equation_to_fourth_order():
    errors = [
        abs(float(Flow(nn.Identity(), steps)(torch.ones((), dtype=torch.float64))) - np.e)
        for steps in (2, 4)
    ]
    assert errors[1] < 1e-4
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.3)


@pytest.mark.parametrize("factor", [2, 3, 4, 6])
def test_shuffling_reaches_every_factor(factor):
    layers = shuffled_up(2, factor, norm=nn.Identity)
    assert layers(torch.zeros(1, 2, 3, 5)).shape == (1, 2, 3 * factor, 5 * factor)


def test_holes_take_the_nearest_value_and_empty_frames_the_fallback():
    coarse = np.full((2, 2, 3), np.nan)
    coarse[0, 0, 0], coarse[0, 1, 2] = 1.0, 5.0
    filled = nearest_filled(coarse, np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(filled[0], [[1, 1, 5], [1, 5, 5]])
    np.testing.assert_array_equal(filled[1], [[0, 1, 2], [3, 4, 5]])
    assert np.isnan(coarse).sum() == 10


@pytest.mark.parametrize("name", WORLDS)
def test_scaled_values_return_and_pool_by_averaging(lessons, name):
    lesson = lessons[name]
    record, scale = lesson.record, Scale.of(lesson, course_of(lesson).frames)
    fine = scale.fine(record.fine)
    np.testing.assert_allclose(scale.raw_fine(fine), record.fine, rtol=1e-4, atol=1e-4)
    mean = block_mean(torch.as_tensor(fine), record.factor).numpy()
    np.testing.assert_allclose(mean, scale.coarse(record.coarse), rtol=1e-4, atol=1e-5)
    assert scale.signed == (name == "temperature")


def test_the_scale_learns_from_its_frames_only(lessons):
    lesson = lessons["temperature"]
    frames = course_of(lesson).frames
    fine = lesson.record.fine.copy()
    fine[~frames] = 1e6
    other = replace(lesson, record=replace(lesson.record, fine=fine))
    assert Scale.of(other, frames) == Scale.of(lesson, frames)


def test_masks_begin_with_a_complete_view_and_follow_the_seed(lessons):
    masks = mixed_masks(lessons["counts"], 4, seed=3)
    assert masks[0].all()
    assert not masks[1:].all(axis=(1, 2, 3)).any()
    np.testing.assert_array_equal(masks, mixed_masks(lessons["counts"], 4, seed=3))


def test_cases_show_neither_hidden_values_nor_the_future(lessons):
    lesson, now = lessons["counts"], 50
    record = lesson.record
    seen = mixed_masks(lesson, VIEWS, seed=1)
    fine = record.fine.copy()
    fine[repeat(~seen[5], record.factor)] += 1000
    fine[now + 1 :] += 1000
    course = course_of(lesson)
    scale, level = Scale.of(lesson, course.frames), usual_level(lesson, course.frames)
    changed = replace(lesson, record=replace(record, fine=fine))
    before, after = (
        Views.of_record(each, scale, seen, level).case(
            torch.tensor([5]), torch.tensor([now]), (24, 1, 0)
        )
        for each in (lesson, changed)
    )
    assert not before.observed.all()
    torch.testing.assert_close(after.filled, before.filled, rtol=0, atol=0)
    torch.testing.assert_close(after.observed, before.observed)


def test_cases_hold_nothing_before_the_record(lessons):
    lesson = lessons["counts"]
    views = views_of(lesson, mixed_masks(lesson, 2, seed=0))
    case = views.case(torch.tensor([0, 0]), torch.tensor([1, 3]), (2, 1, 0))
    assert not case.observed[0, 0].any()
    assert (case.filled[0, 0] == 0).all()
    assert case.observed[1].all()
    torch.testing.assert_close(case.now[:, 0], case.truth[0])
    assert case.index.tolist() == [1, 3]


def test_gaps_of_the_record_are_not_observed(lessons):
    lesson = lessons["counts"]
    fine = lesson.record.fine.copy()
    fine[7, 0, 0] = np.nan
    gappy = replace(lesson, record=replace(lesson.record, fine=fine))
    views = views_of(gappy, mixed_masks(gappy, 2, seed=0))
    assert not views.observed[:, 7].any()
    assert all(torch.isfinite(part).all() for part in (views.filled, views.coarse, views.fine))


@pytest.mark.parametrize("recipe", EVERY)
@pytest.mark.parametrize(("factor", "signed"), [(2, True), (3, False)])
def test_every_network_pools_to_its_input_and_learns_in_every_weight(recipe, factor, signed):
    torch.manual_seed(0)
    size = Size((3, 4), factor, 5, 24, signed)
    network = recipe.build(size)
    case = case_of(size)
    fine = recipe.fine(network, case)
    torch.testing.assert_close(block_mean(fine, factor), case.filled[:, -1], rtol=1e-4, atol=1e-4)
    (fine * torch.randn_like(fine)).sum().backward()
    still = [name for name, weight in network.named_parameters() if weight.grad is None]
    assert all(name.startswith("fine_flow") for name in still)
    assert signed or not still


@pytest.mark.parametrize("name", RECIPES)
def test_training_lowers_the_score_and_beats_uniform_spreading(trained, lessons, name):
    method, course, steps = trained[name]
    lesson = lessons["counts"]
    curve = course.curves["fine maps"]
    assert curve[-1][1] < curve[0][1]
    assert steps == {"fine maps": min(curve, key=lambda point: point[1])[0]}
    frames = np.flatnonzero(lesson.split(folds=2, gap=0).calibrate)
    record = lesson.record
    found = method.predict(observations(lesson), frames)
    uniform = repeat(record.coarse[frames], record.factor) / record.factor**2
    errors = [np.square(maps - record.fine[frames]).mean() for maps in (found, uniform)]
    assert errors[0] < 0.8 * errors[1]
    np.testing.assert_allclose(
        pooled(found, replace(record, times=record.times[frames])), record.coarse[frames],
        rtol=1e-3, atol=1e-3,
    )  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_maps_do_not_depend_on_their_batch_nor_on_the_future(trained, lessons, name):
    method, _, _ = trained[name]
    lesson, frames = lessons["counts"], np.arange(100, 180)
    coarse = sparse(lesson)
    together = method.predict(observations(lesson, coarse), frames)
    later = coarse.copy()
    later[111:] = 1e5
    alone = method.predict(observations(lesson, later), frames[10:11])
    np.testing.assert_allclose(alone[0], together[10], rtol=1e-4, atol=1e-4)
    assert np.isfinite(together).all()
    assert together.min() >= 0


@pytest.mark.parametrize("name", RECIPES)
def test_what_was_learnt_is_restored_exactly(trained, lessons, name):
    method, course, _ = trained[name]
    given, frames = observations(lessons["counts"], sparse(lessons["counts"])), np.arange(60, 64)
    again = NeuralMethod(RECIPES[name])
    stored = {key: value.copy() for key, value in method.arrays().items()}
    again.restore(replace(course, seed=99), stored)
    np.testing.assert_array_equal(again.predict(given, frames), method.predict(given, frames))
    assert again.parameters == method.parameters
    assert again.history == 0


@pytest.mark.parametrize("recipe", TRUNKS)
def test_the_seed_and_the_steps_decide_everything(lessons, recipe):
    lesson = lessons["counts"]
    given, frames = observations(lesson, sparse(lesson)), np.arange(60, 62)

    def maps(seed):
        method = NeuralMethod(recipe)
        assert method.fit(course_of(lesson, stop=None, seed=seed, steps={"fine maps": 4})) == {
            "fine maps": 4
        }
        return method.predict(given, frames)

    state = torch.random.get_rng_state()
    first = maps(0)
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(maps(0), first)
    assert not np.allclose(maps(1), first)


@pytest.mark.parametrize("recipe", EVERY)
@pytest.mark.parametrize("name", ["plumes", "temperature"])
def test_means_and_signed_values_work(lessons, name, recipe):
    lesson = lessons[name]
    method = NeuralMethod(replace(recipe, steps=5))
    method.fit(course_of(lesson))
    frames = np.arange(90, 94)
    found = method.predict(observations(lesson), frames)
    record = replace(lesson.record, times=lesson.record.times[frames])
    np.testing.assert_allclose(pooled(found, record), lesson.record.coarse[frames], rtol=1e-3)
    holes = method.predict(observations(lesson, sparse(lesson)), frames)
    assert np.isfinite(holes).all()
    assert (holes.min() < 0) == (name == "temperature")


def test_learning_looks_at_its_own_frames_only(lessons):
    lesson = lessons["counts"]
    course = course_of(lesson)
    fine = lesson.record.fine.copy()
    fine[~(course.frames | course.stop)] *= 7
    other = replace(lesson, record=replace(lesson.record, fine=fine))
    given, frames = observations(lesson, sparse(lesson)), np.arange(60, 62)
    found = []
    for each in (lesson, other):
        method = NeuralMethod(replace(RECIPES["srcnn"], steps=6))
        method.fit(replace(course, lesson=each, curves={}))
        found.append(method.predict(given, frames))
    np.testing.assert_array_equal(*found)


def test_training_ends_at_its_deadline(lessons):
    method = NeuralMethod(RECIPES["srcnn"])
    assert method.fit(course_of(lessons["counts"], until=time.monotonic())) == {"fine maps": 1}


def test_external_factors_reach_the_map_only_where_they_are_read():
    size = Size((3, 4), 2, 5, 24, False)
    for name, reads in (("urbanfm", True), ("urbanfm-ne", False), ("fode", True)):
        torch.manual_seed(0)
        network = RECIPES[name].build(size).eval()
        case = case_of(size)
        other = replace(case, context=case.context + 2)
        assert torch.allclose(network(case), network(other)) != reads
