# SPDX-License-Identifier: GPL-2.0-or-later
"""«Train a model»: from fine maps of the past, or from stations alone."""

from __future__ import annotations

import os

from qgis.core import (
    QgsProcessingParameterBoolean,
    QgsProcessingParameterCrs,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
)

from .. import checks, models
from .base import (
    EngineAlgorithm,
    add_calendar_zone,
    add_external,
    add_history,
    add_points,
    add_run,
    add_station,
    fixed_list,
    work_folder,
)
from .grids import add_factor, add_grid, grid_given, grid_options, grid_problem

MAPS_HAVE_A_GRID = (
    "Fine maps bring their own grid; clear extent, cell size, rows and columns, which are for "
    "stations."
)
KINDS = ["default", "real", "positive", "count"]


class Train(EngineAlgorithm):
    """A history to a model directory."""

    NAME, TITLE = "train", "Train a model"
    TAGS = ("fit", "learn", "calibrate", "history", "stations")
    FILES = ("MODEL",)
    HELP = (
        "Learns how the variable behaves in space and time, from fine maps of the past (NetCDF "
        "or multi-band GeoTIFF; holes are allowed) or from stations alone. Give one of the two.\n\n"
        "Maps bring their own grid. With stations, extent, CRS and cell size are those of the maps "
        "to come. Training takes minutes to hours; Most minutes ends it in time, and Cancel ends "
        "it at once with nothing left behind.\n\n"
        "The result is a folder, which the other algorithms ask for as Model."
    )

    def initAlgorithm(self, config=None):
        """Define parameters and outputs."""
        add_history(
            self,
            "Fine maps of the past",
            "NetCDF, or GeoTIFF with one band per time. Leave empty to learn from stations.",
        )
        add_points(self, value_help="Measured values: means over the time step.", optional=True)
        add_station(self)
        self.add(
            QgsProcessingParameterString("FREQ", "Time step of the stations", "1D", optional=True),
            "Such as 30min, 1h or 1D.",
        )
        self.add(
            QgsProcessingParameterString("UNITS", "Unit of the stations", "", optional=True),
            "Such as ug m-3 or K; it is written into maps and legends.",
        )
        add_grid(self, optional=True)
        add_factor(self, 4)
        self.add(
            fixed_list("AGGREGATION", "Pooling fine cells means", ["mean", "sum"], "mean"),
            "Mean for concentrations or temperature, sum for flows and counts.",
        )
        self.add(
            fixed_list("PRESET", "Preset", ["default", "tiny", "paper"], "default"),
            "tiny is for a first try; paper follows the publication.",
        )
        self._add_advanced()
        self.addParameter(QgsProcessingParameterFolderDestination("MODEL", "Model"))

    def _add_advanced(self):
        number = QgsProcessingParameterNumber
        self.add(
            number("MINUTES", "Most minutes", number.Type.Double, None, True, 0.01),
            "Ends training in time. The result then depends on the speed of the machine.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterString("UNTIL", "Learn only before", "", optional=True),
            "Such as 2023-09-01: what comes later is kept for Evaluate a model.",
            advanced=True,
        )
        add_calendar_zone(self)
        self.add(
            QgsProcessingParameterString("COUNTRY", "Country of the holidays", "", optional=True),
            "Two letters, such as CN.",
            advanced=True,
        )
        self.add(
            fixed_list("KIND", "Kind of values", KINDS, "default"),
            "Default: proposed from the values, and said in the log.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterCrs("HISTORY_CRS", "CRS of the maps", None, True),
            "Only where their file has none.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterBoolean("TRIM", "Cut maps to whole coarse cells", False),
            "Where rows or columns of the maps are no multiple of the fine cells per coarse cell.",
            advanced=True,
        )
        self.add(
            fixed_list("LABEL", "Times of stations mark the", ["start", "end"], "start"),
            "Which end of its interval a time stamp marks.",
            advanced=True,
        )
        add_external(self)
        add_run(self)

    def problem(self, parameters, context):
        """Return what is wrong with history, points and grid."""
        history = self.file(parameters, "HISTORY", context)
        points = self.given(parameters, "INPUT", context)
        if bool(history) == points:
            return "Give fine maps of the past or points of stations: one of the two."
        problem = checks.moment(self.text(parameters, "UNTIL", context), "Learn only before")
        problem = problem or models.problem_of_place(self._target(parameters, context))
        if problem:
            return problem
        if history and not os.path.isfile(history):
            return f"The file {history} does not exist; choose another one."
        if history:
            return MAPS_HAVE_A_GRID if grid_given(self, parameters, context) else ""
        if not self.given(parameters, "EXTENT", context):
            return "Stations need the extent of the maps to come; draw one or take it from a layer."
        return (
            self.points_problem(parameters, context)
            or checks.frequency(self.text(parameters, "FREQ", context))
            or grid_problem(self, parameters, context)
        )

    def processAlgorithm(self, parameters, context, feedback):
        """Run the engine on a history and put the finished model in its place."""
        target = self._target(parameters, context)
        with work_folder() as folder:
            made = os.path.join(folder, "model.gdr")
            history = self.file(parameters, "HISTORY", context)
            options = self._options(parameters, context)
            if history:
                options += self._map_options(parameters, context)
            else:
                history, columns = self.points_file(parameters, context, folder, feedback)
                options += self._point_options(parameters, context, columns)
            self.work(["fit", history, "--model", made, *options], folder, feedback)
            files = os.listdir(made)
            moves = [(os.path.join(made, name), os.path.join(target, name)) for name in files]
            self.publish(moves, feedback)
        feedback.pushInfo(f"The model is {target}.")
        return {"MODEL": target}

    def _target(self, parameters, context):
        return os.path.abspath(self.parameterAsString(parameters, "MODEL", context))

    def _options(self, parameters, context):
        options = [
            "--factor", str(self.parameterAsInt(parameters, "FACTOR", context)),
            "--aggregation", self.choice(parameters, "AGGREGATION", context),
            "--preset", self.parameterAsEnumString(parameters, "PRESET", context),
            "--seed", str(self.parameterAsInt(parameters, "SEED", context)),
            "--device", self.choice(parameters, "DEVICE", context),
        ]  # fmt: skip
        texts = {"UNTIL": "until", "CALENDAR_TZ": "calendar-tz", "COUNTRY": "country"}
        for name, option in texts.items():
            text = self.text(parameters, name, context)
            options += [f"--{option}", text] if text else []
        kind = self.choice(parameters, "KIND", context)
        options += ["--kind", kind] if kind else []
        if self.given(parameters, "MINUTES", context):
            minutes = self.parameterAsDouble(parameters, "MINUTES", context)
            options += ["--max-minutes", repr(minutes)]
        return options + self.external_options(parameters, context)

    def _map_options(self, parameters, context):
        variable = self.text(parameters, "VARIABLE", context)
        crs = self.parameterAsCrs(parameters, "HISTORY_CRS", context)
        options = ["--variable", variable] if variable else []
        if self.parameterAsBool(parameters, "TRIM", context):
            options += ["--trim"]
        return options + (["--crs", checks.crs_text(crs)] if crs.isValid() else [])

    def _point_options(self, parameters, context, columns):
        options = ["--freq", self.text(parameters, "FREQ", context)]
        options += ["--label", self.choice(parameters, "LABEL", context)]
        for role, column in columns.items():
            options += [f"--{role}", column]
        for name in ("TZ", "UNITS"):
            text = self.text(parameters, name, context)
            options += [f"--{name.lower()}", text] if text else []
        return options + grid_options(self, parameters, context)
