# SPDX-License-Identifier: GPL-2.0-or-later
"""«Bin points»: points to a NetCDF cube of cells and time steps."""

from __future__ import annotations

import os

from qgis.core import (
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterString,
)

from .. import checks
from .base import EngineAlgorithm, add_calendar_zone, add_points, fixed_list, work_folder
from .grids import add_factor, add_grid, grid_options, grid_problem


class BinPoints(EngineAlgorithm):
    """Points to the mean, sum or number of each cell and step."""

    NAME, TITLE = "bin", "Bin points"
    TAGS = ("aggregate", "grid", "count", "heatmap", "cube", "netcdf")
    FILES = ("OUTPUT",)
    HELP = (
        "Puts points into cells and time steps: their mean, sum or number, in a CF NetCDF with one "
        "band per step, in the unit of the values. Cells without points are missing, or zero for "
        "counts. The cube serves Reconstruct a raster with holes and Train a model."
    )

    def initAlgorithm(self, config=None):
        """Define parameters and outputs."""
        add_points(self, value_help="Values to pool. Not needed to count points.")
        self.add(QgsProcessingParameterString("FREQ", "Time step", "1D"), "Such as 30min, 1h, 1D.")
        add_grid(self)
        add_factor(self, 1)
        self.add(
            fixed_list("LEVEL", "Cells", ["coarse", "fine"], "coarse"),
            "Whether the cube has the coarse or the fine cells.",
        )
        self.add(
            fixed_list("AGG", "A cell holds the", ["mean", "sum", "count"], "mean"),
            "Of all its points in a time step.",
        )
        self.add(
            fixed_list("EMPTY", "Cells without points", ["auto", "zero", "missing"], "auto"),
            "Auto: missing for means; for counts zero where the step has any point.",
            advanced=True,
        )
        self.add(
            fixed_list("LABEL", "Times mark the", ["start", "end"], "start"),
            "Which end of its interval a time stamp marks.",
            advanced=True,
        )
        add_calendar_zone(self)
        self.addParameter(QgsProcessingParameterFileDestination("OUTPUT", "Cube", "NetCDF (*.nc)"))

    def problem(self, parameters, context):
        """Return what is wrong with points and grid."""
        counted = self.choice(parameters, "AGG", context) == "count"
        return (
            self.points_problem(parameters, context, value=not counted)
            or checks.frequency(self.text(parameters, "FREQ", context))
            or grid_problem(self, parameters, context)
        )

    def processAlgorithm(self, parameters, context, feedback):
        """Write the points, run the engine, bring the cube."""
        target = os.path.abspath(self.parameterAsFileOutput(parameters, "OUTPUT", context))
        with work_folder() as folder:
            made = os.path.join(folder, "cube.nc")
            path, columns = self.points_file(parameters, context, folder, feedback)
            options = self._options(parameters, context, columns)
            self.work(["bin", path, "--out", made, *options], folder, feedback)
            self.publish([(made, target)], feedback)
        feedback.pushInfo(f"The cube is {target}; drag the file into QGIS to see it.")
        return {"OUTPUT": target}

    def _options(self, parameters, context, columns):
        agg = self.choice(parameters, "AGG", context)
        options = ["--time", columns["time"], "--agg", agg]
        if agg != "count":
            options += ["--value", columns["value"]]
        for name in ("FREQ", "LEVEL", "EMPTY", "LABEL"):
            options += [f"--{name.lower()}", self.parameterAsString(parameters, name, context)]
        options += ["--factor", str(self.parameterAsInt(parameters, "FACTOR", context))]
        for name, option in (("TZ", "--tz"), ("CALENDAR_TZ", "--calendar-tz")):
            text = self.text(parameters, name, context)
            options += [option, text] if text else []
        return options + grid_options(self, parameters, context)
