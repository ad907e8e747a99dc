"""How a command runs: its reporter, its exit code, and what a signal does to it."""

from __future__ import annotations

import _thread
import gc
import logging
import os
import signal
import threading
import traceback
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from ..errors import Cancelled, GeoDiffReconError
from ..outputs import check_targets, spared
from ..progress import JsonReporter, TerminalReporter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FAILED, CANCELLED = 1, 130
DEBUG = "GEODIFFRECON_DEBUG"
LIFELINE = "GEODIFFRECON_LIFELINE"


class Session:
    """What a running command reports to, in the form that the user asked for.

    Parameters
    ----------
    json : bool
        One JSON object per line on standard output, instead of text and a progress bar.
    """

    def __init__(self, *, json: bool) -> None:
        self.json = json
        self.stopped = False
        self._reporter = JsonReporter() if json else TerminalReporter()

    def progress(self, done: int, total: int, message: str) -> None:
        """Report progress; raise Cancelled after a signal that something has swallowed."""
        if self.stopped:
            raise Cancelled("The work was cancelled.")
        self._reporter(done, total, message)

    def log(self, sentence: str) -> None:
        """Report what was assumed or decided."""
        self._reporter.log(sentence)

    def finish(self, payload: dict[str, Any], lines: list[str]) -> None:
        """Report the result: `payload` to programs, `lines` to people."""
        self._reporter.result(payload)
        if not self.json:
            typer.echo("\n".join(lines))

    def fail(self, sentence: str) -> None:
        """Report the one sentence that says what went wrong."""
        self._reporter.error(" ".join(sentence.split()))

    def cancel(self) -> None:
        """Report that the work was cancelled."""
        sentence = "Cancelled; nothing partial is left behind."
        (self._reporter.error if self.json else self._reporter.log)(sentence)

    def close(self) -> None:
        """Finish the progress bar or flush the lines."""
        self._reporter.close()


@contextmanager
def session(
    form: str, *, reads: Sequence[Path | None] = (), writes: Sequence[Path | None] = ()
) -> Iterator[Session]:
    """Run the body of a command; every way that it can end becomes an exit code.

    Parameters
    ----------
    form : {"terminal", "json"}
        Form of the reports.
    reads, writes : sequence of Path or None
        Its inputs, which no output may replace, and its outputs, which are tried at once.

    Raises
    ------
    typer.Exit
        With 1 where data or parameters are unfit, with 130 where the work was cancelled.
    """
    run = Session(json=form == "json")
    debug = bool(os.environ.get(DEBUG))
    inputs, outputs = ([path for path in paths if path is not None] for paths in (reads, writes))
    with _signals(run), _quiet_libraries(debug), spared(inputs):
        try:
            check_targets(inputs, outputs)
            yield run
        except (KeyboardInterrupt, Cancelled):
            run.cancel()
            gc.freeze()  # else the last collection of all that torch has loaded takes a second
            raise typer.Exit(CANCELLED) from None
        except typer.Exit:
            raise
        except Exception as error:
            if debug:
                traceback.print_exc()
            run.fail(_sentence(error))
            raise typer.Exit(FAILED) from None
        finally:
            run.close()


def _sentence(error: Exception) -> str:
    if isinstance(error, GeoDiffReconError):
        return str(error)
    if isinstance(error, MemoryError):
        return "The memory of this machine is not enough; use a smaller grid or a shorter period."
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename} cannot be read or written ({error.strerror}); check the path."
    first = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, ImportError):
        return (
            f"The Python environment of geodiffrecon is broken ({first}); make it anew, or "
            "reinstall what geodiffrecon doctor names."
        )
    return (
        f"Unexpected {type(error).__name__} ({first}), a mistake of geodiffrecon; run with "
        f"{DEBUG}=1 for the traceback."
    )


@contextmanager
def _signals(run: Session) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM interrupt the work; later ones must not stop cleaning up."""

    def stop(number: int, frame: Any) -> None:
        if not run.stopped:
            run.stopped = True
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    if os.environ.get(LIFELINE):
        threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_with_input() -> None:
    """Cancel the work when standard input closes: the program that started it has gone."""
    while os.read(0, 4096):  # not sys.stdin, whose lock would be held when Python ends
        pass
    _thread.interrupt_main(signal.SIGTERM)


@contextmanager
def _quiet_libraries(debug: bool) -> Iterator[None]:
    """Keep warnings and log lines of libraries away from people who read one sentence."""
    if debug:
        yield
        return
    for name in ("rasterio", "pyogrio", "fiona", "matplotlib"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
