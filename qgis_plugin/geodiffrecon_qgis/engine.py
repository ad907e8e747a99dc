# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine: where it is, which version it has, and how it is installed.

Standard library only: this module also runs without QGIS.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass

from .child import EngineError, ask, last_of, parsed, unstartable

MINIMUM = (0, 1, 0)
PROTOCOL = 1  # of the options and events that this plugin relies on
VARIABLE = "GEODIFFRECON_PYTHON"
COMMAND = "geodiffrecon"
VERSION_TIMEOUT_S = 30
INTERPRETERS = (("bin", "python"), ("bin", "python3"), ("Scripts", "python.exe"), ("python.exe",))
MISSING = (
    "No geodiffrecon engine was found. Install it in an environment of its own and name its Python "
    "in Settings > Options > Processing > Providers > geodiffrecon; the algorithm Check engine "
    "prints the commands."
)

_checked = {}


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
            return Engine(_command(expanded(path), origin), origin)
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
        As in `child.clean_environment`.

    Raises
    ------
    EngineError
        If it does not start, is no geodiffrecon, or is too old or too new for this plugin.
    """
    try:
        key = (engine.command, os.stat(engine.command[0]).st_mtime_ns)
    except OSError as error:
        raise EngineError(unstartable(engine.command[0], error.strerror)) from None
    if key not in _checked:
        _checked[key] = _asked(engine, prefix)
    return Engine(engine.command, engine.origin, _checked[key])


def forget():
    """Ask engines for their version again, as after an update."""
    _checked.clear()


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


def expanded(path):
    """Return the absolute path that a user means: ~ and variables filled in, quotes taken off."""
    return os.path.abspath(os.path.expanduser(os.path.expandvars(path.strip().strip('"'))))


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
    answer = ask(
        engine.command, ["--version", "--json"], timeout_s=VERSION_TIMEOUT_S, prefix=prefix
    )
    about = parsed(answer.stdout.strip(), "version")
    if answer.returncode or about is None:
        raise EngineError(_unanswered(engine, answer))
    version, protocol = about["version"], about.get("protocol")
    if not isinstance(protocol, int):
        raise EngineError(_foreign(engine))
    if protocol > PROTOCOL:
        raise EngineError(
            f"The engine {engine.command[0]} is geodiffrecon {version}, which is newer than this "
            "plugin; update the plugin in Plugins > Manage and Install Plugins."
        )
    if protocol < PROTOCOL or _numbers(version) < MINIMUM:
        raise EngineError(_outdated(engine, f"is geodiffrecon {version}"))
    return version


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
    said = last_of(answer.stderr.splitlines()) or last_of(answer.stdout.splitlines())
    if "No module named geodiffrecon" in said:
        return (
            f"{engine.command[0]} has no geodiffrecon; run {_pip(engine)} install geodiffrecon, "
            "or name another Python in the settings."
        )
    if answer.returncode == 2:  # it does not know the question
        return _outdated(engine, f"is too old ({said})")
    if answer.returncode == 0:
        return _foreign(engine)
    return (
        f"The environment of {engine.command[0]} is broken ({said or 'it says nothing'}); make it "
        "anew, or name another Python in the settings."
    )


def _pip(engine):
    path = engine.command[0]
    python = path if len(engine.command) > 1 else os.path.join(os.path.dirname(path), "python")
    return f'"{python}" -m pip'


def _foreign(engine):
    return f"{engine.command[0]} is no geodiffrecon; name its Python in the settings."
