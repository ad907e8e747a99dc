"""What methods are tested on: complete frames of a history, cells hidden by a pattern."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .assembly import Observations
from .calendar import iso
from .cube import kept_zeros
from .errors import NoObservations
from .windows import Record, observation_mask, without_outages

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from .calendar import Calendar
    from .covariates import Covariates
    from .features import Features
    from .variable import Variable

    Array = NDArray[np.float64]

COMPLETE = "complete"  # the pattern that hides nothing


@dataclass(frozen=True)
class Task:
    """What is scored: a stretch of record, with the history before it, and its frames.

    Parameters
    ----------
    record : Record
        Truth, history included.
    context, cells : array (T, E) and (S, I, J)
        Features of every frame and of every cell.
    frames : array (F,)
        Frames of the record that are scored.
    """

    record: Record
    context: NDArray[np.float32]
    cells: NDArray[np.float32]
    frames: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        history: xr.Dataset,
        variable: Variable,
        calendar: Calendar,
        features: Features,
        *,
        first: np.datetime64,
        last: np.datetime64,
        before: int,
        external: Covariates | None = None,
    ) -> Task:
        """Cut the task out of a fine cube: frames `first` to `last`, and `before` more in front.

        Raises
        ------
        NoObservations
            If the history has no map then, or none that is complete.
        """
        times = history["time"].to_numpy()
        chosen = np.flatnonzero((times >= first) & (times <= last))
        if not len(chosen):
            raise NoObservations(
                f"The history has no map from {iso(first)} to {iso(last)}; it ends at "
                f"{iso(times[-1])}."
            )
        begin = max(0, int(chosen[0]) - before)
        part = history.isel(time=slice(begin, int(chosen[-1]) + 1))
        stamps, values = part["time"].to_numpy(), variable.values(part)
        record = Record(stamps, values, variable.grid.factor, variable.aggregation)
        if not kept_zeros(history):
            record, _ = without_outages(record)
        context = [calendar.context(record.times), features.context(external, record.times)]
        frames = chosen - begin
        frames = frames[record.complete[frames]]
        if not len(frames):
            raise NoObservations(
                f"None of the {len(chosen)} maps from {iso(first)} to {iso(last)} is complete; "
                "scores need complete maps to compare with."
            )
        return cls(
            record, np.concatenate(context, axis=1), features.cells(external, variable.grid), frames
        )

    @property
    def truth(self) -> Array:
        """True fine maps (F, N I, N J) of the frames."""
        return self.record.fine[self.frames].astype(np.float64)

    def observe(self, pattern: str, missing: float, mask: int) -> Observations:
        """Return what mask number `mask` of a pattern leaves; "complete" hides nothing."""
        coarse = self.record.coarse
        if pattern != COMPLETE:
            seen = observation_mask(pattern, missing, len(coarse), coarse.shape[1:], mask)  # type: ignore[arg-type]
            coarse = np.where(seen, coarse, np.nan)
        return Observations(self.record.times, coarse, self.context, self.cells)


def recent(
    given: Observations, frames: NDArray[np.int64], history: int
) -> tuple[Observations, NDArray[np.int64]]:
    """Return the observations from `history` frames before the first of `frames` on, and those."""
    begin = max(0, int(frames.min()) - history)
    part = slice(begin, int(frames.max()) + 1)
    counts = None if given.n_obs is None else given.n_obs[part]
    cut = replace(
        given, times=given.times[part], coarse=given.coarse[part], context=given.context[part],
        n_obs=counts,
    )  # fmt: skip
    return cut, frames - begin
