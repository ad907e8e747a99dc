# SPDX-License-Identifier: GPL-2.0-or-later
"""«Evaluate a model»: scores on what the model has not seen."""

from __future__ import annotations

import os

from qgis.core import (
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterNumber,
)

from .. import checks, models
from .base import (
    EngineAlgorithm,
    add_external,
    add_history,
    add_model,
    add_period,
    add_points,
    add_run,
    add_station,
    column_options,
    fixed_list,
    station_field,
    work_folder,
)

OF_MAPS, OF_STATIONS = ("fixed", "random", "block"), ("stations", "blocks")


class Evaluate(EngineAlgorithm):
    """A model and data that it has not seen to a report."""

    NAME, TITLE = "evaluate", "Evaluate a model"
    TAGS = ("validate", "cross-validation", "score", "accuracy", "rmse", "report")
    FILES = ("REPORT", "SCORES")
    HELP = (
        "Hides a part of known data, reconstructs it and compares: errors in the unit of the "
        "values, and how often the truth lies in the stated intervals.\n\n"
        "A model of fine maps is scored on maps later than its training, with coarse cells hidden "
        "(fixed, random or block). A model of stations is scored at stations left out (stations, "
        "or blocks for whole regions), beside kriging; that takes as many trainings as there are "
        "parts."
    )

    def initAlgorithm(self, config=None):
        """Define parameters and outputs."""
        add_model(self)
        add_history(
            self,
            "Fine maps (model of maps)",
            "NetCDF, or GeoTIFF with one band per time, later than the model's training.",
        )
        add_points(self, value_help="Measured values (model of stations).", optional=True)
        add_station(self)
        self.add(
            fixed_list("PATTERN", "What is hidden", ["default", *OF_MAPS, *OF_STATIONS], "default"),
            "fixed, random, block: coarse cells of maps; stations, blocks: stations. Default: "
            "random cells, or stations.",
        )
        number = QgsProcessingParameterNumber
        self.add(
            number("MISSING", "Share of hidden cells", number.Type.Double, 0.4, False, 0.01, 0.99),
            "Between 0 and 1; models of maps only.",
        )
        add_period(self, "Such as 2024-01-31; both ends are included.")
        self._add_advanced()
        self.addParameter(
            QgsProcessingParameterFileDestination("REPORT", "Report", "HTML files (*.html)")
        )
        self.addParameter(
            QgsProcessingParameterFileDestination(
                "SCORES", "Scores", "JSON files (*.json)", None, True, False
            )
        )

    def _add_advanced(self):
        number = QgsProcessingParameterNumber
        integer, real = number.Type.Integer, number.Type.Double
        self.add(
            number("MASKS", "Masks", integer, 5, False, 1, 100),
            "Models of maps: how many masks of the pattern.",
            advanced=True,
        )
        self.add(
            number("FOLDS", "Parts", integer, 4, False, 2, 100),
            "Models of stations: how many parts are left out in turn.",
            advanced=True,
        )
        self.add(
            number("BUFFER", "Distance kept free (km)", real, None, True, 0),
            "Pattern blocks: stations within it of a hidden region are not used; 10 if empty.",
            advanced=True,
        )
        self.add(
            number("EVERY", "Score each n-th step", integer, 1, False, 1),
            "Models of stations: 3 scores every third step.",
            advanced=True,
        )
        self.add(
            number("MINUTES", "Most minutes of each training", real, None, True, 0.01),
            "Models of stations.",
            advanced=True,
        )
        self.add(
            number("SAMPLES", "Draws", integer, None, True, 2, 1000),
            "For scores of distributions; empty: 32, of stations 200.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterBoolean("IN_SAMPLE", "Allow times seen in training", False),
            "Models of maps only. The report then says so: such scores flatter.",
            advanced=True,
        )
        add_external(self)
        add_run(self)

    def problem(self, parameters, context):
        """Return what is wrong with model, data and period."""
        history = self.file(parameters, "HISTORY", context)
        points = self.given(parameters, "INPUT", context)
        first, last = (self.text(parameters, name, context) for name in ("FROM", "TO"))
        model = self.file(parameters, "MODEL", context)
        problem = models.problem_of(model) or checks.span(first, last)
        if problem:
            return problem
        if bool(history) == points:
            return "Give fine maps or points of stations: one of the two."
        problem = checks.kind_of_model(models.read_card(model), of_points=points)
        pattern = self.choice(parameters, "PATTERN", context)
        fitting = OF_STATIONS if points else OF_MAPS
        if not problem and pattern and pattern not in fitting:
            what = "points" if points else "maps"
            problem = f"What is hidden is {pattern}, but of {what} it is {' or '.join(fitting)}."
        if problem or points:
            return problem or self.points_problem(parameters, context)
        return "" if os.path.isfile(history) else f"{history} does not exist; choose another file."

    def processAlgorithm(self, parameters, context, feedback):
        """Run the engine and put its report in its place."""
        with work_folder() as folder:
            made = {name: os.path.join(folder, file) for name, file in
                    (("REPORT", "report.html"), ("SCORES", "scores.json"))}  # fmt: skip
            history, options = self._request(parameters, context, folder, feedback)
            arguments = [
                "evaluate", history, "--model", self.file(parameters, "MODEL", context),
                "--report", made["REPORT"], "--json", made["SCORES"], *options,
            ]  # fmt: skip
            self.work(arguments, folder, feedback)
            results = {}
            for name in made:
                path = self.parameterAsFileOutput(parameters, name, context)
                if path:
                    results[name] = os.path.abspath(path)
            self.publish([(made[name], path) for name, path in results.items()], feedback)
        return results

    def _request(self, parameters, context, folder, feedback):
        """Return the data and the options that belong to their kind."""
        history = self.file(parameters, "HISTORY", context)
        if history:
            return history, self._options(parameters, context) + self._of_maps(parameters, context)
        card = models.read_card(self.file(parameters, "MODEL", context))
        station = station_field(self, card, parameters, context)
        history, columns = self.points_file(parameters, context, folder, feedback, station=station)
        options = column_options(self, columns, parameters, context)
        options += self._options(parameters, context) + self._of_stations(parameters, context)
        return history, options

    def _of_maps(self, parameters, context):
        options = ["--pattern", self.choice(parameters, "PATTERN", context) or OF_MAPS[1]]
        options += ["--missing", repr(self.parameterAsDouble(parameters, "MISSING", context))]
        options += ["--masks", str(self.parameterAsInt(parameters, "MASKS", context))]
        variable = self.text(parameters, "VARIABLE", context)
        options += ["--variable", variable] if variable else []
        return options + (
            ["--in-sample"] if self.parameterAsBool(parameters, "IN_SAMPLE", context) else []
        )

    def _of_stations(self, parameters, context):
        options = ["--pattern", self.choice(parameters, "PATTERN", context) or OF_STATIONS[0]]
        options += ["--folds", str(self.parameterAsInt(parameters, "FOLDS", context))]
        options += ["--every", str(self.parameterAsInt(parameters, "EVERY", context))]
        for name, option in (("BUFFER", "--buffer-km"), ("MINUTES", "--max-minutes")):
            if self.given(parameters, name, context):
                options += [option, repr(self.parameterAsDouble(parameters, name, context))]
        return options

    def _options(self, parameters, context):
        options = ["--seed", str(self.parameterAsInt(parameters, "SEED", context))]
        options += ["--device", self.choice(parameters, "DEVICE", context)]
        for name, option in (("FROM", "--from"), ("TO", "--to")):
            text = self.text(parameters, name, context)
            options += [option, text] if text else []
        if self.given(parameters, "SAMPLES", context):
            options += ["--samples", str(self.parameterAsInt(parameters, "SAMPLES", context))]
        return options + self.external_options(parameters, context)
