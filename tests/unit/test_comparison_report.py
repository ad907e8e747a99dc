from __future__ import annotations

import base64
import json
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from geodiffrecon import charts
from geodiffrecon.comparison_report import markdown, page, pivot, terminal, verdict, write
from geodiffrecon.comparison_tables import cost_table, score_table
from geodiffrecon.marks import _apart
from geodiffrecon.standings import Setting, ratios, settings

SETTINGS = [("random", 0.8), ("random", 0.2), ("block", 0.25), ("complete", 0.0)]
METHODS = [
    # method, label, role, MAE in the order of SETTINGS, seeds
    ("nearest", "Nearest", "outside", (8.0, 6.0, 7.0, 5.0), 1),
    ("urbanfm", "Urban|FM <b>", "outside", (2.4, 1.8, 1.4, 1.6), 2),
    ("mean", "Prior + mean", "layer", (2.1, 1.5, 1.7, 1.2), 1),
    ("default", "Default", "ours", (2.0, 1.4, 1.6, 1.21), 3),
]


def rows():
    for method, label, role, errors, seeds in METHODS:
        for (pattern, missing), error in zip(SETTINGS, errors, strict=True):
            for seed in range(seeds):
                mae = error + 0.01 * (seed - (seeds - 1) / 2)
                yield {
                    "method": method, "label": label, "role": role, "seed": seed,
                    "pattern": pattern, "missing": missing, "mae": mae, "rmse": 2 * mae,
                    "crps": None if method == "nearest" else 0.7 * mae,
                    "coverage90": 0.95 if method == "mean" else 0.88 if role == "ours" else 0.7,
                    "fit_seconds": 60.0 if seeds > 1 else 0.0, "seconds": 2.0,
                    "parameters": 123456 if seeds > 1 else None,
                }  # fmt: skip


@pytest.fixture
def result():
    paired = [
        {"pattern": p, "missing": r, "method": m, "against": "default", "score": "mae",
         "ratio": ours / error, "low": ours / error - 0.02, "high": ours / error + 0.02}
        for m, _, _, errors, _ in METHODS[:-1]
        for (p, r), error, ours in zip(SETTINGS, errors, METHODS[-1][3], strict=True)
    ]  # fmt: skip
    curve = [[10 * i, 1 + 1 / i] for i in range(1, 9)]
    return {
        "rows": list(rows()),
        "paired": paired,
        "sanity": [
            {"method": "urbanfm", "label": "Urban|FM <b>", "seed": 0, "parameters": 123456,
             "curves": {"main": curve}, "complete_mae": 1.6, "share_mae": 1.5},
        ],
        "commit": "abc123", "command": "geodiffrecon compare a.nc --x '<&>'", "units": "people",
        "seeds": 3,
    }  # fmt: skip


@pytest.fixture
def bare(monkeypatch):
    """Pretend that matplotlib is not installed: pages are quick and hold no charts."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def line_of(result, method, score="mae"):
    return next(line for line in pivot(result, score) if line.method == method)


def test_settings_go_from_complete_to_sparse(result):
    titles = [setting.title for setting in settings(result)]
    assert titles == ["complete", "random 20 %", "random 80 %", "block 25 %"]


def test_ours_stands_first_then_layers_then_the_others_by_mean(result):
    order = ["default", "mean", "urbanfm", "nearest"]
    assert [line.method for line in pivot(result, "mae")] == order


def test_cells_are_means_over_seeds_with_their_spread(result):
    cell = line_of(result, "default").cells[1]
    assert cell.mean == pytest.approx(1.4)
    assert cell.spread == pytest.approx(0.01)
    assert line_of(result, "mean").cells[1].spread is None


def test_the_best_of_each_column_is_marked_and_ties_are_shared(result):
    best = {line.method: [cell.best for cell in line.cells] for line in pivot(result, "mae")}
    assert best["default"] == [False, True, True, False]
    assert best["urbanfm"] == [False, False, False, True]
    assert not any(best["nearest"])
    for row in result["rows"]:
        if row["method"] == "default" and row["pattern"] == "complete":
            row["mae"] = 1.2
    assert line_of(result, "default").cells[0].best
    assert line_of(result, "mean").cells[0].best
    assert "a tie counts for each" in verdict(result)[0]


def test_the_best_coverage_is_the_nearest_to_what_it_says(result):
    assert all(cell.best for cell in line_of(result, "default", "coverage90").cells)


def test_a_repeated_row_replaces_the_earlier(result):
    again = {**result["rows"][0], "mae": 3.0}
    result["rows"].append(again)
    cell = line_of(result, "nearest").cells[2]
    assert (cell.mean, cell.spread) == (3.0, None)


def test_the_mean_is_over_settings_that_all_methods_have(result):
    result["rows"] = [
        row for row in result["rows"] if (row["method"], row["pattern"]) != ("mean", "random")
    ]
    assert line_of(result, "mean").cells[1] is None
    assert line_of(result, "default").mean == pytest.approx((1.21 + 1.6) / 2)
    assert "2 settings, of 4" in score_table(result, "mae").note
    assert score_table(result, "mae").rows[1][2].text == "–"


def test_a_method_without_a_score_keeps_its_line(result):
    line = line_of(result, "nearest", "crps")
    assert line.cells == (None,) * 4
    assert line.mean is None
    assert line_of(result, "default", "crps").mean is not None


def test_the_answer_names_winners_and_lost_comparisons(result):
    first, outside, paired = verdict(result)
    assert first.startswith("Default has the best MAE in 2 of 4 settings")
    assert "Prior + mean in 1 (complete)" in first
    assert outside == "Against outside methods alone, Default is best in 3 of 4."
    assert "better in 10 and worse in 1 (Urban|FM <b>, block 25 %)" in paired
    assert "1 are undecided" in paired


def test_ratios_know_whether_they_are_beyond_chance(result):
    found = dict(ratios(result, "mae"))
    assert [entry.better for entry in found["Prior + mean"]] == [False, True, True, True]
    assert found["Urban|FM <b>"][3].worse
    assert ratios(result, "crps") == []
    result["paired"][0]["low"] = result["paired"][0]["high"] = float("nan")
    assert not dict(ratios(result, "mae"))["Nearest"][2].better


def test_the_terminal_table_is_aligned_with_a_star_for_the_best(result):
    lines = terminal(result).splitlines()
    assert lines[0].split() == "MAE, people complete random random block MAE RMSE CRPS".split()
    assert "1.400*" in lines[2]
    assert "2.800" not in lines[2]  # RMSE only as a mean
    assert lines[5].startswith("Nearest")
    assert lines[5].endswith("–")
    assert len({line.index("%") for line in lines[1:2]}) == 1
    assert lines[-3].startswith("Default has the best MAE")


def test_every_table_of_the_markdown_parses(result):
    text = markdown(result)
    assert text.count("### ") == 4
    for block in (part for part in text.strip().split("\n\n") if part.startswith("|")):
        widths = {len(line.replace("\\|", "").strip("|").split("|")) for line in block.split("\n")}
        assert widths == {5} or widths == {6}
        assert set(block.split("\n")[1]) <= set("| -:")
    assert "**1.400 ±0.010**" in text
    assert "Urban\\|FM \\<b>" in text
    assert "*1.143 \\[1.123, 1.163]*" in text
    assert "**0.833 \\[0.813, 0.853]**" in text


def test_costs_are_means_and_unknown_where_not_given(result):
    table = cost_table(result)
    assert table.head == ["method", "parameters", "training, s", "reconstruction, s"]
    assert [entry.text for entry in table.rows[0]] == ["Default", "123,456", "60", "2"]
    assert table.rows[-1][1].text == "–"


class Tags(HTMLParser):
    """Check that tags close in order, and keep sources and texts."""

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.texts = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_stands_alone_and_escapes_text(result):
    pytest.importorskip("matplotlib")
    text = page(result)
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert "://" not in text
    assert "<script" not in text
    assert "Urban|FM &lt;b&gt;" in text
    assert "geodiffrecon compare a.nc --x '<&>'" in tags.texts
    assert len(tags.sources) == 4
    for source in tags.sources:
        image = base64.b64decode(source.removeprefix("data:image/svg+xml;base64,"))
        assert b"</svg>" in image
        assert len(image) > 5_000


@pytest.mark.usefixtures("bare")
def test_the_page_answers_first_and_says_what_failed_its_check(result):
    text = page(result)
    assert text.index("Default has the best MAE") < text.index("<h2>")
    assert "<td>no</td>" in text  # 1.6 against a share of 1.5


@pytest.mark.usefixtures("bare")
def test_without_matplotlib_the_page_comes_without_charts(result):
    text = page(result)
    assert "geodiffrecon[plot]" in text
    assert "<img" not in text
    assert "1.400 ±0.010" in text


@pytest.mark.parametrize("rows", [[], [{"method": "idw"}], [{"method": "idw", "mae": None}]])
def test_a_comparison_that_has_hardly_begun_is_shown(rows):
    pytest.importorskip("matplotlib")
    result = {"rows": rows}
    assert "No method has a MAE yet" in terminal(result)
    assert "No method has a MAE yet" in markdown(result)
    assert "<img" not in page(result)


def test_one_setting_and_one_method_are_enough():
    pytest.importorskip("matplotlib")
    result = {"rows": [{"method": "idw", "pattern": "block", "missing": 0.25, "mae": 1.0}]}
    assert "idw has the best MAE in 1 of 1 settings" in page(result)
    assert charts.error_by_missing(result) is not None
    assert charts.ratio_chart(result) is None


def test_small_and_large_units_keep_their_digits():
    rows = [{"method": m, "pattern": "block", "missing": 0.25, "mae": e, "rmse": 1e12 * e}
            for m, e in (("a", 1.234e-6), ("b", 5.678e-6))]  # fmt: skip
    assert "1.234e-06*" in terminal({"rows": rows})
    assert "1234000*" in terminal({"rows": rows})


def drawn_texts(figure):
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text"))]


@pytest.mark.parametrize("chart", [charts.error_by_missing, charts.cost, charts.ratio_chart])
def test_charts_name_the_methods_and_what_is_off_the_chart(result, chart):
    pytest.importorskip("matplotlib")
    texts = drawn_texts(chart(result))
    assert {"Prior + mean", "Urban|FM <b>"} <= set(texts)
    assert any("Off the chart" in text and "Nearest" in text for text in texts)


def test_a_method_is_labelled_where_it_ends_if_the_last_panel_lacks_it(result):
    pytest.importorskip("matplotlib")
    result["rows"].append({"method": "sta", "pattern": "block", "missing": 0.25, "mae": 1.5})
    assert "sta" in drawn_texts(charts.error_by_missing(result))


def test_the_same_result_makes_the_same_image(result):
    pytest.importorskip("matplotlib")
    first, second = (charts.data_uri(charts.training(result)) for _ in range(2))
    assert first == second


def test_charts_leave_the_settings_of_matplotlib_alone(result):
    matplotlib = pytest.importorskip("matplotlib")
    before = dict(matplotlib.rcParams)
    charts.training(result)
    assert dict(matplotlib.rcParams) == before


def test_labels_are_pushed_apart_and_stay_near():
    placed = _apart([0.1, 0.5, 0.5, 0.51, 0.99, 1.0], 0.05)
    assert np.diff(placed).min() > 0.0499
    assert placed[0] == pytest.approx(0.1)
    assert placed[2] == pytest.approx(0.503, abs=0.01)
    assert max(placed) <= 1.03 + 1e-9
    assert _apart([], 0.1) == []
    assert np.diff(_apart([0.5] * 40, 0.1)).min() > 0


@pytest.mark.usefixtures("bare")
def test_files_are_whole_and_the_json_has_only_numbers_that_all_can_read(result, tmp_path):
    result["rows"][0]["energy"] = float("nan")
    result["rows"][0]["brier"] = np.float32(0.5)
    files = [tmp_path / "new" / "r.json", tmp_path / "r.html", tmp_path / "r.md"]
    assert write(result, json_file=files[0], html_file=files[1], markdown_file=files[2]) == files
    read = json.loads(files[0].read_text())
    assert (read["rows"][0]["energy"], read["rows"][0]["brier"]) == (None, 0.5)
    assert read["rows"][1]["mae"] == result["rows"][1]["mae"]
    assert files[1].read_text(encoding="utf-8") == page(result)
    assert files[2].read_text(encoding="utf-8") == markdown(result)
    assert write(result) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "r.html", "r.md"]


def test_a_setting_without_a_ratio_has_none():
    assert Setting("random", 0.125).title == "random 12.5 %"
    assert Setting("stations", None).title == "stations"
