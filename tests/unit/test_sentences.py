"""No sentence of a reader names an option that a command which reads by it does not have."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import typer

import geodiffrecon
from geodiffrecon.cli import app
from geodiffrecon.words import agreed

PACKAGE = Path(geodiffrecon.__file__).parent
COMMANDS = typer.main.get_command(app).commands
MAPS = {"map", "fit", "reconstruct", "evaluate", "compare", "plot", "info"}
POINTS = {"map", "bin", "fit", "reconstruct", "evaluate", "plot", "info"}
STEPS = set(COMMANDS) - {"demo", "doctor", "map", "info"}
READERS = {
    **{f"files/{path.stem}": MAPS for path in (PACKAGE / "files").glob("*.py")},
    **dict.fromkeys(
        ["points", "tables", "vectors", "columns", "delimited", "geometries", "rows", "where",
         "frames", "stamps", "zones"], POINTS,
    ),
    "axes": MAPS,
    "files/record": MAPS - {"map"},  # the regular step of many maps
    "history": {"fit", "compare"},
    "steps": STEPS,
    "periods": {"bin", "fit", "reconstruct", "evaluate"},
    "binning": {"bin", "reconstruct"},
    "covariates": {"fit", "reconstruct", "evaluate", "compare", "plot"},
    "sampling": {"map", "reconstruct"},
    "interpolation/survey": {"map"},
    "interpolation/layers": {"map"},
}  # fmt: skip
# What only those say that choose a calendar themselves.
ELSEWHERE = {("periods", "--calendar-tz"): {"bin", "fit"}}


def sentences(path):
    """Yield the texts of a module that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies = [n.body for n in ast.walk(tree)
              if isinstance(n, ast.Module | ast.FunctionDef | ast.ClassDef)]  # fmt: skip
    documented = {id(body[0].value) for body in bodies if isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in documented:
                yield node.value


def options(command):
    return {name for part in COMMANDS[command].params for name in part.opts}


@pytest.mark.parametrize("reader", sorted(READERS))
def test_every_option_that_a_sentence_names_exists(reader):
    named = {
        option
        for text in sentences(PACKAGE / f"{reader}.py")
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)
    }
    for command in READERS[reader]:
        lacking = {
            option for option in named - options(command)
            if command in ELSEWHERE.get((reader, option), {command})
        }  # fmt: skip
        assert not lacking, f"{command} has no {lacking}"


def test_readers_are_all_listed():
    named = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    assert {f"{reader}.py" for reader in READERS} <= named


@pytest.mark.parametrize(
    ("number", "sentence", "right"),
    [(1, "1 rows of 'rows' stand at 0, 0; they are missing.",
      "1 row of 'rows' stands at 0, 0; it is missing."),
     (2, "2 rows stand at 0, 0.", "2 rows stand at 0, 0.")],
)  # fmt: skip
def test_one_thing_is_said_in_the_singular(number, sentence, right):
    assert agreed(number, sentence) == right
