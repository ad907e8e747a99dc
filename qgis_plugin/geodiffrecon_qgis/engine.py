# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine: where it is, what it may see of our environment, and how it runs as a child.

Standard library only: this module also runs without QGIS.
"""

from __future__ import annotations

import atexit
import collections
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass

MINIMUM = (0, 1, 0)
PROTOCOL = 1  # of the options and events that this plugin relies on
VARIABLE = "GEODIFFRECON_PYTHON"
COMMAND = "geodiffrecon"
GRACE_S = 1.0  # between SIGTERM and SIGKILL: cancelling takes less than two seconds
VERSION_TIMEOUT_S = 60
TAIL_LINES = 40
FOREIGN = (
    "PYTHON", "PROJ_", "GDAL_", "QT_", "QGIS_", "LD_LIBRARY_PATH", "DYLD_", "VIRTUAL_ENV", "CONDA_",
)  # fmt: skip
INTERPRETERS = (("bin", "python"), ("bin", "python3"), ("Scripts", "python.exe"), ("python.exe",))
MISSING = (
    "No geodiffrecon engine was found. Install it in an environment of its own and name its Python "
    "in Settings > Options > Processing > Providers > geodiffrecon; the algorithm Check engine "
    "prints the commands."
)

_checked = {}
_running = set()


class EngineError(Exception):
    """Why the engine cannot be used, or did not do its work: one sentence."""


class Canceled(Exception):
    """The user has stopped the work."""


@dataclass(frozen=True)
class Engine:
    """An engine that can be started.

    Parameters
    ----------
    command : tuple of str
        What starts it; an absolute path first.
    origin : str
        How it was found.
    version : str
        Its version; empty until it has been asked.
    """

    command: tuple
    origin: str
    version: str = ""


def find(setting, profile, environ=None):
    """Return the engine to use, without starting it.

    Parameters
    ----------
    setting : str
        Interpreter, environment folder or ``geodiffrecon`` program of the user; may be empty.
    profile : str
        Folder of the QGIS profile, which may hold ``geodiffrecon/venv``.
    environ : mapping, optional
        ``os.environ`` by default.

    Returns
    -------
    Engine

    Raises
    ------
    EngineError
        If there is none, or the one that the user names does not exist.
    """
    environ = os.environ if environ is None else environ
    named = [("the setting geodiffrecon/python", setting), (VARIABLE, environ.get(VARIABLE, ""))]
    for origin, path in named:
        if path and path.strip():
            return Engine(_command(_expanded(path), origin), origin)
    program = shutil.which(COMMAND, path=environ.get("PATH"))
    if program:
        return Engine((os.path.abspath(program),), "PATH")
    own = os.path.join(profile, "geodiffrecon", "venv") if profile else ""
    if own and os.path.isdir(own):
        return Engine(_command(own, "the QGIS profile"), "the QGIS profile")
    raise EngineError(MISSING)


def checked(engine, prefix=""):
    """Return `engine` with its version; it is asked once per session.

    Parameters
    ----------
    engine : Engine
        As it was found.
    prefix : str
        As in `clean_environment`.

    Raises
    ------
    EngineError
        If it does not start, is no geodiffrecon, or is too old or too new for this plugin.
    """
    try:
        key = (engine.command, os.stat(engine.command[0]).st_mtime_ns)
    except OSError as error:
        raise EngineError(_unstartable(engine, error.strerror)) from None
    if key not in _checked:
        _checked[key] = _asked(engine, prefix)
    return Engine(engine.command, engine.origin, _checked[key])


def forget():
    """Ask engines for their version again, as after an update."""
    _checked.clear()


def clean_environment(environ=None, prefix=""):
    """Return the environment for the child: nothing that belongs to QGIS or its Python.

    Parameters
    ----------
    environ : mapping, optional
        ``os.environ`` by default.
    prefix : str
        Folder of the QGIS installation; on Windows and macOS its entries of PATH are left out, so
        that the child does not find QGIS's libraries.
    """
    environ = os.environ if environ is None else environ
    kept = {key: text for key, text in environ.items() if not key.upper().startswith(FOREIGN)}
    if prefix:
        parts = kept.get("PATH", "").split(os.pathsep)
        kept["PATH"] = os.pathsep.join(part for part in parts if not _below(part, prefix))
    kept.update(PYTHONUNBUFFERED="1", PYTHONIOENCODING="utf-8")
    return kept


def run(engine, arguments, *, on_event, is_canceled, folder, prefix="", poll_s=0.1):
    """Run one command of the engine to its end and return its ``result`` event.

    Parameters
    ----------
    engine : Engine
        What to start.
    arguments : list of str
        Command and options; ``--progress json`` is added.
    on_event : callable
        Called in this thread with each event: a dict with ``event`` and what belongs to it.
    is_canceled : callable
        Asked several times a second.
    folder : str
        Working folder of the child.
    prefix : str
        As in `clean_environment`.
    poll_s : float
        Longest time between two looks at `is_canceled`.

    Raises
    ------
    Canceled
        If `is_canceled` said so; no process is left.
    EngineError
        With the engine's own sentence.
    """
    argv = [*engine.command, *arguments, "--progress", "json"]
    process = _started(engine, argv, folder, prefix)
    _running.add(process)
    try:
        code, said = _followed(process, on_event, is_canceled, poll_s)
    finally:
        stop(process)
        _running.discard(process)
    if code == 0 and said["result"] is not None:
        return said["result"]
    raise EngineError(_reason(code, said))


def stop(process):
    """End a child and all that it has started: SIGTERM, then, after a moment, SIGKILL."""
    if process.poll() is None:
        _signal(process, "SIGTERM")
        deadline = time.monotonic() + GRACE_S
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        _signal(process, "SIGKILL")
    process.wait()
    for stream in (process.stdout, process.stderr):
        stream.close()


@atexit.register
def stop_all():
    """End every engine that still runs."""
    for process in list(_running):
        _signal(process, "SIGTERM")


def install_commands(windows=None):
    """Return the commands that make an environment with the engine."""
    windows = os.name == "nt" if windows is None else windows
    if windows:
        return [
            r"py -3 -m venv %USERPROFILE%\geodiffrecon",
            r"%USERPROFILE%\geodiffrecon\Scripts\python -m pip install geodiffrecon",
        ]
    return [
        "python3 -m venv ~/geodiffrecon",
        "~/geodiffrecon/bin/python -m pip install geodiffrecon",
    ]


def _below(path, folder):
    path, folder = (os.path.normcase(os.path.abspath(name)) + os.sep for name in (path, folder))
    return path.startswith(folder)


def _expanded(path):
    return os.path.abspath(os.path.expanduser(path.strip().strip('"')))


def _command(path, origin):
    """Return what starts the engine at `path`: a folder, an interpreter or the program itself."""
    if os.path.isdir(path):
        for parts in INTERPRETERS:
            inside = os.path.join(path, *parts)
            if os.path.isfile(inside):
                return _command(inside, origin)
        raise EngineError(f"The engine folder {path} ({origin}) holds no Python; name another one.")
    if not os.path.isfile(path):
        raise EngineError(f"The engine {path} ({origin}) does not exist; correct the path.")
    if os.path.basename(path).lower().startswith("python"):
        return (path, "-E", "-u", "-X", "utf8", "-m", COMMAND)
    return (path,)


def _asked(engine, prefix):
    """Return the version that the engine says it has."""
    answer = _answer(engine, prefix)
    about = _parsed(answer.stdout.strip(), "version")
    if answer.returncode or about is None:
        raise EngineError(_unanswered(engine, answer))
    version, protocol = about["version"], about.get("protocol", 0)
    if protocol > PROTOCOL:
        raise EngineError(
            f"The engine {engine.command[0]} is geodiffrecon {version}, which is newer than this "
            "plugin; update the plugin in Plugins > Manage and Install Plugins."
        )
    if protocol < PROTOCOL or _numbers(version) < MINIMUM:
        raise EngineError(_outdated(engine, f"is geodiffrecon {version}"))
    return version


def _answer(engine, prefix):
    try:
        with tempfile.TemporaryDirectory() as folder:  # an empty folder: nothing shadows a module
            return subprocess.run(
                [*engine.command, "--version", "--json"], env=clean_environment(prefix=prefix),
                cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                encoding="utf-8", errors="replace", timeout=VERSION_TIMEOUT_S, check=False,
                **_apart(group=False),
            )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise EngineError(_unstartable(engine, f"no answer in {VERSION_TIMEOUT_S} s")) from None
    except OSError as error:
        raise EngineError(_unstartable(engine, error.strerror)) from None


def _numbers(version):
    """Return the first three numbers of a version, such as 0.1.0 of ``0.1.0.dev3``."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    return tuple(int(part or 0) for part in found.groups()) if found else (0, 0, 0)


def _outdated(engine, what):
    return (
        f"The engine {engine.command[0]} {what}, but this plugin needs "
        f"{'.'.join(map(str, MINIMUM))} or newer; run {_pip(engine)} install -U geodiffrecon."
    )


def _unanswered(engine, answer):
    said = _last(answer.stderr.splitlines()) or _last(answer.stdout.splitlines())
    if "No module named geodiffrecon" in said:
        return (
            f"{engine.command[0]} has no geodiffrecon; run {_pip(engine)} install geodiffrecon, "
            "or name another Python in the settings."
        )
    if answer.returncode == 2:  # it does not know the question
        return _outdated(engine, f"is too old ({said})")
    if answer.returncode == 0:
        return f"{engine.command[0]} is no geodiffrecon; name its Python in the settings."
    return (
        f"The environment of {engine.command[0]} is broken ({said or 'it says nothing'}); make it "
        "anew, or name another Python in the settings."
    )


def _pip(engine):
    path = engine.command[0]
    python = path if len(engine.command) > 1 else os.path.join(os.path.dirname(path), "python")
    return f'"{python}" -m pip'


def _unstartable(engine, why):
    return (
        f"The engine {engine.command[0]} ({engine.origin}) cannot be started ({why}); name another "
        "Python in Settings > Options > Processing > Providers > geodiffrecon."
    )


def _started(engine, argv, folder, prefix):
    try:
        return subprocess.Popen(
            argv, env=clean_environment(prefix=prefix), cwd=folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
            errors="replace", **_apart(group=True),
        )  # fmt: skip
    except OSError as error:
        raise EngineError(_unstartable(engine, error.strerror)) from None


def _apart(*, group):
    """Return the options that keep a child apart: a group to signal, on Windows no console."""
    if os.name == "nt":
        return {"creationflags": subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True} if group else {}


def _followed(process, on_event, is_canceled, poll_s):
    """Pass on what the child says until it ends; return its exit code and what matters of it."""
    lines = queue.Queue()
    for name in ("stdout", "stderr"):
        threading.Thread(
            target=_pump, args=(getattr(process, name), name, lines), daemon=True
        ).start()
    said = {"result": None, "error": "", "tail": collections.deque(maxlen=TAIL_LINES)}
    still_open = 2
    while still_open:
        if is_canceled():
            raise Canceled
        try:
            name, line = lines.get(timeout=poll_s)
        except queue.Empty:
            continue
        if line is None:
            still_open -= 1
        else:
            _hear(name, line, said, on_event)
    return process.wait(), said


def _pump(stream, name, lines):
    try:
        for line in stream:
            lines.put((name, line.rstrip("\r\n")))
    except ValueError:  # closed by `stop`
        pass
    lines.put((name, None))


def _hear(name, line, said, on_event):
    event = _parsed(line, "event") if name == "stdout" else None
    if event is None:
        said["tail"].append(line)
        event = {"event": "log", "message": line}
    if event["event"] == "result":
        said["result"] = event
    elif event["event"] == "error":
        said["error"] = str(event.get("message", ""))
    on_event(event)


def _parsed(line, key):
    """Return the JSON object in `line` if it has a text under `key`, else None."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get(key), str) else None


def _reason(code, said):
    if said["error"]:
        return said["error"]
    if said["result"] is not None and said["result"].get("problems"):  # of doctor
        return " ".join(map(str, said["result"]["problems"]))
    last = _last(said["tail"])
    if code == 2 and last:  # wrong usage is plain text
        return f"The engine refuses the request ({last}); plugin and engine may not fit together."
    if code is not None and code < 0:
        return f"The engine was ended by signal {-code}; the memory may have been too little."
    return f"The engine ended with code {code} and without a result ({last or 'it says nothing'})."


def _last(lines):
    found = [line.strip() for line in lines if line.strip()]
    return found[-1] if found else ""


def _signal(process, name):
    """Signal the group of a child; where there are no groups, end the child itself."""
    try:
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, getattr(signal, name))
    except OSError:  # it has ended meanwhile
        pass
