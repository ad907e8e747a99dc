"""The zip keeps every rule of the plugin repository, and is the same each time."""

from __future__ import annotations

import hashlib
import shutil
import sys
import zipfile

import pytest
from paths import PLUGINS

pytestmark = pytest.mark.skipif(sys.version_info < (3, 10), reason="the build needs Python 3.10")
SOURCE = PLUGINS / "geodiffrecon_qgis"


@pytest.fixture(scope="module")
def make_plugin():
    sys.path.insert(0, str(PLUGINS))
    import make_plugin

    return make_plugin


def test_the_plugin_keeps_every_rule(make_plugin):
    assert make_plugin.problems_of(SOURCE) == []


def test_the_zip_has_one_folder_and_is_the_same_each_time(make_plugin, tmp_path):
    copy = shutil.copytree(SOURCE, tmp_path / "elsewhere" / SOURCE.name)
    (copy / "engine.py").touch()
    first, second = (make_plugin.build(s, tmp_path / n) for s, n in ((SOURCE, "1"), (copy, "2")))
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second)]
    assert digests[0] == digests[1]
    with zipfile.ZipFile(first) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    assert {name.split("/")[0] for name in names} == {"geodiffrecon_qgis"}
    for needed in ("__init__.py", "metadata.txt", "LICENSE", "icon.svg"):
        assert f"geodiffrecon_qgis/{needed}" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("bad.py", "import numpy\n", "imports numpy"),
        ("bad.py", "from PyQt5 import QtCore\n", "imports PyQt5"),
        ("bad.py", "eval('1')\n", "calls eval"),
        ("bad.py", "import subprocess\nsubprocess.run('ls', shell=True)\n", "passes shell="),
        ("bad.py", "import pickle\n", "imports pickle"),
        ("bad.py", "import os\nos.system('ls')\n", "uses system"),
        ("bad.py", "from tempfile import mktemp\n", "uses mktemp"),
        ("bad.py", "PASSWORD = 'geheim'\n", "holds a secret"),
        ("bad.py", "TOKEN: str = 'geheim'\n", "holds a secret"),
        ("bad.py", "import os\nos.execvp('ls', [])\n", "uses execvp"),
        ("bad.py", "from importlib import import_module\n", "imports importlib"),
        ("helper", "\x7fELF", "not allowed"),
        (".DS_Store", "", "not allowed"),
        ("bad.py", "name = '\u202egnp.exe'\n", "turn text round"),
        ("bad.py", "def broken(:\n", "cannot be read"),
        ("notes..txt", "\n", "not allowed"),
        ("metadata.txt", "[general]\nname=a\nname=b\n", "metadata.txt cannot be read"),
        ("metadata.txt", "[general]\nabout=100 % sure\n", "metadata.txt cannot be read"),
        ("metadata.txt", "[general]\ntracker=http://bugs\n", "tracker is a placeholder"),
        ("metadata.txt", "[general]\nqgisMinimumVersion=4\n", "not of the form 3.22"),
        ("run.sh", "ls\n", "not allowed"),
    ],
)
def test_what_breaks_a_rule_is_found(make_plugin, tmp_path, name, text, problem):
    copy = shutil.copytree(SOURCE, tmp_path / SOURCE.name)
    (copy / name).write_text(text)
    assert any(problem in found for found in make_plugin.problems_of(copy))


def test_metadata_without_a_key_is_found(make_plugin, tmp_path):
    copy = shutil.copytree(SOURCE, tmp_path / SOURCE.name)
    text = (copy / "metadata.txt").read_text()
    (copy / "metadata.txt").write_text(text.replace("homepage=", "page=") + "supportsQt6=True\n")
    found = make_plugin.problems_of(copy)
    assert any("lacks homepage" in problem for problem in found)
    assert any("supportsQt6" in problem for problem in found)
