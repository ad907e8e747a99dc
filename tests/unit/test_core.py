"""The core: what an untrained one leaves, what it must not read, and what it is taught on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geodiffrecon.core import weights
from geodiffrecon.core.bridge import (
    STEPS,
    Cases,
    Lessons,
    fair_crps,
    from_work,
    moved,
    score_loss,
    standard,
    velocity_loss,
)
from geodiffrecon.core.cases import (
    Scene,
    believed,
    case_of,
    curve_of,
    draws_of,
    packed,
    scene_of,
    simulated_case,
)
from geodiffrecon.core.context import MAPS, NUMBERS, Context, context_of
from geodiffrecon.core.fields import simulate
from geodiffrecon.core.moving import Moved, Nodes, mover, trust
from geodiffrecon.core.network import CoreNetwork
from geodiffrecon.core.patterns import pattern
from geodiffrecon.core.teach import ARRAYS, turned
from geodiffrecon.core.weights import Card, load_core, save_core
from geodiffrecon.errors import IncompatibleModel
from geodiffrecon.field.circulant import lattice_draws
from geodiffrecon.field.covariance import Covariance, Sites


def network() -> CoreNetwork:
    torch.manual_seed(0)
    return CoreNetwork(len(MAPS), len(NUMBERS), widths=(8, 16), told=16)


def stirred() -> CoreNetwork:
    """Return a network that moves something."""
    made = network()
    with torch.no_grad():
        for values in made.parameters():
            values += 0.05 * torch.randn_like(values)
    return made


@pytest.fixture(scope="module")
def lessons() -> Lessons:
    rng = np.random.default_rng(4)
    held = packed([simulated_case(rng, 16) for _ in range(8)])
    return Lessons(
        **{name: torch.from_numpy(held[name]).float() for name in ARRAYS if name in held}
    )


def lattice(size: int) -> Sites:
    row, col = np.divmod(np.arange(size * size), size)
    xy = np.column_stack([col, row]).astype(np.float64)
    return Sites(xy, (xy - xy.mean(axis=0)) / xy.std(axis=0))


@pytest.mark.parametrize(
    "known",
    [
        Covariance(0.5, 3.0, 0.1),
        Covariance(2.5, 4.0, 0.3),
        Covariance(1.5, 3.0, 0.2, ratio=4.0, angle=0.7, trend=0.5),
    ],
)
def test_draws_of_a_lattice_have_the_covariance(known: Covariance) -> None:
    cells = lattice(8)
    drawn = lattice_draws(
        known, [np.random.default_rng(0)] * 4000, (8, 8), (1.0, 1.0), cells.features
    )
    right = known.between(cells, cells) + known.nugget * np.eye(64)
    found = drawn.T @ drawn / len(drawn)
    assert np.abs(found - right).max() < 0.09 * right.max()


def test_draws_on_a_lattice_have_the_law_of_the_field() -> None:
    rng = np.random.default_rng(2)
    truth = simulate(rng, 12, family="gaussian").values[0]
    seen = pattern(rng, truth, 20, "random")
    field, on = believed(Scene(truth, truth.ravel()[seen], seen))
    told = field.predict(on.sites)
    drawn = draws_of(field, on, rng, 3000)
    free = np.setdiff1d(np.arange(144), seen)
    dense = field.errors(on.sites, rng.standard_normal((3000, field.own + 144)), told)
    right, width = told.location + told.scale * dense, told.scale * told.shape.width
    for level in (0.1, 0.5, 0.9):
        gap = np.quantile(drawn, level, axis=0) - np.quantile(right, level, axis=0)
        assert np.abs(gap / width)[free].max() < 0.12


def test_scenes_have_dates_and_covariates_and_only_their_own_date_is_mapped() -> None:
    rng = np.random.default_rng(1)
    values = simulate(rng, 12, dates=3, family="gaussian").values
    scenes = [scene_of(values, rng) for _ in range(12)]
    assert any(scene.covariates is not None for scene in scenes)
    for scene in scenes:
        assert scene.when is not None
        np.testing.assert_array_equal(scene.truth, values[int(scene.date)])
        own = scene.truth.ravel()[scene.cells[scene.own]]
        np.testing.assert_array_equal(scene.known[scene.own], own)
    scene = next(s for s in scenes if s.covariates is not None and len(s.known) < 60)
    made = case_of(scene, rng)
    assert made is not None
    assert made.numbers[NUMBERS.index("other dates")] > 0
    assert made.maps[MAPS.index("covariate 1")].std() > 0
    assert made.maps[MAPS.index("seen")].sum() == len(scene.own)


def test_conditioned_draws_keep_readings_without_noise() -> None:
    from geodiffrecon.field.kriging import Factor, Readings

    cells, known = lattice(8), Covariance(1.5, 3.0, 1e-6)
    seen = np.array([3, 20, 41])
    values = np.array([1.0, -2.0, 0.5])
    factor = Factor(known, Readings(cells[seen], np.ones(3)), values[:, None], 1.0)
    free = lattice_draws(known, [np.random.default_rng(0)] * 5, (8, 8), (1.0, 1.0), cells.features)
    drawn = factor.conditioned(cells, 0, free, free[:, seen])
    np.testing.assert_allclose(drawn[:, seen], np.tile(values, (5, 1)), atol=0.02)


def test_contexts_never_read_what_is_hidden() -> None:
    rng = np.random.default_rng(5)
    truth = simulate(rng, 16, family="skewed").values[0]
    seen = pattern(rng, truth, 30, "random")
    other = truth.copy()
    hidden = np.setdiff1d(np.arange(256), seen)
    other.ravel()[hidden] = rng.permutation(truth.ravel()[hidden]) + 1
    made = [
        case_of(Scene(t, t.ravel()[seen], seen), np.random.default_rng(0)) for t in (truth, other)
    ]
    assert made[0] is not None
    assert made[1] is not None
    np.testing.assert_array_equal(made[0].maps, made[1].maps)
    np.testing.assert_array_equal(made[0].numbers, made[1].numbers)


def test_contexts_are_free_of_units() -> None:
    rng = np.random.default_rng(6)
    truth = simulate(rng, 16, family="rain").values[0]
    seen = pattern(rng, truth, 40, "random")
    made = []
    for unit in (1.0, 1e-6, 1e6):
        field, on = believed(Scene(truth, unit * truth.ravel()[seen], seen))
        made.append(context_of(field, on))
    for other in made[1:]:
        np.testing.assert_allclose(other.maps, made[0].maps, atol=1e-4)
        np.testing.assert_allclose(other.numbers, made[0].numbers, atol=1e-4)


def test_an_untrained_network_moves_nothing(lessons: Lessons) -> None:
    r = standard(lessons, lessons.draws)
    end = moved(network(), lessons, r, torch.randn(STEPS, *r.shape))
    assert torch.equal(end, r)


def test_held_cells_stay_and_others_move(lessons: Lessons) -> None:
    r = standard(lessons, lessons.draws)
    end = moved(stirred(), lessons, r, torch.randn(STEPS, *r.shape))
    held = (lessons.scale == 0)[:, None].expand_as(r)
    assert torch.equal(end[held], r[held])
    assert (end[~held] != r[~held]).float().mean() > 0.9


def test_a_draw_is_the_same_alone_or_among_others(lessons: Lessons) -> None:
    r = standard(lessons, lessons.draws)
    noise = torch.randn(STEPS, *r.shape)
    made = stirred()
    every = moved(made, lessons, r, noise)
    first = Cases(lessons.maps[:1], lessons.numbers[:1], lessons.location[:1], lessons.scale[:1])
    alone = moved(made, first, r[:1, 2:3], noise[:, :1, 2:3])
    torch.testing.assert_close(alone, every[:1, 2:3], atol=1e-5, rtol=1e-4)


def test_losses_have_gradients(lessons: Lessons) -> None:
    for loss in (velocity_loss, score_loss):
        made = stirred()
        loss(made, lessons).backward()
        assert all(
            p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in made.parameters()
        )


def test_the_score_of_what_moves_nothing_is_that_of_the_belief(lessons: Lessons) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        values = torch.stack([score_loss(network(), lessons) for _ in range(30)])
    assert 0.8 < float(values.mean()) / (1 + 0.25 + 0.3) < 1.1


def test_fair_crps_is_that_of_scoringrules() -> None:
    scoringrules = pytest.importorskip("scoringrules")
    rng = np.random.default_rng(0)
    draws, truth = rng.normal(size=(2, 7, 3, 4)), rng.normal(size=(2, 3, 4))
    right = scoringrules.crps_ensemble(truth, draws, m_axis=1, estimator="fair")
    found = fair_crps(torch.from_numpy(draws), torch.from_numpy(truth))
    np.testing.assert_allclose(found.numpy(), right, atol=1e-6)


def test_curves_invert_the_transform_and_rise_below_the_floor() -> None:
    rng = np.random.default_rng(7)
    truth = simulate(rng, 16, family="rain").values[0]
    seen = pattern(rng, truth, 60, "random")
    field, _ = believed(Scene(truth, truth.ravel()[seen], seen))
    transform = field.choice.transform
    curve = curve_of(transform, truth.max(), truth.min())
    assert (np.diff(curve) >= 0).all()
    work = np.linspace(-2, 4, 50)
    found = from_work(torch.from_numpy(curve)[None], torch.from_numpy(work)[None, None, None])
    right = transform.inverse(work)
    wet = right > transform.floor
    np.testing.assert_allclose(found[0, 0, 0].numpy()[wet], right[wet], atol=0.02 * truth.max())


def test_turned_lessons_score_as_they_did(lessons: Lessons) -> None:
    def score(cases: Lessons) -> torch.Tensor:
        crps = fair_crps(from_work(cases.curve, cases.draws), cases.raw)
        return crps.mean(dim=(1, 2))

    for seed in range(12):
        torch.manual_seed(seed)
        torch.testing.assert_close(score(turned(lessons)), score(lessons), rtol=1e-3, atol=1e-5)


def test_weights_come_back_and_damaged_ones_are_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    card = Card(1, 2.0, 3, 0.9, [0.0] * len(NUMBERS), [1.0] * len(NUMBERS))
    path = tmp_path / "core.safetensors"
    save_core(stirred(), path, card, stage="completion")
    made, told = load_core("completion", path)
    assert told == card
    r = torch.randn(1, 2, len(MAPS), 8, 8)
    assert made(r[:, 0], torch.zeros(1, len(NUMBERS)), r[:, :, :3], torch.zeros(1, 2)).shape == (
        1, 2, 2, 8, 8,
    )  # fmt: skip
    content = path.read_bytes()
    for damaged in (content[:-40], b"", content.replace(b'"form"', b'"norm"')):
        broken = tmp_path / f"{len(damaged)}.safetensors"
        broken.write_bytes(damaged)
        with pytest.raises(IncompatibleModel, match="cannot be used"):
            load_core("completion", broken)


@pytest.mark.parametrize("stage", ["completion", "refinement"])
def test_shipped_weights_are_small_and_say_where_they_come_from(stage: str) -> None:
    assert weights.shipped(stage).stat().st_size < 2_000_000
    _, card = load_core(stage)
    assert card.cases > 5_000
    assert card.held_ratio < 1


def test_trust_falls_outside_what_was_seen() -> None:
    card = Card(1, 1.0, 1, 0.9, [-1.0] * len(NUMBERS), [1.0] * len(NUMBERS))
    numbers = np.zeros(len(NUMBERS), np.float32)
    assert trust(numbers, card) == 1
    numbers[3] = 1.5
    assert 0.2 < trust(numbers, card) < 0.6


def test_statistics_of_draws_that_did_not_move_are_the_closed_form_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(size=(32, 10))
    still = Moved(before, before.copy(), -np.inf, lambda values: values)
    told = rng.normal(size=10)
    levels = {"q05": 0.05, "q50": 0.5, "q95": 0.95}
    closed = {"q05": told - 1, "q50": told, "q95": told + 1}
    assert np.array_equal(still.mean(told), told)
    assert np.array_equal(still.std(abs(told)), abs(told))
    assert all(np.array_equal(v, closed[k]) for k, v in still.quantiles(closed, levels).items())
    assert np.array_equal(still.above(np.full(10, 0.3), 0.1), np.full(10, 0.3))


def test_nodes_thin_large_maps_and_spread_back() -> None:
    nodes = Nodes.of((150, 100))
    assert nodes.stride == 3
    assert nodes.count == (50, 33)
    rows, cols = np.meshgrid(*nodes.cells, indexing="ij")
    plane = (2.0 * rows + cols).ravel()
    back = nodes.spread(plane)
    y, x = np.indices((150, 100))
    inner = np.s_[2:-3, 2:-3]
    np.testing.assert_allclose(back[inner], (2.0 * y + x)[inner])
    assert Nodes.of((60, 64)).stride == 1


def test_too_few_readings_are_left_to_the_belief() -> None:
    truth = np.random.default_rng(0).normal(size=(8, 8))
    field, on = believed(Scene(truth, truth.ravel()[[3, 20, 41]], np.array([3, 20, 41])))
    assert mover(field, on.sites, Nodes.of((8, 8)), strength=None) is None


def test_no_draw_is_moved_further_out_than_draws_are() -> None:
    from geodiffrecon.core.moving import OUTERMOST, Mover

    rng = np.random.default_rng(0)
    case = simulated_case(rng, 16)
    wild = stirred()
    with torch.no_grad():
        for values in wild.last.parameters():
            values *= 50
    context = Context(case.maps, case.numbers, case.location.ravel(), case.scale.ravel())
    start = rng.standard_normal((3, 256))
    start[0, 0] = 5.0
    moved_by = Mover(wild, context, (16, 16), 1.0).change(start, lambda k, s: np.zeros((16, 16)))
    assert np.abs(moved_by).max() > 1
    assert (np.abs(start + moved_by) <= np.maximum(np.abs(start), OUTERMOST) + 1e-9).all()
