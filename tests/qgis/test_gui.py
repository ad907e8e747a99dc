"""The real window of QGIS under Xvfb: the tour of the user page, cancel, batch, refusals."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ENGINE, HERE, PLUGINS, ROOT, SAMPLE

pytest.importorskip("qgis.core", reason="QGIS's own Python is needed")
from qgis.PyQt.QtGui import QImage

TOUR = ROOT / "docs" / "qgis_screenshots.py"
MOST_BYTES = 300_000  # of a picture
pytestmark = [
    pytest.mark.skipif(
        not (shutil.which("qgis.bin") or shutil.which("qgis")), reason="no QGIS program"
    ),
    pytest.mark.skipif(shutil.which("Xvfb") is None, reason="no Xvfb"),
    pytest.mark.skipif(not (ENGINE.exists() and SAMPLE.exists()), reason="no engine or sample"),
]


@pytest.fixture(scope="module")
def drive():
    sys.path.insert(0, str(TOUR.parent))
    try:
        import qgis_visit
    finally:
        sys.path.remove(str(TOUR.parent))

    def drive(actions, home, **more):
        told = qgis_visit.drive(
            actions, home, python=ENGINE, sample=SAMPLE, plugins=PLUGINS, **more
        )
        assert "problem" not in told, told["problem"]
        assert qgis_visit.processes(home) == []
        return told

    return drive


@pytest.fixture(scope="module")
def tour(drive, tmp_path_factory):
    out = tmp_path_factory.mktemp("pictures")
    return drive(TOUR, tmp_path_factory.mktemp("tour"), out=str(out))


@pytest.fixture(scope="module")
def trials(drive, tmp_path_factory):
    model = tmp_path_factory.mktemp("model") / "paper.gdr"
    made = subprocess.run(
        [str(ENGINE), "-m", "geodiffrecon", "fit", str(SAMPLE / "truth.nc"), "--model", str(model),
         "--variable", "pm25", "--factor", "4", "--aggregation", "mean", "--preset", "paper",
         "--max-minutes", "0.05", "--until", "2023-09-01", "--calendar-tz", "Asia/Shanghai"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    home = tmp_path_factory.mktemp("trials")
    return drive(HERE / "gui_actions.py", home, sampling_model=str(model))


def colours(path):
    """Return the colours of a coarse raster of pixels."""
    image = QImage(str(path))
    assert not image.isNull()
    return [[image.pixel(x, y) for x in range(0, image.width(), 5)]
            for y in range(0, image.height(), 5)]  # fmt: skip


class TestTour:
    """From the zip to the maps over time, as a user does it."""

    def test_the_algorithms_ran_to_their_end(self, tour):
        assert "Nothing is wrong." in tour["checkengine"]
        assert "Execution completed" in tour["reconstruct"]
        assert "Traceback" not in tour["checkengine"] + tour["reconstruct"]

    def test_mean_and_error_are_in_one_group_and_the_error_is_off(self, tour):
        (title, shown, (mean, error)), stations = tour["tree"]
        assert title.startswith("pm25")
        assert shown
        assert stations[0] == "stations"
        assert "mean" in mean[0].lower()
        assert "std" in error[0] or error[0].startswith("Error")
        assert (mean[1], error[1]) == (True, False)

    def test_the_maps_are_coloured_and_timed(self, tour):
        assert {one["renderer"] for one in tour["maps"]} == {"singlebandpseudocolor"}
        assert all(one["timed"] for one in tour["maps"])
        for statistic in ("mean", "std"):
            ranges = [moments for one in tour["maps"] if f" {statistic}" in one["name"]
                      for moments in one["ranges"]]  # fmt: skip
            assert len(ranges) == 5
            assert ranges[0][0] == "2023-11-30T16:00:00Z"  # the day begins in Shanghai
            assert [last for _, last in ranges[:-1]] == [first for first, _ in ranges[1:]]

    def test_no_picture_is_blank_or_large(self, tour):
        pictures = {Path(path).stem.removeprefix("qgis_"): Path(path) for path in tour["pictures"]}
        assert list(pictures) == ["install", "setting", "toolbox", "check", "dialog", "log",
                                  "first", "later", "error", "classes"]  # fmt: skip
        for path in pictures.values():
            assert path.stat().st_size < MOST_BYTES
            assert len({colour for row in colours(path) for colour in row}) > 20, path
        maps = [colours(pictures[name]) for name in ("first", "later", "error", "classes")]
        assert all(one != other for one, other in zip(maps, maps[1:]))


@pytest.mark.parametrize(
    ("trial", "sentence"),
    [("no engine", "No geodiffrecon engine was found"), ("no model", "is no model")],
)
def test_what_cannot_work_is_one_message_box(trials, trial, sentence):
    told = trials[trial]
    assert sentence in told["box"]
    assert "Traceback" not in told["box"]
    assert (told["alive"], told["files"], told["work"]) == ([], [], [])
    assert told["answers"]


def test_the_sentence_of_the_engine_is_in_the_log(trials):
    told = trials["refused"]
    assert "No observation lies" in told["log"].split("Execution failed")[0].splitlines()[-1]
    assert "Traceback" not in told["log"]
    assert (told["alive"], told["files"], told["work"]) == ([], [], [])
    assert told["answers"]


def test_the_cancel_button_ends_the_engine_and_leaves_nothing(trials):
    told = trials["cancel"]
    assert told["before"]
    assert told["seconds"] < 2
    assert "Cancelled" in told["log"]
    assert "Traceback" not in told["log"]
    assert (told["alive"], told["files"], told["work"]) == ([], [], [])


def test_two_rows_of_a_batch_become_two_maps(trials):
    told = trials["batch"]
    assert "Traceback" not in told["log"]
    made = {f"2023-12-0{day}.{kind}" for day in (1, 2) for kind in ("tif", "qml")}
    assert made <= set(told["files"])
    assert "no style" not in told["log"].lower()
    assert not [name for name in told["files"] if name.startswith(".")]
    assert (told["alive"], told["work"]) == ([], [])


def test_nothing_broke_in_the_python_of_qgis(trials):
    assert not [text for text in trials["critical"] if "Traceback" in text], trials["critical"]
