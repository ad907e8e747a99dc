from __future__ import annotations

import base64
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from geodiffrecon import station_charts as charts
from geodiffrecon.charts import data_uri as charts_uri
from geodiffrecon.cube import make_cube
from geodiffrecon.errors import InvalidParameter
from geodiffrecon.metrics import coverage
from geodiffrecon.station_report import page, table, write
from geodiffrecon.station_tables import ratio_tables, score_tables, verdict
from geodiffrecon.stations.forecast import JoinedForecast, Power, SiteForecast
from geodiffrecon.stations.network import StationNetwork
from geodiffrecon.stations.tally import (
    DayForecast,
    by_distance,
    by_station,
    pit_histogram,
    ratios,
    scored,
    spread_skill,
)
from geodiffrecon.stations.trial import Trial

HOURLY, POOLED = "kriging per step", "pooled square-root kriging"
# Name, standard deviation of its own errors, and how large it states them, in square roots.
METHODS = {
    "geodiffrecon": (0.9, 0.9), HOURLY: (1.1, 0.5), POOLED: (1.0, 0.9), "idw": (1.4, 1.6),
    "oracle": (0.7, 0.7),
}  # fmt: skip
DAY, SITES, ZONE = 24, 12, "Asia/Shanghai"
SECTIONS = [
    "Scores", "Against kriging", "Where it is right and wrong", "Forecast against truth",
    "Does the stated error hold?", "Does it know when it is unsure?",
    "How far from the next station", "The worst days", "Data quality", "What the words mean",
    "Where this comes from",
]  # fmt: skip
FINDINGS = [
    {"check": "cap", "station": "S03", "count": 7, "first": "2014-10-02T05:00+08:00",
     "sentence": "S03 reads 500 in 7 hours <b>.", "action": "kept"},
    {"check": "empty day", "station": None, "count": 1, "first": None,
     "sentence": "No station reports on 2014-10-05.", "action": "kept"},
]  # fmt: skip


def made_trial(methods=tuple(METHODS), *, days=20, every=1, daily=True, seed=0):
    """Return a trial on simulated readings whose errors are as `METHODS` says."""
    r = np.random.default_rng(seed)
    steps = days * 24 // every
    times = np.datetime64("2014-10-31T16:00", "ns") + np.arange(steps) * np.timedelta64(every, "h")
    level = 8 + 3 * np.sin(np.arange(steps) * every / 40)[:, None] + r.normal(0, 0.5, (steps, 1))
    root = (level + r.normal(0, 1, (1, SITES))).clip(0.5)
    truth = np.where(r.random(root.shape) < 0.1, np.nan, root**2)
    distance = np.broadcast_to(np.geomspace(1, 60, SITES), root.shape).copy()
    forecasts = {name: made_forecast(name, times, root, distance, r) for name in methods}
    found = {name: scored(one, truth, seed) for name, one in forecasts.items()}
    names = methods if daily else ()
    means = {name: made_days(forecasts[name], truth, 24 // every, r) for name in names}
    of_days = {n: one.scored(np.isfinite(one.crps)) for n, one in means.items()}
    rows = []
    for name in methods:
        day = of_days[name].row() if daily else dict.fromkeys(found[name].row())
        row = {"method": name, "admissible": name != "oracle", **found[name].row()}
        rows.append({**row, **{f"daily_{key}": value for key, value in day.items()}})
    pairs = ratios(found, (HOURLY, POOLED), block=72 // every, seed=seed)
    pairs += ratios(of_days, (HOURLY, POOLED), block=3, seed=seed, prefix="daily_")
    return Trial(
        rows=rows, ratios=pairs, truth=truth, times=times,
        names=tuple(f"S{number:02d}" for number in range(SITES)),
        x=r.uniform(115.8, 117.1, SITES), y=r.uniform(39.5, 41.0, SITES), distance_km=distance,
        forecasts=forecasts, days=np.arange(days * daily).astype("datetime64[D]"), daily=means,
        pit={name: pit_histogram(one.pit) for name, one in found.items()},
        daily_pit={name: pit_histogram(one.pit) for name, one in of_days.items()},
        spread_skill={n: spread_skill(forecasts[n].std, truth, f.mean) for n, f in found.items()},
        by_distance={name: by_distance(one, distance) for name, one in found.items()},
        by_station={name: by_station(one) for name, one in found.items()},
        meta={
            "value": "pm25", "units": "ug m-3", "calendar_tz": ZONE, "crs": "EPSG:4326",
            "folds": [["S00"], ["S01"]], "seed": seed, "data_fingerprint": "abc123",
        },
    )  # fmt: skip


def made_forecast(name, times, root, distance, r):
    """Return two folds side by side, whose errors grow with the distance."""
    actual, stated = METHODS[name]
    local = 0.3 + 0.3 * distance**0.4
    location = root + actual * local * r.normal(0, 1, root.shape)
    columns = tuple(np.arange(SITES).reshape(2, -1, order="F"))
    parts = (
        SiteForecast(times, location[:, held], stated * local[:, held], Power(0.5))
        for held in columns
    )
    return JoinedForecast(tuple(parts), columns)


def made_days(forecast, truth, steps_per_day, r):
    """Return day means of draws that are independent in time."""
    draws = np.stack([forecast.quantile(level) for level in r.uniform(0.01, 0.99, 30)])
    day = np.arange(len(truth)) // steps_per_day
    return DayForecast.of(draws, truth, day, steps_per_day=steps_per_day, seed=0)


@pytest.fixture(scope="module")
def trial():
    return made_trial(days=12, every=3)


@pytest.fixture
def bare(monkeypatch):
    """Pretend that matplotlib is not installed: pages are quick and hold no charts."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.fixture
def episode(grid):
    """Return maps of two days and the readings of two stations."""
    times = np.datetime64("2014-11-01T16:00", "ns") + np.arange(2) * np.timedelta64(1, "D")
    values = np.arange(2 * 48).reshape(2, *grid.fine_shape) + 1.0
    maps = make_cube(
        values, times, grid, value="pm25", level="fine", freq="1D", calendar_tz=ZONE
    )  # fmt: skip
    maps["pm25_exceed_75"] = maps["pm25"] / 100
    readings = np.array([[50.0, 90.0], [np.nan, 20.0]])
    x, y = np.array([115.5, 116.5]), np.array([40.0, 40.5])
    return maps, StationNetwork(("a", "b"), x, y, times, readings, "pm25", "1D", ZONE)


class Headings(HTMLParser):
    """Collects the texts of h2 elements, and checks that tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in {"meta", "img", "!doctype"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["h2"]:
            self.found.append(data)


def images(text):
    return [base64.b64decode(part) for part in re.findall(r"base64,([^\"]+)", text)]


def test_the_page_has_every_section_and_needs_no_other_file(trial):
    pytest.importorskip("matplotlib")
    text = page(trial, FINDINGS)
    assert Headings(text).found == SECTIONS
    assert len(images(text)) == 6
    assert all(image.startswith(b"<?xml") for image in images(text))
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    assert "abc123" in text
    for words in ("hidden in turn", "flat histogram is honest", "read off at their distance"):
        assert words in text


def test_maps_add_an_episode_with_the_threshold_that_they_hold(trial, episode):
    pytest.importorskip("matplotlib")
    text = page(trial, FINDINGS, maps=episode)
    added = [heading for heading in Headings(text).found if heading not in SECTIONS]
    assert added == ["An episode"]
    assert len(images(text)) == 7


def test_names_and_sentences_are_escaped(trial, bare):
    evil = "<script>alert(1)</script>"
    rows = [{**row, "method": row["method"].replace("idw", evil)} for row in trial.rows]
    pairs = [{**one, "method": one["method"].replace("idw", evil)} for one in trial.ratios]
    changed = replace(trial, rows=rows, ratios=pairs, meta={**trial.meta, "note": evil})
    text = page(changed, [{**FINDINGS[0], "station": evil}])
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 5
    assert "7 hours &lt;b&gt;." in text


def test_station_names_are_escaped_in_charts(trial):
    pytest.importorskip("matplotlib")
    worst = int(np.argmax(trial.by_station["geodiffrecon"]["mae"]))
    names = tuple("<i>&" if i == worst else name for i, name in enumerate(trial.names))
    figure = charts.station_maps(replace(trial, names=names), "geodiffrecon", geographic=True)
    assert "<i>&" in [text.get_text() for text in figure.axes[0].texts]
    (image,) = images(charts_uri(figure) + '"')
    assert b"<i>" not in image


def test_many_findings_are_folded_but_all_there(trial, bare):
    few, many = page(trial, FINDINGS), page(trial, FINDINGS * 10)
    assert '<details class="findings" open><summary>2 findings' in few
    assert '<details class="findings"><summary>20 findings' in many
    assert many.count("No station reports on 2014-10-05.") == 10


def test_without_matplotlib_the_page_says_so_and_keeps_its_tables(trial, bare):
    text = page(trial, [])
    assert "<img" not in text
    assert "geodiffrecon[plot]" in text
    assert "pooled square-root kriging" in text
    assert "Nothing stands out" in text


def test_the_best_admissible_method_is_shaded(trial, bare):
    hours, days = score_tables(trial)
    assert hours.title.startswith("Single steps, µg/m³ (")
    assert days.title.startswith("Day means")
    by_name = {row[0].text: row for row in hours.rows}
    assert by_name["geodiffrecon"][0].mark == "ours"
    assert by_name["geodiffrecon"][1].mark == "best"
    assert by_name["oracle"][0].mark == "aside"
    assert not any(entry.mark == "best" for entry in by_name["oracle"])
    assert float(by_name["oracle"][1].text) < float(by_name["geodiffrecon"][1].text)
    assert by_name["idw"][1].text == f"{trial.rows[3]['mae']:.2f}"
    assert "a bound, not a rival" in page(trial, [])


def test_ratios_stand_under_their_reference_with_both_intervals(trial):
    first, second = ratio_tables(trial)
    assert (first.title, second.title) == (f"Against {HOURLY}", f"Against {POOLED}")
    assert first.head == ["method", "MAE", "CRPS", "MAE, day means", "CRPS, day means"]
    entry = trial.ratios[0]
    text = (
        f"{entry['ratio']:.3f} ({entry['low']:.2f}–{entry['high']:.2f}; "
        f"{entry['station_low']:.2f}–{entry['station_high']:.2f})"
    )
    assert first.rows[0][1].text == text
    marks = {row[0].text: row[1].mark for row in second.rows}
    assert marks["oracle"] == "better"
    assert marks["idw"] == "worse"


def test_a_ratio_is_coloured_only_if_both_intervals_agree(trial):
    one = {**trial.ratios[0], "low": 0.8, "high": 0.9, "station_low": 0.7, "station_high": 1.1}
    (found,) = ratio_tables(replace(trial, ratios=[one]))
    assert found.rows[0][1].mark == ""
    (found,) = ratio_tables(replace(trial, ratios=[{**one, "station_low": None}]))
    assert found.rows[0][1].text.endswith("0.80–0.90; –)")


def test_the_answer_comes_first_in_sentences(trial):
    first, second, *more = verdict(trial)
    row = trial.rows[0]
    assert f"is off by {row['mae']:.2f} µg/m³ on average" in first
    assert f"90 % interval {100 * row['coverage90']:.1f} %" in first
    assert second.startswith("For day means")
    assert [sentence.split(" is ")[0] for sentence in more] == ["Its MAE", "Its CRPS"] * 2


def test_the_terminal_shows_scores_and_the_answer(trial):
    text = table(trial)
    lines = text.splitlines()
    assert lines[0].startswith("Single steps, µg/m³")
    assert lines[1].split()[:2] == ["method", "MAE"]
    assert max(map(len, lines[:16])) <= 100
    assert text.endswith("over stations).")


def test_one_method_without_day_means_is_enough():
    pytest.importorskip("matplotlib")
    alone = made_trial(("idw",), days=5, every=3, daily=False)
    text = page(alone, [])
    assert Headings(text).found == [heading for heading in SECTIONS if heading != SECTIONS[1]]
    assert "Day means" not in text
    assert [one.title[:12] for one in score_tables(alone)] == ["Single steps"]
    assert "hidden stations idw is off by" in table(alone)


def test_nothing_scored_is_said(trial):
    pytest.importorskip("matplotlib")
    keys = [key for key in trial.rows[0] if key not in ("method", "admissible")]
    rows = [{**row, **dict.fromkeys(keys), "n": 0} for row in trial.rows]
    nothing = {name: {"mae": [None] * SITES, "bias": [None] * SITES} for name in METHODS}
    empty = replace(
        trial, rows=rows, ratios=[], truth=trial.truth * np.nan, by_station=nothing,
        spread_skill={name: [] for name in METHODS}, by_distance={},
        pit={name: [0.0] * 20 for name in METHODS}, daily_pit={},
    )  # fmt: skip
    text = page(empty, [])
    assert "No value was scored at the 12 hidden stations." in text
    assert images(text) == []
    assert "No value was scored" in table(empty)


def test_positions_without_a_crs_are_no_degrees(trial):
    pytest.importorskip("matplotlib")
    flat = charts.station_maps(trial, "geodiffrecon", geographic=False)
    assert flat.axes[0].get_aspect() == 1
    round_ = charts.station_maps(trial, "geodiffrecon", geographic=True)
    assert round_.axes[0].get_aspect() == pytest.approx(1 / np.cos(np.radians(trial.y.mean())))
    assert round_.axes[0].xaxis.get_major_formatter()(116.0) == "116°"
    assert round_.axes[2].get_ylabel() == "µg/m³"


def test_coverage_in_the_chart_is_that_of_the_table(trial):
    pytest.importorskip("matplotlib")
    figure = charts.reliability(trial, "geodiffrecon")
    ours = next(line for line in figure.axes[0].lines if line.get_label() == "geodiffrecon")
    assert ours.get_ydata()[8] / 100 == pytest.approx(trial.rows[0]["coverage90"], abs=0.005)
    pit = trial.forecasts["geodiffrecon"].pit(trial.truth, 0)
    assert ours.get_ydata()[0] / 100 == pytest.approx(coverage(pit, 0.1))


def test_the_worst_days_are_those_with_the_largest_errors(trial):
    start, site = 3 * 8, 5
    truth = trial.truth.copy()
    truth[start : start + 8] += 300
    truth[start : start + 8, site] += 900
    found = charts.find_worst_days(replace(trial, truth=truth), "geodiffrecon", ZONE)
    assert len(found) == charts.WORST_DAYS
    day, worst = found[0]
    assert (f"{day:%Y-%m-%d %H:%M}", worst) == ("2014-11-04 00:00", site)


def test_a_day_with_few_values_is_not_the_worst(trial):
    truth = trial.truth.copy()
    truth[8:16] = np.nan
    truth[8, 0] = 5000.0
    found = charts.find_worst_days(replace(trial, truth=truth), "geodiffrecon", ZONE)
    assert "2014-11-02" not in [f"{day:%Y-%m-%d}" for day, _ in found]
    assert charts.find_worst_days(replace(trial, truth=truth * np.nan), "idw", ZONE) == []


def test_the_same_trial_makes_the_same_chart(trial):
    pytest.importorskip("matplotlib")
    first, second = (charts_uri(charts.scatter(trial, ["idw"])) for _ in range(2))
    assert first == second


def test_files_are_written_whole(trial, tmp_path, bare):
    changed = replace(trial, distance_km=trial.distance_km * np.inf)
    paths = write(
        changed, FINDINGS, json_file=tmp_path / "a" / "t.json", html_file=tmp_path / "t.html"
    )
    assert paths == [tmp_path / "a" / "t.json", tmp_path / "t.html"]
    held = json.loads(paths[0].read_text())
    assert held["rows"][0]["method"] == "geodiffrecon"
    assert held["quality"] == FINDINGS
    assert paths[1].read_text().endswith("</html>\n")
    assert sorted(part.name for part in tmp_path.rglob("*")) == ["a", "t.html", "t.json"]


def test_numbers_that_are_not_finite_become_null(trial, tmp_path):
    rows = [{**trial.rows[0], "mae": np.nan, "crps": np.inf}]
    (path,) = write(replace(trial, rows=rows), json_file=tmp_path / "t.json")
    held = json.loads(path.read_text())["rows"][0]
    assert held["mae"] is held["crps"] is None


def test_nothing_is_written_if_the_page_fails(trial, tmp_path, bare):
    broken = replace(trial, meta={})
    with pytest.raises(KeyError):
        write(broken, json_file=tmp_path / "t.json", html_file=tmp_path / "t.html")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidParameter, match="cannot be written to"):
        write(trial, json_file=tmp_path / "file" / "t.json")
    assert [part.name for part in tmp_path.iterdir()] == ["file"]
