"""Take the pictures of the QGIS page from the real QGIS, under Xvfb.

    python3 docs/qgis_screenshots.py ENGINE_PYTHON SAMPLE_FOLDER PLUGINS_FOLDER OUT_FOLDER

The same file runs twice: as it is called, where it starts QGIS; and inside QGIS, where it does what
a user does and grabs the windows. It exits with 1, and says why, unless all of it worked.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from pathlib import Path

from qgis_visit import Visit, drive, start


class Tour(Visit):
    """From the installation to the maps over time, a picture of each step."""

    def steps(self):
        self.told["pictures"] = []
        self.iface.mainWindow().resize(1480, 930)
        self.install()
        self.settings()
        self.show_toolbox()
        self.check()
        layer = self.add_stations()
        self.reconstruct(layer, "one ramp over all times", pictures=("dialog", "log"))
        self.tell_layers()
        slider = self.arrange_window(layer)
        for picture, step in (("first", 0), ("later", 3)):
            slider.setValue(step)
            self.grab_window(picture)
        self.show_errors()
        self.grab_window("error")
        self.remove_maps()
        self.reconstruct(layer, "PM2.5: WHO 2021 classes")
        self.put_on_top(layer)
        self.grab_window("classes")

    def install(self):
        """Install the plugin from its zip, in the plugin manager."""
        import pyplugin_installer
        from pyplugin_installer.installer_data import repositories
        from qgis.PyQt.QtWidgets import QMessageBox

        for name in repositories.all():  # nothing is fetched
            repositories.setRepositoryData(name, "enabled", False)

        def trust(question):
            question.button(QMessageBox.StandardButton.Yes).click()

        def act(shown):
            shown.resize(900, 360)
            pages = shown.findChild(object, "mOptionsListWidget")
            titles = [pages.item(row).text() for row in range(pages.count())]
            pages.setCurrentRow(titles.index("Install from ZIP"))
            shown.findChild(object, "mZipFileWidget").setFilePath(
                f"{self.plan['home']}/geodiffrecon_qgis.zip"
            )
            self.grab(shown, "install")
            self.in_modal(shown.findChild(object, "buttonInstallFromZip").click, trust)

        self.in_modal(pyplugin_installer.instance().showPluginManagerWhenReady, act)

    def settings(self):
        """Name the engine in the options of Processing."""
        self.set_engine(f"{self.plan['home']}/geodiffrecon/bin/python")

        def act(shown):
            shown.resize(960, 480)
            shown.findChild(object, "mOptionsSplitter").setSizes([190, 770])
            self.open_setting(shown)
            self.wait(0.5)
            self.grab(shown, "setting")

        window = self.iface.mainWindow()
        self.in_modal(lambda: self.iface.showOptionsDialog(window, "processingOptions"), act)

    def open_setting(self, shown):
        """Open the tree of settings at ours alone."""
        from qgis.PyQt.QtWidgets import QTreeView

        for view in shown.findChildren(QTreeView):
            view.scrollTo(view.currentIndex())  # the list of pages
            model = view.model()
            for top in (model.index(row, 0) for row in range(model.rowCount())):
                if top.data() == "Providers":
                    view.expand(top)
                    for row in range(model.rowCount(top)):
                        inner = model.index(row, 0, top)
                        view.setExpanded(inner, inner.data() == "geodiffrecon")

    def show_toolbox(self):
        """Open the toolbox at our algorithms."""
        from qgis.PyQt.QtWidgets import QTreeView

        dock = self.iface.mainWindow().findChild(object, "ProcessingToolbox")
        dock.show()
        dock.setFloating(True)
        dock.resize(360, 420)
        self.wait(1)
        view = dock.findChild(QTreeView)
        for row in range(view.model().rowCount()):
            index = view.model().index(row, 0)
            view.setExpanded(index, index.data() == "geodiffrecon")
            if index.data() == "geodiffrecon":
                view.scrollTo(index, QTreeView.ScrollHint.PositionAtTop)
        self.wait(0.5)
        self.grab(dock, "toolbox")
        dock.hide()

    def check(self):
        """Run Check engine."""
        dialog = self.open_dialog("checkengine", {})
        dialog.resize(900, 640)
        self.run_to_end(dialog, "checkengine")
        self.grab(dialog, "check")
        dialog.close()

    def reconstruct(self, layer, style, pictures=()):
        """Run the reconstruction in its dialog."""
        dialog = self.open_dialog("reconstruct", {
            "INPUT": layer.id(), "VALUE": "pm25", "TIME": "time", "STYLE": style,
            "MODEL": f"{self.plan['home']}/sample_data/pm25.gdr",
            "FROM": "2023-12-01", "TO": "2023-12-05"})  # fmt: skip
        dialog.resize(940, 800)
        self.wait(0.5)
        for picture in pictures[:1]:
            self.grab(dialog, picture)
        self.run_to_end(dialog, "reconstruct")
        for picture in pictures[1:]:
            self.grab(dialog, picture)
        dialog.close()

    def maps(self):
        from qgis.core import QgsProject, QgsRasterLayer

        layers = QgsProject.instance().mapLayers().values()
        return sorted((one for one in layers if isinstance(one, QgsRasterLayer)),
                      key=lambda one: one.name())  # fmt: skip

    def group(self):
        """Return the group of the maps in the layer tree."""
        from qgis.core import QgsProject

        return QgsProject.instance().layerTreeRoot().findGroups()[0]

    def tell_layers(self):
        """Tell what has arrived: tree, renderers, times."""
        from qgis.core import QgsProject
        from qgis.PyQt.QtCore import Qt

        def tree(node):
            return [[one.name(), one.itemVisibilityChecked(), tree(one)] for one in node.children()]

        def ranges(times):
            """Return all times of a layer: one per band from QGIS 3.38 on."""
            banded = times.fixedRangePerBand() if hasattr(times, "fixedRangePerBand") else {}
            found = [banded[band] for band in sorted(banded)] or [times.fixedTemporalRange()]
            return [[moment.toString(Qt.DateFormat.ISODate) for moment in (one.begin(), one.end())]
                    for one in found]  # fmt: skip

        self.told["tree"] = tree(QgsProject.instance().layerTreeRoot())
        self.told["maps"] = [
            {"name": one.name(), "renderer": one.renderer().type(),
             "timed": one.temporalProperties().isActive(),
             "ranges": ranges(one.temporalProperties())}
            for one in self.maps()
        ]  # fmt: skip

    def arrange_window(self, stations):
        """Give the maps, the layer tree and the temporal controller their room."""
        from qgis.core import QgsProject, QgsTemporalUtils
        from qgis.PyQt.QtCore import Qt
        from qgis.PyQt.QtWidgets import QSlider

        window = self.iface.mainWindow()
        window.findChild(object, "Browser").hide()
        controller = window.findChild(object, "Temporal Controller")
        controller.show()
        window.resizeDocks([window.findChild(object, "Layers")], [360], Qt.Orientation.Horizontal)
        controller.findChild(object, "mNavigationAnimated").click()
        self.wait(0.5)
        unit = controller.findChild(object, "mTimeStepsComboBox")
        unit.setCurrentIndex(unit.findText("days"))
        whole = QgsTemporalUtils.calculateTemporalRangeForProject(QgsProject.instance())
        self.iface.mapCanvas().temporalController().setTemporalExtents(whole)
        window.resizeDocks([controller], [100], Qt.Orientation.Vertical)
        self.put_on_top(stations)
        self.wait(1)
        canvas, extent = self.iface.mapCanvas(), self.maps()[0].extent()
        extent.scale(1.05)
        canvas.setExtent(extent)
        return controller.findChild(QSlider)

    def put_on_top(self, stations):
        """Draw the stations above the maps, small."""
        from qgis.core import QgsMarkerSymbol, QgsProject, QgsSingleSymbolRenderer

        symbol = QgsMarkerSymbol.createSimple({"color": "white", "size": "1.8"})
        stations.setRenderer(QgsSingleSymbolRenderer(symbol))
        root = QgsProject.instance().layerTreeRoot()
        node = root.findLayer(stations.id())
        root.insertChildNode(0, node.clone())
        root.removeChildNode(node)

    def show_errors(self):
        """Switch the error maps on and the means off."""
        mean, error = self.group().children()
        for group, shown in ((mean, False), (error, True)):
            group.setItemVisibilityChecked(shown)
            group.setExpanded(shown)

    def remove_maps(self):
        self.group().parent().removeChildNode(self.group())

    def grab_window(self, picture):
        """Grab the main window when its map is drawn."""
        canvas = self.iface.mapCanvas()
        self.iface.messageBar().clearWidgets()
        self.wait(1)
        canvas.refreshAllLayers()
        self.wait(0.5)
        self.wait_for(lambda: not canvas.isDrawing(), 30, "the map is drawn")
        self.wait(0.5)
        self.grab(self.iface.mainWindow(), picture)

    def grab(self, widget, picture):
        path = f"{self.plan['out']}/qgis_{picture}.png"
        if not widget.grab().save(path):
            raise RuntimeError(f"{path} could not be written")
        self.told["pictures"].append(path)


def main(python, sample, plugins, out):
    """Take the pictures; return the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended before all pictures were taken."))
    Path(out).mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.gettempdir()) / "analyst"  # it is seen in the pictures
    try:
        home.mkdir()
    except FileExistsError:
        print(f"{home} exists; wait for the other run, or remove it.", file=sys.stderr)
        return 1
    try:
        told = drive(__file__, home, python=python, sample=sample, plugins=plugins,
                     out=str(Path(out).resolve()))  # fmt: skip
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(told.get("problem") or "\n".join(told["pictures"]))
    return int("problem" in told)


if __name__ == "__main__":
    if "qgis.utils" in sys.modules:
        start(Tour)
    elif len(sys.argv) != 5:
        sys.exit(__doc__)
    else:
        sys.exit(main(*sys.argv[1:]))
