"""What any method may learn from: a history before the end, its features, its split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .calendar import Calendar
from .cube import kept_zeros
from .errors import NoObservations
from .features import Features
from .scaling import propose_kind
from .windows import USABLE, Record, Split, split_in_time, without_outages
from .words import agreed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import xarray as xr
    from numpy.typing import NDArray

    from .covariates import Covariates
    from .scaling import Kind
    from .steps import TimeStep
    from .variable import Variable

YEAR_NS = 365 * 86_400 * 10**9
MEANING = f"a map is usable if it knows {USABLE:.0%} of the coarse cells that are ever known"


@dataclass(frozen=True)
class Lesson:
    """A history with its features, as every method of reconstruction learns from it.

    Parameters
    ----------
    record : Record
        Fine history before the end of training and validation.
    calendar : Calendar
        Cycles seen in the record.
    features : Features
        How external features are standardised.
    context : array (T, E)
        Calendar and covariates of every frame.
    cells : array (S, I, J)
        Standardised covariates of the coarse cells; none: ``S = 0``.
    kind : {"real", "positive", "count"}
        What values can be.
    step : TimeStep
        Of the record.
    """

    record: Record
    calendar: Calendar
    features: Features
    context: NDArray[np.float32]
    cells: NDArray[np.float32]
    kind: Kind
    step: TimeStep

    @classmethod
    def of(
        cls,
        history: xr.Dataset,
        variable: Variable,
        *,
        kind: str | None = None,
        until: str | None = None,
        external: Covariates | None = None,
        country: str | None = None,
        log: Callable[[str], None] = lambda sentence: None,
    ) -> Lesson:
        """Read the lesson off a fine cube; the parameters are those of `DiffRecon.fit`.

        Raises
        ------
        NoObservations
            If no map before `until` is usable.
        InvalidParameter
            If the values contradict the kind.
        """
        values, times = variable.values(history), history["time"].to_numpy()
        keep = times < variable.instant(until) if until else np.ones(len(times), bool)
        record, outages = (
            Record(times[keep], values[keep], variable.grid.factor, variable.aggregation),
            0,
        )
        if not kept_zeros(history):
            record, outages = without_outages(record)
        if outages:
            told = f"{outages} maps are zero everywhere: outages, left out as gaps."
            log(agreed(outages, told))
        known = np.isfinite(record.fine)
        if not (known.any() and record.usable.any()):
            raise NoObservations(
                f"No map before {until or 'the end'} is usable; fit needs them ({MEANING})."
            )
        chosen = kind or propose_kind(record.fine, variable.aggregation)  # type: ignore[arg-type]
        variable.check_varied(record.fine[known])
        variable.check_kind(chosen, record.fine[known])
        log(f"{variable.name}: aggregation {variable.aggregation}, kind {chosen}.")
        for sentence in _holes(record, known):
            log(sentence)
        calendar = Calendar.seen_in(record.times, tz=variable.calendar_tz, country=country)
        features = Features.of(external, record.times)
        parts = [calendar.context(record.times), features.context(external, record.times)]
        return cls(
            record, calendar, features, np.concatenate(parts, axis=1),
            features.cells(external, variable.grid), chosen,  # type: ignore[arg-type]
            variable.step,
        )  # fmt: skip

    @property
    def shape(self) -> tuple[int, int]:
        """Coarse rows and columns."""
        rows, columns = (size // self.record.factor for size in self.record.fine.shape[1:])
        return rows, columns

    def split(self, *, folds: int, gap: int, partly: bool = False) -> Split:
        """Return which frames train, stop and calibrate; the same frames for any `folds`.

        Complete frames only, or with `partly` all usable ones, for methods that mind the holes.

        Raises
        ------
        NoObservations
            If there are too few of them.
        """
        calendar, record = self.calendar, self.record
        return split_in_time(
            record.usable if partly else record.complete,
            what=f"usable fine maps ({MEANING})" if partly else "complete fine maps",
            block=calendar.n_slots, folds=folds, gap=gap,
            year=round(YEAR_NS / calendar.step_ns) if calendar.season else 0,
        )  # fmt: skip


def _holes(record: Record, known: NDArray[np.bool_]) -> Iterator[str]:
    """Yield what the log says of a record with holes; nothing for whole maps and whole gaps."""
    some = known.any(axis=(1, 2))
    if known[some].all():
        return
    yield (
        f"{np.mean(~known[some]):.0%} of the values of the history are missing: "
        f"{int(record.usable.sum())} of {int(some.sum())} maps train, where they are known."
    )
    never = int((~known.any(axis=0)).sum())
    if never:
        yield (
            f"{never} fine cells are never known: they are mapped from the cells around them, "
            "with a wide spread."
        )
