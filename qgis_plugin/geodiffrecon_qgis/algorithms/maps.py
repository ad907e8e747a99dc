# SPDX-License-Identifier: GPL-2.0-or-later
"""What both reconstructions share: outputs, style, and how finished maps reach QGIS."""

from __future__ import annotations

import os
import re

from qgis.core import (
    QgsProcessingException,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
)

from .. import arrival, checks, models
from .base import (
    EngineAlgorithm,
    add_exceedances,
    add_external,
    add_period,
    add_run,
    fixed_list,
    is_temporary,
)

STATISTICS = {"MEAN": "mean", "STD": "std", "Q05": "q05", "Q50": "q50", "Q95": "q95"}
TITLES = {
    "MEAN": "Mean map",
    "STD": "Error map (standard deviation)",
    "Q05": "5 % quantile",
    "Q50": "Median",
    "Q95": "95 % quantile",
}
STYLES = {
    "one ramp over all times": "continuous",
    "PM2.5: WHO 2021 classes": "who",
    "PM2.5: US AQI classes": "us_aqi",
}
MOST_BANDS = 65535  # of a GeoTIFF


class Reconstruction(EngineAlgorithm):
    """Observations and a model to maps."""

    FILES = (*STATISTICS, "FOLDER", "NETCDF")

    def add_request(self):
        """Add what is mapped."""
        add_period(
            self,
            "Such as 2024-01-31 or 2024-01-31T06:00, in the zone of the model's days. Both are "
            "included; without them all of the observations' time is mapped.",
        )
        self.add(
            fixed_list("STYLE", "Style", list(STYLES), next(iter(STYLES))),
            "Colours of the mean and of quantiles. The classes are for PM2.5 in µg/m³.",
        )
        add_external(self)
        number = QgsProcessingParameterNumber.Type.Integer
        self.add(
            QgsProcessingParameterNumber("SAMPLES", "Draws", number, 0, False, 0, 1000),
            "Possible maps, kept in the NetCDF. Mean, error and quantiles do not need them.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterNumber("STEPS", "Network calls per draw", number, None, True, 1),
            "Models of fine maps only. Empty: as the model was trained.",
            advanced=True,
        )
        self.add(
            fixed_list("CONSISTENCY", "Consistency", ["default", "hard", "soft", "off"], "default"),
            "Models of fine maps only: whether observed coarse cells keep their value.",
            advanced=True,
        )
        add_exceedances(self)
        add_run(self)

    def add_outputs(self):
        """Add the maps; all but the mean may be left out."""
        for name, title in TITLES.items():
            self.addParameter(
                QgsProcessingParameterRasterDestination(
                    name, title, None, name != "MEAN", name in ("MEAN", "STD")
                )
            )
        self.addParameter(
            QgsProcessingParameterFolderDestination(
                "FOLDER", "Folder of all statistics", None, True, False
            )
        )
        self.addParameter(
            QgsProcessingParameterFileDestination(
                "NETCDF", "NetCDF with everything", "NetCDF (*.nc)", None, True, False
            )
        )

    def request_problem(self, parameters, context):
        """Return what is wrong with model, period and thresholds."""
        first, last = (self.text(parameters, name, context) for name in ("FROM", "TO"))
        problem = models.problem_of(self.file(parameters, "MODEL", context))
        problem = problem or checks.period(first, last)
        limits = self._limits(parameters, context)
        wrong = [part for part in limits if not _is_number(part)]
        if wrong and not problem:
            problem = f"{wrong[0]!r} is no threshold; give numbers such as 35 75."
        if limits and not self.given(parameters, "FOLDER", context) and not problem:
            problem = "Thresholds make maps of their own; choose the folder of all statistics."
        if self.parameterAsInt(parameters, "SAMPLES", context) and not problem:
            if not self.given(parameters, "NETCDF", context):
                problem = "Draws are kept in the NetCDF; choose one, or set draws to 0."
        return problem

    def map(self, observations, options, parameters, context, feedback, folder):
        """Run the engine on observations and bring its maps where the user wants them."""
        wanted = self._wanted(parameters, context)
        formats = "geotiff,netcdf" if wanted.get("NETCDF") else "geotiff"
        result = self.work(
            ["reconstruct", observations, "--model", self.file(parameters, "MODEL", context),
             "--out", os.path.join(folder, "maps"), "--format", formats,
             "--max-bands", str(MOST_BANDS), *options, *self._options(parameters, context)],
            folder, feedback,
        )  # fmt: skip
        for key in ("points_used", "points_outside", "points_missing"):
            if key in result:
                feedback.pushInfo(f"{key.replace('_', ' ').capitalize()}: {result[key]}")
        made = _files_of(result)
        targets = {wanted[n]: s for n, s in STATISTICS.items() if s in made and wanted.get(n)}
        copies = {os.path.join(wanted["FOLDER"], os.path.basename(path)): statistic
                  for statistic, path in made.items() if wanted["FOLDER"]}  # fmt: skip
        moves = [(made[statistic], path) for path, statistic in (targets | copies).items()]
        moves += [(result["netcdf"], wanted["NETCDF"])] if wanted["NETCDF"] else []
        self.publish(moves, feedback)
        try:
            look = self._look(result, parameters, context)
            _save_styles(look, targets | copies, feedback)
            self._hand_over(look, targets, result, context, feedback)
        except Exception as error:
            feedback.pushInfo(f"The maps get no style ({error}); their data are complete.")
        return {name: path for name, path in wanted.items() if path}

    def _wanted(self, parameters, context):
        """Return where each output goes, as QGIS writes it; empty where it is not wanted.

        Each is asked for once: a temporary one has another path every time.
        """
        wanted = {n: self.parameterAsOutputLayer(parameters, n, context) for n in STATISTICS}
        texts = {"FOLDER": self.parameterAsString, "NETCDF": self.parameterAsFileOutput}
        for name, as_text in texts.items():
            given = self.given(parameters, name, context)
            wanted[name] = as_text(parameters, name, context) if given else ""
        return {name: path or "" for name, path in wanted.items()}

    def _look(self, result, parameters, context):
        choice = STYLES[self.parameterAsEnumString(parameters, "STYLE", context)]
        units = str(result.get("units") or "").replace("ug m-3", "µg/m³")
        return arrival.Look(
            result["variable"], choice, result["intervals"], units, result.get("ranges") or {}
        )

    def _options(self, parameters, context):
        options = ["--seed", str(self.parameterAsInt(parameters, "SEED", context))]
        options += ["--device", self.choice(parameters, "DEVICE", context)]
        first, last = (self.text(parameters, name, context) for name in ("FROM", "TO"))
        if first:
            options += ["--time", first, last]
        samples = self.parameterAsInt(parameters, "SAMPLES", context)
        if samples:
            options += ["--samples", str(samples)]
        if self.given(parameters, "STEPS", context):
            options += ["--steps", str(self.parameterAsInt(parameters, "STEPS", context))]
        consistency = self.choice(parameters, "CONSISTENCY", context)
        if consistency:
            options += ["--consistency", consistency]
        for limit in self._limits(parameters, context):
            options += ["--exceed", limit]
        return options + self.external_options(parameters, context)

    def _limits(self, parameters, context):
        return re.findall(r"[^\s,;]+", self.text(parameters, "EXCEED", context))

    def _hand_over(self, look, targets, result, context, feedback):
        """Have the maps that QGIS will load styled and grouped when they arrive."""
        loaded = {p: s for p, s in targets.items() if context.willLoadLayerOnCompletion(p)}
        if not loaded:
            return
        for path, statistic in loaded.items():
            details = context.layerToLoadOnCompletionDetails(path)
            if details.name in TITLES.values():
                details.name = f"{result['variable']} {statistic}"
        arrival.Arrival(look, loaded).attach(context)
        feedback.pushInfo(
            "The layers have times: open the temporal controller (clock), Set to Full Range, play."
        )


def _save_styles(look, paths, feedback):
    """Write a style beside each map that stays; a failure costs no data."""
    for path, statistic in paths.items():
        if is_temporary(path):
            continue
        try:
            look.save(path, statistic)
        except Exception as error:
            feedback.pushInfo(f"No style beside {path} ({error}); its data are complete.")


def _files_of(result):
    """Return the one file of each statistic.

    Raises
    ------
    QgsProcessingException
        If there are too many times for one, or the result is not what this plugin knows.
    """
    maps = result.get("maps")
    whole = isinstance(maps, dict) and all(isinstance(files, list) for files in maps.values())
    if not whole or not maps.get("mean") or not isinstance(result.get("intervals"), list):
        raise QgsProcessingException(
            "The engine made no mean map; plugin and engine may not fit together, so update both."
        )
    if any(len(files) > 1 for files in maps.values()):
        raise QgsProcessingException(
            f"{result['times']} times are more than the {MOST_BANDS} bands of a GeoTIFF; give "
            "a first and a last time, or several shorter periods."
        )
    return {statistic: files[0] for statistic, files in maps.items() if files}


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True
