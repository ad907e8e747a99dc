"""Numbers that users rely on: free of units, the mean of what is drawn, zeros that are kept."""

from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
from station_worlds import tiny, world
from worlds import history_cube, quick, sparse

import geodiffrecon as gdr
from geodiffrecon.cube import aggregate
from geodiffrecon.errors import InvalidParameter
from geodiffrecon.lesson import Lesson
from geodiffrecon.model import DiffRecon
from geodiffrecon.periods import calendar_zone
from geodiffrecon.scaling import propose_kind
from geodiffrecon.stamps import Clock
from geodiffrecon.stations.model import StationDiffRecon
from geodiffrecon.synthetic import plumes
from geodiffrecon.tasks import Task
from geodiffrecon.validation import evaluate
from geodiffrecon.variable import Variable

UNITS = (4.0**-10, 4.0**10)  # about a millionth and a million, exact in binary
END = "2024-03-05"


def base():
    """Return positive values (72, 6, 6) with all their digits."""
    noise = np.random.default_rng(0).uniform(0, 0.1, (72, 6, 6))
    return plumes((6, 6), 72, seed=4) + noise


def rain():
    """Return values of which four fifths are zero."""
    values = base()
    return np.maximum(values - np.quantile(values, 0.79), 0)


def cube_of(values, aggregation):
    made = history_cube(values.astype(np.float32), factor=2, freq="1D", aggregation=aggregation)
    return made.assign_attrs(empty="zero")


def few(**changes):
    """Return settings with every layer, hardly trained."""
    settings = quick(gated=False, joint_steps=2, variants=2, **changes)
    parts = ("completion_mean", "refinement_mean", "completion_diffusion", "refinement_diffusion")
    return replace(settings, **{p: replace(getattr(settings, p), steps=3) for p in parts})


LITERAL = {"prior": False, "mean": False, "literal": True, "daily": False, "members": 1}
FIELDS = {
    "positive means": (base, "mean", {"diffusion": False}),
    "means of both signs": (lambda: base() - 16, "mean", {}),
    "means with zeros": (rain, "mean", {"diffusion": False}),
    "sums": (base, "sum", {"diffusion": False}),
    "sums with zeros": (rain, "sum", {}),
    "means by diffusion alone": (base, "mean", LITERAL),
}


def statistics(maps, unit):
    return {
        name: maps[name].values / (1 if "exceed" in name else unit)
        for name in maps.data_vars
        if not name.endswith(("n_obs", "distance", "information", "spatial_ref"))
    }


def check_same(one, two, tolerance=1e-4):
    for first, second in zip(one.values(), two.values(), strict=True):
        usual = np.nanmean(np.abs(first))
        np.testing.assert_allclose(second / usual, first / usual, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", FIELDS)
def test_the_unit_of_the_data_scales_the_maps_and_nothing_else(name):
    made, aggregation, changes = FIELDS[name]
    values, found = made(), []
    for unit in UNITS:
        cube = cube_of(values * unit, aggregation)
        model = DiffRecon(settings=few(**changes)).fit(cube, until=END)
        given = sparse(cube.isel(time=slice(-3, None)))
        maps = model.reconstruct(given, samples=2, keep_draws=True)
        found.append(statistics(maps, unit))
    check_same(*found)


@pytest.mark.parametrize("kind", ["positive", "real"])
def test_the_unit_of_readings_scales_the_maps_of_stations(kind):
    small, found = world(10, 8 * 24), []
    settings = tiny(gated=False, kernel_steps=4, steps=4)
    for unit in UNITS:
        network = replace(small.network, values=small.network.values * unit)
        model = StationDiffRecon(settings=settings).fit(network, small.grid, kind=kind)
        hours = ("2024-03-08T00", "2024-03-08T03")
        maps = model.reconstruct(network, times=hours, samples=2, keep_draws=True)
        found.append(statistics(maps, unit))
    check_same(*found)


@pytest.mark.parametrize("transform", [None, "none", "sqrt", "log", "scores"])
def test_the_unit_of_points_scales_their_interpolation(transform):
    rng = np.random.default_rng(0)
    x, y = 4e5 + 2e4 * rng.random(40), 4e6 + 2e4 * rng.random(40)
    values = np.exp(np.sin(x / 3e3) + rng.normal(0, 0.2, 40))
    found = []
    for unit in UNITS:
        points = gpd.GeoDataFrame(
            {"zinc": values * unit}, geometry=gpd.points_from_xy(x, y), crs="EPSG:32650"
        )
        maps = gdr.interpolate(
            points, value="zinc", samples=2, transform=transform, resolution=2000.0,
            exceed=unit,
        )  # fmt: skip
        found.append(statistics(maps, unit))
    check_same(*found)


def test_large_numbers_of_single_precision_are_no_counts():
    amounts = np.random.default_rng(0).gamma(2.0, 5e7, 500).astype(np.float32)
    assert propose_kind(amounts, "sum") == "positive"
    assert propose_kind(np.array([0.0, 3.0, 700.0]), "sum") == "count"


@pytest.mark.parametrize("aggregation", ["mean", "sum"])
@pytest.mark.parametrize("mode", ["hard", "off"])
def test_the_mean_of_many_draws_is_the_mean_map(aggregation, mode):
    cube = cube_of(rain(), aggregation)
    model = DiffRecon(settings=few(diffusion=False, mean=False)).fit(cube, until=END)
    given = sparse(cube.isel(time=slice(-12, None)))
    maps = model.reconstruct(given, samples=1000, keep_draws=True, consistency=mode)
    draws, mean = maps["v_draws"].values.astype(float), maps["v"].values
    totals = draws.sum((1, 2, 3))
    sampling = totals.std() / np.sqrt(len(totals)) / totals.mean()
    assert abs(mean.sum() / totals.mean() - 1) < max(0.01, 3 * sampling)
    if mode == "hard":
        assert abs(mean.sum() / totals.mean() - 1) < 0.01


def test_intervals_of_sums_with_zeros_hold_what_they_say():
    cube = cube_of(rain(), "sum")
    model = DiffRecon(settings=few(diffusion=False, mean=False)).fit(cube, until=END)
    maps = model.reconstruct(sparse(cube.isel(time=slice(-12, None))))
    truth = cube["v"].values[-12:]
    inside = (maps["v_q05"].values <= truth) & (truth <= maps["v_q95"].values)
    assert 0.84 <= inside.mean() <= 0.97


def test_zeros_that_were_declared_train_and_are_scored():
    counts = np.random.default_rng(0).poisson(9.0, (72, 6, 6))
    counts[[5, 40]] = 0
    cube = history_cube(counts.astype(np.float32), factor=2, freq="1D", aggregation="sum")
    cube.attrs.pop("empty", None)
    variable = Variable.of_history(cube, None)
    declared = cube.assign_attrs(empty="zero")

    def kept(history):
        lesson = Lesson.of(history, variable)
        first, last = history["time"].values[[0, -1]]
        task = Task.of(
            history, variable, lesson.calendar, lesson.features, first=first, last=last, before=0
        )
        return [np.isfinite(record.fine[5]).all() for record in (lesson.record, task.record)]

    assert kept(declared) == [True, True]
    assert kept(cube) == [False, False]
    assert Lesson.of(declared, variable).record.fine.mean() == pytest.approx(counts.mean())
    again = aggregate(declared)
    assert again.attrs["empty"] == "zero"


def test_without_consistency_maps_are_completed_as_with_it():
    cube = cube_of(base(), "mean")
    model = DiffRecon(settings=few(diffusion=False)).fit(cube, until=END)
    given = sparse(cube.isel(time=slice(-6, None)))
    truth = cube["v"].values[-6:]
    hard, off = (model.reconstruct(given, consistency=mode)["v"].values for mode in ("hard", "off"))
    errors = [np.abs(values - truth).mean() for values in (hard, off)]
    assert errors[1] < 1.1 * errors[0]
    coarse = aggregate(cube.isel(time=slice(-6, None)).assign(v=(cube["v"].dims, off)))
    assert np.nanmax(np.abs(coarse["v"].values - given["v"].values)) > 1e-3


@pytest.mark.parametrize(
    ("own", "zone", "said"),
    [
        ("+08:00", "Asia/Shanghai", "where stamps are +08:00"),
        ("-05:00", "-05:00", "the zone of the stamps"),
        (None, "Asia/Shanghai", "where the grid lies"),
        ("UTC", "UTC", "Asia/Shanghai"),
    ],
)
def test_days_are_cut_in_the_zone_of_the_stamps_else_of_the_place(own, zone, said):
    from odc.geo.crs import CRS

    bounds = (400_000, 4_400_000, 600_000, 4_600_000)
    clock = replace(Clock(), zone=own)
    found, sentence = calendar_zone(clock, bounds, CRS("EPSG:32650"))
    assert found == zone
    assert said in sentence
    assert sentence.count(".") == 1


def test_far_from_all_stations_the_spread_is_that_of_the_season():
    small = world(14, 10 * 24)
    model = StationDiffRecon(settings=tiny(network=False, diffusion=False))
    model.fit(small.network, small.grid)
    x, y = small.network.x[0], small.network.y[0]
    hours = ("2024-03-09T00", "2024-03-10T23")
    found = model.at(small.network, [x, x + 1000, x + 12_000_000], [y, y, y], times=hours)
    usual = np.nanstd(small.network.values)
    assert (found.std[:, 2] > found.std[:, 1]).all()
    assert 0.7 * usual < found.std[:, 2].mean() < 1.5 * usual
    assert not found.information[:, 2].any()


def test_evaluate_keeps_its_own_seed_beside_that_of_the_fit(counts_model, counts_cube):
    found = evaluate(counts_model, counts_cube, masks=1, samples=0, seed=5)
    assert (found["seed"], found["model_seed"]) == (5, counts_model.seed)


def test_draws_that_nobody_keeps_are_not_made_and_that_is_said(counts_model, counts_cube):
    given, said = sparse(counts_cube.isel(time=slice(-2, None))), []
    maps = counts_model.reconstruct(given, samples=16, log=said.append)
    assert maps.attrs["samples"] == 0
    assert any("16 draws are not made" in sentence for sentence in said)
    with pytest.raises(InvalidParameter, match="samples is 0"):
        counts_model.reconstruct(given, keep_draws=True)


@pytest.mark.parametrize(("value", "said"), [(0.0, "are 0"), (1e30, "1e\\+30"), (7.0, "are 7")])
@pytest.mark.parametrize("aggregation", ["mean", "sum"])
@pytest.mark.filterwarnings("error")
def test_records_that_nothing_can_be_learnt_from_are_refused_before_training(
    value, said, aggregation
):
    values = np.full((60, 4, 4), value)
    if value > 1e9:
        values *= np.random.default_rng(0).uniform(0.5, 1, values.shape)
        values[3, 1, 1] = value
    cube = history_cube(values.astype(np.float32), factor=2, freq="1D", aggregation=aggregation)
    with pytest.raises(InvalidParameter, match=said):
        DiffRecon(settings=few()).fit(cube)
    network = replace(world(5, 60).network, values=np.resize(values, (60, 5)))
    with pytest.raises(InvalidParameter, match=said):
        StationDiffRecon(settings=tiny()).fit(network, world(5, 60).grid)


def test_diffusion_learns_from_no_residuals_of_the_frames_that_trained():
    cube = cube_of(base(), "mean")
    with pytest.raises(InvalidParameter, match="members is 1"):
        DiffRecon(settings=few(members=1)).fit(cube)
    DiffRecon(settings=few(members=1, diffusion=False)).fit(cube)
