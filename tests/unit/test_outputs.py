from __future__ import annotations

import pytest
import xarray as xr

from geodiffrecon.errors import InvalidParameter
from geodiffrecon.outputs import provenance, software, whole_files


def test_files_appear_together_at_the_end(tmp_path):
    with whole_files(tmp_path / "new") as draft:
        (draft / "a").write_text("1")
        assert not (tmp_path / "new" / "a").exists()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a"]


def test_a_failure_leaves_old_files_and_no_new_ones(tmp_path):
    (tmp_path / "a").write_text("old")

    def work():
        with whole_files(tmp_path) as draft:
            (draft / "a").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(InvalidParameter, match="choose another --out"), whole_files(tmp_path / "a"):
        pass


def test_provenance_lists_what_is_known():
    maps = xr.Dataset(attrs={"seed": 3, "model_hash": "abc", "geodiffrecon_version": "9"})
    assert provenance(maps) == {"software": "geodiffrecon 9", "model_hash": "abc", "seed": "3"}
    assert provenance(xr.Dataset())["software"] == software()
