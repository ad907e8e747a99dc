# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine as a child process: what it may see of our environment, what it says, how it ends.

Standard library only: this module also runs without QGIS.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time

GRACE_S = 1.0  # between SIGTERM and SIGKILL: cancelling takes less than two seconds
DRAIN_S = 0.5  # for what an engine that has ended still has in its pipes
TAIL_LINES = 40
LONGEST_LINE = 1 << 22  # characters; a longer one is taken in pieces
# An engine whose standard input closes ends by itself: it does not outlive a QGIS that is killed.
LIFELINE = {"GEODIFFRECON_LIFELINE": "1"}
FOREIGN = (
    "PYTHON", "PROJ_", "GDAL_", "QT_", "QGIS_", "LD_LIBRARY_PATH", "DYLD_", "VIRTUAL_ENV", "CONDA_",
)  # fmt: skip

_running = set()


class EngineError(Exception):
    """Why the engine cannot be used, or did not do its work: one sentence."""


class Canceled(Exception):
    """The user has stopped the work."""


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


def run(command, arguments, *, on_event, is_canceled, folder, prefix="", poll_s=0.1):
    """Run one command of the engine to its end and return its ``result`` event.

    Parameters
    ----------
    command : sequence of str
        What starts the engine; an absolute path first.
    arguments : list of str
        Command of the engine and options; ``--progress json`` is added.
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
    argv = [*command, *arguments, "--progress", "json"]
    process = _started(argv, folder, prefix)
    _running.add(process)
    try:
        code, said = _followed(process, on_event, is_canceled, poll_s)
    finally:
        stop(process)
        _running.discard(process)
    if code == 0 and said["result"] is not None:
        return said["result"]
    raise EngineError(_reason(code, said))


def ask(command, arguments, *, timeout_s, prefix=""):
    """Run the engine for a short answer and return the finished process, with its texts.

    Parameters
    ----------
    command, arguments, prefix
        As for `run`.
    timeout_s : float
        Longest time.

    Raises
    ------
    EngineError
        If it does not start, or does not answer in time.
    """
    with work_folder() as folder:  # an empty folder: nothing shadows a module
        try:
            return subprocess.run(
                [*command, *arguments], env=clean_environment(prefix=prefix), cwd=folder,
                stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8",
                errors="replace", timeout=timeout_s, check=False, **_apart(group=False),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise EngineError(unstartable(command[0], f"no answer in {timeout_s} s")) from None
        except OSError as error:
            raise EngineError(unstartable(command[0], error.strerror)) from None


@contextlib.contextmanager
def work_folder():
    """Yield a folder that is removed with all in it when the block ends.

    Raises
    ------
    EngineError
        If none can be made.
    """
    try:
        folder = tempfile.mkdtemp(prefix="geodiffrecon-")
    except OSError as error:
        raise EngineError(
            f"No temporary folder can be made ({error.strerror}); make room, or set TMPDIR to a "
            "folder that can be written to."
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stop(process):
    """End a child and all that it has started: kindly, then, after a moment, by force."""
    with contextlib.suppress(OSError):
        process.stdin.close()
    if process.poll() is None:
        _signal(process, "SIGTERM")
        deadline = time.monotonic() + GRACE_S
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
    _signal(process, "SIGKILL")  # also what a child that has ended leaves in its group
    process.wait()


@atexit.register
def stop_all():
    """End every engine that still runs."""
    for process in list(_running):
        stop(process)


def parsed(line, key):
    """Return the JSON object in `line` if it has a text under `key`, else None."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get(key), str) else None


def last_of(lines):
    """Return the last line that is not blank, or an empty text."""
    found = [line.strip() for line in lines if line.strip()]
    return found[-1] if found else ""


def unstartable(path, why):
    """Return the sentence for an engine that cannot be started."""
    return (
        f"The engine {path} cannot be started ({why}); name another Python in Settings > Options > "
        "Processing > Providers > geodiffrecon."
    )


def _below(path, folder):
    path, folder = (os.path.normcase(os.path.abspath(name)) + os.sep for name in (path, folder))
    return path.startswith(folder)


def _started(argv, folder, prefix):
    try:
        return subprocess.Popen(
            argv, env={**clean_environment(prefix=prefix), **LIFELINE}, cwd=folder,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            encoding="utf-8", errors="replace", **_apart(group=True),
        )  # fmt: skip
    except OSError as error:
        raise EngineError(unstartable(argv[0], error.strerror)) from None


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
    still_open, ended = 2, None
    while still_open or ended is None:
        if is_canceled():
            raise Canceled
        if ended is None and process.poll() is not None:
            ended = time.monotonic()
        try:
            name, line = lines.get(timeout=poll_s)
        except queue.Empty:
            if ended is not None and time.monotonic() - ended > DRAIN_S:
                break  # something that it has started still holds its pipes
            continue
        if line is None:
            still_open -= 1
        else:
            _hear(name, line, said, on_event)
    return process.returncode, said


def _pump(stream, name, lines):
    with stream:  # closed by its only reader: elsewhere that would wait for the end of the read
        for line in iter(lambda: stream.readline(LONGEST_LINE), ""):
            lines.put((name, line.rstrip("\r\n")))
    lines.put((name, None))


def _hear(name, line, said, on_event):
    event = parsed(line, "event") if name == "stdout" else None
    if event is None:
        said["tail"].append(line)
        event = {"event": "log", "message": line}
    if event["event"] == "result":
        said["result"] = event
    elif event["event"] == "error":
        said["error"] = str(event.get("message") or "")
    on_event(event)


def _reason(code, said):
    if said["error"]:
        return said["error"]
    if said["result"] is not None and said["result"].get("problems"):  # of doctor
        return " ".join(map(str, said["result"]["problems"]))
    last = last_of(said["tail"])
    if code == 2 and last:  # wrong usage is plain text
        return f"The engine refuses the request ({last}); plugin and engine may not fit together."
    if code is not None and code < 0:
        why = "; the memory may have been too little" if code == -9 else ""
        return f"The engine was ended by signal {-code}{why}."
    return f"The engine ended with code {code} and without a result ({last or 'it says nothing'})."


def _signal(process, name):
    """Signal the group of a child; where there are no groups, end the child itself."""
    try:
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, getattr(signal, name))
    except OSError:  # it has ended meanwhile
        pass
