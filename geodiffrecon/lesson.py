"""What any method may learn from: a complete history before the end, its features, its split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .calendar import Calendar
from .errors import NoObservations
from .features import Features
from .scaling import propose_kind
from .windows import Record, Split, split_in_time, without_outages

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr
    from numpy.typing import NDArray

    from .covariates import Covariates
    from .scaling import Kind
    from .variable import Variable

YEAR_NS = 365 * 86_400 * 10**9


@dataclass(frozen=True)
class Lesson:
    """A complete history with its features, as every method of reconstruction learns from it.

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
    """

    record: Record
    calendar: Calendar
    features: Features
    context: NDArray[np.float32]
    cells: NDArray[np.float32]
    kind: Kind

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
            If no map before `until` is complete.
        InvalidParameter
            If the values contradict the kind.
        """
        values, times = variable.values(history), history["time"].to_numpy()
        keep = times < variable.instant(until) if until else np.ones(len(times), bool)
        record, outages = without_outages(
            Record(times[keep], values[keep], variable.grid.factor, variable.aggregation)
        )
        if outages:
            log(f"{outages} maps are zero everywhere: outages, left out as gaps.")
        if not record.complete.any():
            raise NoObservations(f"No map before {until or 'the end'} is complete; fit needs them.")
        chosen = kind or propose_kind(record.fine, variable.aggregation)  # type: ignore[arg-type]
        variable.check_kind(chosen, record.fine[record.complete])
        log(f"{variable.name}: aggregation {variable.aggregation}, kind {chosen}.")
        calendar = Calendar.seen_in(record.times, tz=variable.calendar_tz, country=country)
        features = Features.of(external, record.times)
        parts = [calendar.context(record.times), features.context(external, record.times)]
        return cls(
            record, calendar, features, np.concatenate(parts, axis=1),
            features.cells(external, variable.grid), chosen,  # type: ignore[arg-type]
        )  # fmt: skip

    @property
    def shape(self) -> tuple[int, int]:
        """Coarse rows and columns."""
        rows, columns = (size // self.record.factor for size in self.record.fine.shape[1:])
        return rows, columns

    def split(self, *, folds: int, gap: int) -> Split:
        """Return which frames train, stop and calibrate; the same frames for any `folds`."""
        calendar = self.calendar
        return split_in_time(
            self.record.complete, block=calendar.n_slots, folds=folds, gap=gap,
            year=round(YEAR_NS / calendar.step_ns) if calendar.season else 0,
        )  # fmt: skip
