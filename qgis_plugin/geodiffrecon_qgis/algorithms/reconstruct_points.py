# SPDX-License-Identifier: GPL-2.0-or-later
"""«Reconstruct maps from points»: the algorithm that everybody uses."""

from __future__ import annotations

from .. import checks, models
from .base import (
    add_model,
    add_points,
    add_station,
    column_options,
    fixed_list,
    station_field,
    work_folder,
)
from .maps import Reconstruction

POOLING = ["default", "mean", "sum", "count"]
EMPTY = ["default", "auto", "zero", "missing"]


class ReconstructPoints(Reconstruction):
    """Points and a model to complete maps with their error."""

    NAME, TITLE = "reconstruct", "Reconstruct maps from points"
    TAGS = ("interpolate", "interpolation", "stations", "kriging", "pm2.5", "uncertainty", "time")
    HELP = (
        "Makes complete fine maps of points that were measured at stations over time, and beside "
        "them the standard error of every cell in the unit of the values. One raster per "
        "statistic, one band per time.\n\n"
        "The model says grid, time step and variable: make one with Train a model. Points in "
        "another CRS are transformed. NULL values, times and places are counted as missing, never "
        "taken as zero.\n\n"
        "Open the temporal controller to play the maps. Before QGIS 3.38 each time is a layer of "
        "its own, all reading the same file."
    )

    def initAlgorithm(self, config=None):
        """Define parameters and outputs."""
        add_points(self, value_help="Measured values. Not needed where points are only counted.")
        add_model(self)
        self.add_request()
        add_station(self)
        self.add(
            fixed_list("AGG", "Several points in a cell", POOLING, "default"),
            "Models of fine maps only. Default: as the model was trained.",
            advanced=True,
        )
        self.add(
            fixed_list("EMPTY", "Cells without points", EMPTY, "default"),
            "Models of fine maps only. Auto: for counts zero where the time has any point.",
            advanced=True,
        )
        self.add_outputs()

    def problem(self, parameters, context):
        """Return what is wrong with points, model and period."""
        counted = self.choice(parameters, "AGG", context) == "count"
        problem = self.points_problem(parameters, context, value=not counted)
        problem = problem or self.request_problem(parameters, context)
        if problem:
            return problem
        source = self.parameterAsSource(parameters, "INPUT", context)
        card = models.read_card(self.file(parameters, "MODEL", context))
        return checks.overlap(
            source.sourceExtent(), source.sourceCrs(), card, context.transformContext()
        )

    def processAlgorithm(self, parameters, context, feedback):
        """Write the points, run the engine, bring the maps."""
        card = models.read_card(self.file(parameters, "MODEL", context))
        station = station_field(self, card, parameters, context)
        with work_folder() as folder:
            path, columns = self.points_file(parameters, context, folder, feedback, station=station)
            options = column_options(self, columns, parameters, context)
            for name in ("AGG", "EMPTY"):
                chosen = self.choice(parameters, name, context)
                options += [f"--{name.lower()}", chosen] if chosen else []
            return self.map(path, options, parameters, context, feedback, folder)
