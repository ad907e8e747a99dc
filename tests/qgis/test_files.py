"""Outputs that appear whole, and what a model says about itself: without QGIS."""

from __future__ import annotations

import pytest
from geodiffrecon_qgis import models, outputs
from paths import SAMPLE


def test_files_and_folders_are_moved_whole_and_replace_what_was_there(tmp_path):
    made, out = tmp_path / "made", tmp_path / "out"
    (made / "model").mkdir(parents=True)
    (made / "model" / "config.json").write_text("new")
    (made / "map.tif").write_text("new")
    (out / "model").mkdir(parents=True)
    (out / "model" / "old.json").write_text("old")
    (out / "map.tif").write_text("old")
    (out / "map.tif.aux.xml").write_text("old statistics")
    outputs.publish([(str(made / n), str(out / n)) for n in ("model", "map.tif")])
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*")) == [
        "map.tif", "model", "model/config.json",
    ]  # fmt: skip
    assert (out / "map.tif").read_text() == "new"


def test_if_one_place_cannot_be_written_nothing_appears(tmp_path):
    made, out = tmp_path / "made", tmp_path / "out"
    made.mkdir()
    out.mkdir()
    (made / "a.tif").write_text("a")
    (made / "b.tif").write_text("b")
    with pytest.raises(outputs.OutputError, match="cannot be written to"):
        outputs.publish([(str(made / "a.tif"), str(out / "a.tif")),
                         (str(made / "b.tif"), "/proc/nowhere/b.tif")])  # fmt: skip
    assert list(out.iterdir()) == []


def test_a_folder_that_takes_no_file_is_said_before_the_work(tmp_path):
    with pytest.raises(outputs.OutputError, match="/proc cannot be written to"):
        outputs.check_writable("/proc/none/map.tif")
    outputs.check_writable(str(tmp_path / "not" / "yet" / "map.tif"))


def test_the_card_of_the_sample_model_says_its_grid():
    if not SAMPLE.exists():
        pytest.skip("no sample data")
    card = models.read_card(str(SAMPLE / "pm25.gdr"))
    assert (card.value, card.freq, card.crs) == ("pm25", "1D", "EPSG:4326")
    assert card.bounds == pytest.approx((115.4, 39.4, 117.5, 41.1))
    assert not card.of_stations


def test_a_model_of_an_unknown_form_is_left_to_the_engine(tmp_path):
    (tmp_path / "config.json").write_text('{"schema": 99}')
    assert models.read_card(str(tmp_path)) == models.ModelCard()
    assert models.problem_of(str(tmp_path)) == ""
    assert "is no model" in models.problem_of(str(tmp_path.parent))
