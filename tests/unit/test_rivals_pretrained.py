from dataclasses import replace

import numpy as np
import pytest
import torch
from worlds import history_cube

from geodiffrecon.assembly import Observations
from geodiffrecon.errors import GridMismatch
from geodiffrecon.lesson import Lesson
from geodiffrecon.rivals.masked_attention import Completion
from geodiffrecon.rivals.method import Course
from geodiffrecon.rivals.neural import Lessons, NeuralMethod, Size
from geodiffrecon.rivals.stcf import STCF, Neighbours, contrast
from geodiffrecon.rivals.urbansta import Past, UrbanSTA, Weights, agreement, masked_error, one_mask
from geodiffrecon.rivals.views import Scale, Views, mixed_masks, usual_level
from geodiffrecon.synthetic import counts
from geodiffrecon.variable import Variable
from geodiffrecon.windows import to_blocks

STCF_SMALL = STCF(width=8, out=8, contrast_steps=4, steps=6, contrast_batch=8, batch=8)
URBANSTA_SMALL = UrbanSTA(
    width=8, depth=2, heads=2, inner=8, fine_width=8, fine_depth=1,
    completion_steps=4, steps=6, batch=4,
)  # fmt: skip
RECIPES = {"STCF": STCF_SMALL, "UrbanSTA": URBANSTA_SMALL}


def lesson_of(cube):
    return Lesson.of(cube, Variable.of_history(cube, None))


def course_of(lesson, **changes):
    """Return a course on the frames in the middle, so that some before and after are not in it."""
    frames = np.zeros(len(lesson.record.times), bool)
    frames[30:-30] = True
    return Course(lesson, frames, **changes)


def given_of(lesson, missing=0.4, seed=0):
    seen = np.random.default_rng(seed).random(lesson.record.coarse.shape) >= missing
    coarse = np.where(seen, lesson.record.coarse, np.nan)
    return Observations(lesson.record.times, coarse, lesson.context, lesson.cells)


def lessons_of(course, recipe):
    """Return batches as `NeuralMethod.fit` makes them, with three masks."""
    lesson = course.lesson
    level = usual_level(lesson, course.frames)
    views = Views.of_record(
        lesson, Scale.of(lesson, course.frames), mixed_masks(lesson, 3, 0), level
    )
    slots = lesson.calendar.n_slots
    return Lessons(course, views, recipe.lags(slots), slots)


@pytest.fixture(scope="module")
def lessons(plumes_cube):
    values = plumes_cube["v"].to_numpy()
    signed = history_cube(values - 3 * values.mean(), factor=3, freq="1D", aggregation="mean")
    square = counts((8, 8), 220, seed=1).astype(np.float32)
    summed = history_cube(square, factor=2, freq="1h", aggregation="sum")
    return {"count": lesson_of(summed), "real": lesson_of(signed)}


@pytest.fixture(scope="module")
def fitted(lessons):
    """Return every recipe trained for a few steps on a square sum and an oblong signed mean."""
    found = {}
    for kind, lesson in lessons.items():
        for name, recipe in RECIPES.items():
            method = NeuralMethod(recipe)
            method.fit(course_of(lesson))
            found[name, kind] = method
    return found


@pytest.fixture(params=["count", "real"])
def lesson(request, lessons):
    assert lessons[request.param].kind == request.param
    return lessons[request.param]


@pytest.fixture(params=list(RECIPES))
def name(request):
    return request.param


@pytest.fixture
def method(name, lesson, fitted):
    return fitted[name, lesson.kind]


FRAMES = np.arange(80, 90)


def test_maps_are_whole_and_agree_with_what_is_observed(method, lesson):
    given = given_of(lesson)
    maps = method.predict(given, FRAMES)
    assert maps.shape == (10, *lesson.record.fine.shape[1:])
    assert np.isfinite(maps).all()
    blocks = to_blocks(maps, lesson.record.factor)
    pooled = blocks.sum(-1) if lesson.record.aggregation == "sum" else blocks.mean(-1)
    coarse = given.coarse[FRAMES].reshape(pooled.shape)
    seen = np.isfinite(coarse)
    tolerance = 1e-3 * np.abs(coarse[seen]).max()
    np.testing.assert_allclose(pooled[seen], coarse[seen], atol=tolerance)


def test_frames_after_the_current_one_change_nothing(method, lesson):
    given = given_of(lesson)
    before = method.predict(given, FRAMES[:1])
    coarse = given.coarse.copy()
    coarse[FRAMES[0] + 1 :] = 1e4
    changed = method.predict(replace(given, coarse=coarse), FRAMES[:1])
    np.testing.assert_array_equal(before, changed)


def test_frames_outside_the_course_teach_nothing(name, lessons):
    lesson = lessons["count"]
    course = course_of(lesson)
    fine = lesson.record.fine.copy()
    fine[~course.frames] += 50
    other = replace(lesson, record=replace(lesson.record, fine=fine))
    learnt = []
    for part in (lesson, other):
        method = NeuralMethod(RECIPES[name])
        method.fit(course_of(part))
        learnt.append(method.arrays())
    for key, value in learnt[0].items():
        np.testing.assert_array_equal(value, learnt[1][key])


def test_the_same_seed_learns_the_same_and_another_does_not(name, lessons, fitted):
    for seed, same in ((0, True), (1, False)):
        again = NeuralMethod(RECIPES[name])
        again.fit(course_of(lessons["count"], seed=seed))
        pairs = zip(again.arrays().values(), fitted[name, "count"].arrays().values(), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs) is same


def test_arrays_restore_the_method(method, name, lesson):
    fresh = NeuralMethod(RECIPES[name])
    fresh.restore(course_of(lesson, seed=5), method.arrays())
    given = given_of(lesson)
    np.testing.assert_array_equal(fresh.predict(given, FRAMES), method.predict(given, FRAMES))


def test_other_frames_of_a_request_change_nothing(method, lesson):
    given = given_of(lesson)
    together = method.predict(given, FRAMES)
    alone = np.concatenate([method.predict(given, FRAMES[i : i + 1]) for i in range(len(FRAMES))])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_frames_without_observations_give_finite_maps(method, lesson):
    given = given_of(lesson)
    nothing = replace(given, coarse=np.full_like(given.coarse, np.nan))
    maps = method.predict(nothing, np.array([0, 1, 100]))
    assert np.isfinite(maps).all()


def test_phases_are_taken_and_can_be_repeated(name, lessons):
    course = course_of(lessons["count"], steps={"fine maps": 2, "joint": 2})
    taken = NeuralMethod(RECIPES[name]).fit(course)
    expected = {
        "STCF": {"spatial contrast": 4, "temporal contrast": 4, "fine maps": 2},
        "UrbanSTA": {"completion": 4, "joint": 2},
    }
    assert taken == expected[name]


def test_contrast_is_info_nce_by_hand():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 3, 4))
    both = np.concatenate([one, other])
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    scores = np.exp(both @ both.T / 0.1)
    losses = []
    for i in range(6):
        rest = sum(scores[i, j] for j in range(6) if j != i)
        losses.append(-np.log(scores[i, (i + 3) % 6] / rest))
    found = contrast(torch.tensor(one), torch.tensor(other), torch.arange(3).repeat(2))
    assert found.item() == pytest.approx(np.mean(losses))


def test_a_frame_drawn_twice_is_not_its_own_negative():
    one = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert contrast(one, one, torch.tensor([7, 7, 9] * 2)).item() < 1e-3
    assert contrast(one, one, torch.arange(3).repeat(2)).item() > 0.5


def test_contrasts_fall(lessons):
    lesson = lessons["count"]
    course = course_of(lesson)
    course.stop = course.frames & (np.arange(len(course.frames)) < 90)
    recipe = replace(STCF_SMALL, contrast_steps=75, rate=1e-2, steps=1)
    NeuralMethod(recipe).fit(course)
    for phase in ("spatial contrast", "temporal contrast"):
        scores = [score for _, score in course.curves[phase]]
        assert scores[-1] < 0.95 * scores[0]


def test_neighbours_in_time_stay_inside_the_course(lessons):
    lesson = lessons["count"]
    frames = np.ones(len(lesson.record.times), bool)
    frames[[10, 11]] = False
    stop = ~frames
    stop[10] = False
    lessons_ = lessons_of(Course(lesson, frames, stop=stop), STCF_SMALL)
    index = torch.tensor([0, 5, 9, 11, 12, len(frames) - 1])
    case = lessons_.views.case(torch.zeros(6, dtype=torch.int64), index, (0,))
    _, before = Neighbours.of(lessons_).beside(case, -1)
    maps, after = Neighbours.of(lessons_).beside(case, 1)
    assert before.tolist() == [False, True, True, False, False, True]
    assert after.tolist() == [True, True, False, False, True, False]
    assert maps.shape == (6, 1, *lesson.shape)


def batch_of(lesson, size=8):
    lessons_ = lessons_of(course_of(lesson), URBANSTA_SMALL)
    return lessons_.batch(0, 1, size), lessons_


def test_what_is_filled_into_missing_cells_never_reaches_the_completion(lesson, fitted):
    case, _ = batch_of(lesson)
    assert not case.observed.all()
    network = fitted["UrbanSTA", lesson.kind]._network
    other = torch.where(case.observed, case.filled, 1e3 * torch.randn(case.filled.shape))
    fine, found = network(case)
    changed, found_again = network(replace(case, filled=other))
    torch.testing.assert_close(fine, changed, rtol=0, atol=0)
    torch.testing.assert_close(found.predicted, found_again.predicted, rtol=0, atol=0)


def test_what_was_seen_before_changes_the_answer(lessons, fitted):
    case, _ = batch_of(lessons["count"])
    network = fitted["UrbanSTA", "count"]._network
    observed = case.observed.clone()
    observed[:, :-1] = False
    assert not torch.equal(network(case)[0], network(replace(case, observed=observed))[0])


def test_latents_turn_with_a_map_when_places_are_forgotten():
    torch.manual_seed(0)
    completion = Completion(
        Size((4, 4), 2, 3, 24, False), (24, 1, 0), width=8, depth=2, heads=2, inner=8
    )
    completion.get_buffer("place").zero_()
    maps, observed = torch.randn(2, 4, 4), torch.rand(2, 4, 4) > 0.3
    plain, _ = completion.encode(maps[:, None], observed[:, None], completion.time[-1:], (0,))
    for quarters in (1, 2, 3):
        turned = completion.turned(maps, observed, quarters)
        torch.testing.assert_close(turned, plain[:, 0], rtol=1e-4, atol=1e-5)


def test_agreement_counts_cells_observed_in_both_frames(lessons, fitted):
    case, _ = batch_of(lessons["count"])
    completion = fitted["UrbanSTA", "count"]._network.completion
    found = completion(case)
    weights = Weights(space=0, time=1)
    assert agreement(completion, found, case, weights) > 0
    alike = replace(found, latents=found.latents[:, :1].expand(-1, 2, -1, -1))
    assert agreement(completion, alike, case, weights) == 0
    observed = case.observed.clone()
    observed[:, completion.ends[0]] = False
    assert agreement(completion, found, replace(case, observed=observed), weights) == 0
    # Turning needs a square grid; this one is, and the random number of quarters is the batch's.
    assert agreement(completion, found, case, Weights(space=1, time=0)) > 0


def test_the_completion_is_scored_where_nothing_is_seen(lessons, fitted):
    case, _ = batch_of(lessons["count"])
    found = fitted["UrbanSTA", "count"]._network.completion(case)
    hidden = ~case.observed[:, -1]
    by_hand = (found.predicted - case.truth[0])[hidden].square().mean()
    torch.testing.assert_close(masked_error(found, case), by_hand)
    assert masked_error(found, replace(case, observed=torch.ones_like(case.observed))) == 0


def test_the_past_of_training_ends_with_the_course(lessons):
    case, lessons_ = batch_of(lessons["count"])
    past = Past.of(lessons_)
    first = torch.full((8,), 30)
    inside = past.within(replace(case, index=first, observed=torch.ones_like(case.observed)))
    assert inside.observed.flatten(2).all(dim=2)[0].tolist() == [False, False, False, False, True]


@pytest.mark.parametrize(("slots", "lags"), [(48, (336, 48, 2, 1, 0)), (1, (7, 2, 1, 0))])
def test_frames_read_are_each_read_once(slots, lags):
    assert UrbanSTA().lags(slots) == lags
    Completion(Size((2, 3), 2, 3, slots, False), lags, width=8, depth=1, heads=2, inner=8)


def test_one_mask_trains_for_one_place_of_sensors(lessons):
    lesson = lessons["count"]
    seen = np.random.default_rng(3).random(lesson.shape) > 0.5
    masks = one_mask(seen)
    drawn = masks(lesson, 3, 7)
    assert drawn.shape == (3, len(lesson.record.times), *lesson.shape)
    assert (drawn == seen).all()
    method = NeuralMethod(replace(URBANSTA_SMALL, steps=2), masks=masks)
    method.fit(course_of(lesson))
    assert np.isfinite(method.predict(given_of(lesson), FRAMES)).all()
    with pytest.raises(GridMismatch, match="does not fit"):
        one_mask(seen[:2])(lesson, 3, 7)
