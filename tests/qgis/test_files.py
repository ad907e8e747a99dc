"""Outputs that appear whole, and what a model says about itself: without QGIS."""

from __future__ import annotations

import pytest
from geodiffrecon_qgis import models, outputs, wording
from paths import SAMPLE


def test_files_replace_what_was_there_and_leave_the_rest(tmp_path):
    made, out = tmp_path / "made", tmp_path / "out"
    made.mkdir()
    (made / "map.tif").write_text("new")
    out.mkdir()
    (out / "map.tif").write_text("old")
    (out / "map.tif.aux.xml").write_text("old statistics")
    (out / "notes.txt").write_text("mine")
    outputs.publish([(str(made / "map.tif"), str(out / name)) for name in ("map.tif", "b/c.tif")])
    found = {p.relative_to(out).as_posix(): p.read_text() for p in out.rglob("*.*")}
    assert found == {"map.tif": "new", "b/c.tif": "new", "notes.txt": "mine"}


def test_a_model_does_not_replace_a_folder_of_other_things(tmp_path):
    (tmp_path / "thesis.docx").write_text("years of work")
    assert "holds other files; give a new folder in it" in models.problem_of_place(str(tmp_path))
    assert "is a file" in models.problem_of_place(str(tmp_path / "thesis.docx"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "old.gdr").mkdir()
    (tmp_path / "old.gdr" / "config.json").write_text("{}")
    for free in ("empty", "old.gdr", "new.gdr"):
        assert models.problem_of_place(str(tmp_path / free)) == ""


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


@pytest.mark.parametrize("path", ["/vsimem/mean.tif", "/vsizip/a.zip/mean.tif"])
def test_a_place_in_the_memory_of_gdal_is_refused(path):
    with pytest.raises(outputs.OutputError, match="is a place of GDAL, not of the disk"):
        outputs.check_writable(path)


def test_a_folder_or_a_picture_in_place_of_a_raster_is_said(tmp_path):
    with pytest.raises(outputs.OutputError, match="is a folder; give the name of a file"):
        outputs.check_writable(str(tmp_path))
    with pytest.raises(outputs.OutputError, match=r"map.png does not end in .tif or .tiff"):
        outputs.check_suffix("map.png", (".tif", ".tiff"))


def test_the_card_of_the_sample_model_says_its_grid():
    if not SAMPLE.exists():
        pytest.skip("no sample data")
    card = models.read_card(str(SAMPLE / "pm25.gdr"))
    assert (card.value, card.crs) == ("pm25", "EPSG:4326")
    assert card.bounds == pytest.approx((115.4, 39.4, 117.5, 41.1))
    assert not card.of_stations


def test_a_model_of_an_unknown_form_is_left_to_the_engine(tmp_path):
    (tmp_path / "config.json").write_text('{"schema": 99}')
    assert models.read_card(str(tmp_path)) == models.ModelCard()
    assert models.problem_of(str(tmp_path)) == ""
    assert "is no model" in models.problem_of(str(tmp_path.parent))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("give it with --tz, for example --tz UTC.", "give it with «Zone», for example UTC."),
        ("--time goes from 1 to 2", "«First time» goes from 1 to 2"),
        ("use --trim, or --split-time.", "use «Cut», or --split-time."),
    ],
)
def test_options_are_named_as_the_dialog_names_them(said, shown):
    titles = {"TZ": "Zone", "FROM": "First time", "TIME": "Time field", "TRIM": "Cut"}
    assert wording.of_dialog(said, titles) == shown


def test_the_help_is_where_the_metadata_say():
    assert wording.home_page().startswith("https://")
