"""Do in the real QGIS, under Xvfb, what a user does; for the pictures of the manual and for tests.

`drive` starts a screen and QGIS on it. QGIS runs a file of actions (``--code``) with a `Visit`,
which tells what it saw.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import select
import shutil
import signal
import subprocess
import time
import traceback
from pathlib import Path

PLAN = "GEODIFFRECON_VISIT"  # what is asked of the part inside QGIS, as JSON
SCREEN = "1500x950x24"
LIMIT_S = 400
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
    program = shutil.which("qgis.bin") or shutil.which("qgis")
    if program is None or shutil.which("Xvfb") is None:
        return {"problem": "QGIS or Xvfb is not there; install qgis and xvfb."}
    home, told = Path(home), Path(home) / "told.json"
    furnish(home, Path(python), Path(sample), Path(plugins))
    plan = {"home": str(home), "told": str(told), "limit_s": limit_s, **more}
    foreign = ("QT_QPA_PLATFORM", "GEODIFFRECON_PYTHON")
    environ = {name: text for name, text in os.environ.items() if name not in foreign}
    environ |= {
        "HOME": str(home), "TMPDIR": str(home / "tmp"), "XDG_RUNTIME_DIR": str(home / "tmp"),
        "QGIS_CUSTOM_CONFIG_PATH": str(home / "qgis"), "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": "/usr/local/bin:/usr/bin:/bin",  # QGIS takes its Python from the PATH
        "PYTHONPATH": str(Path(__file__).resolve().parent),  # where `actions` finds this module
        PLAN: json.dumps(plan),
    }  # fmt: skip
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
    deadline = time.monotonic() + limit_s + 15  # QGIS ends itself before, and says where it was
    while not told.exists() and qgis.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    if told.exists():
        return json.loads(told.read_text(encoding="utf-8"))
    if qgis.poll() is None:
        return {"problem": f"QGIS was not done after {limit_s} s."}
    said = (told.parent / "qgis.log").read_text(encoding="utf-8", errors="replace")
    return {"problem": f"QGIS ended with code {qgis.poll()}: {said[-800:]}"}


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
        with open(f"{self.plan['home']}/qgis.log", "a", encoding="utf-8") as log:
            # A thread of Python would not wake where Qt waits for a window and holds the lock.
            faulthandler.dump_traceback_later(self.plan["limit_s"], exit=True, file=log)
            try:
                self.steps()
            except Exception:
                self.told["problem"] = traceback.format_exc()
            faulthandler.cancel_dump_traceback_later()
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
                if shown.isVisible():
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

        address = (
            f"file://{self.plan['home']}/sample_data/stations.csv?type=csv&xField=longitude"
            "&yField=latitude&crs=EPSG:4326&detectTypes=yes"
        )
        layer = QgsVectorLayer(address, "stations", "delimitedtext")
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


def start(visit):
    """Begin a visit when QGIS has opened its window; called inside QGIS."""
    from qgis.PyQt.QtCore import QTimer

    made = visit(json.loads(os.environ[PLAN]))
    QTimer.singleShot(3000, lambda: made.run())  # Qt would hold a bound method weakly
