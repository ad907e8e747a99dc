# SPDX-License-Identifier: GPL-2.0-or-later
"""What a model directory says about itself, as far as the checks before a run need it.

Standard library only. A model of a form that this plugin does not know is left to the engine.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ModelCard:
    """A model at a glance; unknown parts are empty.

    Parameters
    ----------
    of_stations : bool
        Whether it has learnt from stations rather than from maps.
    value : str
        Name of the variable.
    columns : dict of str
        Column of ``value``, ``time`` and ``station`` in the file that it has learnt from.
    crs : str
        CRS of the grid; empty for local metres.
    bounds : tuple of float
        West, south, east, north; empty if unknown.
    """

    of_stations: bool = False
    value: str = ""
    columns: dict = field(default_factory=dict)
    crs: str = ""
    bounds: tuple = ()


def problem_of(path):
    """Return what is wrong with a model directory in one sentence, or an empty text."""
    if not path:
        return "No model is given; choose the folder that Train a model has written."
    if os.path.isfile(path):
        return f"The model {path} is a file; choose the folder that Train a model has written."
    if not os.path.isdir(path):
        return f"The model {path} does not exist; choose the folder that Train a model has written."
    if not os.path.isfile(os.path.join(path, "config.json")):
        return f"{path} is no model (it has no config.json); choose a folder such as pm25.gdr."
    return ""


def problem_of_place(path):
    """Return why a new model cannot be put into the folder `path`, or an empty text.

    An older model may be replaced; a folder with anything else in it may not.
    """
    if os.path.isfile(path):
        return f"The model cannot be {path}, which is a file; give a new folder."
    if os.path.isdir(path) and os.listdir(path) and problem_of(path):
        return (
            f"The folder {path} holds other files; give a new folder in it, such as "
            f"{os.path.join(path, 'model.gdr')}."
        )
    return ""


def read_card(path):
    """Return the card of a model directory, empty where it cannot be understood."""
    try:
        with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        about = config["about"]
        variable = about["variable"]
        return ModelCard(
            of_stations=config.get("form") == "stations",
            value=str(variable.get("name") or ""),
            columns=_columns(about.get("columns") or {}, variable),
            crs=str(variable["grid"].get("crs") or ""),
            bounds=_bounds(variable["grid"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ModelCard()


def _columns(known, variable):
    usual = {"value": variable.get("name"), "time": "time"}
    return {role: known.get(role) or usual.get(role) or "" for role in ("value", "time", "station")}


def _bounds(grid):
    a, b, west, d, e, north = (float(number) for number in grid["transform"][:6])
    rows, cols = grid["shape"]
    if b or d:
        return ()
    x, y = sorted((west, west + cols * a)), sorted((north, north + rows * e))
    return (x[0], y[0], x[1], y[1])
