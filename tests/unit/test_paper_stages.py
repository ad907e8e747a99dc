"""The two stages of the paper: how they are trained, what they read, and how wide they draw."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from worlds import forced, quick, sparse

from geodiffrecon.architecture import Architecture
from geodiffrecon.calibration import Calibration
from geodiffrecon.diffusion import Diffusion
from geodiffrecon.evidence import with_spreads_of_draws
from geodiffrecon.fitting import DIFFUSION_ALONE
from geodiffrecon.model import DiffRecon
from geodiffrecon.presets import PRESETS
from geodiffrecon.residuals import Bounds, DiffusionLoss, true_past
from geodiffrecon.schedule import noise_levels
from geodiffrecon.stages import ResidualDiffusion
from geodiffrecon.tiling import WindowLattice
from geodiffrecon.training import residual_loss


def paper(**changes):
    """Return small settings of the paper's two stages, without prior and mean layer."""
    base = quick(prior=False, mean=False, literal=True, daily=False, members=1)
    return replace(base, **changes)


@pytest.fixture(scope="module")
def paper_model(counts_cube):
    return DiffRecon(settings=paper()).fit(counts_cube, until="2024-01-08")


def given(model, cube):
    """Return layers, series, belief and observations of a sparse cube, observed cells held."""
    layers = model.layers()
    observations = model._observations(sparse(cube), None)
    series = layers.series(observations, hard=True)
    return layers, *layers.complete(series, observations, hard=True), observations


def trained(settings, cube, **options):
    """Return the optimiser steps of every phase of a fit."""
    heard = Counter()
    DiffRecon(settings=settings).fit(
        cube, until="2024-01-08", progress=lambda done, total, what: heard.update([what]), **options
    )
    return heard


# --- time --------------------------------------------------------------------------------------


def test_the_stages_share_the_time_by_what_they_gain(counts_cube):
    longer = replace(quick().completion_diffusion, steps=10_000)
    settings = paper(completion_diffusion=longer, refinement_diffusion=longer, joint_steps=10_000)
    ticks = iter(np.arange(0, 1e6, 0.5))  # every look at the clock costs half a second
    heard = trained(settings, counts_cube, max_minutes=2.0, clock=lambda: float(next(ticks)))
    steps = [heard[f"diffusion {stage}"] for stage in ("completion", "refinement")]
    steps.append(heard["joint diffusion"])
    shares = np.diff([0.0, *DIFFUSION_ALONE.values()])
    assert np.array(steps) / sum(steps) == pytest.approx(shares, abs=0.06)


def test_without_pre_training_the_joint_phase_is_all_there_is(counts_cube):
    heard = trained(paper(pretrained=False), counts_cube)
    assert not heard["diffusion completion"]
    assert heard["joint diffusion"] > paper().joint_steps


def test_the_letter_of_the_paper_can_be_chosen(counts_cube):
    literal = PRESETS["literal"]
    assert literal.chain.prediction == "eps"
    assert literal.chain.sampler == "ancestral"
    network = Architecture(literal, WindowLattice((8, 8)), 4, 3, 24, 2, 4).completion(noisy=True)
    assert network.config.history.ffn == "paper"
    assert network.config.history.stack == "attention"
    chain = replace(literal.chain, levels=20, steps=20)
    settings = paper(chain=chain, feed="paper", stacked="attention")
    model = DiffRecon(settings=settings).fit(counts_cube, until="2024-01-08")
    maps = model.reconstruct(sparse(counts_cube), samples=2)
    assert np.isfinite(maps["v"].values).all()


# --- what they read ----------------------------------------------------------------------------


def test_t_pattern_net_reads_true_maps_in_pre_training(counts_cube, monkeypatch):
    seen = []

    def spy(series):
        seen.append(true_past(series))
        return seen[-1]

    monkeypatch.setattr("geodiffrecon.fitting.true_past", spy)
    DiffRecon(settings=paper()).fit(counts_cube, until="2024-01-08")
    series = seen[0]
    assert float(series.completed.abs().mean()) > 0.1
    for variant in series.completed:
        torch.testing.assert_close(variant, series.truth.nan_to_num())


def test_in_use_t_pattern_net_reads_the_completions_of_the_same_draw(
    paper_model, counts_cube, monkeypatch
):
    layers, series, belief, observations = given(paper_model, counts_cube)
    network, read = layers.refinement_diffusion.network, []
    encode = network.encode
    monkeypatch.setattr(
        network, "encode", lambda past, *rest: (read.append(past), encode(past, *rest))[1]
    )
    frames, draws = np.array([100, 101]), range(3)
    chance = layers._chance(observations.times, 5, draws)
    anomaly = layers._coarse_anomalies(
        series, belief, np.arange(97, 102), chance, None, lambda *_: None
    )  # (K, 5, I, J)
    layers.collect(series, belief, observations.times, frames, draws, 5)
    past = torch.cat(read)[:, :, 0].numpy()  # (f K, t, I, J), draws within frames
    assert past[:3] == pytest.approx(anomaly[:, :4], abs=1e-5)
    assert past[3:] == pytest.approx(anomaly[:, 1:], abs=1e-5)
    hidden = ~belief.fixed[100]
    assert np.abs(past[0, -1][hidden] - past[1, -1][hidden]).max() > 1e-3


def test_the_joint_phase_holds_observed_cells(paper_model, counts_cube):
    layers, series, _, _ = given(paper_model, counts_cube)
    frames = torch.arange(90, 100)
    case = series.coarse_case(torch.zeros_like(frames), frames, layers.coarse_lags)
    process = layers.completion_diffusion.diffusion
    losses = DiffusionLoss(process, Bounds((-3, 3), (-3, 3)), (2, 1, 0), (3, 2, 1, 0))
    with torch.no_grad():
        drawn = losses._drawn(layers.completion_diffusion.network, case, torch.Generator())
    seen = case.observed[:, -1]
    torch.testing.assert_close(drawn.mean[seen], case.tokens[:, -1, 0][seen])
    assert float((drawn.mean - case.mean)[~seen].abs().mean()) > 0.01


def test_one_encoding_of_the_history_serves_several_noises(paper_model, counts_cube, monkeypatch):
    layers, series, _, _ = given(paper_model, counts_cube)
    frames = torch.arange(90, 94)
    case = series.coarse_case(torch.zeros_like(frames), frames, layers.coarse_lags)
    layer, seen = layers.completion_diffusion, []
    network, encode = layer.network, layer.network.encode
    monkeypatch.setattr(network, "encode", lambda *given: (seen.append(1), encode(*given))[1])
    residual, weight = torch.zeros_like(case.mean), torch.ones_like(case.mean)
    residual[1], weight[1] = 5.0, 3.0

    def loss(case, residual, weight, noises):
        generator = torch.Generator().manual_seed(4)
        with torch.no_grad():
            return float(
                residual_loss(network, layer.diffusion, case, residual, weight, generator, noises)
            )

    shared = loss(case, residual, weight, 3)
    assert len(seen) == 1
    apart = (x.repeat_interleave(3, 0) for x in (residual, weight))
    assert shared == pytest.approx(loss(case.repeat(3), *apart, 1), rel=1e-5)


def test_a_drawn_completion_is_not_taught_the_fine_map_of_another(counts_cube, monkeypatch):
    calls, joint = [], DiffusionLoss.joint
    monkeypatch.setattr(
        DiffusionLoss, "joint", lambda *given: (calls.append(given), joint(*given))[1]
    )
    DiffRecon(settings=paper(joint_steps=1)).fit(counts_cube, until="2024-01-08")
    losses, both, batch = calls[0]
    series = batch.series
    case = series.coarse_case(batch.variant, batch.frame, losses.coarse_lags)
    held = case.observed[:1, -1]
    for axis in (1, 2):
        held = held.repeat_interleave(batch.units.factor, axis)
    # one frame, or what is hidden in one view of it is seen in another
    batch = replace(batch, variant=batch.variant[:1], frame=batch.frame[:1])

    def loss(where):
        fine = series.fine.clone()
        fine[batch.frame] = torch.where(where, fine[batch.frame] + 3, fine[batch.frame])
        batch.generator.manual_seed(1)
        with torch.no_grad():
            return float(joint(losses, both, replace(batch, series=replace(series, fine=fine))))

    assert loss(~held) == loss(torch.zeros_like(held))
    assert loss(held) != loss(torch.zeros_like(held))


# --- how wide they draw ------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_no_clean_field_leaves_the_range_of_training(prediction):
    class Wild(torch.nn.Module):
        config = None

    class Case:
        context = torch.zeros(2, 1)

        def crop(self, window, factor):
            return self

        def encode(self, network):
            return None

        def run(self, network, x, level, features):
            return 50 * torch.ones_like(x)

    layer = ResidualDiffusion(
        Wild(), Diffusion(noise_levels(20), prediction), steps=4, bounds=(-1.5, 2.5),
        lattice=WindowLattice((4, 4)),
    )  # fmt: skip
    drawn = layer.draw(Case(), torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(1)))
    assert float(drawn.min()) >= -1.5
    assert float(drawn.max()) <= 2.5


def test_bounds_are_those_of_the_training_residuals(paper_model, counts_cube):
    stored = paper_model._config["bounds"]
    layers = paper_model.layers()
    for stage in ("completion", "refinement"):
        low, high = stored[stage]
        assert getattr(layers, f"{stage}_diffusion").bounds == (low, high)
        assert -12 <= low < 0 < high <= 12


def test_draws_are_scaled_by_their_own_spread(counts_cube, monkeypatch):
    model = forced(DiffRecon(settings=quick()), counts_cube, until="2024-01-08")
    layers = replace(model.layers(), calibration=Calibration(coarse=0.8, fine=1.2))
    trials = [Trial(model, counts_cube)]
    monkeypatch.setattr(
        ResidualDiffusion, "draw", lambda self, case, start, **_: 2 * torch.as_tensor(start)
    )
    found = with_spreads_of_draws(layers, trials, np.arange(100, 130))
    # draws of twice the unit spread must be halved to have that of the errors
    assert found.drawn_coarse == pytest.approx(0.4, rel=0.05)
    assert found.drawn_fine == pytest.approx(0.6, rel=0.05)


class Trial:
    """A sparse view of a cube, as validation has it."""

    def __init__(self, model, cube):
        self.observations = model._observations(sparse(cube), None)

    def run(self, layers):
        return layers.complete(
            layers.series(self.observations, hard=True), self.observations, hard=True
        )
