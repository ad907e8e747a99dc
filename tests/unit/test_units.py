import numpy as np
import pytest
import torch

from geodiffrecon.assembly import units_of
from geodiffrecon.calendar import Calendar
from geodiffrecon.priors.offsets import OffsetRefinement
from geodiffrecon.priors.prior import Prior, PriorSettings
from geodiffrecon.training import Batch, true_fine_case
from geodiffrecon.units import ridge_offsets
from geodiffrecon.windows import from_blocks


def test_the_ridge_of_networks_is_the_ridge_of_the_prior():
    rng = np.random.default_rng(0)
    anomalies, design = rng.standard_normal((7, 4, 5)), rng.standard_normal((7, 3))
    coefficients = rng.standard_normal((20, 9 + 3, 9)).astype(np.float32)
    ridge = OffsetRefinement(coefficients, 1, np.ones((20, 9), np.float32))
    expected = from_blocks(ridge.predict(anomalies, design), 3, (4, 5))
    tensors = [torch.as_tensor(a, dtype=torch.float32) for a in (anomalies, design)]
    found = ridge_offsets(torch.as_tensor(coefficients).unflatten(0, (4, 5)), 1, *tensors)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("which", ["counts", "plumes"])
def test_corrections_of_zero_change_nothing_and_totals_hold(which, request):
    model = request.getfixturevalue(f"{which}_model")._fitted()
    units, shape = model.units, model.prior.shape
    fine = torch.rand(3, shape[0] * units.factor, shape[1] * units.factor) * 9
    case = _case(model, fine)
    same = units.correct(case, torch.zeros(3, units.out_channels, *fine.shape[1:]))
    torch.testing.assert_close(units.location(same), units.location(case), rtol=1e-4, atol=1e-4)
    if which == "counts":
        moved = units.correct(case, torch.randn(3, 1, *fine.shape[1:]))
        pooled = units.location(moved).unfold(1, 2, 2).unfold(2, 2, 2).sum((-1, -2))
        torch.testing.assert_close(pooled, case.coarse, rtol=1e-4, atol=1e-4)


def _case(model, fine):
    from geodiffrecon.assembly import Observations, assemble

    prior, factor = model.prior, model.units.factor
    times = np.arange(3).astype("datetime64[D]").astype("datetime64[ns]")
    pooled = fine.unfold(1, factor, factor).unfold(2, factor, factor).sum((-1, -2)).numpy()
    coarse = pooled if model.aggregation == "sum" else pooled / factor**2
    context = prior.calendar.context(times)
    given = Observations(times, coarse.astype(float), context, np.zeros((0, *prior.shape), "f4"))
    anomalies = prior.anomalies(given.coarse, times)[None]
    series = assemble(prior, given, anomalies, 0 * anomalies, anomalies, 0 * anomalies)
    from dataclasses import replace

    series = replace(
        series, truth=torch.as_tensor(anomalies[0], dtype=torch.float32),
        coarse=torch.as_tensor(coarse, dtype=torch.float32), fine=fine,
    )  # fmt: skip
    frames = torch.arange(3)
    batch = Batch(series, model.units, torch.zeros_like(frames), frames, torch.Generator())
    return true_fine_case(batch, model.fine_lags, blur=False)[0]


def test_flat_units_know_one_level():
    from geodiffrecon.windows import Record

    times = np.arange(50).astype("datetime64[D]").astype("datetime64[ns]")
    fine = np.random.default_rng(1).normal(5, 2, (50, 4, 4)).astype(np.float32)
    prior = Prior.flat(
        Record(times, fine, 2, "mean"), Calendar.seen_in(times), "real", np.ones(50, bool)
    )
    units = units_of([prior])
    assert units.flat_mean == pytest.approx(fine.mean(), rel=1e-5)
    assert PriorSettings().lags == (0, 1)
