"""Small forms of the bench against exact answers: what is told the truth must find it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from exact import cube, given_the_truth, judged, lines, of_closed_form, of_draws
from exact_worlds import USED, Posterior, World, mask

from geodiffrecon.calibration import Calibration
from geodiffrecon.forecast import of_layers
from geodiffrecon.model import DiffRecon
from geodiffrecon.presets import Settings
from geodiffrecon.schedule import noise_levels
from geodiffrecon.stages import ResidualDiffusion

WORLD = World("matern32", (2.0,), side=4, factor=4)
SAMPLING = {"cells": 0.05, "hidden": 0.06, "totals": 0.12}  # what few draws can tell
BARE = Settings(mean=False, joint=False, diffusion=False)


@pytest.fixture(scope="module")
def informed():
    """Return a model without networks whose prior is the world."""
    with given_the_truth(WORLD):
        return DiffRecon(settings=BARE).fit(
            cube(WORLD, WORLD.simulate(160, 0), "fine"), kind="real"
        )


def test_a_model_that_is_given_the_covariance_gives_the_exact_answer(informed):
    for pattern, found in judged(informed, WORLD, 0, maps=12, draws=64).items():
        assert found["closed"]["distance"]["cells"] < 0.01, pattern
        # The published spread leaves out what neighbours' doubt adds: 1.2 % at 80 % hidden.
        assert found["closed"]["crps"]["cells"] == pytest.approx(1, abs=0.013), pattern
        for level, ratio in found["draws"]["spread"].items():
            assert ratio == pytest.approx(1, abs=SAMPLING[level]), (pattern, level)
        assert found["draws"]["crps"]["cells"] == pytest.approx(1, abs=0.01), pattern


def test_a_model_that_learns_from_few_frames_is_told_from_one_that_knows(informed):
    learnt = DiffRecon(settings=BARE).fit(cube(WORLD, WORLD.simulate(60, 0), "fine"), kind="real")
    knows, guesses = (
        judged(model, WORLD, 1, maps=8, draws=8)["random 40"]["closed"]
        for model in (informed, learnt)
    )
    assert guesses["crps"]["cells"] > knows["crps"]["cells"] + 0.01
    assert guesses["distance"]["cells"] > knows["distance"]["cells"] + 0.1


class Perfect:
    """A process whose denoiser knows that clean fields are Gaussian with one covariance."""

    def __init__(self, covariance, prediction="v"):
        self.levels, self.prediction = noise_levels(100), prediction
        self.covariance = torch.as_tensor(covariance)

    def denoise(self, network, x, index):
        signal, sigma = (float(part.flatten()[0]) for part in self.levels.coefficients(index, x))
        noisy = signal**2 * self.covariance + sigma**2 * torch.eye(len(self.covariance))
        gain = signal * torch.linalg.solve(noisy, self.covariance)
        return (x.flatten(1).double() @ gain).to(x.dtype).reshape(x.shape)


class Unread:
    """A network that is never asked."""

    def encode(self, *_):
        return None


def perfect_layers(model, posterior, steps, sampler="dpmpp_2m"):
    """Return layers whose diffusions denoise the residuals of a fixed pattern exactly."""
    layers = replace(model.layers(), calibration=Calibration())
    width = np.sqrt(np.diag(posterior.covariance[-1, 0]))
    shape = posterior.covariance[-1, 0] / np.maximum(np.outer(width, width), 1e-12)
    shape[width == 0] = shape[:, width == 0] = 0.0
    shape[width == 0, width == 0] = 1.0
    scale = np.sqrt(np.diag(WORLD.remainder[0]))
    fine = WORLD.remainder[0] / np.outer(scale, scale)
    return replace(
        layers,
        completion_diffusion=ResidualDiffusion(
            Unread(), Perfect(shape), sampler=sampler, steps=steps, lattice=layers.lattice
        ),
        refinement_diffusion=ResidualDiffusion(
            Unread(),
            Perfect(fine),
            sampler=sampler,
            steps=steps,
            lattice=layers.lattice,
            factor=WORLD.factor,
        ),
    )


@pytest.mark.parametrize(("sampler", "steps"), [("dpmpp_2m", 8), ("ancestral", 100)])
def test_draws_by_a_perfect_denoiser_have_the_exact_spread(informed, sampler, steps):
    frames = 12
    truth = WORLD.simulate(frames, 3, USED)
    coarse = (truth.reshape(frames, -1) @ WORLD.pool.T).reshape(frames, WORLD.side, WORLD.side)
    seen = mask(("fixed", 0.6), frames, WORLD.side, 3)
    given = np.where(seen, coarse, np.nan)
    posterior = Posterior.of(WORLD, given).last(4)
    observations = informed._observations(cube(WORLD, given, "coarse", 400), None)
    drawn = of_layers(
        perfect_layers(informed, posterior, steps, sampler),
        observations,
        np.arange(frames - 4, frames),
        samples=64,
        seed=0,
    ).draws
    found = of_draws(posterior, drawn, truth[-4:], ~seen[-4:])["draws"]
    for level in ("cells", "hidden", "totals"):
        assert found["spread"][level] == pytest.approx(1, abs=SAMPLING[level]), level
    assert found["crps"]["cells"] == pytest.approx(1, abs=0.01)


def test_draws_too_wide_and_means_astray_are_seen():
    truth = WORLD.simulate(4, 5, USED)
    coarse = (truth.reshape(4, -1) @ WORLD.pool.T).reshape(4, WORLD.side, WORLD.side)
    seen = mask(("random", 0.4), 4, WORLD.side, 5)
    posterior = Posterior.of(WORLD, np.where(seen, coarse, np.nan))
    draws = posterior.draw(200, seed=2)
    exact, wide = (
        of_draws(posterior, posterior_draws, truth, ~seen)["draws"]
        for posterior_draws in (draws, 2 * draws - draws.mean(0))
    )
    assert exact["crps"]["cells"] == pytest.approx(1, abs=0.005)
    assert exact["distance"]["cells"] < 0.05
    assert wide["spread"]["cells"] == pytest.approx(2 * exact["spread"]["cells"])
    assert wide["crps"]["cells"] > 1.1
    cells = posterior.cells
    astray = of_closed_form(posterior, cells.mean + 0.5 * cells.std, cells.std)
    assert astray["distance"]["cells"] == pytest.approx(0.5)
    assert astray["crps"]["cells"] > 1.05


def test_results_become_a_table(informed):
    found = judged(informed, WORLD, 0, maps=3, draws=4)
    run = {
        "world": "matern32",
        "preset": "default",
        "informed": True,
        "frames": 160,
        "seconds": 60.0,
        "patterns": found,
    }
    table = lines([run, {"runs": {"a": run}, "share of the covariance": {"a": {"block": 0.9}}}])
    assert len(table) == 2 + 2 * 4 + 2
    assert "| matern32 | default, given | 160 | 1.0 | random 40 |" in table[2]
    assert table[-1].endswith("block 90%")
