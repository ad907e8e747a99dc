# SPDX-License-Identifier: GPL-2.0-or-later
"""What all algorithms share: parameters with help, checks, and the run of the engine."""

from __future__ import annotations

import contextlib
import math
import os

from qgis.core import (
    NULL,
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
    QgsProcessingUtils,
    QgsProperty,
)
from qgis.PyQt.QtGui import QIcon

from .. import checks, child, engine, inputs, outputs, points, settings, wording

ADVANCED = QgsProcessingParameterDefinition.Flag.FlagAdvanced
MAPS = "Maps (*.nc *.nc4 *.tif *.tiff);;All files (*)"
DEVICES = ["auto", "cpu", "cuda"]


class EngineAlgorithm(QgsProcessingAlgorithm):
    """An algorithm that the engine works for.

    Subclasses give ``NAME``, ``TITLE``, ``TAGS`` and ``HELP`` and what QGIS asks for.
    """

    NAME, TITLE, TAGS, HELP = "", "", (), ""
    FILES = ()  # outputs whose folder must be writable

    def createInstance(self):
        """Return a fresh instance, as QGIS wants one for each run."""
        return type(self)()

    def name(self):
        """Return the id, which is API."""
        return self.NAME

    def displayName(self):
        """Return what the toolbox shows."""
        return self.TITLE

    def tags(self):
        """Return words by which it is found."""
        return ["geodiffrecon", *self.TAGS]

    def shortHelpString(self):
        """Return the help beside the dialog."""
        return self.HELP

    def helpUrl(self):
        """Return the manual."""
        return wording.home_page()

    def icon(self):
        """Return the icon of the provider."""
        return QIcon(os.path.join(os.path.dirname(os.path.dirname(__file__)), "icon.svg"))

    def canExecute(self):
        """Tell whether there is an engine, without starting it."""
        try:
            settings.found_engine()
        except engine.EngineError as error:
            return False, str(error)
        return True, ""

    def add(self, parameter, text, *, advanced=False):
        """Add a parameter with its help."""
        parameter.setHelp(text)
        if advanced:
            parameter.setFlags(parameter.flags() | ADVANCED)
        self.addParameter(parameter)

    def checkParameterValues(self, parameters, context):
        """Refuse what cannot work, before anything starts."""
        fine, message = super().checkParameterValues(parameters, context)
        if not fine:
            return fine, message
        try:
            problem = self.problem(parameters, context)
            if not problem:
                self._check_outputs(parameters, context)
                settings.checked_engine()
        except (engine.EngineError, outputs.OutputError) as error:
            problem = str(error)
        return not problem, problem

    def problem(self, parameters, context):
        """Return what is wrong with the parameters in one sentence, or an empty text."""
        return ""

    def prepareAlgorithm(self, parameters, context, feedback):
        """Look at the layers where they live: in the main thread."""
        self.read = inputs.files_of(self, parameters, context)
        return True

    def work(self, arguments, folder, feedback):
        """Run the engine in `folder` and return its result event.

        Raises
        ------
        QgsProcessingException
            With the engine's own sentence, or because the user has cancelled.
        """
        listener = Listener(feedback)
        try:
            found = settings.checked_engine()
            feedback.pushCommandInfo(_shown([*found.command, *arguments]))
            result = child.run(
                found.command, arguments, on_event=listener.hear, is_canceled=feedback.isCanceled,
                folder=folder, prefix=settings.foreign_prefix(),
            )  # fmt: skip
        except child.Canceled:
            raise QgsProcessingException("Cancelled; nothing partial is left behind.") from None
        except engine.EngineError as error:
            raise QgsProcessingException(wording.of_dialog(str(error), self._titles())) from None
        feedback.setProgress(100)
        return result

    def publish(self, moves, feedback):
        """Move finished files to their places; nothing is moved after a cancel, or onto inputs."""
        if feedback.isCanceled():
            raise QgsProcessingException("Cancelled; nothing partial is left behind.")
        try:
            for _, target in moves:
                outputs.check_spared(target, self.read)
            outputs.publish(moves)
        except outputs.OutputError as error:
            raise QgsProcessingException(str(error)) from None

    def points_file(self, parameters, context, folder, feedback, **fields):
        """Write the points of ``INPUT``; return the file and the column of each role.

        `fields` are used in place of the chosen ones; an empty one leaves its role out.
        """
        source = self.parameterAsSource(parameters, "INPUT", context)
        roles = {
            role: self.parameterAsString(parameters, role.upper(), context)
            for role in ("value", "time", "station")
            if self._has(role.upper())
        }
        roles.update(fields)
        path = os.path.join(folder, "points.gpkg")
        feedback.setProgressText("Writing the points for the engine")
        columns = points.write_points(source, path, roles, context.transformContext(), feedback)
        if feedback.isCanceled():
            raise QgsProcessingException("Cancelled; nothing partial is left behind.")
        return path, columns

    def points_problem(self, parameters, context, *, value=True):
        """Return what is wrong with the points and their fields."""
        source = self.parameterAsSource(parameters, "INPUT", context)
        if source is None:
            return "The point layer cannot be read; choose another one."
        if source.featureCount() == 0:
            return "The point layer has no points, or none passes its filter or selection."
        names = {
            role: self.parameterAsString(parameters, role.upper(), context)
            for role in ("value", "time", "station")
            if self._has(role.upper())
        }
        problem = checks.crs_of(source, "The point layer")
        problem = problem or checks.time_field(source, names["time"])
        if value:
            problem = problem or checks.field(source, names["value"], "value")
        station = names.get("station")
        return problem or (checks.field(source, station, "station") if station else "")

    def text(self, parameters, name, context):
        """Return a text parameter without blanks around it."""
        return (self.parameterAsString(parameters, name, context) or "").strip()

    def file(self, parameters, name, context):
        """Return the absolute path of a file parameter; empty where none is given."""
        path = self.parameterAsFile(parameters, name, context)
        return os.path.abspath(path) if path else ""

    def choice(self, parameters, name, context):
        """Return the chosen text of a list, empty for the default of the engine."""
        chosen = self.parameterAsEnumString(parameters, name, context)
        return "" if chosen == "default" else chosen

    def external_options(self, parameters, context):
        """Return the options of the files of external features."""
        files = self.parameterAsFileList(parameters, "EXTERNAL", context)
        return [part for path in files if path for part in ("--external", os.path.abspath(path))]

    def given(self, parameters, name, context):
        """Tell whether an optional parameter was given."""
        value = parameters.get(name)
        if isinstance(value, QgsProperty):  # an expression, which may come to nothing
            value, _ = value.value(context.expressionContext())
        return value not in (None, "", NULL)

    def _has(self, name):
        return self.parameterDefinition(name) is not None

    def _titles(self):
        """Return what the dialog calls each parameter."""
        return {one.name(): one.description() for one in self.parameterDefinitions()}

    def _check_outputs(self, parameters, context):
        """Raise OutputError if an output cannot be written, or two go to the same place."""
        titles, seen = self._titles(), {}
        read = inputs.files_of(self, parameters, context)
        for name in self.FILES:
            if not self.given(parameters, name, context):
                continue
            path = _target(self, self.parameterDefinition(name), parameters, context)
            if not path or is_temporary(path):
                continue
            if self.parameterDefinition(name).type() == "rasterDestination":
                outputs.check_suffix(path, (".tif", ".tiff"))
            outputs.check_spared(path, read)
            outputs.check_writable(path)
            other = seen.setdefault(outputs.real(path), name)
            if other != name:
                raise outputs.OutputError(
                    f"«{titles[other]}» and «{titles[name]}» would both be {path}; choose another "
                    "file for one of them."
                )


class Listener:
    """Tells the events of the engine to QGIS.

    Parameters
    ----------
    feedback : QgsProcessingFeedback
    """

    def __init__(self, feedback):
        self.feedback, self.step = feedback, ""

    def hear(self, event):
        """Pass on one event; the bar is that of the step which the text names."""
        kind = event["event"]
        message = str(event.get("message", ""))
        if kind == "progress":
            if message != self.step:
                self.step = message
                self.feedback.setProgressText(message[:1].upper() + message[1:])
            value = event.get("value")
            if isinstance(value, (int, float)) and math.isfinite(value):
                self.feedback.setProgress(min(100.0, max(0.0, value)))
        elif kind == "log" and message:
            self.feedback.pushInfo(message)


@contextlib.contextmanager
def work_folder():
    """Yield a folder that is removed with all in it when the block ends."""
    try:
        with child.work_folder() as folder:
            yield folder
    except engine.EngineError as error:
        raise QgsProcessingException(str(error)) from None


def is_temporary(path):
    """Tell whether QGIS will remove `path` when it ends."""
    folder = os.path.abspath(QgsProcessingUtils.tempFolder())
    return os.path.abspath(path).startswith(folder + os.sep)


def add_points(algorithm, *, value_help, optional=False):
    """Add the point layer and its fields."""
    kinds = QgsProcessingParameterField.DataType
    algorithm.add(
        QgsProcessingParameterFeatureSource(
            "INPUT", "Points", [QgsProcessing.SourceType.TypeVectorPoint], optional=optional
        ),
        "One point per station and time. A filter or a selection of the layer counts.",
    )
    algorithm.add(
        QgsProcessingParameterField(
            "VALUE", "Value field", None, "INPUT", kinds.Numeric, optional=True
        ),
        value_help,
    )
    algorithm.add(
        QgsProcessingParameterField(
            "TIME", "Time field", None, "INPUT", kinds.Any, optional=optional
        ),
        "Date, date with time, or text such as 2024-01-31T06:00+08:00. NULL counts as missing.",
    )
    algorithm.add(
        QgsProcessingParameterString("TZ", "Time zone of times without one", "", optional=True),
        "IANA name such as Asia/Shanghai, or +08:00, if the times do not say their zone.",
    )


def add_history(algorithm, title, text):
    """Add a file of fine maps, and which of its variables is meant."""
    algorithm.add(
        QgsProcessingParameterFile("HISTORY", title, optional=True, fileFilter=MAPS), text
    )
    algorithm.add(
        QgsProcessingParameterString("VARIABLE", "Variable", "", optional=True),
        "Name of the variable of a NetCDF that has several.",
    )


def add_period(algorithm, text):
    """Add the first and the last time."""
    for name, title in (("FROM", "First time"), ("TO", "Last time")):
        algorithm.add(QgsProcessingParameterString(name, title, "", optional=True), text)


def add_calendar_zone(algorithm):
    """Add the zone in which days are cut."""
    algorithm.add(
        QgsProcessingParameterString("CALENDAR_TZ", "Zone of days", "", optional=True),
        "IANA name of the zone in which days are cut, such as Asia/Shanghai; UTC if empty.",
        advanced=True,
    )


def add_station(algorithm):
    """Add the field of station names."""
    algorithm.add(
        QgsProcessingParameterField("STATION", "Station field", None, "INPUT", optional=True),
        "Name of the station of each row. Without it every position is a station.",
        advanced=True,
    )


def station_field(algorithm, card, parameters, context):
    """Return the field of station names: the chosen one, or that which the model knows."""
    if not card.of_stations:
        return ""
    chosen = algorithm.parameterAsString(parameters, "STATION", context)
    usual = card.columns.get("station", "")
    fields = algorithm.parameterAsSource(parameters, "INPUT", context).fields()
    return chosen or (usual if usual and fields.lookupField(usual) >= 0 else "")


def column_options(algorithm, columns, parameters, context):
    """Return the options that name the columns of a points file, and the zone of its times."""
    options = ["--time-column", columns["time"]]
    for role in ("value", "station"):
        options += [f"--{role}", columns[role]] if role in columns else []
    zone = algorithm.text(parameters, "TZ", context)
    return options + (["--tz", zone] if zone else [])


def add_model(algorithm):
    """Add the model directory."""
    algorithm.add(
        QgsProcessingParameterFile(
            "MODEL", "Model", QgsProcessingParameterFile.Behavior.Folder, "", None
        ),
        "Folder that Train a model has written, such as pm25.gdr.",
    )


def add_external(algorithm):
    """Add files of external features."""
    algorithm.add(
        QgsProcessingParameterMultipleLayers(
            "EXTERNAL", "External features", QgsProcessing.SourceType.TypeFile, None, True
        ),
        "CSV with a time column, or NetCDF: the same features that the model was trained with.",
        advanced=True,
    )


def add_run(algorithm):
    """Add seed and device."""
    number = QgsProcessingParameterNumber.Type.Integer
    algorithm.add(
        QgsProcessingParameterNumber("SEED", "Seed", number, 0, False, 0),
        "The same input, model and seed give the same result.",
        advanced=True,
    )
    algorithm.add(
        fixed_list("DEVICE", "Device", DEVICES, "auto"), "Where networks run.", advanced=True
    )


def add_exceedances(algorithm):
    """Add thresholds."""
    algorithm.add(
        QgsProcessingParameterString("EXCEED", "Thresholds", "", optional=True),
        "Models of stations only: maps of the probability of more than each of these values, such "
        "as 35 75. They go to the folder of all statistics.",
        advanced=True,
    )


def fixed_list(name, title, choices, default, *, optional=False):
    """Return a list whose values are texts, so that scripts stay readable."""
    return QgsProcessingParameterEnum(
        name, title, choices, False, default, optional, usesStaticStrings=True
    )


def _target(algorithm, definition, parameters, context):
    """Return the path of an output; maps, files and folders are asked for in different ways."""
    if definition.type() == "rasterDestination":
        return algorithm.parameterAsOutputLayer(parameters, definition.name(), _silent(context))
    if definition.type() == "folderDestination":
        folder = algorithm.parameterAsString(parameters, definition.name(), context)
        return os.path.join(folder, "any") if folder else ""
    return algorithm.parameterAsFileOutput(parameters, definition.name(), context)


def _silent(context):
    """Return a context of the same project that loads nothing: looking is not running."""
    looked = QgsProcessingContext()
    looked.setProject(context.project())
    return looked


def _shown(argv):
    """Return a command as one could type it."""
    return " ".join(f'"{part}"' if " " in part or not part else part for part in argv)
