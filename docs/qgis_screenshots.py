"""Take the pictures of the QGIS page from the real QGIS, under Xvfb.

    python3 docs/qgis_screenshots.py ENGINE_PYTHON SAMPLE_FOLDER PLUGINS_FOLDER OUT_FOLDER

The same file runs twice: as it is called, where it starts Xvfb and QGIS; and inside QGIS
(``--code``), where it does what a user does and grabs the windows. It exits with 1, and says why,
unless all of it worked.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

PLAN = "GEODIFFRECON_VISIT"  # what is asked of the part inside QGIS, as JSON
SCREEN = "1500x950x24"
LIMIT_S = 180
INI = """[PythonPlugins]
processing=true

[qgis]
checkVersion=false
showTips=false

[locale]
userLocale=en_US
overrideFlag=true
"""


def drive(actions, home, *, python, sample, plugins, limit_s=LIMIT_S, **more):
    """Start QGIS on a screen of its own and return what `actions` tell.

    Parameters
    ----------
    actions : path
        What QGIS runs: a file that calls `start`.
    home : path
        Empty folder in which the visit takes place; it stands for the home of a user.
    python, sample, plugins : path
        Python of the engine, sample data, and the folder that holds the plugin's.
    limit_s : float
        Longest time; then everything is ended.
    more
        For `actions`; can be written as JSON.

    Returns
    -------
    dict
        With ``problem`` if something went wrong.
    """
    home, told = Path(home), Path(home) / "told.json"
    furnish(home, Path(python), Path(sample), Path(plugins))
    plan = {"home": str(home), "told": str(told), "limit_s": limit_s,
            "tools": str(Path(__file__).resolve().parent), **more}  # fmt: skip
    environ = {name: text for name, text in os.environ.items() if name != "QT_QPA_PLATFORM"}
    environ |= {
        "HOME": str(home), "TMPDIR": str(home / "tmp"), "XDG_RUNTIME_DIR": str(home / "tmp"),
        "QGIS_CUSTOM_CONFIG_PATH": str(home / "qgis"), "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": "/usr/local/bin:/usr/bin:/bin",  # QGIS takes its Python from the PATH
        PLAN: json.dumps(plan),
    }  # fmt: skip
    program = shutil.which("qgis.bin") or shutil.which("qgis")
    try:
        with screen() as display, (home / "qgis.log").open("wb") as log:
            qgis = subprocess.Popen(
                [program, "--noversioncheck", "--nologo", "--code", str(actions)],
                env={**environ, "DISPLAY": display}, stdout=log, stderr=log,
            )  # fmt: skip
            try:
                return heard(qgis, told, limit_s)
            finally:
                end(qgis)
    finally:
        for pid in processes(home):  # an engine outlives a QGIS that was killed
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def furnish(home, python, sample, plugins):
    """Put into `home` what a user would have: profile, engine, sample data, zip of the plugin."""
    ini = home / "qgis" / "profiles" / "default" / "QGIS" / "QGIS3.ini"
    ini.parent.mkdir(parents=True)
    ini.write_text(INI, encoding="utf-8")
    (home / "tmp").mkdir(mode=0o700)
    (home / "geodiffrecon").symlink_to(python.absolute().parents[1])
    shutil.copytree(sample, home / "sample_data")
    shutil.make_archive(str(home / "geodiffrecon_qgis"), "zip", plugins, "geodiffrecon_qgis")


@contextlib.contextmanager
def screen():
    """Yield the name of a display that lives as long as the block, or its last program."""
    reads, writes = os.pipe()
    process = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writes), "-screen", "0", SCREEN, "-nolisten", "tcp",
         "-terminate"],
        pass_fds=[writes], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writes)
    try:
        with os.fdopen(reads) as answer:
            number = answer.readline().strip() if select.select([answer], [], [], 30)[0] else ""
        if not number:
            raise RuntimeError("Xvfb gave no display; run it by hand to see why.")
        yield f":{number}"
    finally:
        end(process)


def heard(qgis, told, limit_s):
    """Wait for what the part inside QGIS tells."""
    deadline = time.monotonic() + limit_s
    while not told.exists() and qgis.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    if told.exists():
        return json.loads(told.read_text(encoding="utf-8"))
    if qgis.poll() is None:
        return {"problem": f"QGIS was not done after {limit_s} s."}
    return {"problem": f"QGIS ended with code {qgis.poll()}; its output is in {told.parent}."}


def end(process):
    """End a child for sure."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def processes(home):
    """Return the ids of the living processes whose home is `home`, but for QGIS and this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"HOME={home}".encode() in (folder / "environ").read_bytes().split(b"\0")
            if ours and (folder / "comm").read_text().strip() not in ("qgis.bin", "qgis"):
                found.append(int(folder.name))
        except OSError:  # it has ended, or is not ours
            continue
    return found


class Visit:
    """What happens inside QGIS: subclasses say it in `steps`, and keep it in `told`.

    Parameters
    ----------
    plan : dict
        As `drive` has made it.
    """

    def __init__(self, plan):
        from qgis.utils import iface

        self.plan, self.iface, self.told = plan, iface, {}

    def run(self):
        """Do the steps and tell what came of them."""
        watch = threading.Timer(self.plan["limit_s"], os._exit, [3])  # if nobody ends QGIS
        watch.daemon = True
        watch.start()
        try:
            self.steps()
        except Exception:
            self.told["problem"] = traceback.format_exc()
        draft = Path(self.plan["told"] + ".draft")
        draft.write_text(json.dumps(self.told), encoding="utf-8")
        draft.rename(self.plan["told"])

    def wait(self, seconds):
        """Leave QGIS to its own events for a while."""
        self.wait_for(lambda: False, seconds, what="")

    def wait_for(self, is_so, seconds, what):
        """Leave QGIS to its own events until something is so; return how long it took."""
        from qgis.PyQt.QtCore import QCoreApplication

        began = time.monotonic()
        while not is_so():
            if time.monotonic() - began > seconds:
                if what:
                    raise RuntimeError(f"{what}: not within {seconds} s")
                break
            QCoreApplication.processEvents()
            time.sleep(0.01)
        return time.monotonic() - began

    def in_modal(self, opening, act):
        """Call `opening`, which blocks in a modal window; `act` on that window and close it."""
        from qgis.PyQt.QtCore import QTimer
        from qgis.PyQt.QtWidgets import QApplication

        before, problems, timer = QApplication.activeModalWidget(), [], QTimer()

        def meet():
            shown = QApplication.activeModalWidget()
            if shown is None or shown is before:
                return
            timer.stop()
            try:
                self.wait(1)
                act(shown)
            except Exception as problem:
                problems.append(problem)
            finally:
                shown.reject()

        timer.timeout.connect(meet)
        timer.start(200)
        opening()
        timer.stop()
        if problems:
            raise problems[0]

    def set_engine(self, python):
        """Change the setting of the plugin."""
        from processing.core.ProcessingConfig import ProcessingConfig

        ProcessingConfig.setSettingValue("geodiffrecon/python", python)

    def add_stations(self):
        """Load the sample as a user does, as delimited text."""
        from qgis.core import QgsProject, QgsVectorLayer

        layer = QgsVectorLayer(
            f"file://{self.plan['home']}/sample_data/stations.csv?type=csv&xField=longitude"
            "&yField=latitude&crs=EPSG:4326&detectTypes=yes", "stations", "delimitedtext")  # fmt: skip
        QgsProject.instance().addMapLayer(layer)
        return layer

    def open_dialog(self, name, parameters):
        """Open the dialog of an algorithm."""
        import processing

        dialog = processing.createAlgorithmDialog(f"geodiffrecon:{name}", parameters)
        dialog.show()
        self.wait(1)
        return dialog

    def press_run(self, dialog):
        """Press Run."""
        from qgis.PyQt.QtWidgets import QDialogButtonBox

        dialog.buttonBox().button(QDialogButtonBox.StandardButton.Ok).click()

    def log_of(self, dialog):
        """Return the text of the dialog's log."""
        return dialog.findChild(object, "txtLog").toPlainText()

    def has_ended(self, dialog):
        """Tell whether the log says that the run is over."""
        text = self.log_of(dialog)
        return "Execution completed" in text or "Execution failed" in text

    def run_to_end(self, dialog, name):
        """Press Run and wait until the algorithm has done its work."""
        self.press_run(dialog)
        self.wait_for(lambda: self.has_ended(dialog), 120, f"{name} ends")
        self.wait(1)
        self.told[name] = self.log_of(dialog)
        if "Execution failed" in self.told[name]:
            raise RuntimeError(f"{name} failed: {self.told[name][-800:]}")


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

        for name in repositories.all():  # nothing is fetched
            repositories.setRepositoryData(name, "enabled", False)

        def act(shown):
            shown.resize(900, 480)
            pages = shown.findChild(object, "mOptionsListWidget")
            titles = [pages.item(row).text() for row in range(pages.count())]
            pages.setCurrentRow(titles.index("Install from ZIP"))
            shown.findChild(object, "mZipFileWidget").setFilePath(
                f"{self.plan['home']}/geodiffrecon_qgis.zip"
            )
            shown.findChild(object, "buttonInstallFromZip").click()
            self.wait(1)
            self.grab(shown, "install")

        self.in_modal(pyplugin_installer.instance().showPluginManagerWhenReady, act)

    def settings(self):
        """Name the engine in the options of Processing."""
        self.set_engine("~/geodiffrecon/bin/python")

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

    def tell_layers(self):
        """Tell what has arrived: tree, renderers, times."""
        from qgis.core import QgsProject
        from qgis.PyQt.QtCore import Qt

        def tree(node):
            return [[one.name(), one.itemVisibilityChecked(), tree(one)] for one in node.children()]

        self.told["tree"] = tree(QgsProject.instance().layerTreeRoot())
        self.told["maps"] = [
            {
                "name": one.name(),
                "renderer": one.renderer().type(),
                "timed": one.temporalProperties().isActive(),
                "range": [
                    moment.toString(Qt.DateFormat.ISODate)
                    for moment in (one.temporalProperties().fixedTemporalRange().begin(),
                                   one.temporalProperties().fixedTemporalRange().end())
                ],
            }
            for one in self.maps()
        ]  # fmt: skip

    def arrange_window(self, stations):
        """Give the maps, the layer tree and the temporal controller their room."""
        from qgis.PyQt.QtCore import Qt

        window = self.iface.mainWindow()
        window.findChild(object, "Browser").hide()
        controller = window.findChild(object, "Temporal Controller")
        controller.show()
        window.resizeDocks([window.findChild(object, "Layers")], [360], Qt.Orientation.Horizontal)
        controller.findChild(object, "mNavigationAnimated").click()
        self.wait(0.5)
        unit = controller.findChild(object, "mTimeStepsComboBox")
        unit.setCurrentIndex(unit.findText("days"))
        window.resizeDocks([controller], [100], Qt.Orientation.Vertical)
        self.put_on_top(stations)
        self.wait(1)
        canvas, extent = self.iface.mapCanvas(), self.maps()[0].extent()
        extent.scale(1.05)
        canvas.setExtent(extent)
        return controller.findChild(object, "mSlider")

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
        from qgis.core import QgsProject

        mean, error = QgsProject.instance().layerTreeRoot().findGroup("pm25").children()
        for group, shown in ((mean, False), (error, True)):
            group.setItemVisibilityChecked(shown)
            group.setExpanded(shown)

    def remove_maps(self):
        from qgis.core import QgsProject

        root = QgsProject.instance().layerTreeRoot()
        root.removeChildNode(root.findGroup("pm25"))

    def grab_window(self, picture):
        """Grab the main window when its map is drawn."""
        canvas = self.iface.mapCanvas()
        self.wait(1)
        self.wait_for(lambda: not canvas.isDrawing(), 30, "the map is drawn")
        self.wait(1)
        self.grab(self.iface.mainWindow(), picture)

    def grab(self, widget, picture):
        path = f"{self.plan['out']}/qgis_{picture}.png"
        if not widget.grab().save(path):
            raise RuntimeError(f"{path} could not be written")
        self.told["pictures"].append(path)


def start(visit):
    """Begin a visit when QGIS has opened its window; called inside QGIS."""
    from qgis.PyQt.QtCore import QTimer

    made = visit(json.loads(os.environ[PLAN]))
    QTimer.singleShot(3000, lambda: made.run())  # Qt would hold a bound method weakly


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
    else:
        sys.exit(main(*sys.argv[1:]))
