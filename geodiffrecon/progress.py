"""Progress and cancellation: one callback type, two reporters."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

Progress = Callable[[int, int, str], None]
"""Called as ``progress(done, total, message)``; cancels the work by raising ``Cancelled``."""

PROTOCOL = 1
"""Number of the contract with programs that run the command line, such as the QGIS plugin.

It grows when options, events or keys of events that they rely on change so that they would fail
or misread them; new options, events and keys leave it as it is.
"""


def silent(done: int, total: int, message: str) -> None:
    """Report nothing (the default of every library function)."""


class TerminalReporter:
    """Draw one tqdm bar per message on standard error; silent where that is no terminal.

    Parameters
    ----------
    stream : text stream, optional
        Where the bar goes; standard error by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._bar: tqdm[Any] | None = None
        self._message = ""

    def __call__(self, done: int, total: int, message: str) -> None:
        """Move the bar of `message` to ``done / total``."""
        if self._bar is None or message != self._message:
            self.close()
            self._message = message
            self._bar = tqdm(total=total, desc=message, file=self._stream, disable=None)
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def log(self, message: str) -> None:
        """Print one line of information."""
        self.close()
        print(message, file=self._stream, flush=True)

    def result(self, payload: dict[str, Any]) -> None:
        """Accept the command's result (a terminal user has already read it)."""
        self.close()

    def error(self, message: str) -> None:
        """Print the one sentence that says what went wrong."""
        self.close()
        print(f"Error: {message}", file=self._stream, flush=True)

    def close(self) -> None:
        """Finish the current bar, if any."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class JsonReporter:
    """Write one JSON object per line: events ``progress``, ``log``, ``result``, ``error``.

    Parameters
    ----------
    stream : text stream, optional
        Where the lines go; standard output by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._last = (-1, "")

    def __call__(self, done: int, total: int, message: str) -> None:
        """Emit a ``progress`` line whenever the whole per cent or the message changes."""
        value = int(100 * done / max(total, 1))
        if (value, message) != self._last:
            self._last = (value, message)
            self._emit(event="progress", value=value, message=message)

    def log(self, message: str) -> None:
        """Emit a ``log`` line."""
        self._emit(event="log", message=message)

    def result(self, payload: dict[str, Any]) -> None:
        """Emit the ``result`` line with the command's outputs."""
        self._emit(event="result", **payload)

    def error(self, message: str) -> None:
        """Emit the ``error`` line with the one sentence that says what went wrong."""
        self._emit(event="error", message=message)

    def close(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def _emit(self, **payload: Any) -> None:
        print(json.dumps(payload, default=str), file=self._stream, flush=True)
