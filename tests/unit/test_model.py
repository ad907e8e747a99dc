import json
from dataclasses import replace

import numpy as np
import pytest
from worlds import history_cube, quick, sparse

import geodiffrecon as gdr
from geodiffrecon.chance import Chance
from geodiffrecon.cube import aggregate
from geodiffrecon.errors import (
    GridMismatch,
    IncompatibleModel,
    InvalidParameter,
    InvalidTime,
    MemoryEstimateExceeded,
    NoObservations,
    NotFitted,
)
from geodiffrecon.loading import load
from geodiffrecon.model import DiffRecon
from geodiffrecon.steps import TimeStep
from geodiffrecon.synthetic import plumes

BOTH = pytest.mark.parametrize("which", ["counts", "plumes"])


@pytest.fixture
def pair(which, request):
    return request.getfixturevalue(f"{which}_model"), request.getfixturevalue(f"{which}_cube")


def tail(cube, frames=12):
    return cube.isel(time=slice(-frames, None))


def pooled(values, factor, aggregation):
    blocks = values.reshape(*values.shape[:-2], values.shape[-2] // factor, factor, -1, factor)
    return blocks.sum((-3, -1)) if aggregation == "sum" else blocks.mean((-3, -1))


@BOTH
def test_maps_have_every_statistic_in_order(pair):
    model, cube = pair
    maps = model.reconstruct(sparse(tail(cube)))
    low, middle, high = (maps[f"v_{name}"].values for name in ("q05", "q50", "q95"))
    assert np.isfinite(maps["v"].values).all()
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert (maps["v_std"].values > 0).all()
    assert maps.attrs["model_hash"] == model.model_hash
    assert maps["v"].shape == tail(cube)["v"].shape


@BOTH
def test_hidden_values_and_future_frames_change_nothing(pair):
    model, cube = pair
    given = sparse(tail(cube, 16))
    whole = model.reconstruct(given, samples=2, keep_draws=True, seed=5)
    cut = model.reconstruct(given.isel(time=slice(0, 9)), samples=2, keep_draws=True, seed=5)
    for name in ("v", "v_std", "v_q95", "v_draws"):
        np.testing.assert_allclose(
            cut[name].values, whole[name].isel(time=slice(0, 9)).values, rtol=2e-3, atol=2e-3
        )


@BOTH
def test_observed_cells_are_kept_hard_in_means_and_draws(pair):
    model, cube = pair
    given = sparse(tail(cube))
    maps = model.reconstruct(given, samples=3, keep_draws=True, consistency="hard")
    seen, truth = np.isfinite(given["v"].values), given["v"].values
    for values in (maps["v"].values, *maps["v_draws"].values):
        error = np.abs(pooled(values.astype(float), model.grid.factor, model.aggregation) - truth)
        assert (error[seen] <= 1e-4 * np.maximum(1, np.abs(truth[seen]))).all()


@BOTH
def test_a_draw_is_the_same_alone_or_among_many(pair):
    model, cube = pair
    given = sparse(tail(cube))
    few = model.reconstruct(given, samples=2, keep_draws=True, seed=3)["v_draws"].values
    many = model.reconstruct(given, samples=7, keep_draws=True, seed=3)["v_draws"].values
    np.testing.assert_allclose(few, many[:2], rtol=1e-3, atol=1e-3)
    other = model.reconstruct(given, samples=2, keep_draws=True, seed=4)["v_draws"].values
    assert np.abs(other - few).max() > 0.1


@BOTH
def test_batch_size_changes_nothing(pair, monkeypatch):
    import geodiffrecon.reconstruction as reconstruction

    model, cube = pair
    given = sparse(tail(cube))
    together = model.reconstruct(given, samples=4, keep_draws=True)
    monkeypatch.setattr(reconstruction, "CHUNK_CELLS", 1)
    alone = model.reconstruct(given, samples=4, keep_draws=True)
    for name in together.data_vars:
        np.testing.assert_allclose(alone[name].values, together[name].values, rtol=1e-3, atol=1e-3)


def test_draws_from_points_do_not_depend_on_what_is_drawn_beside_them(
    plumes_model, plumes_cube, monkeypatch
):
    import geodiffrecon.reconstruction as reconstruction

    bare = replace(plumes_model._fitted(), completion_diffusion=None, refinement_diffusion=None)
    monkeypatch.setattr(plumes_model, "_model", bare)
    given = sparse(tail(plumes_cube))
    points = given.assign(v_n_obs=given["v"].notnull().astype("int32"))
    together = plumes_model.reconstruct(points, samples=3, keep_draws=True)["v_draws"].values
    monkeypatch.setattr(reconstruction, "CHUNK_CELLS", 1)
    alone = plumes_model.reconstruct(points, samples=3, keep_draws=True)["v_draws"].values
    np.testing.assert_allclose(alone, together, rtol=1e-3, atol=1e-3)


@BOTH
def test_statistics_do_not_depend_on_the_number_of_draws(pair):
    model, cube = pair
    given = sparse(tail(cube))
    none, some = model.reconstruct(given), model.reconstruct(given, samples=6)
    for name in ("v", "v_std", "v_q05", "v_q95"):
        np.testing.assert_array_equal(none[name].values, some[name].values)


def test_count_draws_are_whole_numbers(counts_model, counts_cube):
    draws = counts_model.reconstruct(sparse(tail(counts_cube)), samples=2, keep_draws=True)[
        "v_draws"
    ].values
    assert (draws == np.round(draws)).all()
    assert draws.min() >= 0


@BOTH
def test_saving_and_loading_changes_no_result(pair, tmp_path):
    model, cube = pair
    model.save(tmp_path / "m.gdr")
    again = load(tmp_path / "m.gdr")
    given = sparse(tail(cube))
    one, two = (m.reconstruct(given, samples=2, keep_draws=True) for m in (model, again))
    for name in one.data_vars:
        np.testing.assert_array_equal(one[name].values, two[name].values)
    assert again.model_hash == model.model_hash
    assert json.dumps(again.info())
    assert sorted(p.name for p in (tmp_path / "m.gdr").iterdir()) == [
        "config.json",
        f"model-{model.model_hash}.safetensors",
    ]


def test_one_seed_fits_one_model():
    cube = history_cube(plumes((6, 6), 60, seed=4), factor=2, freq="1D", aggregation="mean")
    settings = quick(diffusion=False)
    one, two = (DiffRecon(settings=settings, seed=7).fit(cube) for _ in range(2))
    assert one.model_hash == two.model_hash


def test_an_empty_frame_gets_the_prior_and_its_wide_spread(plumes_model, plumes_cube):
    given = sparse(tail(plumes_cube))
    given["v"][-1] = np.nan
    maps = plumes_model.reconstruct(given)
    assert np.isfinite(maps["v"].values).all()
    assert maps["v_std"].values[-1].mean() > maps["v_std"].values[-2].mean()


def test_points_are_soft_and_cells_hard_by_default(plumes_model, plumes_cube):
    given = sparse(tail(plumes_cube))
    points = given.assign(v_n_obs=given["v"].notnull().astype("int32"))
    soft, hard = plumes_model.reconstruct(points), plumes_model.reconstruct(given)
    assert soft.attrs["consistency"] == "soft"
    assert hard.attrs["consistency"] == "hard"
    seen = np.isfinite(given["v"].values)
    mean = pooled(soft["v"].values, 3, "mean")
    assert np.abs(mean - given["v"].values)[seen].max() > 1e-3
    assert soft["v_std"].values.mean() > hard["v_std"].values.mean()


def test_times_choose_output_and_keep_history(counts_model, counts_cube):
    given = sparse(tail(counts_cube, 30))
    whole = counts_model.reconstruct(given)
    part = counts_model.reconstruct(given, times=("2024-01-09 12:00", "2024-01-09 15:00"))
    assert part.sizes["time"] == 4
    np.testing.assert_allclose(
        part["v"].values, whole["v"].sel(time=part["time"]).values, rtol=1e-4
    )
    assert part.attrs["history_used"] > 0


def test_a_grid_larger_than_a_window_is_reconstructed_through_the_lattice():
    cube = history_cube(plumes((14, 18), 70, seed=3), factor=2, freq="1D", aggregation="mean")
    model = DiffRecon(settings=quick(window=5, overlap=2)).fit(cube, until="2024-03-01")
    maps = model.reconstruct(sparse(tail(cube, 6)), samples=2, keep_draws=True)
    assert len(model._fitted().lattice.windows) > 4
    assert np.isfinite(maps["v_draws"].values).all()
    truth = tail(cube, 6)["v"].values
    assert np.abs(maps["v"].values - truth).mean() < np.abs(truth - truth.mean()).mean()


def test_the_paper_preset_has_nothing_but_diffusion(counts_cube):
    settings = quick(prior=False, mean=False, literal=True, daily=False, members=1)
    model = DiffRecon(settings=settings).fit(counts_cube, until="2024-01-08")
    maps = model.reconstruct(sparse(tail(counts_cube, 6)), samples=4)
    assert model._fitted().samples_its_mean
    assert np.isfinite(maps["v"].values).all()


def test_progress_moves_while_draws_are_sampled(counts_model, counts_cube):
    heard = []
    counts_model.reconstruct(
        sparse(tail(counts_cube, 2)), samples=2, keep_draws=True,
        progress=lambda done, total, what: heard.append((done, total, what)),
    )  # fmt: skip
    steps = [(done, total) for done, total, what in heard if what == "drawing fine maps"]
    assert [done for done, _ in steps] == list(range(1, steps[-1][1] + 1))


def test_external_features_are_needed_again(tmp_path):
    cube = history_cube(plumes((6, 6), 60, seed=4), factor=2, freq="1D", aggregation="mean")
    times = cube["time"].to_numpy()
    weather = tmp_path / "weather.csv"
    rows = "".join(f"{t}Z,{i % 7}\n" for i, t in enumerate(times.astype("datetime64[s]")))
    weather.write_text("time,wind\n" + rows)
    external = gdr.open_covariates(weather)
    model = DiffRecon(settings=quick(diffusion=False)).fit(
        cube, until="2024-02-20", external=external
    )
    assert model.info()["external_features"] == ["wind"]
    model.reconstruct(sparse(tail(cube)), external=external)
    with pytest.raises(IncompatibleModel, match="wind"):
        model.reconstruct(sparse(tail(cube)))


def test_mistakes_are_told_in_one_sentence(counts_model, counts_cube, plumes_cube, monkeypatch):
    given = sparse(tail(counts_cube))
    with pytest.raises(NotFitted):
        DiffRecon().reconstruct(given)
    with pytest.raises(GridMismatch, match="fine"):
        counts_model.reconstruct(tail(counts_cube))
    with pytest.raises(GridMismatch):
        counts_model.reconstruct(sparse(tail(plumes_cube)))
    with pytest.raises(NoObservations, match="missing"):
        counts_model.reconstruct(given.assign(v=given["v"] * np.nan))
    with pytest.raises(NoObservations, match="2031"):
        counts_model.reconstruct(given, times=("2031-01-01", "2031-01-02"))
    with pytest.raises(InvalidTime, match="whenever"):
        counts_model.reconstruct(given, times=("whenever", "2024-01-02"))
    with pytest.raises(InvalidParameter, match="firm"):
        counts_model.reconstruct(given, consistency="firm")
    with pytest.raises(InvalidParameter, match="preset"):
        DiffRecon(preset="huge")
    monkeypatch.setattr("geodiffrecon.memory.free_memory", lambda: 1000)
    with pytest.raises(MemoryEstimateExceeded, match="GiB"):
        counts_model.reconstruct(given)


def test_fit_refuses_what_it_cannot_use(counts_cube, plumes_cube):
    model = DiffRecon(settings=quick())
    with pytest.raises(NoObservations, match="40"):
        model.fit(counts_cube, until="2024-01-02")
    with pytest.raises(GridMismatch, match="coarse"):
        model.fit(aggregate(counts_cube))
    negative = plumes_cube.assign(v=plumes_cube["v"] - 100)
    with pytest.raises(InvalidParameter, match="down to"):
        model.fit(negative, kind="positive")


def test_a_damaged_model_is_refused(counts_model, tmp_path):
    path = tmp_path / "m.gdr"
    with pytest.raises(IncompatibleModel, match="not a model"):
        load(path)
    counts_model.save(path)
    next(path.glob("model-*")).write_bytes(b"nonsense")
    with pytest.raises(IncompatibleModel, match="damaged"):
        load(path)
    counts_model.save(path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "schema": 99}))
    with pytest.raises(IncompatibleModel, match="99"):
        load(path)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "keep.txt").write_text("mine")
    with pytest.raises(IncompatibleModel, match=r"holds keep\.txt"):
        counts_model.save(tmp_path / "notes")
    assert (tmp_path / "notes" / "keep.txt").read_text() == "mine"


def test_public_names_are_there():
    assert all(getattr(gdr, name) is not None for name in gdr.__all__)


def test_without_gates_every_layer_stays(counts_cube):
    settings = replace(quick(), gated=False, diffusion=False)
    model = DiffRecon(settings=settings).fit(counts_cube)
    layers = model.layers()
    assert layers.completion
    assert layers.refinement
    assert not model.layers("prior").refinement
    assert model.parameters > 0


@pytest.mark.parametrize("change", [{"pretrained": False}, {"through": False}])
def test_the_joint_phase_can_be_all_there_is_or_spare_completion(counts_cube, change):
    settings = replace(quick(), gated=False, diffusion=False, **change)
    model = DiffRecon(settings=settings).fit(counts_cube)
    assert any("joint training" in verdict for verdict in model.verdicts)


def test_a_fit_out_of_time_is_still_whole(counts_cube):
    seconds = iter(range(10_000))
    settings = replace(quick(), gated=False)
    model = DiffRecon(settings=settings).fit(
        counts_cube, max_minutes=0.5, clock=lambda: float(next(seconds))
    )
    coarse = aggregate(counts_cube).isel(time=slice(-4, None))
    maps = model.reconstruct(coarse)
    assert np.isfinite(maps[counts_cube.attrs["value"]].values).all()


def test_means_without_a_prior_can_be_drawn_from(counts_cube):
    settings = replace(quick(), prior=False, diffusion=False, joint=False, gated=False)
    model = DiffRecon(settings=settings).fit(counts_cube)
    maps = model.reconstruct(sparse(counts_cube), samples=3, keep_draws=True)
    assert np.isfinite(maps["v_draws"].values).all()
    assert float(maps["v_draws"].std("realization").max()) > 0


def test_a_saved_model_is_readable_by_others(counts_model, tmp_path):
    counts_model.save(tmp_path / "shared.gdr")
    for name in ("config.json", f"model-{counts_model.model_hash}.safetensors"):
        ours = tmp_path / "own"
        ours.write_text("")
        assert (tmp_path / "shared.gdr" / name).stat().st_mode == ours.stat().st_mode


@pytest.mark.parametrize(
    ("zone", "cut"), [("Europe/London", "Europe/London"), ("Atlantic/Azores", "UTC")]
)
def test_noise_of_days_is_numbered_across_a_clock_change(
    plumes_model, plumes_cube, zone, cut, monkeypatch
):
    days = TimeStep.parse("1D", tz=cut)
    middle = days.number(np.array(["2024-03-31T12"], "datetime64[ns]"))
    given = sparse(tail(plumes_cube)).assign_coords(time=days.start(middle + np.arange(-6, 6)))
    seen = []

    def spied(shapes, rhos, seed, steps, draws):
        seen.append(np.diff(steps).tolist())
        return Chance(shapes, rhos, seed, steps, draws)

    monkeypatch.setattr("geodiffrecon.reconstruction.Chance", spied)
    monkeypatch.setattr(plumes_model._fitted(), "step", TimeStep.parse("1D", tz=zone))
    variable = replace(plumes_model.variable, calendar_tz=zone)
    monkeypatch.setattr(plumes_model, "variable", variable)
    plumes_model.reconstruct(given, samples=2, keep_draws=True)
    assert seen == [[1] * 11]
