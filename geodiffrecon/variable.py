"""The variable of one model: its name, grid, step and kind, and what fits it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .calendar import iso
from .cube import make_cube
from .errors import GridMismatch, InvalidParameter, InvalidTime, NoObservations
from .grid import NestedGrid
from .stamps import utc_stamp
from .steps import TimeStep

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr
    from numpy.typing import NDArray

    from .summary import Summary

LARGEST = 1e15  # its square, summed over a record, still fits single precision
FACTOR = 50.0  # between medians, that no episode makes
WIDTHS = 2.0  # of the record, beyond its ends
NOISE = 0.2  # share below zero up to which a field may be one of noise about zero


@dataclass(frozen=True)
class Record:
    """What the values of a record were like.

    Parameters
    ----------
    low, middle, high : float
        Quantiles of 0.1, 50 and 99.9 %; of a field that is never below zero those above zero.
    signed : bool
        Whether values below zero are among them, not only as noise.
    """

    low: float
    middle: float
    high: float
    signed: bool

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> Record | None:
        """Return the record of values (NaN = missing); None without any but zero."""
        signed, known = _told(values)
        if not len(known):
            return None
        low, middle, high = (float(q) for q in np.quantile(known, (0.001, 0.5, 0.999)))
        return cls(low, middle, high, signed)

    def is_far(self, values: NDArray[np.floating]) -> float | None:
        """Return the middle of `values` if they cannot be in the same unit.

        A day ten times as high as usual is one to be mapped, so that it takes a factor of fifty
        or, where both signs are usual, twice the width of the whole record beyond its ends.
        """
        known = _told(values)[1] if not self.signed else values[np.isfinite(values)]
        if not len(known):
            return None
        middle = float(np.median(known))
        if self.low <= middle <= self.high:
            return None
        if not self.signed and self.low > self.high / 2:  # far from zero, as kelvin
            return None if abs(middle - self.middle) < WIDTHS * (self.high - self.low) else middle
        if self.signed:
            wide = WIDTHS * (self.high - self.low)
            return None if self.low - wide <= middle <= self.high + wide else middle
        return middle if not 1 / FACTOR < middle / self.middle < FACTOR else None


def _told(values: NDArray[np.floating]) -> tuple[bool, NDArray[np.floating]]:
    """Return whether values have both signs, and those that tell their unit."""
    known = values[np.isfinite(values)]
    signed = bool(len(known)) and float((known < 0).mean()) > NOISE
    return signed, known if signed else known[known > 0]


@dataclass(frozen=True)
class Variable:
    """What a model is about.

    Parameters
    ----------
    name : str
        Of the main variable of its cubes.
    grid : NestedGrid
        Coarse and fine.
    freq, calendar_tz : str
        Step and time zone of its cubes.
    aggregation : {"mean", "sum"}
        How fine values make a coarse one.
    attrs : dict of str
        ``units`` and ``long_name`` where known.
    record : Record, optional
        What the values of its training were like.
    """

    name: str
    grid: NestedGrid
    freq: str
    calendar_tz: str
    aggregation: str
    attrs: dict[str, str]
    record: Record | None = None

    @classmethod
    def of_history(cls, history: xr.Dataset, aggregation: str | None) -> Variable:
        """Read the variable off a fine cube; `aggregation` overrides what the cube says.

        Raises
        ------
        GridMismatch, InvalidParameter
            If the cube is not a fine one, or the aggregation unknown.
        """
        level = history.attrs.get("level")
        if level != "fine":
            raise GridMismatch(
                f"fit needs a fine-level cube, not level {level!r}; read the history with "
                "open_history(path, factor=N)."
            )
        chosen = aggregation or str(history.attrs["aggregation"])
        if chosen not in ("mean", "sum"):
            raise InvalidParameter(f"aggregation must be mean or sum, not {chosen!r}.")
        name = str(history.attrs["value"])
        found = history[name].attrs
        attrs = {key: str(found[key]) for key in ("units", "long_name") if key in found}
        zone = str(history.attrs.get("calendar_tz", "UTC"))
        return cls(name, NestedGrid.of(history), str(history.attrs["freq"]), zone, chosen, attrs)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Variable:
        """Rebuild a variable from its JSON form."""
        record = stored.get("record")
        known = None if record is None else Record(**record)
        return cls(**{**stored, "grid": NestedGrid.from_dict(stored["grid"]), "record": known})

    def to_dict(self) -> dict[str, Any]:
        """Return the variable as JSON types."""
        plain = {key: getattr(self, key) for key in self.__dataclass_fields__}
        known = None if self.record is None else asdict(self.record)
        return {**plain, "grid": self.grid.to_dict(), "record": known}

    @property
    def step(self) -> TimeStep:
        """The time step."""
        return TimeStep.parse(self.freq, tz=self.calendar_tz)

    def values(self, cube: xr.Dataset) -> NDArray[np.float32]:
        """Return the main values (T, rows, columns) of a cube, whatever their name in it."""
        return cube[str(cube.attrs["value"])].to_numpy().astype(np.float32)

    def instant(self, text: str) -> np.datetime64:
        """Return a time given as text in UTC; without a zone it is in the variable's own.

        Raises
        ------
        InvalidTime
            If it is no time.
        """
        return utc_stamp(text, self.calendar_tz)

    def check_kind(self, kind: str, known: NDArray[np.floating]) -> None:
        """Refuse a kind that the `known` values contradict.

        Raises
        ------
        InvalidParameter
            If values lie below the bound of the kind, or sums have no shares.
        """
        low = float(known.min())
        if kind != "real" and low < 0:
            raise InvalidParameter(
                f"kind is {kind}, but the history has values down to {low:g}; use --kind real or "
                "mend the values."
            )
        if self.aggregation == "sum" and kind == "real":
            raise InvalidParameter(
                f"Sums of real values (down to {low:g}) have no shares; use aggregation mean, or "
                "kind positive where nothing is below zero."
            )

    @staticmethod
    def check_varied(known: NDArray[np.floating]) -> None:
        """Refuse `known` values (n,) of a record that nothing can be learnt from.

        Raises
        ------
        InvalidParameter
            If they are all equal, or larger than arithmetic in single precision takes.
        """
        low, high = float(known.min()), float(known.max())
        if max(-low, high) > LARGEST:
            raise InvalidParameter(
                f"Values reach {max(low, high, key=abs):g} before the end of training, beyond the "
                f"{LARGEST:g} that a model can learn from; if that is a code of missing values, "
                "declare it, else give the values in a larger unit."
            )
        if low == high:
            raise InvalidParameter(
                f"All {known.size} values before the end of training are {low:g}, and a model "
                "learns from what varies; check the value column or variable."
            )

    def check_units(
        self, values: NDArray[np.floating], *, accept: bool, log: Callable[[str], None]
    ) -> None:
        """Refuse values that seem to be in other units than those learnt, or only say it.

        Raises
        ------
        InvalidParameter
            If their median lies far outside the record, unless `accept` says that it may.
        """
        record = self.record
        middle = None if record is None else record.is_far(values)
        if record is None or middle is None:
            return
        said = (
            f"The median of the values of {self.name} is {middle:.4g}, but the model has learnt "
            f"values of {record.low:.4g} to {record.high:.4g} (median {record.middle:.4g})"
        )
        if not accept:
            raise InvalidParameter(
                f"{said}; convert them if their unit is another, or say --accept-units."
            )
        log(f"{said}; they are accepted as they are.")

    def check_observations(self, observations: xr.Dataset) -> None:
        """Refuse a cube of another level, grid or step.

        Raises
        ------
        GridMismatch, InvalidTime, NoObservations
            One sentence with what was seen.
        """
        level = observations.attrs.get("level")
        if level != "coarse":
            raise GridMismatch(
                f"reconstruct needs a coarse-level cube, not level {level!r}; bin points with "
                "level='coarse'."
            )
        self.grid.check_same(NestedGrid.of(observations), "observations")
        freq = str(observations.attrs["freq"])
        own, other = (TimeStep.parse(f, tz=self.calendar_tz) for f in (self.freq, freq))
        if own != other:
            raise InvalidTime(
                f"The observations have steps of {freq}, the model of {self.freq}; bin them with "
                f"freq {self.freq}."
            )
        if not np.isfinite(self.values(observations)).any():
            raise NoObservations(
                "Every value of the observations is missing; check the column or variable, its "
                "missing-value code and the time range."
            )

    def frames(
        self, times: NDArray[np.datetime64], asked: tuple[str, str] | None
    ) -> NDArray[np.int64]:
        """Return the indices of `times` from the first to the last time asked for.

        Raises
        ------
        NoObservations
            If there is none.
        """
        if asked is None:
            return np.arange(len(times))
        first, last = (self.instant(text) for text in _ends(asked))
        frames = np.flatnonzero((times >= first) & (times <= last))
        if not len(frames):
            raise NoObservations(
                f"No observation lies between {asked[0]} and {asked[1]}; the file covers "
                f"{iso(times[0])} to {iso(times[-1])}, so give other times."
            )
        return frames

    def maps(
        self,
        summary: Summary,
        times: NDArray[np.datetime64],
        n_obs: NDArray[np.integer],
        *,
        draws: NDArray[np.float64] | None,
        attrs: dict[str, Any],
    ) -> xr.Dataset:
        """Return the maps that users get: statistics, counts and, if given, draws (K, F, ...)."""
        maps = make_cube(
            summary.mean.astype(np.float32), times, self.grid, value=self.name, level="fine",
            freq=self.freq, aggregation=self.aggregation, calendar_tz=self.calendar_tz,
            n_obs=n_obs.astype(np.int32), value_attrs=self.attrs, attrs=attrs,
        )  # fmt: skip
        dims = maps[self.name].dims
        for name, values in {"std": summary.std, **summary.quantiles}.items():
            maps[f"{self.name}_{name}"] = (dims, values.astype(np.float32), dict(self.attrs))
        if draws is not None:
            axes = ("realization", *dims)
            maps[f"{self.name}_draws"] = (axes, draws.astype(np.float32), dict(self.attrs))
        return maps


class OfVariable:
    """What models say of their variable; a model sets `variable` when it is fitted or loaded.

    Attributes
    ----------
    variable : Variable
        What the model is about.
    """

    variable: Variable

    @property
    def grid(self) -> NestedGrid:
        """Coarse and fine grid."""
        return self.variable.grid

    @property
    def value(self) -> str:
        """Name of the variable."""
        return self.variable.name

    @property
    def aggregation(self) -> str:
        """How fine values make a coarse one; of stations always by their mean."""
        return self.variable.aggregation

    @property
    def freq(self) -> str:
        """Step of the cubes."""
        return self.variable.freq

    @property
    def calendar_tz(self) -> str:
        """Time zone in which days are cut."""
        return self.variable.calendar_tz


def _ends(asked: Any) -> tuple[Any, Any]:
    """Return the first and the last time asked for."""
    pair = [] if isinstance(asked, str) or np.ndim(asked) == 0 else list(asked)
    if len(pair) != 2:
        raise InvalidTime(
            f"Times are the first and the last one, such as ('2024-05-20', '2024-05-21'), not "
            f"{str(asked)[:60]!r}."
        )
    return pair[0], pair[1]
