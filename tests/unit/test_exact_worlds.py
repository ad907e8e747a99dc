"""The exact answers that models are judged by are themselves checked by brute force."""

import numpy as np
import pytest
from exact_worlds import (
    LEARNT,
    OF_MIXTURES,
    USED,
    WORLDS,
    Marginals,
    Posterior,
    World,
    correlation,
    mask,
    patterns_of,
)

from geodiffrecon.metrics import fair_crps

SMALL = World("matern32", (1.5,), persistence=0.6, side=3, factor=2)
MIXED = World("exponential", (1.0, 8.0), persistence=0.0, side=3, factor=2)


def pooled(world, maps):
    return (maps.reshape(len(maps), -1) @ world.pool.T).reshape(-1, world.side, world.side)


def observed(world, frames, pattern, seed=5):
    coarse = pooled(world, world.simulate(frames, seed, USED))
    return np.where(mask(pattern, frames, world.side, seed), coarse, np.nan)


@pytest.mark.parametrize("pattern", [("random", 0.4), ("fixed", 0.8), ("block", 0.0)])
@pytest.mark.parametrize("memory", [None, 2])
def test_the_posterior_is_that_of_all_cells_of_all_frames_at_once(pattern, memory):
    given = observed(SMALL, 4, pattern)
    found = Posterior.of(SMALL, given, memory=memory)
    for t in range(4):
        first = 0 if memory is None else max(0, t + 1 - memory)
        steps = np.arange(first, t + 1)
        time = SMALL.persistence ** np.abs(steps[:, None] - steps)
        joint = np.kron(time, SMALL.fine[0])
        seen = np.isfinite(given[steps]).ravel()
        look = np.kron(np.eye(len(steps)), SMALL.pool)[seen]
        gain = np.linalg.solve(look @ joint @ look.T, look @ joint).T[-len(SMALL.fine[0]) :]
        mean = SMALL.level + gain @ (given[steps].ravel()[seen] - SMALL.level)
        left = SMALL.fine[0] - gain @ (look @ joint)[:, -len(SMALL.fine[0]) :]
        np.testing.assert_allclose(found.cells.mean[t], mean, rtol=1e-6)
        np.testing.assert_allclose(found.cells.std[t], np.sqrt(np.diag(left)), atol=1e-5)
        coarse = np.sqrt(np.maximum(np.diag(SMALL.pool @ left @ SMALL.pool.T), 0))
        np.testing.assert_allclose(found.coarse.std[t], coarse, atol=1e-5)
        np.testing.assert_allclose(found.totals.std[t], np.sqrt(left.mean()), atol=1e-5)


def test_weights_of_a_mixture_are_bayes_of_its_ranges():
    from scipy.stats import multivariate_normal

    given = observed(MIXED, 3, ("random", 0.4))
    found = Posterior.of(MIXED, given)
    for t, frame in enumerate(given.reshape(3, -1)):
        seen = np.isfinite(frame)
        chance = [
            multivariate_normal.pdf(frame[seen], np.full(seen.sum(), MIXED.level), c[seen][:, seen])
            for c in MIXED.coarse
        ]
        np.testing.assert_allclose(found.weights[t], chance / np.sum(chance), rtol=1e-6)


@pytest.mark.parametrize("world", [SMALL, MIXED])
def test_exact_draws_have_the_exact_mean_spread_and_score(world):
    posterior = Posterior.of(world, observed(world, 6, ("random", 0.5))).last(3)
    draws = posterior.draw(4000, seed=0).reshape(4000, 3, -1)
    cells = posterior.cells
    np.testing.assert_allclose(draws.mean(0), cells.mean, atol=0.4)
    assert np.sqrt((draws.var(0) / cells.std**2).mean()) == pytest.approx(1, abs=0.01)
    totals = draws.mean(-1)
    assert totals.std(0) == pytest.approx(posterior.totals.std[:, 0], rel=0.05)
    truth = posterior.draw(1, seed=1).reshape(3, -1)
    assert fair_crps(truth, draws).mean() == pytest.approx(cells.crps(truth).mean(), rel=0.02)


def test_the_expected_score_of_a_mixture_is_the_mean_over_its_own_draws():
    cells = Marginals(np.array([[0.3, 0.7]]), np.array([[[0.0], [4.0]]]), np.array([[[1.0], [2]]]))
    chance = np.random.default_rng(0)
    pick = chance.random(100_000) < 0.3
    truth = np.where(
        pick, chance.standard_normal(len(pick)), 4 + 2 * chance.standard_normal(len(pick))
    )
    assert cells.crps(truth[:, None]).mean() == pytest.approx(cells.own_crps.item(), rel=0.01)
    wide = np.abs(truth - chance.normal(1.0, 3.0, len(truth))).mean()
    assert cells.expected_distance(np.array([[1.0]]), 3.0).item() == pytest.approx(wide, rel=0.01)


@pytest.mark.parametrize("name", WORLDS)
def test_worlds_have_one_level_spread_and_persistence(name):
    world = WORLDS[name]
    maps = world.simulate(60, 0) - world.level
    assert maps.shape == (60, 32, 32)
    assert maps.std() == pytest.approx(world.spread, rel=0.25)
    lagged = (maps[1:] * maps[:-1]).mean() / (maps**2).mean()
    assert lagged == pytest.approx(world.persistence, abs=0.2)
    np.testing.assert_array_equal(world.simulate(20, 0), world.simulate(60, 0)[:20])
    assert not np.allclose(world.simulate(5, 0, LEARNT), world.simulate(5, 0, USED))


def test_patterns_hide_what_they_say():
    hidden = {name: (~mask(p, 6, 8, 0)).sum((1, 2)) for name, p in patterns_of(SMALL).items()}
    assert {name: set(counts) for name, counts in hidden.items()} == {
        "random 40": {25},
        "fixed 80": {51},
        "block": {16},
        "complete": {0},
    }
    assert set((mask(OF_MIXTURES["25 of 64"], 6, 8, 0)).sum((1, 2))) == {25}
    fixed = mask(("fixed", 0.8), 6, 8, 0)
    assert (fixed == fixed[0]).all()


def test_every_family_is_a_covariance():
    for world in WORLDS.values():
        assert np.linalg.eigvalsh(world.coarse).min() > 0
    assert correlation("spherical", np.array([0.0, 1.0, 2.0])).tolist() == [1, 0, 0]
