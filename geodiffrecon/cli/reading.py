"""The options of how maps in a file are read, which every command that reads them has."""

# No postponed annotations here: typer reads them at run time.
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any

from . import options as opt

Select = Annotated[
    list[str] | None,
    opt.option("Which value of a further dimension; repeat.", "--select", show="DIM=VALUE"),
]
Times = Annotated[
    str | None,
    opt.option("Times of maps: with commas, or a file of lines.", "--times", show="T,T"),
]
TimeFrom = Annotated[
    str | None,
    opt.option("Form of the time in names, such as %Y%m%d.", "--time-from", show="PATTERN"),
]
Label = Annotated[
    opt.Label | None, opt.option("Which point of an interval stamps mark.", "--label")
]
Freq = Annotated[str | None, opt.option("Time step, such as 1h or 1D.", "--freq", show="F")]
SHARED = {"select": Select, "times": Times, "time_from": TimeFrom, "label": Label, "freq": Freq}


@dataclass(frozen=True)
class Reading:
    """How maps in a file are read; None takes what the file says.

    Parameters
    ----------
    select, times, time_from, label, freq
        As in `open_history`; `select` as written, ``DIM=VALUE``.
    """

    select: tuple[str, ...] = ()
    times: str | None = None
    time_from: str | None = None
    label: str | None = None
    freq: str | None = None

    def request(self, *, freq: str | None = None) -> dict[str, Any]:
        """Return the arguments of `open_history` and `open_cube`; `freq` where none is given."""
        return {**self.opening(), "label": self.label, "freq": self.freq or freq}

    def opening(self) -> dict[str, Any]:
        """Return the arguments of `open_source`."""
        return {"select": self.chosen(), "times": self.times, "time_from": self.time_from}

    def chosen(self) -> dict[str, str]:
        """Return what is selected, by dimension.

        Raises
        ------
        InvalidParameter
            If a text is not of the form ``DIM=VALUE``.
        """
        from ..errors import InvalidParameter

        parts = [(text, *text.partition("=")) for text in self.select]
        for text, dim, sign, value in parts:
            if not (dim and sign and value):
                raise InvalidParameter(
                    f"--select is {text!r}; write a dimension and its value, such as level=1000."
                )
        return {dim: value for _, dim, _, value in parts}

    def given(self) -> dict[str, Any]:
        """Return what only maps can have, by the name of its option."""
        return {"--select": self.select or None, "--times": self.times,
                "--time-from": self.time_from}  # fmt: skip


def reads_maps(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the options of `Reading`, which reach it together as ``maps``.

    Those that the command has itself, such as the step of stations, it gets under both names.
    """
    return _with_maps(command, SHARED)


def opens_maps(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command as `reads_maps` does, but without those of the step of a record."""
    return _with_maps(command, {k: v for k, v in SHARED.items() if k not in ("label", "freq")})


def _with_maps(command: Callable[..., None], wanted: dict[str, Any]) -> Callable[..., None]:
    signature = inspect.signature(command)
    own = {name: part for name, part in signature.parameters.items() if name != "maps"}
    added = {name: kind for name, kind in wanted.items() if name not in own}

    @wraps(command)
    def run(**given: Any) -> None:
        shared = {name: given[name] for name in wanted}
        shared["select"] = tuple(shared["select"] or ())
        label = shared.get("label")
        shared["label"] = None if label is None else label.value
        command(**{name: given[name] for name in own}, maps=Reading(**shared))

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [part.replace(kind=keyword) for part in own.values()] + [
        inspect.Parameter(name, keyword, default=None, annotation=kind)
        for name, kind in added.items()
    ]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {part.name: part.annotation for part in parameters} | {"return": None}
    return run
