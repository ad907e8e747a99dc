"""Comparisons: shared masks, one journal, the same table after a kill, fair ensembles."""

import json
from dataclasses import replace

import numpy as np
import pytest

from geodiffrecon.assembly import Observations
from geodiffrecon.comparison import Comparison, Protocol
from geodiffrecon.contenders import METHODS, methods_of
from geodiffrecon.errors import InvalidParameter
from geodiffrecon.journal import Journal
from geodiffrecon.metrics import coverage
from geodiffrecon.rivals.ensemble import ErrorField
from geodiffrecon.rivals.rival import Rival
from geodiffrecon.tasks import recent

PROTOCOL = Protocol(("complete", "random", "block"), (0.5,), masks=3, samples=8, max_minutes=1)
QUICK = ["share", "nearest", "simulation"]


@pytest.fixture
def comparison(counts_cube, tmp_path):
    return Comparison.of(counts_cube, PROTOCOL, Journal(tmp_path / "a.work"))


def plain(result):
    """What a table shows: all but times and memory."""
    drop = ("seconds", "fit_seconds", "fit_cpu", "peak_mb")
    return [{k: v for k, v in row.items() if k not in drop} for row in result["rows"]]


def test_every_method_sees_the_same_frames_and_masks(comparison):
    one, two = (comparison.task.observe("random", 0.5, 1) for _ in range(2))
    assert np.array_equal(np.isnan(one.coarse), np.isnan(two.coarse))
    other = comparison.task.observe("random", 0.5, 0)
    assert not np.array_equal(np.isnan(one.coarse), np.isnan(other.coarse))


def test_a_method_may_read_only_its_own_history(comparison):
    given = comparison.task.observe("random", 0.5, 0)
    cut, frames = recent(given, comparison.task.frames, 3)
    assert frames[0] == 3
    assert np.array_equal(cut.times[frames], given.times[comparison.task.frames])


def test_scores_come_with_provenance_and_ratios(comparison):
    comparison.run(QUICK, seeds=1)
    result = comparison.result("geodiffrecon compare")
    assert {row["method"] for row in result["rows"]} == set(QUICK)
    assert {"mae", "rmse", "crps", "energy", "spectrum", "coverage90"} <= result["rows"][0].keys()
    for key in ("commit", "command", "data_fingerprint", "device", "first", "end", "masks"):
        assert key in result
    assert result["paired"] == []  # nothing to pair without this system
    json.dumps(result, allow_nan=False)


def test_a_killed_comparison_ends_with_the_same_table(counts_cube, tmp_path):
    whole = Comparison.of(counts_cube, PROTOCOL, Journal(tmp_path / "whole.work"))
    whole.run(QUICK, seeds=1)

    rows = 0

    def kill(sentence):
        nonlocal rows
        rows += "MAE" in sentence
        if rows == 4:
            raise KeyboardInterrupt

    def begin(log):
        return Comparison.of(counts_cube, PROTOCOL, Journal(tmp_path / "killed.work"), log=log)

    with pytest.raises(KeyboardInterrupt):
        begin(kill).run(QUICK, seeds=1)
    again = begin(lambda sentence: None)
    assert 0 < len(again.result()["rows"]) < len(whole.result()["rows"])
    again.run(QUICK, seeds=1)
    assert plain(again.result()) == plain(whole.result())


def test_a_journal_of_other_terms_is_refused(counts_cube, tmp_path):
    Comparison.of(counts_cube, PROTOCOL, Journal(tmp_path / "a.work"))
    with pytest.raises(InvalidParameter, match="masks 3, not 4"):
        Comparison.of(counts_cube, replace(PROTOCOL, masks=4), Journal(tmp_path / "a.work"))


def test_a_journal_of_another_aggregation_is_refused(counts_cube, tmp_path):
    Comparison.of(counts_cube, PROTOCOL, Journal(tmp_path / "a.work"))
    with pytest.raises(InvalidParameter, match="aggregation 'sum', not 'mean'"):
        Comparison.of(
            counts_cube, PROTOCOL, Journal(tmp_path / "a.work"), aggregation="mean", kind="count"
        )


def test_names_and_groups_of_methods():
    assert methods_of(["share", "layers", "share"])[0] == "share"
    assert set(methods_of(["rivals"])) >= {"urbanfm", "stcf", "urbansta", "diffuflow", "kriging"}
    with pytest.raises(InvalidParameter, match="no method 'magic'"):
        methods_of(["magic"])
    for spec in METHODS.values():
        assert spec.part in ("all", "mean", "prior")


def test_seeds_must_be_positive(comparison):
    with pytest.raises(InvalidParameter, match="at least one"):
        comparison.run(["share"], seeds=0)


def test_a_rival_is_used_like_the_model(counts_cube):
    from geodiffrecon.cube import aggregate

    rival = Rival("share").fit(counts_cube)
    coarse = aggregate(counts_cube).isel(time=slice(-4, None))
    maps = rival.reconstruct(coarse, samples=4)
    name = counts_cube.attrs["value"]
    assert maps[name].shape == (4, *counts_cube[name].shape[1:])
    assert maps[f"{name}_draws"].shape[0] == 4
    assert (maps[f"{name}_q05"] <= maps[f"{name}_q95"]).all()
    alone = rival.reconstruct(coarse)
    assert f"{name}_draws" not in alone
    assert np.array_equal(alone[f"{name}_std"], maps[f"{name}_std"])


@pytest.mark.parametrize("kind", ["real", "positive", "count"])
def test_an_error_field_covers_what_it_promises(kind):
    rng = np.random.default_rng(0)
    mean = rng.gamma(2, 4, (300, 6, 6)) + (280 if kind == "real" else 0)
    noise = rng.standard_normal(mean.shape)
    truth = {
        "real": mean + noise,
        "positive": np.maximum(np.sqrt(mean) + 0.3 * noise, 0) ** 2,
        "count": rng.poisson(mean).astype(float),
    }[kind]
    hidden = rng.random(mean.shape) < 0.4
    truth = np.where(hidden, truth + (noise if kind == "real" else 0), truth)
    half = slice(0, 150), slice(150, 300)
    field = ErrorField.fit(
        kind, "sum" if kind == "count" else "mean", mean[half[0]], truth[half[0]], hidden[half[0]],
        np.zeros(150, bool),
    )  # fmt: skip
    later = mean[half[1]], hidden[half[1]]
    pit = field.distribution(*later).pit(truth[half[1]], seed=1)
    assert abs(coverage(pit, 0.9) - 0.9) < 0.02
    draws = field.draws(*later, 40, 0, np.arange(150))
    inside = np.quantile(draws, 0.05, axis=0) <= truth[half[1]]
    assert abs(inside.mean() - 0.95) < 0.03


def test_draws_of_an_error_field_are_as_rough_as_the_errors():
    rng = np.random.default_rng(1)
    shared = rng.standard_normal((400, 1, 1))
    mean = np.zeros((400, 4, 4))
    truth = 0.8 * shared + 0.6 * rng.standard_normal(mean.shape)
    hidden = np.ones(mean.shape, bool)
    field = ErrorField.fit("real", "mean", mean, truth, hidden, np.zeros(400, bool))
    draws = field.draws(mean[:50], hidden[:50], 20, 0, np.arange(50)).reshape(-1, 16)
    assert np.corrcoef(draws.T)[0, 1] == pytest.approx(0.64, abs=0.12)


def test_draw_k_does_not_depend_on_how_many_there_are():
    rng = np.random.default_rng(2)
    mean, hidden = rng.gamma(2, 4, (60, 4, 4)), np.zeros((60, 4, 4), bool)
    field = ErrorField.fit(
        "count", "sum", mean, rng.poisson(mean).astype(float), hidden, np.ones(60, bool)
    )
    few, many = (field.draws(mean, hidden, k, 3, np.arange(60)) for k in (2, 5))
    assert np.array_equal(few, many[:2])
    stored = ErrorField.from_arrays("count", field.to_arrays())
    assert np.array_equal(stored.draws(mean, hidden, 2, 3, np.arange(60)), few)


def test_hidden_values_cannot_matter(comparison):
    rival = Rival("share").learn(comparison.training.lesson)
    task = comparison.task
    given = task.observe("random", 0.5, 0)
    seen = np.isfinite(given.coarse)
    moved = Observations(
        given.times, np.where(seen, task.record.coarse, np.nan), given.context, given.cells
    )
    one, two = (rival.forecast(g, task.frames).mean for g in (given, moved))
    assert np.array_equal(one, two)
