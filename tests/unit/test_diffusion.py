import pytest
import torch

from geodiffrecon.diffusion import PREDICTIONS, Diffusion
from geodiffrecon.errors import InvalidParameter
from geodiffrecon.schedule import noise_levels


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def fields():
    return torch.randn(6, 1, 4, 4, generator=seeded(1))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_true_output_gives_back_field_and_noise(prediction, fields):
    diffusion = Diffusion(noise_levels(20), prediction)
    noise = torch.randn(fields.shape, generator=seeded(2))
    index = torch.tensor([1, 2, 5, 10, 15, 18])
    x_t = diffusion.noised(fields, index, noise)
    raw = diffusion.target(fields, index, noise)
    x0, eps = diffusion.x0_and_eps(raw, x_t, index)
    torch.testing.assert_close(x0, fields, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(eps, noise, atol=1e-4, rtol=1e-4)
    denoised = diffusion.denoise(lambda x, level: raw, x_t, index)
    torch.testing.assert_close(denoised, x0)


def test_velocity_is_finite_where_no_signal_is_left(fields):
    diffusion = Diffusion(noise_levels(20, zero_terminal_snr=True), "v")
    index = torch.full((6,), 20)
    noise = torch.randn(fields.shape, generator=seeded(2))
    x_t = diffusion.noised(fields, index, noise)
    torch.testing.assert_close(x_t, noise)
    x0, _ = diffusion.x0_and_eps(diffusion.target(fields, index, noise), x_t, index)
    torch.testing.assert_close(x0, fields)


def test_the_network_is_told_levels_above_zero_up_to_one(fields):
    seen = []

    def network(x_t, level):
        seen.append(level)
        return x_t

    diffusion = Diffusion(noise_levels(4))
    for seed in range(30):
        diffusion.loss(network, fields, generator=seeded(seed))
    assert set(torch.cat(seen).tolist()) == {0.25, 0.5, 0.75, 1.0}


def test_the_loss_is_a_function_of_the_generator_alone(fields):
    diffusion = Diffusion(noise_levels(20))
    state = torch.get_rng_state()
    first, second = (
        diffusion.loss(lambda x, level: x, fields, generator=seeded(3)) for _ in range(2)
    )
    assert first == second
    assert torch.equal(state, torch.get_rng_state())


def test_weights_decide_which_elements_count(fields):
    diffusion = Diffusion(noise_levels(20), "x0")
    weight = torch.zeros(6, 1, 4, 4)
    weight[:, :, :2] = 1.0

    def wrong_below(x_t, level):
        raw = fields.clone()
        raw[:, :, 2:] += 100
        raw[:, :, :2] += 2
        return raw

    loss = diffusion.loss(wrong_below, fields, generator=seeded(), weight=weight)
    assert float(loss) == pytest.approx(4.0, rel=1e-5)
    nothing = diffusion.loss(wrong_below, fields, generator=seeded(), weight=torch.zeros(1))
    assert float(nothing) == 0


def test_given_noise_and_levels_are_used(fields):
    diffusion = Diffusion(noise_levels(20), "eps")
    noise, index = torch.ones_like(fields), torch.arange(1, 7)
    loss = diffusion.loss(
        lambda x, level: torch.ones_like(x), fields, generator=None, noise=noise, index=index
    )
    assert float(loss) == 0


@pytest.mark.parametrize(
    ("prediction", "zero"), [("score", False), ("eps", True)], ids=["unknown", "eps of no signal"]
)
def test_impossible_predictions_are_refused(prediction, zero):
    with pytest.raises(InvalidParameter):
        Diffusion(noise_levels(20, zero_terminal_snr=zero), prediction)


def test_a_batch_tells_of_all_levels_and_each_is_as_likely():
    diffusion = Diffusion(noise_levels(20), "v")
    generator = seeded()
    index = torch.stack([diffusion.draw_index(10, generator=generator) for _ in range(4000)])
    assert int(index.min()) == 1
    assert int(index.max()) == 20
    # one of every two levels, in random order
    assert torch.equal((index.sort(dim=1).values + 1) // 2, torch.arange(1, 11).expand(4000, 10))
    share = torch.bincount(index[:, 0], minlength=21)[1:] / 4000
    assert share == pytest.approx(torch.full((20,), 0.05), abs=0.015)
