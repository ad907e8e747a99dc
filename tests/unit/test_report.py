from __future__ import annotations

import json

from geodiffrecon.report import page, table, write

RESULT = {
    "rows": [
        {"method": "prior", "pattern": "random", "missing": 0.4, "mae": 1.23456, "rmse": 12.3456,
         "bias": -0.001, "crps": 0.9, "coverage50": 0.5, "coverage90": 0.912, "seconds": 2.5,
         "peak_mb": 812},
        {"method": "default <b>", "pattern": "random", "missing": 0.4, "mae": 1.1, "rmse": 2.0,
         "bias": 0.0, "coverage50": 0.5, "coverage90": 0.9, "seconds": 3.0, "peak_mb": 900},
    ],
    "model_hash": "abc123", "in_sample": False, "verdicts": ["kept", "left out"],
}  # fmt: skip


def test_the_table_is_aligned_and_names_what_is_unknown():
    lines = table(RESULT).splitlines()
    assert len(lines) == 3
    assert lines[0].split()[:5] == ["method", "pattern", "missing", "MAE", "RMSE"]
    assert "1.235" in lines[1]
    assert "12.35" in lines[1]
    assert "91.2 %" in lines[1]
    assert "–" in lines[2]  # no CRPS
    assert lines[0].index("pattern") + len("pattern") == lines[1].index("random") + len("random")


def test_scores_in_sample_are_called_so():
    assert "IN-SAMPLE" not in table(RESULT)
    assert "IN-SAMPLE" in table({**RESULT, "in_sample": True})
    assert "IN-SAMPLE" in page({**RESULT, "in_sample": True})


def test_the_page_stands_alone_and_escapes_text():
    text = page(RESULT)
    assert "default &lt;b&gt;" in text
    assert "abc123" in text
    assert "http" not in text
    assert "<script" not in text


def test_files_are_whole_and_json_keeps_all_digits(tmp_path):
    scores, html = tmp_path / "new" / "scores.json", tmp_path / "page.html"
    assert write(RESULT, json_file=scores, html_file=html) == [scores, html]
    assert json.loads(scores.read_text())["rows"][0]["mae"] == 1.23456
    assert html.read_text(encoding="utf-8") == page(RESULT)
    assert write(RESULT) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "page.html"]
