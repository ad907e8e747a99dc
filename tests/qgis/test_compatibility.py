"""What can be checked here of Qt 6 and QGIS 4: imports, scoped enums, renamed calls."""

from __future__ import annotations

import ast

import pytest
from paths import PLUGINS

SOURCES = sorted((PLUGINS / "geodiffrecon_qgis").rglob("*.py"))
RENAMED = {"exec_", "qApp", "MidButton", "TextColorRole", "BackgroundColorRole"}


def nodes(path):
    for parent in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for node in ast.iter_child_nodes(parent):
            yield node, parent


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_that_the_qt6_checker_rewrites(path):
    for node, _ in nodes(path):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert not node.module.startswith(("PyQt5", "PyQt6", "qgis.PyQt.Qt."))
            assert "resources_rc" not in [name.name for name in node.names]
        if isinstance(node, ast.Attribute):
            assert node.attr not in RENAMED
            named = isinstance(node.value, ast.Name) and node.value.id
            assert named != "QVariant", "QVariant.X is rewritten to QMetaType.Type.X"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("QVariant", "QRegExp", "QFontMetrics")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_enum_is_scoped(path):
    core = pytest.importorskip("qgis.core")
    qt = pytest.importorskip("qgis.PyQt.QtCore")
    for node, _ in nodes(path):
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
            continue
        owner = getattr(core, node.value.id, None) or getattr(qt, node.value.id, None)
        member = getattr(owner, node.attr, None) if isinstance(owner, type) else None
        unscoped = isinstance(member, int) and type(member) not in (int, bool)
        assert not unscoped, f"line {node.lineno}: {node.value.id}.{node.attr} has no scope"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_file_runs_on_python_3_9(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    text = path.read_text(encoding="utf-8")
    assert "SPDX-License-Identifier: GPL-2.0-or-later" in text
    assert "from __future__ import annotations" in text or path.name == "__init__.py"
