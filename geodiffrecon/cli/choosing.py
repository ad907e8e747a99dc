"""The options of which rows of a points file are read, which every command that reads them has."""

# No postponed annotations here: typer reads them at run time.
import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal

from ..errors import InvalidParameter
from ..rows import RowChoice
from . import options as opt

Layer = Annotated[str | None, opt.option("Layer of a file with several.", "--layer", show="NAME")]
Where = Annotated[
    str | None,
    opt.option("Rows to read, as in \"parameter == 'pm25'\".", "--where", show="CONDITION"),
]
End = Annotated[str | None, opt.option("Column of the end of periods.", "--end", show="COL")]
Sites = Annotated[Path | None, opt.option("Table of stations' positions.", "--sites", show="FILE")]
On = Annotated[str | None, opt.option("Column of stations in both files.", "--on", show="COL")]
Melt = Annotated[bool, opt.option("Each column is a station, as in --sites.", "--melt")]
SHARED = {"layer": Layer, "where": Where, "end": End, "sites": Sites, "on": On, "melt": Melt}
INNER = {"end": "end_column"}  # evaluate has an end of its own


def reads_rows(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the options of `RowChoice`, which reach it together as ``choice``."""
    return _with_rows(command, SHARED)


def surveys_rows(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command as `reads_rows` does, but without periods, which one date has not."""
    return _with_rows(command, {name: kind for name, kind in SHARED.items() if name != "end"})


def _with_rows(command: Callable[..., None], added: dict[str, Any]) -> Callable[..., None]:
    signature = inspect.signature(command)
    own = {name: part for name, part in signature.parameters.items() if name != "choice"}
    outer = {name: INNER.get(name, name) for name in added}

    @wraps(command)
    def run(**given: Any) -> None:
        shared = {name: given[outer[name]] for name in added}
        shared["sites"] = None if shared["sites"] is None else str(shared["sites"])
        command(**{name: given[name] for name in own}, choice=RowChoice(**shared))

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [part.replace(kind=keyword) for part in own.values()] + [
        inspect.Parameter(
            outer[name], keyword, default=False if name == "melt" else None, annotation=kind
        )
        for name, kind in added.items()
    ]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {part.name: part.annotation for part in parameters} | {"return": None}
    return run


def marks(label: opt.Label | None, default: Literal["start", "end"]) -> Literal["start", "end"]:
    """Return which end of an interval the stamps of points mark.

    Raises
    ------
    InvalidParameter
        For the middle, which only maps can have.
    """
    if label is opt.Label.MIDDLE:
        raise InvalidParameter("--label middle is for maps; points have start or end.")
    if label is None:
        return default
    return "end" if label is opt.Label.END else "start"


def chosen(choice: RowChoice) -> dict[str, Any]:
    """Return what of a choice is given, by the name of its option."""
    return {f"--{name}": value or None for name, value in vars(choice).items()}
