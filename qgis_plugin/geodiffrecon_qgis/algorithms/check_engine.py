# SPDX-License-Identifier: GPL-2.0-or-later
"""«Check engine»: where the engine is, whether it works, and how to install it."""

from __future__ import annotations

from qgis.core import Qgis, QgsProcessingException, QgsProcessingOutputString

from .. import engine, settings
from .base import EngineAlgorithm, work_folder


class CheckEngine(EngineAlgorithm):
    """Finds and tries the engine; says what to do."""

    NAME, TITLE = "checkengine", "Check engine"
    TAGS = ("install", "setup", "doctor", "version", "python")
    HELP = (
        "Says which engine this plugin uses, whether it works, and if not, which commands install "
        "it. Run it first, and again after every change.\n\n"
        "The engine is looked for in Settings > Options > Processing > Providers > geodiffrecon, "
        f"then in the environment variable {engine.VARIABLE}, then as the program geodiffrecon on "
        "the PATH, then in the folder geodiffrecon/venv of the QGIS profile."
    )

    def initAlgorithm(self, config=None):
        """Define the output."""
        self.addOutput(QgsProcessingOutputString("VERSION", "Version of the engine"))
        self.addOutput(QgsProcessingOutputString("PYTHON", "What starts the engine"))

    def canExecute(self):
        """Return True: it is here for the case that there is no engine."""
        return True, ""

    def checkParameterValues(self, parameters, context):
        """Accept everything; there are no parameters."""
        return True, ""

    def processAlgorithm(self, parameters, context, feedback):
        """Find the engine, ask its version, let it examine itself."""
        engine.forget()
        feedback.pushInfo(f"QGIS {Qgis.QGIS_VERSION}")
        try:
            found = settings.checked_engine()
        except engine.EngineError as error:
            self._say_install(feedback)
            raise QgsProcessingException(str(error)) from None
        feedback.pushInfo(f"Engine: {found.command[0]} (from {found.origin})")
        with work_folder() as folder:
            self._examine(folder, feedback)
        return {"VERSION": found.version, "PYTHON": found.command[0]}

    def _examine(self, folder, feedback):
        result = self.work(["doctor"], folder, feedback)
        problems = result.get("problems") or []
        for name, text in result.items():
            if name not in ("event", "problems"):
                feedback.pushInfo(f"{name}: {text}")
        for problem in problems:
            feedback.reportError(str(problem))
        feedback.pushInfo("Nothing is wrong." if not problems else "The engine has problems.")

    def _say_install(self, feedback):
        feedback.pushInfo("Install the engine in an environment of its own, in a terminal:")
        for command in engine.install_commands():
            feedback.pushCommandInfo(command)
        feedback.pushInfo(
            "Then give the path of that Python in Settings > Options > Processing > Providers > "
            "geodiffrecon."
        )
