"""What `test_gui` has the real QGIS do: cancel, batch, and runs that cannot work.

QGIS runs this file (``--code``); the visit and its plan are those of docs/qgis_visit.py.
"""

from __future__ import annotations

import time
from pathlib import Path

from qgis_visit import Visit, processes, start


class Trials(Visit):
    """Tell what the user sees, what runs and what lies on the disk afterwards."""

    def steps(self):
        import pyplugin_installer

        self.home, self.out = Path(self.plan["home"]), Path(self.plan["home"]) / "out"
        self.sample = self.home / "sample_data"
        self.out.mkdir()
        self.told["critical"] = []
        self.listen()
        pyplugin_installer.instance().installFromZipFile(str(self.home / "geodiffrecon_qgis.zip"))
        self.layer = self.add_stations()
        self.without_engine()
        self.set_engine(str(self.home / "geodiffrecon" / "bin" / "python"))
        self.no_model()
        self.engine_refuses()
        self.cancel()
        self.batch()

    def listen(self):
        from qgis.core import Qgis, QgsApplication

        def hear(message, tag, level):
            if level == Qgis.MessageLevel.Critical or "Traceback" in message:
                self.told["critical"].append(f"{tag}: {message}")

        QgsApplication.messageLog().messageReceived[str, str, Qgis.MessageLevel].connect(hear)

    def request(self, **more):
        return {"INPUT": self.layer.id(), "VALUE": "pm25", "TIME": "time",
                "MODEL": str(self.sample / "pm25.gdr"), "FROM": "2023-12-01", "TO": "2023-12-02",
                "MEAN": str(self.out / "mean.tif"), "STD": str(self.out / "std.tif"),
                **more}  # fmt: skip

    def refusal(self, **more):
        """Return the text of the message box that Run brings."""
        texts, dialog = [], self.open_dialog("reconstruct", self.request(**more))
        self.in_modal(lambda: self.press_run(dialog), lambda box: texts.append(box.text()))
        dialog.close()
        return {"box": texts[0], **self.left()}

    def left(self):
        """Return what is left of a run: engines, files, and whether QGIS still answers."""
        self.wait(0.2)
        return {
            "alive": processes(self.home),
            "files": sorted(path.name for path in self.out.iterdir()),
            "work": sorted(path.name for path in (self.home / "tmp").glob("geodiffrecon-*")),
            "answers": self.iface.mainWindow().isVisible(),
        }

    def without_engine(self):
        self.told["no engine"] = self.refusal()

    def no_model(self):
        self.told["no model"] = self.refusal(MODEL=str(self.sample))

    def engine_refuses(self):
        """Ask for days of which there is no observation, which only the engine can know."""
        dialog = self.open_dialog("reconstruct", self.request(FROM="1999-01-01", TO="1999-01-02"))
        self.press_run(dialog)
        self.wait_for(lambda: self.has_ended(dialog), 120, "the refused run ends")
        self.told["refused"] = {"log": self.log_of(dialog), **self.left()}
        dialog.close()

    def cancel(self):
        """Press Cancel while the engine samples."""
        model = self.plan["sampling_model"]
        dialog = self.open_dialog("reconstruct", self.request(
            MODEL=model, TO="2023-12-31", SAMPLES=20, NETCDF=str(self.out / "all.nc")))  # fmt: skip
        self.press_run(dialog)
        self.wait_for(lambda: "Drawing" in self.log_of(dialog), 120, "sampling begins")
        self.wait(2)
        before = processes(self.home)
        began = time.monotonic()
        dialog.cancelButton().click()
        self.wait_for(lambda: self.has_ended(dialog), 30, "the cancelled run ends")
        self.told["cancel"] = {"seconds": time.monotonic() - began, "before": before,
                               "log": self.log_of(dialog), **self.left()}  # fmt: skip
        dialog.close()

    def batch(self):
        """Run two rows of the batch dialog."""
        from processing.gui.BatchAlgorithmDialog import BatchAlgorithmDialog
        from qgis.core import QgsApplication, QgsProcessingContext, QgsProject

        found = QgsApplication.processingRegistry().algorithmById("geodiffrecon:reconstruct")
        dialog = BatchAlgorithmDialog(found.create(), parent=self.iface.mainWindow())
        dialog.show()
        panel, context = dialog.mainWidget(), QgsProcessingContext()
        context.setProject(QgsProject.instance())
        panel.addRow()
        for row, day in enumerate(("2023-12-01", "2023-12-02")):
            request = self.request(FROM=day, TO=day, MEAN=str(self.out / f"{day}.tif"))
            del request["STD"]
            for name, value in request.items():
                column = panel.parameter_to_column[name]
                if name == "MEAN":
                    panel.tblParameters.cellWidget(row + 1, column).setValue(value)
                else:
                    panel.wrappers[row][column].setParameterValue(value, context)
        self.wait(1)
        self.press_run(dialog)
        self.wait_for(lambda: "Batch execution completed" in self.log_of(dialog), 120, "the batch")
        self.told["batch"] = {"log": self.log_of(dialog), **self.left()}
        dialog.close()


if __name__ == "__main__":
    start(Trials)
