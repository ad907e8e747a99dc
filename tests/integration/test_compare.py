"""``geodiffrecon compare`` as users run it: killed, taken up again, on the paper's own files."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import numpy as np
import pytest

from .conftest import UNTIL, command, geodiffrecon, surroundings

QUICK = "share,climatology,nearest,idw,kriging"


def request(small, folder, *more, methods=QUICK):
    return [
        "compare", small.history, "--factor", 4, "--aggregation", "mean", "--until", UNTIL,
        "--methods", methods, "--missing", "0.4", "--masks", 2, "--samples", 8,
        "--json", folder / "scores.json", "--max-minutes", 0.2, *more,
    ]  # fmt: skip


def table(folder):
    """Return what the score file says, without times and memory."""
    rows = json.loads((folder / "scores.json").read_text())["rows"]
    drop = ("seconds", "fit_seconds", "fit_cpu", "peak_mb")
    return [{k: v for k, v in row.items() if k not in drop} for row in rows]


@pytest.fixture(scope="module")
def compared(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    report, tables = folder / "report.html", folder / "tables.md"
    return geodiffrecon(*request(small, folder, "--report", report, "--markdown", tables)), folder


def test_one_command_gives_scores_a_page_and_tables(compared):
    ended, folder = compared
    assert ended.code == 0, ended.err
    assert "Ordinary kriging" in ended.out
    scores = json.loads((folder / "scores.json").read_text())
    assert len(scores["rows"]) == 5 * 4
    assert scores["command"].startswith("geodiffrecon compare")
    page = (folder / "report.html").read_text()
    assert "<svg" in page or "data:image" in page
    assert "| " in (folder / "tables.md").read_text()


def test_a_killed_run_goes_on_and_ends_with_the_same_table(small, compared, tmp_path):
    words = command(*request(small, tmp_path))
    run = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=surroundings()
    )
    rows, end = tmp_path / "scores.work" / "rows", time.monotonic() + 120
    while not (rows.is_dir() and len(list(rows.glob("*.json"))) > 4):
        assert run.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=60)
    assert run.returncode == 130
    assert not (tmp_path / "scores.json").exists()
    done = {path.name: path.stat().st_mtime_ns for path in rows.glob("*.json")}
    assert geodiffrecon(*request(small, tmp_path)).code == 0
    assert all((rows / name).stat().st_mtime_ns == stamp for name, stamp in done.items())
    assert table(tmp_path) == table(compared[1])


def test_this_system_joins_a_finished_table(small, compared):
    ended = geodiffrecon(*request(small, compared[1], methods="prior"))
    assert ended.code == 0, ended.err
    scores = json.loads((compared[1] / "scores.json").read_text())
    assert {row["method"] for row in scores["rows"]} == {*QUICK.split(","), "prior"}


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--methods", "magic"], "no method 'magic'"),
        (["--missing", "40"], "between 0 and 1"),
        (["--patterns", "stripes"], "--patterns has 'stripes'"),
        (["--masks", "0"], "at least"),
        (["--max-minutes", "nan"], "some time"),
        (["--seeds", "0"], "seeds is 0"),
    ],
)
def test_bad_requests_get_one_sentence(small, tmp_path, more, sentence):
    ended = geodiffrecon(*request(small, tmp_path, *more))
    assert ended.code == 1
    assert sentence in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "scores.json").exists()


def test_a_history_needs_factor_and_aggregation(small, tmp_path):
    ended = geodiffrecon("compare", small.history, "--json", tmp_path / "s.json")
    assert ended.code == 1
    assert "--factor" in ended.err


def test_the_papers_files_stand_beside_the_papers_figures(tmp_path):
    rng = np.random.default_rng(0)
    hour = np.tile(np.repeat(np.arange(7, 22), 2), 12)
    day = np.repeat(np.arange(12), 30)
    weekday = day % 7
    columns = [day * 0.0, day * 0.0, day * 0, weekday >= 5, weekday + 1, hour, day * 0 + 1]
    ext, maps = np.stack(columns, axis=1), rng.poisson(5.0, (360, 32, 32)).astype(float)
    for name, part in (
        ("train", slice(180)),
        ("valid", slice(180, 270)),
        ("test", slice(270, 360)),
    ):
        (tmp_path / "data" / name).mkdir(parents=True)
        np.save(tmp_path / "data" / name / "X.npy", maps[part])
        np.save(tmp_path / "data" / name / "ext.npy", ext[part])
    ended = geodiffrecon(
        "compare", tmp_path / "data", "--preset-data", "taxibj", "--methods", "share,nearest",
        "--patterns", "random,fixed", "--missing", "0.2,0.8", "--masks", 1, "--samples", 0,
        "--json", tmp_path / "s.json",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "DiffRecon (as printed)" in ended.out
    assert "23.42" in ended.out
    assert "Nearest" in ended.out
