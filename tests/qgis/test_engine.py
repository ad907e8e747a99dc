"""Finding the engine, running it, stopping it: without QGIS."""

from __future__ import annotations

import os
import sys
import time

import pytest
from geodiffrecon_qgis import engine


@pytest.fixture(autouse=True)
def nothing_remembered():
    engine.forget()


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def run(fake, tmp_path, *, on_event=lambda event: None, is_canceled=lambda: False):
    found = engine.Engine((str(fake),), "test")
    return engine.run(
        found, ["reconstruct"], on_event=on_event, is_canceled=is_canceled, folder=str(tmp_path)
    )


def test_the_setting_comes_before_the_variable_and_the_path(fake, tmp_path):
    environ = {"GEODIFFRECON_PYTHON": sys.executable, "PATH": str(fake.parent)}
    assert engine.find(str(fake), "", environ).command == (str(fake),)
    found = engine.find("", "", environ)
    assert found.command[0] == sys.executable
    assert found.command[-2:] == ("-m", "geodiffrecon")
    assert "-E" in found.command
    assert engine.find("", "", {"PATH": str(fake.parent)}).origin == "PATH"


def test_a_venv_in_the_profile_is_found_last(tmp_path):
    python = tmp_path / "geodiffrecon" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    found = engine.find("", str(tmp_path), {"PATH": ""})
    assert found.command[0] == str(python)  # the link, not what it points to


def test_no_engine_says_where_to_name_one():
    with pytest.raises(engine.EngineError, match="Check engine prints the commands"):
        engine.find("", "", {"PATH": ""})


def test_a_setting_that_points_nowhere_is_said_not_skipped(fake):
    with pytest.raises(engine.EngineError, match=r"/nowhere/python .* does not exist"):
        engine.find("/nowhere/python", "", {"PATH": str(fake.parent)})


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("old", "is geodiffrecon 0.0.9, but this plugin needs 0.1.0"),
        ("ancient", r"is too old \(Error: No such option: --json\)"),
        ("newer", "is newer than this plugin; update the plugin"),
        ("broken", r"is broken \(ImportError: libfoo"),
        ("other", "is no geodiffrecon"),
    ],
)
def test_an_engine_that_cannot_serve_is_refused_in_one_sentence(fake, monkeypatch, mode, sentence):
    monkeypatch.setenv("FAKE", mode)
    with pytest.raises(engine.EngineError, match=sentence) as caught:
        engine.checked(engine.Engine((str(fake),), "test"))
    assert "\n" not in str(caught.value)


def test_a_python_without_geodiffrecon_is_told_how_to_install_it(tmp_path):
    bare = engine.find("/usr/bin/python3", "", {}) if os.path.exists("/usr/bin/python3") else None
    if bare is None:
        pytest.skip("no bare Python")
    with pytest.raises(engine.EngineError, match="-m pip install geodiffrecon"):
        engine.checked(bare)


def test_the_version_is_asked_once(fake, monkeypatch):
    found = engine.Engine((str(fake),), "test")
    assert engine.checked(found).version == "0.1.0"
    monkeypatch.setenv("FAKE", "broken")
    assert engine.checked(found).version == "0.1.0"


def test_events_come_in_order_and_the_result_is_returned(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("PROJ_LIB", "/qgis/proj")
    monkeypatch.setenv("QT_PLUGIN_PATH", "/qgis/qt")
    events = []
    result = run(fake, tmp_path, on_event=events.append)
    assert result["foreign"] == []
    assert result["arguments"] == ["reconstruct", "--progress", "json"]
    assert result["folder"] == str(tmp_path)
    assert {"event": "progress", "value": 50, "message": "working"} in events
    said = [event["message"] for event in events if event["event"] == "log"]
    assert sorted(said) == ["a line that is no JSON", "café on stderr"]


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("error", "^Times have no zone; give it with --tz.$"),
        ("usage", "No such option: --new"),
        ("silent", "without a result"),
        ("killed", "signal 9"),
    ],
)
def test_a_failure_is_one_sentence(fake, tmp_path, monkeypatch, mode, sentence):
    monkeypatch.setenv("FAKE", mode)
    with pytest.raises(engine.EngineError, match=sentence) as caught:
        run(fake, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="groups of processes are POSIX")
@pytest.mark.parametrize("mode", ["slow", "stubborn"])
def test_cancel_takes_less_than_two_seconds_and_leaves_no_process(
    fake, tmp_path, monkeypatch, mode
):
    monkeypatch.setenv("FAKE", mode)
    pids, asked = [], []

    def hear(event):
        if event["event"] == "log":
            pids.append(int(event["message"]))
        if event["event"] == "progress":
            asked.append(time.monotonic())

    with pytest.raises(engine.Canceled):
        run(fake, tmp_path, on_event=hear, is_canceled=lambda: len(asked) > 2)
    assert time.monotonic() - asked[2] < 2
    time.sleep(0.1)
    assert not any(alive(pid) for pid in pids)
    assert not engine._running


def test_paths_of_qgis_leave_the_path_of_the_child(tmp_path):
    mine, other = tmp_path / "qgis" / "bin", tmp_path / "bin"
    environ = {"PATH": os.pathsep.join(map(str, (mine, other))), "PYTHONHOME": "x", "HOME": "h"}
    clean = engine.clean_environment(environ, prefix=str(tmp_path / "qgis"))
    assert clean["PATH"] == str(other)
    assert "PYTHONHOME" not in clean
    assert clean["HOME"] == "h"
