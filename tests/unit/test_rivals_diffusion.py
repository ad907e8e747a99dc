from dataclasses import replace

import numpy as np
import pytest
import torch

from geodiffrecon.assembly import Observations
from geodiffrecon.lesson import Lesson
from geodiffrecon.rivals.diffuflow import DiffUFlowLike, DiffUFlowMethod
from geodiffrecon.rivals.method import Course
from geodiffrecon.rivals.neural import NeuralMethod, Size
from geodiffrecon.rivals.views import Case
from geodiffrecon.variable import Variable

TINY = DiffUFlowLike(widths=(16, 16), d=8, rate=5e-3, steps=50, batch=8, levels=50, calls=4)
FRAMES = np.array([70, 71, 90, 100])


def lesson_of(cube, kind=None):
    return Lesson.of(cube, Variable.of_history(cube, None), kind=kind)


@pytest.fixture(scope="module")
def worlds(counts_cube, plumes_cube):
    """Sums of counts with factor 2 and means of a real field with factor 3, each with a method."""
    fitted = {}
    for lesson in (lesson_of(counts_cube), lesson_of(plumes_cube, "real")):
        split = lesson.split(folds=2, gap=0)
        method, course = DiffUFlowMethod(TINY), Course(lesson, split.train, split.gate)
        method.fit(course)
        fitted[lesson.kind] = (lesson, course, method)
    return fitted


@pytest.fixture(params=["count", "real"])
def world(request, worlds):
    return worlds[request.param]


def observations(lesson, coarse=None):
    shown = sparse(lesson) if coarse is None else coarse
    return Observations(lesson.record.times, shown, lesson.context, lesson.cells)


def sparse(lesson):
    coarse = lesson.record.coarse
    hidden = np.random.default_rng(0).random(coarse.shape) < 0.4
    return np.where(hidden, np.nan, coarse)


def some_case(signed, garbage=0.0):
    """Return a problem and its size; what is not observed holds `garbage`."""
    random = torch.Generator().manual_seed(3)
    values = torch.rand(2, 4, 3, 4, generator=random)
    observed = torch.rand(2, 4, 3, 4, generator=random) < 0.6
    context = torch.randn(2, 5, generator=random)
    case = Case(torch.where(observed, values, garbage), observed, context)
    return case, Size((3, 4), 2, 5, 1, signed)


def awake(size):
    """Return a network without the zeros that its layers start from."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TINY.build(size).eval()
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(0.1 * torch.randn_like(weight))
    return network


def test_training_lowers_the_loss(world):
    _, course, _ = world
    scores = [score for _, score in course.curves["denoiser"]]
    assert min(scores[1:]) < 0.9 * scores[0]


def test_the_mean_is_better_than_one_level_for_all(world):
    lesson, course, method = world
    truth = lesson.record.fine[FRAMES]
    found = method.predict(observations(lesson), FRAMES)
    level = lesson.record.fine[course.frames].mean()
    assert found.shape == truth.shape
    assert np.abs(found - truth).mean() < np.abs(level - truth).mean()


def test_counts_are_never_negative(worlds):
    lesson, _, method = worlds["count"]
    assert method.draws(observations(lesson), FRAMES, 2, 0).min() >= 0


def test_the_mean_is_that_of_the_first_draws(world):
    lesson, _, method = world
    given = observations(lesson)
    drawn = method.draws(given, FRAMES[:2], 8, 0)
    assert np.allclose(drawn.mean(axis=0), method.predict(given, FRAMES[:2]))


def test_a_draw_stands_alone(world):
    lesson, _, method = world
    given = observations(lesson)
    many = method.draws(given, FRAMES, 3, 7)
    few = method.draws(given, FRAMES[[2]], 2, 7)
    scale = lesson.record.fine.std()
    assert np.allclose(few[:, 0], many[:2, 2], atol=1e-3 * scale)
    assert not np.allclose(many[0], many[1], atol=0.05 * scale)
    assert not np.allclose(many[0], method.draws(given, FRAMES, 1, 8)[0], atol=0.05 * scale)


def test_a_draw_depends_on_the_time_and_not_on_the_place_in_the_series(world):
    lesson, _, method = world
    given, cut = observations(lesson), 40
    later = Observations(given.times[cut:], given.coarse[cut:], given.context[cut:], given.cells)
    whole = method.draws(given, FRAMES, 1, 0)
    part = method.draws(later, FRAMES - cut, 1, 0)
    assert np.allclose(whole, part, atol=1e-3 * lesson.record.fine.std())


def test_frames_start_from_different_noise(world):
    lesson, _, method = world
    given = observations(lesson)
    empty = replace(given, coarse=np.full_like(given.coarse, np.nan), context=0 * given.context)
    first, second = method.draws(empty, FRAMES[:2], 1, 0)[0]
    assert not np.allclose(first, second, atol=0.05 * lesson.record.fine.std())


def test_what_comes_later_changes_nothing(world):
    lesson, _, method = world
    coarse = sparse(lesson)
    changed = coarse.copy()
    changed[FRAMES[-1] + 1 :] = 1e3
    before = method.predict(observations(lesson, coarse), FRAMES)
    assert np.array_equal(before, method.predict(observations(lesson, changed), FRAMES))


@pytest.mark.parametrize("signed", [True, False])
def test_what_holes_are_filled_with_changes_nothing(signed):
    case, size = some_case(signed)
    spoilt, _ = some_case(signed, garbage=1e6)
    network = awake(size)
    assert torch.equal(TINY.fine(network, case), TINY.fine(network, spoilt))


def test_the_past_the_mask_and_the_context_are_read():
    case, size = some_case(signed=True)
    network = awake(size)
    past, seen = case.filled.clone(), case.observed.clone()
    past[:, 0] += 1
    seen[:, -1] = True
    before = TINY.fine(network, case)
    for other in ({"filled": past}, {"observed": seen}, {"context": case.context + 1}):
        assert not torch.allclose(before, TINY.fine(network, replace(case, **other)))


def test_nothing_observed_still_has_an_answer(world):
    lesson, _, method = world
    given = observations(lesson, np.full_like(lesson.record.coarse, np.nan))
    frames = np.array([0, 90])  # also one with no past
    assert np.isfinite(method.predict(given, frames)).all()


def test_a_stored_method_comes_back(world):
    lesson, course, method = world
    other = DiffUFlowMethod(TINY)
    other.restore(course, method.arrays())
    given = observations(lesson)
    assert np.array_equal(method.predict(given, FRAMES), other.predict(given, FRAMES))


def test_a_plain_neural_method_can_use_the_recipe(worlds):
    lesson, course, method = worlds["count"]
    plain = NeuralMethod(TINY)
    plain.restore(course, method.arrays())
    found = plain.predict(observations(lesson), FRAMES)
    assert found.shape == lesson.record.fine[FRAMES].shape
    assert np.isfinite(found).all()


@pytest.mark.parametrize("prediction", ["v", "eps"])
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_every_factor_and_prediction_samples(factor, prediction):
    case, size = some_case(signed=False)
    recipe = replace(TINY, prediction=prediction)
    fine = recipe.fine(recipe.build(replace(size, factor=factor)), case)
    assert fine.shape == (2, 3 * factor, 4 * factor)
    assert torch.isfinite(fine).all()


@pytest.mark.parametrize("signed", [True, False])
def test_standard_maps_come_back(signed):
    _, size = some_case(signed)
    network = TINY.build(size)
    fine = torch.rand(5, 6, 8, generator=torch.Generator().manual_seed(0)) * 9
    network.measure(fine)
    standard = network.standard(fine)
    assert torch.allclose(network.scaled(standard), fine, atol=1e-4)
    assert float(standard.std()) == pytest.approx(1, abs=1e-4)
    assert network.bounds[0] <= standard.min() < standard.max() < network.bounds[1]


def test_a_draw_takes_few_calls():
    recipe = DiffUFlowLike()
    assert recipe.calls <= 20
    assert recipe.lags(48) == (48, 3, 2, 1, 0)
    assert recipe.lags(1) == (3, 2, 1, 0)
