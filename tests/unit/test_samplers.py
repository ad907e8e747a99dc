from functools import partial

import pytest
import torch

from geodiffrecon.errors import Cancelled, InvalidParameter
from geodiffrecon.samplers import SAMPLERS, ancestral, ddim, dpmpp_2m
from geodiffrecon.schedule import noise_levels, timesteps

MEAN, SPREAD, COUNT = 1.5, 0.6, 20_000


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def exact_denoiser(levels):
    """Posterior mean of a Gaussian with mean MEAN and standard deviation SPREAD."""

    def denoise(x, index):
        signal, sigma = levels.coefficients(index, x)
        gain = signal * SPREAD**2 / (signal**2 * SPREAD**2 + sigma**2)
        return MEAN + gain * (x - signal * MEAN)

    return denoise


@pytest.mark.parametrize(("spread", "tolerance"), [(0.1, 0.1), (0.2, 0.06), (1, 0.06), (4, 0.06)])
def test_eight_steps_keep_the_spread_of_a_gaussian_of_any_scale(spread, tolerance):
    levels = noise_levels(100)

    def denoise(x, index):
        signal, sigma = levels.coefficients(index, x)
        return signal * spread**2 / (signal**2 * spread**2 + sigma**2) * x

    # the exact denoiser of a Gaussian is linear, so a unit start shows the spread of all draws
    drawn = dpmpp_2m(denoise, torch.ones(1, 1, dtype=torch.float64), levels, steps=8)
    assert float(drawn) / spread == pytest.approx(1, abs=tolerance)


def noise_source(shape, seed=5):
    return lambda step: torch.randn(shape, generator=seeded(seed + step))


def draw(sampler, levels, steps, count=COUNT):
    x = torch.randn(count, 1, generator=seeded())
    noise = noise_source((count, 1))
    return sampler(exact_denoiser(levels), x, levels, steps=steps, noise=noise)


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
@pytest.mark.parametrize(
    ("name", "steps", "tolerance"),
    [("ancestral", 500, 0.02), ("ddim", 500, 0.02), ("dpmpp_2m", 50, 0.02)],
)
def test_samplers_reproduce_a_known_gaussian(name, steps, tolerance, zero_terminal_snr):
    levels = noise_levels(500, zero_terminal_snr=zero_terminal_snr)
    x0 = draw(SAMPLERS[name], levels, steps)
    assert float(x0.mean()) == pytest.approx(MEAN, abs=tolerance)
    assert float(x0.std()) == pytest.approx(SPREAD, rel=2 * tolerance)


def test_few_steps_of_the_default_sampler_change_little():
    levels = noise_levels(1000)
    many = draw(ddim, levels, 1000, count=500)
    few = draw(dpmpp_2m, levels, 12, count=500)
    assert float((many - few).abs().mean()) < 0.06 * SPREAD
    assert float(few.mean()) == pytest.approx(float(many.mean()), rel=0.01)


def test_second_order_is_closer_than_first_at_equal_steps():
    levels = noise_levels(1000)
    exact = draw(ddim, levels, 1000, count=500)
    errors = [
        float((draw(sampler, levels, 12, count=500) - exact).abs().mean())
        for sampler in (dpmpp_2m, ddim)
    ]
    assert errors[0] < 0.6 * errors[1]


@pytest.mark.parametrize("sampler", [ddim, dpmpp_2m])
def test_deterministic_samplers_are_functions_of_the_initial_noise(sampler):
    levels = noise_levels(50)
    x = torch.randn(4, 1, 3, 3, generator=seeded())
    run = partial(sampler, exact_denoiser(levels), x, levels, steps=10)
    torch.testing.assert_close(run(), run(noise=noise_source(x.shape)), rtol=0, atol=0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_item_is_the_same_in_any_batch(name):
    levels = noise_levels(50)
    x = torch.randn(4, 1, 3, 3, generator=seeded())
    noise = noise_source(x.shape)
    together = SAMPLERS[name](exact_denoiser(levels), x, levels, steps=10, noise=noise)
    alone = SAMPLERS[name](
        exact_denoiser(levels), x[2:3], levels, steps=10, noise=lambda step: noise(step)[2:3]
    )
    torch.testing.assert_close(together[2:3], alone)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_global_generator_is_not_touched(name):
    levels, state = noise_levels(20), torch.get_rng_state()
    x = torch.zeros(1, 1)
    SAMPLERS[name](exact_denoiser(levels), x, levels, steps=5, noise=noise_source((1, 1)))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("sampler", [ancestral, partial(ddim, eta=0.5)])
def test_stochastic_samplers_ask_for_noise(sampler):
    levels = noise_levels(20)
    with pytest.raises(InvalidParameter, match="needs noise"):
        sampler(exact_denoiser(levels), torch.zeros(1, 1), levels, steps=5)


def test_ancestral_step_is_the_posterior_of_the_noised_field():
    levels = noise_levels(20)
    t, s, _ = timesteps(levels, 2)
    x, x0, z = torch.tensor([[0.7]]), torch.tensor([[0.2]]), torch.tensor([[1.3]])
    seen = []

    def denoise(x, index):
        seen.append(x)
        return x0

    ancestral(denoise, x, levels, steps=2, noise=lambda step: z)
    abar_t, abar_s = levels.abar[t], levels.abar[s]
    alpha = abar_t / abar_s
    mean = (abar_s.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - abar_s) * x) / (1 - abar_t)
    variance = (1 - abar_s) / (1 - abar_t) * (1 - alpha)
    torch.testing.assert_close(seen[1], (mean + variance.sqrt() * z).float())


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_callback_sees_every_step_and_can_cancel(name):
    levels, steps = noise_levels(20), []
    x, noise = torch.zeros(1, 1), noise_source((1, 1))

    def callback(step, x0):
        steps.append(step)
        if step == 3:
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        SAMPLERS[name](exact_denoiser(levels), x, levels, steps=6, noise=noise, callback=callback)
    assert steps == [0, 1, 2, 3]


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_exact_answer_is_kept(name):
    levels = noise_levels(20, zero_terminal_snr=True)
    x = torch.randn(2, 1, 3, 3, generator=seeded())
    for steps in (1, 2, 20):
        out = SAMPLERS[name](
            lambda x, index: torch.full_like(x, 3.0),
            x,
            levels,
            steps=steps,
            noise=noise_source(x.shape),
        )
        torch.testing.assert_close(out, torch.full_like(x, 3.0))
