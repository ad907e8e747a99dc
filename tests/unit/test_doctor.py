from __future__ import annotations

import pytest

from geodiffrecon import doctor


def problems():
    return [finding.problem for finding in doctor.examine() if finding.problem]


def test_everything_is_one_line_each():
    found = doctor.lines(doctor.examine())
    names = [line.split()[0] for line in found]
    for name in ("geodiffrecon", "libraries", "GDAL", "PROJ", "NetCDF", "torch", "memory", "disk"):
        assert name in names
    assert not any("\n" in line for line in found)


def test_a_broken_check_is_a_finding(monkeypatch):
    def broken():
        raise ImportError("libtorch.so: cannot open shared object file\nmore")

    monkeypatch.setattr(doctor, "_torch", broken)
    (found,) = [finding for finding in doctor.examine() if finding.name == "torch"]
    assert "libtorch.so" in found.problem
    assert "\n" not in found.problem


@pytest.mark.parametrize(
    ("limit", "words"), [("LITTLE_MEMORY_GB", "of memory are free"), ("LITTLE_DISK_GB", "are free")]
)
def test_too_little_room_is_said(limit, words, monkeypatch):
    monkeypatch.setattr(doctor, limit, 1e9)
    assert any(words in problem for problem in problems())


def test_data_of_another_gdal_are_said(monkeypatch, tmp_path):
    monkeypatch.setenv("GDAL_DATA", str(tmp_path / "nowhere"))
    assert any("GDAL_DATA" in problem for problem in problems())


def test_a_missing_library_is_said(monkeypatch):
    monkeypatch.setattr(doctor, "LIBRARIES", ("numpy", "no-such-library"))
    assert any("no-such-library" in problem for problem in problems())
