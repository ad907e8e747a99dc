"""Model directories: what may be written where, and what is not believed when read."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import geodiffrecon as gdr
from geodiffrecon import archive
from geodiffrecon.demo import sample_folder
from geodiffrecon.errors import IncompatibleModel


@pytest.fixture(scope="module")
def parts():
    return archive.read(sample_folder() / "pm25.gdr")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def told_of(path):
    with pytest.raises(IncompatibleModel) as told:
        gdr.load(path)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_a_new_model_takes_the_place_of_the_old_one_and_of_nothing_else(parts, tmp_path):
    config, arrays = parts
    target = tmp_path / "m.gdr"
    archive.write(target, config, arrays)
    first = names(target)
    (target / ".partial-killed").write_bytes(b"half")
    archive.write(target, {**config, "more": 1}, arrays)
    second = names(target)
    assert len(first) == len(second) == 2
    assert first != second
    (target / "notes.txt").write_text("mine")
    with pytest.raises(IncompatibleModel, match=r"holds notes\.txt"):
        archive.write(target, config, arrays)
    assert (target / "notes.txt").read_text() == "mine"
    assert archive.read(target)[0]["more"] == 1


def test_a_link_to_a_model_is_followed(parts, tmp_path):
    config, arrays = parts
    archive.write(tmp_path / "real.gdr", config, arrays)
    (tmp_path / "link.gdr").symlink_to(tmp_path / "real.gdr")
    archive.write(tmp_path / "link.gdr", {**config, "more": 1}, arrays)
    assert (tmp_path / "link.gdr").is_symlink()
    assert archive.read(tmp_path / "real.gdr")[0]["more"] == 1


def test_weights_of_another_model_are_not_taken_for_its_own(parts, tmp_path):
    config, arrays = parts
    archive.write(tmp_path / "a.gdr", config, arrays)
    archive.write(tmp_path / "b.gdr", {**config, "more": 1}, arrays)
    (own,), (other,) = ((tmp_path / k).glob("model-*") for k in ("a.gdr", "b.gdr"))
    own.write_bytes(other.read_bytes()[:-1] + b"\x01")
    assert "do not belong together" in told_of(tmp_path / "a.gdr")
    own.unlink()
    assert "are missing" in told_of(tmp_path / "a.gdr")


def test_a_reader_between_two_models_reads_the_new_one(parts, tmp_path, monkeypatch):
    config, arrays = parts
    target = tmp_path / "m.gdr"
    archive.write(target, config, arrays)
    check, writes = archive._check, []

    def meanwhile(source, found):
        if not writes:
            writes.append(True)
            archive.write(target, {**config, "more": 1}, arrays)
        check(source, found)

    monkeypatch.setattr(archive, "_check", meanwhile)
    assert archive.read(target)[0]["more"] == 1


SPOILT = {
    "a network count": ("networks", "completion", 10**9),
    "a wide network": ("settings", "completion_mean", {"widths": [10**6]}),
    "a text for a number": ("settings", "window", "wide"),
    "no settings": ("settings", None, None),
    "a shape": ("prior", "shape", [0, 8]),
    "a huge shape": ("prior", "shape", [10**6, 10**6]),
    "a list": ("prior", "calendar", []),
    "a zone": ("prior", "calendar", {"tz": "Mars/Olympus"}),
    "levels": ("calibration", "hard", {"levels": None}),
    "a step": ("about", "variable", {"freq": "1 blink"}),
    "a grid": ("about", "variable", {"grid": {"shape": [-1, 8]}}),
    "not a number": ("prior", "point_noise", float("nan")),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_no_model_has_is_one_sentence(parts, tmp_path, name):
    config, arrays = json.loads(json.dumps(parts[0])), parts[1]
    part, key, value = SPOILT[name]
    if key is None:
        config[part] = value
    elif isinstance(value, dict):
        config[part][key].update(value)
    else:
        config[part][key] = value
    archive.write(tmp_path / "m.gdr", config, arrays)
    told_of(tmp_path / "m.gdr")


@pytest.mark.parametrize("change", ["missing", "shape", "infinite", "text"])
def test_arrays_that_no_model_has_are_one_sentence(parts, tmp_path, change):
    config, arrays = parts[0], dict(parts[1])
    key = "prior.climatology"
    if change == "missing":
        del arrays[key]
    elif change == "shape":
        arrays[key] = np.zeros((2, 2))
    elif change == "infinite":
        arrays[key] = arrays[key] * np.inf
    else:
        arrays[key] = np.zeros(arrays[key].shape, np.uint8)[..., :1]
    archive.write(tmp_path / "m.gdr", config, arrays)
    told_of(tmp_path / "m.gdr")


def test_a_killed_writer_leaves_the_old_model_or_the_new_one(parts, tmp_path):
    config, arrays = parts
    target = tmp_path / "m.gdr"
    archive.write(target, {**config, "turn": 0}, arrays)
    program = textwrap.dedent(
        """
        import sys
        from geodiffrecon import archive
        config, arrays = archive.read(sys.argv[1])
        print("ready", flush=True)
        for turn in range(1, 10_000):
            archive.write(sys.argv[1], {**config, "turn": turn}, arrays)
        """
    )
    rng = np.random.default_rng(0)
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(target)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout.readline()
            try:
                writer.wait(0.02 + 0.2 * rng.random())
            except subprocess.TimeoutExpired:
                writer.kill()
        assert archive.read(target)[0]["turn"] >= 0
    archive.write(target, config, arrays)
    assert len(names(target)) == 2
    assert os.stat(target).st_mode & 0o777 == 0o755
