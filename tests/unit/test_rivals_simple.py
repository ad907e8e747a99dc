import sys
from dataclasses import replace

import numpy as np
import pytest
from worlds import history_cube

from geodiffrecon.assembly import Observations
from geodiffrecon.errors import InvalidParameter, MemoryEstimateExceeded
from geodiffrecon.lesson import Lesson
from geodiffrecon.rivals import kriging
from geodiffrecon.rivals.idw import idw
from geodiffrecon.rivals.kriging import OrdinaryKriging, Variogram
from geodiffrecon.rivals.method import Course
from geodiffrecon.rivals.simple import (
    Bilinear,
    HistoricalShare,
    InverseDistance,
    Nearest,
    SlotClimatology,
    coarse_centres,
    fine_centres,
)
from geodiffrecon.variable import Variable

INTERPOLATORS = [Nearest, Bilinear, InverseDistance, OrdinaryKriging]
METHODS = [SlotClimatology, HistoricalShare, *INTERPOLATORS]


def lesson_of(cube):
    return Lesson.of(cube, Variable.of_history(cube, None))


def course_of(lesson, last=0):
    """Return a course on all but the `last` frames."""
    return Course(lesson, np.arange(len(lesson.record.times)) < len(lesson.record.times) - last)


def given_of(lesson, missing=0.4, seed=0):
    seen = np.random.default_rng(seed).random(lesson.record.coarse.shape) >= missing
    coarse = np.where(seen, lesson.record.coarse, np.nan)
    return Observations(lesson.record.times, coarse, lesson.context, lesson.cells)


@pytest.fixture(scope="module")
def lessons(counts_cube, plumes_cube):
    signed = plumes_cube["v"].to_numpy() - 3 * plumes_cube["v"].to_numpy().mean()
    real = history_cube(signed, factor=3, freq="1D", aggregation="mean")
    volumes = history_cube(plumes_cube["v"].to_numpy(), factor=3, freq="1D", aggregation="sum")
    cubes = {"count": counts_cube, "positive": plumes_cube, "real": real, "volume": volumes}
    return {name: lesson_of(cube) for name, cube in cubes.items()}


@pytest.fixture(params=["count", "positive", "real", "volume"])
def lesson(request, lessons):
    return lessons[request.param]


@pytest.fixture(params=METHODS, ids=lambda cls: cls.__name__)
def method(request):
    return request.param()


def test_every_kind_and_aggregation_gives_whole_maps(method, lesson):
    assert method.fit(course_of(lesson, last=20)) == {}
    frames = np.arange(len(lesson.record.times))[-20:]
    maps = method.predict(given_of(lesson), frames)
    assert maps.shape == (20, *lesson.record.fine.shape[1:])
    assert np.isfinite(maps).all()
    assert lesson.kind == "real" or maps.min() >= 0
    assert np.abs(maps - lesson.record.fine[frames]).mean() < 2 * lesson.record.fine.std()


def test_other_frames_change_nothing(method, lesson):
    course, frames = course_of(lesson, last=20), np.arange(150, 160) % len(lesson.record.times)
    given = given_of(lesson)
    method.fit(course)
    before = method.predict(given, frames)
    fine, coarse = lesson.record.fine.copy(), given.coarse.copy()
    fine[~course.frames] = 1e6
    coarse[np.setdiff1d(np.arange(len(coarse)), frames)] = 1e6
    other = replace(lesson, record=replace(lesson.record, fine=fine))
    method.fit(Course(other, course.frames))
    np.testing.assert_array_equal(method.predict(replace(given, coarse=coarse), frames), before)
    np.testing.assert_allclose(method.predict(given, frames[3:5]), before[3:5], rtol=1e-12)


@pytest.mark.parametrize("cls", INTERPOLATORS)
def test_a_frame_without_observations_gets_the_mean_map(cls, lesson):
    method, given = cls(), given_of(lesson)
    method.fit(course_of(lesson))
    given.coarse[4] = np.nan
    usual = lesson.record.fine.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(method.predict(given, np.array([3, 4]))[1], usual)


@pytest.mark.parametrize("cls", INTERPOLATORS)
def test_one_observed_cell_fills_the_map(cls, lesson):
    method, given = cls(), given_of(lesson)
    method.fit(course_of(lesson))
    given.coarse[4] = np.nan
    given.coarse[4, 1, 2] = 6.0
    each = 6.0 / lesson.record.factor**2 if lesson.record.aggregation == "sum" else 6.0
    np.testing.assert_allclose(method.predict(given, np.array([4])), each)


def test_climatology_finds_what_repeats_every_day():
    hours = np.arange(24 * 14)
    usual = 10 + np.arange(16.0).reshape(4, 4) * np.cos(2 * np.pi * hours / 24)[:, None, None] / 2
    lesson = lesson_of(history_cube(usual, factor=2, freq="1h", aggregation="mean"))
    method = SlotClimatology()
    method.fit(course_of(lesson, last=48))
    nothing = replace(given_of(lesson), coarse=np.full((len(hours), 2, 2), np.nan))
    found = method.predict(nothing, hours[-48:])
    np.testing.assert_allclose(found, usual[-48:], atol=0.05)


def test_observed_cells_are_kept_by_shares(lesson):
    method, given = HistoricalShare(), given_of(lesson)
    method.fit(course_of(lesson))
    found = replace(lesson.record, fine=method.predict(given, np.arange(len(given.times)))).coarse
    seen = np.isfinite(given.coarse)
    np.testing.assert_allclose(found[seen], given.coarse[seen], rtol=1e-9, atol=1e-9)


def test_shares_that_never_change_are_recovered():
    rng = np.random.default_rng(0)
    share = np.kron(np.ones((3, 3)), np.array([[0.1, 0.2], [0.3, 0.4]]))
    usual = rng.uniform(50, 90, (3, 3))
    level = rng.uniform(0.5, 2.0, 60)
    fine = np.kron(usual * level[:, None, None], np.ones((2, 2))) * share * 100
    lesson = lesson_of(history_cube(fine, factor=2, freq="1D", aggregation="sum"))
    method = HistoricalShare()
    method.fit(course_of(lesson))
    found = method.predict(given_of(lesson), np.arange(60))
    # The level of a frame is held a little towards 1, by one usual cell.
    np.testing.assert_allclose(found, fine, rtol=0.35)
    given = given_of(lesson, missing=0.0)
    np.testing.assert_allclose(method.predict(given, np.arange(60)), fine, rtol=0.01)


def test_shares_of_history_beat_the_nearest_cell(lessons):
    lesson = lessons["count"]
    frames = np.arange(len(lesson.record.times))[-48:]
    errors = []
    for method in (HistoricalShare(), Nearest()):
        method.fit(course_of(lesson, last=48))
        found = method.predict(given_of(lesson), frames)
        errors.append(np.abs(found - lesson.record.fine[frames]).mean())
    assert errors[0] < 0.9 * errors[1]


def test_bilinear_is_exact_on_a_plane_inside(lessons):
    method, lesson = Bilinear(), lessons["positive"]
    method.fit(course_of(lesson))
    row, column = coarse_centres(lesson.shape).T.reshape(2, *lesson.shape)
    plane = np.repeat((5 + 2 * row + 3 * column)[None], len(lesson.record.times), axis=0)
    found = method.predict(replace(given_of(lesson), coarse=plane), np.array([0]))[0]
    row, column = fine_centres(lesson.shape, 3).T.reshape(2, *found.shape)
    inside = np.s_[1:-1, 1:-1]
    np.testing.assert_allclose(found[inside], (5 + 2 * row + 3 * column)[inside])


def test_inverse_distance_reads_its_parameters(lessons):
    lesson = lessons["positive"]
    given, method = given_of(lesson), InverseDistance(power=1.0, neighbours=3)
    method.fit(course_of(lesson))
    values = given.coarse[7].ravel()
    seen = np.isfinite(values)
    places, targets = coarse_centres(lesson.shape)[seen], fine_centres(lesson.shape, 3)
    expected = idw(places, values[seen], targets, power=1.0, neighbours=3)
    np.testing.assert_allclose(method.predict(given, np.array([7])).ravel(), expected)


def test_own_weights_are_those_of_pykrige(lesson):
    given, frames, method = given_of(lesson), np.arange(30, 36), OrdinaryKriging()
    method.fit(course_of(lesson))
    means, variances = method.predict(given, frames), method.variances(given, frames)
    for values, mean, variance in zip(method._flat(given, frames), means, variances, strict=True):
        seen = np.isfinite(values)
        weights, unit = method._solved(seen)
        expected = weights @ values[seen]
        expected = expected if lesson.kind == "real" else expected.clip(0)
        np.testing.assert_allclose(mean.ravel(), expected, rtol=1e-6, atol=1e-8)
        scale = values[seen].var(ddof=1)
        np.testing.assert_allclose(variance.ravel(), unit * scale, rtol=1e-6, atol=1e-8 * scale)


def test_kriging_returns_what_is_observed_at_a_centre(lessons):
    lesson, method = lessons["positive"], OrdinaryKriging()
    given, frames = given_of(lesson), np.arange(40)
    method.fit(course_of(lesson))
    seen = np.isfinite(given.coarse[:40])
    at_centres = method.predict(given, frames)[:, 1::3, 1::3]
    np.testing.assert_allclose(at_centres[seen], given.coarse[:40][seen], rtol=1e-6)
    assert method.variances(given, frames)[:, 1::3, 1::3][seen].max() < 1e-6


def test_variogram_finds_what_was_simulated():
    places = coarse_centres((9, 9))
    known = Variogram(0.8, 0.2, 6.0, 1.0)
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    factor = np.linalg.cholesky(known.total - known(distance))
    maps = np.random.default_rng(0).standard_normal((2000, 81)) @ factor.T
    found = Variogram.fit(maps.reshape(-1, 9, 9))
    lags = np.array([1.0, 2.0, 4.0])
    np.testing.assert_allclose(found(lags) * found.variance, known(lags), rtol=0.08)


def test_a_constant_history_can_be_kriged():
    values = np.full((50, 6, 6), 4.0)
    values[-1] = np.arange(36).reshape(6, 6)  # behind the course: a record must vary somewhere
    cube = history_cube(values, factor=2, freq="1D", aggregation="mean")
    lesson, method = lesson_of(cube), OrdinaryKriging()
    method.fit(course_of(lesson, last=1))
    np.testing.assert_allclose(method.predict(given_of(lesson), np.arange(5)), 4.0)
    np.testing.assert_allclose(method.variances(given_of(lesson), np.arange(5)), 0.0)


def test_draws_have_mean_and_variance_of_kriging(lessons):
    lesson, method = lessons["real"], OrdinaryKriging()
    given, frames = given_of(lesson), np.array([9, 10])
    given.coarse[10] = np.nan
    method.fit(course_of(lesson))
    draws = method.simulate(given, frames, draws=1500, seed=1)
    variance = method.variances(given, frames)
    error = draws.mean(axis=0) - method.predict(given, frames)
    assert np.abs(error / np.sqrt(variance + 1e-3)).max() < 5 / np.sqrt(1500)
    np.testing.assert_allclose(draws.var(axis=0), variance, rtol=0.25, atol=1e-3)


def test_draws_are_keyed_by_draw_and_time(lessons):
    lesson, method = lessons["count"], OrdinaryKriging()
    given, frames = given_of(lesson), np.arange(20, 30)
    method.fit(course_of(lesson))
    many = method.simulate(given, frames, draws=6, seed=3)
    few = method.simulate(given, frames[4:6], draws=2, seed=3)
    np.testing.assert_allclose(few, many[:2, 4:6], rtol=1e-5, atol=1e-6)
    assert many.min() >= 0
    assert not np.array_equal(many, method.simulate(given, frames, draws=6, seed=4))


def test_draws_on_a_large_grid_are_refused(lessons, monkeypatch):
    method = OrdinaryKriging()
    method.fit(course_of(lessons["count"]))
    monkeypatch.setattr(kriging, "MAX_POINTS", 50)
    with pytest.raises(MemoryEstimateExceeded, match="60 fine and coarse cells"):
        method.simulate(given_of(lessons["count"]), np.arange(2), draws=1, seed=0)


def test_without_pykrige_the_extra_is_named(lessons, monkeypatch):
    monkeypatch.setitem(sys.modules, "pykrige.ok", None)
    with pytest.raises(InvalidParameter, match=r"geodiffrecon\[baselines\]"):
        OrdinaryKriging().fit(course_of(lessons["count"]))
