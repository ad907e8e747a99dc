"""Finding the engine, running it, stopping it: without QGIS."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time

import pytest
from geodiffrecon_qgis import child, engine


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
    return child.run(
        [str(fake)],
        ["reconstruct"],
        on_event=on_event,
        is_canceled=is_canceled,
        folder=str(tmp_path),
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


def test_the_path_may_be_written_as_users_do(fake, monkeypatch):
    monkeypatch.setenv("HOME", str(fake.parent.parent))
    monkeypatch.setenv("PLACE", str(fake.parent))
    for text in ("~/an engine/geodiffrecon", "$PLACE/geodiffrecon", f' "{fake}" ', str(fake)):
        assert engine.find(text, "", {"PATH": ""}).command == (str(fake),)


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


@pytest.mark.parametrize("protocol", ["1", None, 1.5])
def test_a_protocol_that_is_no_number_is_no_engine(fake, monkeypatch, protocol):
    monkeypatch.setenv("FAKE_PROTOCOL", json.dumps(protocol))
    with pytest.raises(engine.EngineError, match="is no geodiffrecon"):
        engine.checked(engine.Engine((str(fake),), "test"))


@pytest.mark.skipif(os.name == "nt", reason="groups of processes are POSIX")
@pytest.mark.parametrize("mode", ["orphan", "orphan of its own"])
def test_what_an_engine_leaves_behind_does_not_hold_the_run_up(fake, tmp_path, monkeypatch, mode):
    monkeypatch.setenv("FAKE", mode)
    pids, began = [], time.monotonic()

    def hear(event):
        if event["event"] == "log":
            pids.append(int(event["message"]))

    assert run(fake, tmp_path, on_event=hear)["outputs"] == []
    assert time.monotonic() - began < 3
    if mode == "orphan":
        time.sleep(0.1)
        assert not alive(pids[0])
    else:
        os.kill(pids[0], signal.SIGKILL)  # in a session of its own it is out of reach


@pytest.mark.skipif(os.name == "nt", reason="groups of processes are POSIX")
def test_an_engine_that_says_nothing_any_more_can_be_cancelled(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE", "mute")
    began = time.monotonic()
    with pytest.raises(child.Canceled):
        run(fake, tmp_path, is_canceled=lambda: time.monotonic() - began > 1)
    assert time.monotonic() - began < 3


def test_an_engine_is_told_to_end_when_its_input_closes(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE", "lifeline")
    assert run(fake, tmp_path)["lifeline"] == "1"


def test_odd_lines_are_log_lines(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE", "odd")
    events = []
    assert run(fake, tmp_path, on_event=events.append)["outputs"] == []
    assert {event["event"] for event in events} == {"log", "result"}


def test_no_temporary_folder_is_one_sentence(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    with pytest.raises(engine.EngineError, match="No temporary folder can be made"):
        with child.work_folder():
            pass


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

    with pytest.raises(child.Canceled):
        run(fake, tmp_path, on_event=hear, is_canceled=lambda: len(asked) > 2)
    assert time.monotonic() - asked[2] < 2
    time.sleep(0.1)
    assert not any(alive(pid) for pid in pids)
    assert not child._running


def test_paths_of_qgis_leave_the_path_of_the_child(tmp_path):
    mine, other = tmp_path / "qgis" / "bin", tmp_path / "bin"
    environ = {"PATH": os.pathsep.join(map(str, (mine, other))), "PYTHONHOME": "x", "HOME": "h"}
    clean = child.clean_environment(environ, prefix=str(tmp_path / "qgis"))
    assert clean["PATH"] == str(other)
    assert "PYTHONHOME" not in clean
    assert clean["HOME"] == "h"
