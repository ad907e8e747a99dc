import dataclasses
import json

import pytest
import torch
from torch import nn

from geodiffrecon.errors import GridMismatch, IncompatibleModel, InvalidParameter
from geodiffrecon.networks import (
    Completion,
    CompletionConfig,
    ConditionalUNet,
    PatternConfig,
    PointFormerConfig,
    Refinement,
    RefinementConfig,
    STPointFormer,
    TPatternNet,
    UNetConfig,
    heads,
)
from geodiffrecon.networks.blocks import StepEmbedding, map_norm
from geodiffrecon.networks.patterns import Inception, strongest_periods

SMALL = UNetConfig(widths=(8, 16), strides=(2,), embedding=16, dropout=0.1)
POINTS = PointFormerConfig(frames=3, rows=8, cols=8, token_channels=2, d=8, feature_channels=6)
PATTERNS = PatternConfig(frames=12, d=8, d_ff=8, top_k=2, kernels=(1, 3), feature_channels=6)


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def awake(network):
    """Replace every parameter by noise, so that nothing is zero from the start."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return network.eval()


def completion(noisy=1, history=POINTS, unet=SMALL):
    config = CompletionConfig(
        noisy_channels=noisy, map_channels=2, context_features=3, unet=unet, history=history
    )
    return Completion.from_config(config)


def refinement(factor, patch, strides, history=PATTERNS, noisy=1, fine=2):
    unet = dataclasses.replace(
        SMALL, patch=patch, strides=strides, widths=(8, 16, 16)[: len(strides) + 1]
    )
    config = RefinementConfig(
        factor=factor, noisy_channels=noisy, coarse_channels=2, fine_channels=fine,
        context_features=3, unet=unet, history=history,
    )  # fmt: skip
    return Refinement.from_config(config)


def coarse_inputs(batch=3, frames=3, channels=2, rows=6, cols=5):
    tokens = torch.randn(batch, frames, channels, rows, cols)
    observed = torch.rand(batch, frames, rows, cols) > 0.5
    return tokens, observed, torch.randn(batch, frames, 3)


def complete(network, tokens, observed, context, x=None):
    batch, _, _, rows, cols = tokens.shape
    x = torch.zeros(batch, network.config.noisy_channels, rows, cols) if x is None else x
    now = observed[:, -1:]
    maps = torch.cat([tokens[:, -1, :1].masked_fill(~now, 0), now.float()], dim=1)
    features = network.encode(tokens, observed, context)
    return network(x, torch.linspace(0.1, 0.9, batch), maps, context[:, -1], features)


def refine(network, tokens, observed, context, x, maps):
    features = network.encode(tokens, observed, context)
    coarse = tokens[:, -1].repeat(1, 2, 1, 1)[:, :2]
    level = torch.full((tokens.shape[0],), 0.4)
    return network(x, level, coarse, maps, context[:, -1], features)


FORMS = [
    {},
    {"queries": "all"},
    {"norm": "post", "ffn": "paper", "queries": "all"},
    {"norm": "pre", "ffn": "paper"},
    {"norm": "post", "stack": "attention"},
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_hidden_values_change_nothing(form):
    network = awake(completion(history=dataclasses.replace(POINTS, **form)))
    tokens, observed, context = coarse_inputs()
    expected = complete(network, tokens, observed, context)
    for hidden in (99.0, float("nan"), float("inf")):
        changed = tokens.clone()
        changed[:, :, 0][~observed] = hidden
        torch.testing.assert_close(complete(network, changed, observed, context), expected)


def test_observed_values_of_the_past_do_change_the_result():
    network = awake(completion())
    tokens, observed, context = coarse_inputs()
    expected = complete(network, tokens, observed, context)
    changed = tokens.clone()
    changed[:, 0, 0] += 1.0
    assert not torch.allclose(complete(network, changed, observed, context), expected)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_completed_item_is_the_same_alone_and_in_a_batch(form):
    network = awake(completion(history=dataclasses.replace(POINTS, **form)))
    tokens, observed, context = coarse_inputs()
    together = network.encode(tokens, observed, context)
    alone = network.encode(tokens[1:2], observed[1:2], context[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)
    x, maps, level = torch.randn(3, 1, 6, 5), torch.randn(3, 2, 6, 5), torch.rand(3)
    whole = network(x, level, maps, context[:, -1], together)
    part = network(x[1:2], level[1:2], maps[1:2], context[1:2, -1], alone)
    torch.testing.assert_close(whole[1:2], part, atol=1e-5, rtol=1e-5)


def test_maps_with_nothing_observed_are_finite_and_say_nothing_of_values():
    network = awake(completion())
    tokens, _, context = coarse_inputs()
    nothing = torch.zeros(3, 3, 6, 5, dtype=torch.bool)
    out = complete(network, tokens, nothing, context)
    assert torch.isfinite(out).all()
    tokens[:, :, 0] = torch.nan
    torch.testing.assert_close(complete(network, tokens, nothing, context), out)


@pytest.mark.parametrize("size", [(5, 7), (8, 8), (2, 3), (1, 1)])
@pytest.mark.parametrize("noisy", [0, 1])
def test_completion_keeps_any_size_and_can_be_a_mean(size, noisy):
    network = awake(completion(noisy=noisy))
    inputs = coarse_inputs(rows=size[0], cols=size[1])
    assert complete(network, *inputs).shape == (3, 1, *size)
    assert (network.backbone.step is None) == (noisy == 0)


LAYOUTS = [(2, 1, (2,)), (3, 1, (3,)), (4, 2, (2,)), (8, 2, (2, 2)), (8, 4, (2,)), (4, 2, (2, 2)),
           (2, 2, ()), (3, 3, ()), (4, 4, ()), (8, 8, ()), (4, 4, (2,))]  # fmt: skip


@pytest.mark.parametrize(("factor", "patch", "strides"), LAYOUTS)
@pytest.mark.parametrize("noisy", [0, 1])
def test_refinement_has_every_factor_on_odd_grids(factor, patch, strides, noisy):
    network = awake(refinement(factor, patch, strides, noisy=noisy))
    tokens, _, context = coarse_inputs(2, 12, 1, 5, 7)
    shape = (5 * factor, 7 * factor)
    x, maps = torch.randn(2, noisy, *shape), torch.randn(2, 2, *shape)
    out = refine(network, tokens, torch.ones(2, 12, 5, 7, dtype=torch.bool), context, x, maps)
    assert out.shape == (2, 1, *shape)
    assert torch.isfinite(out).all()


def test_a_refinement_mean_needs_no_fine_condition():
    network = awake(refinement(4, 4, (), history=None, noisy=0, fine=0))
    out = network(torch.zeros(2, 0, 20, 28), None, torch.randn(2, 2, 5, 7), None, torch.randn(2, 3))
    assert out.shape == (2, 1, 20, 28)


@pytest.mark.parametrize("mode", ["per_cell", "channel_mix"])
def test_a_refined_item_is_the_same_alone_and_in_a_batch(mode):
    network = awake(
        refinement(4, 2, (2,), history=dataclasses.replace(PATTERNS, mode=mode, cells=(4, 5)))
    )
    time = torch.arange(12.0)[:, None, None, None]
    periods = torch.tensor([3.0, 4.0, 6.0])[:, None, None, None, None]
    tokens = torch.sin(2 * torch.pi * time / periods) + 0.2 * torch.randn(3, 12, 1, 4, 5)
    observed, context = torch.rand(3, 12, 4, 5) > 0.1, torch.randn(3, 12, 3)
    x, maps = torch.randn(3, 1, 16, 20), torch.randn(3, 2, 16, 20)
    together = refine(network, tokens, observed, context, x, maps)
    one = [part[1:2] for part in (tokens, observed, context, x, maps)]
    torch.testing.assert_close(together[1:2], refine(network, *one), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", ["per_cell", "channel_mix"])
def test_a_flat_series_and_gaps_do_not_disturb_the_pattern_net(mode):
    network = awake(TPatternNet(dataclasses.replace(PATTERNS, mode=mode, cells=(2, 2))))
    tokens, gaps = torch.zeros(3, 12, 1, 2, 2), torch.ones(3, 12, 2, 2, dtype=torch.bool)
    gaps[:, 4] = False
    tokens[:, 4] = torch.nan
    together = network(tokens, gaps)
    assert torch.isfinite(together).all()
    torch.testing.assert_close(together[:1], network(tokens[:1], gaps[:1]), atol=1e-5, rtol=1e-5)


def gradientless(network, loss):
    network.train()
    loss().backward()
    return [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_gradients_reach_every_parameter_of_completion(form):
    unet = dataclasses.replace(SMALL, attention=True, blocks_per_level=2, dropout=0.0)
    network = completion(history=dataclasses.replace(POINTS, dropout=0.0, **form), unet=unet)
    tokens, observed, context = coarse_inputs(rows=8, cols=8)
    x = torch.randn(3, 1, 8, 8)

    def loss():
        return complete(awake(network), tokens, observed, context, x).square().sum()

    assert gradientless(network, loss) == []


@pytest.mark.parametrize("mode", ["per_cell", "channel_mix"])
def test_gradients_reach_every_parameter_of_refinement(mode):
    history = dataclasses.replace(PATTERNS, mode=mode, cells=(4, 5), layers=2)
    network = refinement(4, 2, (2,), history=history)
    tokens, _, context = coarse_inputs(2, 12, 1, 4, 5)
    seen = torch.ones(2, 12, 4, 5, dtype=torch.bool)
    seen[:, 3] = False
    x, maps = torch.randn(2, 1, 16, 20), torch.randn(2, 2, 16, 20)

    def loss():
        return refine(awake(network), tokens, seen, context, x, maps).square().sum()

    assert gradientless(network, loss) == []


def test_at_the_start_the_output_is_zero_and_the_history_counts_for_nothing():
    network = completion().eval()
    tokens, observed, context = coarse_inputs()
    assert complete(network, tokens, observed, context).abs().max() == 0
    nn.init.normal_(network.backbone.unet.leave.weight)
    x, maps, level = torch.randn(3, 1, 6, 5), torch.randn(3, 2, 6, 5), torch.rand(3)
    features = network.encode(tokens, observed, context)
    with_history = network(x, level, maps, context[:, -1], features)
    assert with_history.abs().max() > 0
    torch.testing.assert_close(network(x, level, maps, context[:, -1], None), with_history)


def test_a_random_fusion_sees_the_history_at_once():
    unet = ConditionalUNet(1, 1, SMALL, feature_channels=4, zero_features=False).eval()
    nn.init.normal_(unet.leave.weight)
    x, embedding = torch.randn(1, 1, 8, 8), torch.randn(1, 16)
    plain = unet(x, embedding)
    assert not torch.allclose(unet(x, embedding, torch.randn(1, 4, 4, 4)), plain)


def test_without_norm_a_cell_depends_on_its_surroundings_only():
    config = UNetConfig(widths=(8,), strides=(), embedding=16, norm="none")
    unet = awake(ConditionalUNet(1, 1, config))
    x, embedding = torch.randn(1, 1, 20, 20), torch.randn(1, 16)
    changed = x.clone()
    changed[..., -1] += 5.0
    out, other = unet(x, embedding), unet(changed, embedding)
    torch.testing.assert_close(out[..., :8], other[..., :8])
    assert not torch.allclose(out[..., -1], other[..., -1])


def test_group_norm_does_not_erase_the_level_of_single_channels():
    x = torch.randn(1, 16, 4, 4)
    raised = x + torch.arange(16.0)[:, None, None]
    assert not torch.allclose(map_norm(16, "group")(raised), map_norm(16, "group")(x), atol=0.1)


def test_the_step_embedding_tells_levels_apart():
    embedded = StepEmbedding(16)(torch.arange(1, 101) / 100)
    distance = torch.cdist(embedded, embedded) + 10 * torch.eye(100)
    assert distance.min() > 0.01


def test_level_and_context_change_the_output():
    network = awake(completion(history=None))
    x, maps, context = torch.randn(2, 1, 6, 5), torch.randn(2, 2, 6, 5), torch.randn(2, 3)
    out = network(x, torch.full((2,), 0.5), maps, context)
    assert not torch.allclose(network(x, torch.full((2,), 0.51), maps, context), out)
    assert not torch.allclose(network(x, torch.full((2,), 0.5), maps, context + 1), out)


def test_stacking_is_the_concatenation_of_each_block():
    former = awake(STPointFormer(dataclasses.replace(POINTS, queries="all"), block=2))
    encoded = []
    hook = former.stack.register_forward_hook(lambda module, inputs, out: encoded.append(inputs[0]))
    out = former(*coarse_inputs(rows=4, cols=4)[:2])
    hook.remove()
    block = encoded[0][:, :, 2:4, 0:2].flatten(1)  # (B, t * d * 4)
    weight, bias = former.stack.conv.weight.flatten(1), former.stack.conv.bias
    torch.testing.assert_close(out[:, :, 1, 0], block @ weight.T + bias, atol=1e-4, rtol=1e-4)


def test_the_period_of_a_wave_is_found_per_item():
    time = torch.arange(48.0)
    waves = torch.stack([torch.sin(2 * torch.pi * time / p) for p in (24, 12, 8)])
    periods, weights = strongest_periods(waves[:, None, :, None] + 5.0, 2)
    assert periods[:, 0].tolist() == [24, 12, 8]
    torch.testing.assert_close(weights.sum(1), torch.ones(3))


def test_the_inception_block_is_the_average_of_its_convolutions():
    inception, x = Inception(3, 4, (1, 3, 5)), torch.randn(2, 3, 6, 7)
    weight, bias = inception.kernel()
    average = torch.stack([conv(x) for conv in inception.convs]).mean(0)
    torch.testing.assert_close(
        nn.functional.conv2d(x, weight, bias, padding=2), average, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(
    "config",
    [
        CompletionConfig(unet=SMALL, history=POINTS),
        CompletionConfig(noisy_channels=0),
        RefinementConfig(factor=4, unet=UNetConfig(patch=2), history=PATTERNS),
        RefinementConfig(
            factor=4,
            unet=UNetConfig(widths=(8,), strides=(), patch=4),
            history=dataclasses.replace(PATTERNS, mode="channel_mix", cells=(8, 8)),
        ),
    ],
    ids=lambda config: type(config).__name__,
)
def test_configurations_survive_json(config):
    stored = json.loads(json.dumps(dataclasses.asdict(config)))
    assert type(config).from_dict(stored) == config


def test_an_unknown_setting_is_refused():
    with pytest.raises(IncompatibleModel, match="wings"):
        CompletionConfig.from_dict({"unet": {"wings": 2}})


@pytest.mark.parametrize(
    "build",
    [
        lambda: UNetConfig(widths=(8, 16), strides=()),
        lambda: UNetConfig(norm="batch"),
        lambda: UNetConfig(embedding=7),
        lambda: dataclasses.replace(POINTS, queries="some"),
        lambda: dataclasses.replace(POINTS, heads=3),
        lambda: dataclasses.replace(PATTERNS, top_k=7),
        lambda: dataclasses.replace(PATTERNS, kernels=(2,)),
        lambda: dataclasses.replace(PATTERNS, mode="channel_mix"),
        lambda: dataclasses.replace(PATTERNS, mode="both"),
        lambda: RefinementConfig(factor=3, unet=UNetConfig(patch=2)),
        lambda: RefinementConfig(factor=4, unet=UNetConfig(patch=1), history=PATTERNS),
        lambda: STPointFormer(POINTS)(*coarse_inputs(rows=9)[:2]),
        lambda: STPointFormer(POINTS)(*coarse_inputs(frames=4)[:2]),
        lambda: TPatternNet(PATTERNS)(*coarse_inputs(frames=11, channels=1)[:2]),
    ],
)
def test_sizes_that_do_not_fit_are_refused(build):
    with pytest.raises(InvalidParameter):
        build()


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_shares_sum_to_one_and_give_coarse_values_back(factor):
    logits, coarse = 5 * torch.randn(2, 1, 5 * factor, 7 * factor), torch.rand(2, 1, 5, 7) * 100
    shares = heads.block_softmax(logits, factor)
    torch.testing.assert_close(heads.block_sum(shares, factor), torch.ones(2, 1, 5, 7))
    total = heads.distribute(coarse, shares, factor)
    torch.testing.assert_close(heads.block_sum(total, factor), coarse)
    mean = heads.distribute(coarse, shares, factor, aggregation="mean")
    torch.testing.assert_close(heads.block_mean(mean, factor), coarse)
    torch.testing.assert_close(heads.block_log_softmax(logits, factor).exp(), shares)


@pytest.mark.parametrize("factor", [2, 3])
def test_heads_agree_with_torch_pooling_and_keep_leading_dimensions(factor):
    fine = torch.randn(2, 3, 4 * factor, 5 * factor)
    pooled = nn.functional.avg_pool2d(fine, factor)
    torch.testing.assert_close(heads.block_mean(fine, factor), pooled)
    up = nn.functional.interpolate(pooled, scale_factor=factor, mode="nearest")
    torch.testing.assert_close(heads.nearest_up(pooled, factor), up)
    centred = heads.centre(fine[None], factor)
    assert centred.shape == (1, *fine.shape)
    assert heads.block_mean(centred, factor).abs().max() < 1e-6


def test_heads_refuse_grids_that_the_factor_does_not_divide():
    with pytest.raises(GridMismatch, match="5×6"):
        heads.block_softmax(torch.zeros(5, 6), 4)
    with pytest.raises(InvalidParameter, match="median"):
        heads.distribute(torch.zeros(1, 1), torch.ones(2, 2), 2, aggregation="median")


def test_mixed_precision_stays_finite():
    network = awake(refinement(4, 2, (2,)))
    tokens, _, context = coarse_inputs(2, 12, 1, 4, 5)
    seen = torch.ones(2, 12, 4, 5, dtype=torch.bool)
    x, maps = torch.randn(2, 1, 16, 20), torch.randn(2, 2, 16, 20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = refine(network, tokens, seen, context, x, maps)
        coarse = complete(awake(completion()), *coarse_inputs())
    assert torch.isfinite(out.float()).all()
    assert torch.isfinite(coarse.float()).all()
