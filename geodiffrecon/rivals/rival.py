"""A rival as users hold it: fitted and used like the model, with errors learnt on validation."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from ..assembly import Observations
from ..errors import NotFitted
from ..forecast import Forecast
from ..lesson import Lesson
from ..memory import check_maps
from ..noise import calendar_numbers
from ..progress import Progress, silent
from ..summary import QUANTILES, Summary
from ..variable import Variable
from ..windows import observation_mask, repeat
from .catalogue import make
from .ensemble import ErrorField
from .method import Course

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr
    from numpy.typing import NDArray

    from ..covariates import Covariates
    from ..windows import Pattern
    from .method import Method

    Array = NDArray[np.float64]

Trials = tuple[tuple["Pattern", float, int], ...]  # pattern, missing ratio, number of the mask
TRIALS: Trials = (
    ("random", 0.4, 500), ("fixed", 0.8, 501), ("random", 0.8, 502), ("fixed", 0.4, 503),
)  # fmt: skip
FIRST_SHARE = 0.5  # of the time, to find the steps; the rest trains on validation as well
FOLDS = 3
MEAN_DRAWS = 8
STD_DRAWS = 32  # that the standard deviation of maps is taken from, at least


@runtime_checkable
class DrawingMethod(Protocol):
    """A method that has an ensemble of its own.

    Attributes
    ----------
    slow : bool
        Whether draws are so costly that its mean is one of few of them.
    """

    slow: bool

    def draws(self, given: Observations, frames: NDArray[np.int64], samples: int, seed: int) -> Any:
        """Return draws (K, F, N I, N J) in raw units."""
        ...


@dataclass
class Rival:
    """Any method of reconstruction behind the interface of `DiffRecon`.

    It learns twice: from the training part, which chooses the steps and shows its errors on
    validation, and from both parts with those steps.

    Parameters
    ----------
    name : str
        In `rivals.catalogue.RIVALS`.
    seed : int
        Of everything random in fitting.
    method : Method, optional
        One of your own in place of a named one.
    """

    name: str
    seed: int = 0
    method: Method | None = None
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    errors: ErrorField | None = None
    trials: Trials = TRIALS

    def fit(
        self,
        history: xr.Dataset,
        *,
        aggregation: str | None = None,
        kind: str | None = None,
        until: str | None = None,
        external: Covariates | None = None,
        country: str | None = None,
        max_minutes: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        progress: Progress = silent,
        log: Callable[[str], None] = lambda sentence: None,
    ) -> Rival:
        """Fit to a complete fine history; parameters, errors and result as `DiffRecon.fit`."""
        self.variable = Variable.of_history(history, aggregation)
        lesson = Lesson.of(
            history, self.variable, kind=kind, until=until, external=external, country=country,
            log=log,
        )  # fmt: skip
        return self.learn(lesson, max_minutes=max_minutes, clock=clock, progress=progress)

    def learn(
        self,
        lesson: Lesson,
        *,
        max_minutes: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        progress: Progress = silent,
    ) -> Rival:
        """Learn from a lesson; what `fit` does after reading the history."""
        self.lesson = lesson
        self.method = self.method or make(self.name)
        began = clock()
        seconds = None if max_minutes is None else 60 * max_minutes
        split = lesson.split(folds=FOLDS, gap=0)
        first = Course(
            lesson, split.train, split.gate, seed=self.seed, clock=clock, progress=progress,
            curves=self.curves,
            until=None if seconds is None else began + FIRST_SHARE * seconds,
        )  # fmt: skip
        self.steps = self.method.fit(first)
        if not isinstance(self.method, DrawingMethod):
            progress(0, 1, "learning from errors")
            self.errors = self._errors(split.calibrate)
        final = self._final_course(progress)
        final.clock = clock
        final.until = None if seconds is None else began + seconds
        self.method.fit(final)
        return self

    def forecast(
        self,
        given: Observations,
        frames: NDArray[np.int64],
        *,
        samples: int = 0,
        seed: int = 0,
    ) -> Forecast:
        """Return what the method says of `frames` (F,), with `samples` draws if more than one."""
        method = self._fitted()
        if isinstance(method, DrawingMethod):
            drawn = method.draws(given, frames, max(samples, MEAN_DRAWS), seed)
            mean = drawn.mean(axis=0) if method.slow else method.predict(given, frames)
            return Forecast(mean, None, drawn if samples > 1 or method.slow else None)
        assert self.errors is not None
        mean = method.predict(given, frames)
        hidden = _hidden(given, frames, self.lesson.record.factor)
        distribution = self.errors.distribution(mean, hidden)
        draws = None
        if samples > 1:
            steps = calendar_numbers(given.times[frames], self.lesson.step)
            draws = self.errors.draws(mean, hidden, samples, seed, steps)
        return Forecast(mean, distribution, draws)

    def reconstruct(
        self,
        observations: xr.Dataset,
        *,
        samples: int = 0,
        seed: int = 0,
        times: tuple[str, str] | None = None,
        external: Covariates | None = None,
    ) -> xr.Dataset:
        """Return complete fine maps of sparse coarse observations, as `DiffRecon.reconstruct`."""
        self._fitted()
        self.variable.check_observations(observations)
        stamps = observations["time"].to_numpy()
        frames = self.variable.frames(stamps, times)
        given = Observations(
            stamps, self.variable.values(observations).astype(np.float64),
            self.context(stamps, external), self.lesson.cells,
        )  # fmt: skip
        check_maps(len(frames), self.variable.grid.fine_shape, max(samples, STD_DRAWS))
        forecast = self.forecast(given, frames, samples=max(samples, STD_DRAWS), seed=seed)
        summary, drawn = _summary(forecast), forecast.draws
        count = repeat(
            np.isfinite(given.coarse[frames]).astype(np.int32), self.variable.grid.factor
        )
        attrs = {"method": self.name, "seed": seed, "samples": samples}
        return self.variable.maps(
            summary,
            stamps[frames],
            count,
            attrs=attrs,
            draws=drawn[:samples] if samples and drawn is not None else None,
        )

    def context(
        self, times: NDArray[np.datetime64], external: Covariates | None
    ) -> NDArray[np.float32]:
        """Return calendar and external features (T, E)."""
        parts = [self.lesson.calendar.context(times), self.lesson.features.context(external, times)]
        return np.concatenate(parts, axis=1)

    @property
    def history(self) -> int:
        """Frames before the current one that can change its map."""
        return self._fitted().history

    @property
    def parameters(self) -> int | None:
        """Number of trained weights, where there are any."""
        return getattr(self.method, "parameters", None)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return weights and error field, to become the same rival again by `restore`."""
        weights = {f"method.{k}": v for k, v in self._fitted().arrays().items()}
        errors = {} if self.errors is None else self.errors.to_arrays()
        return {**weights, **{f"errors.{k}": v for k, v in errors.items()}}

    def restore(self, lesson: Lesson, arrays: dict[str, NDArray[Any]]) -> Rival:
        """Become the rival that `arrays` was taken from; `lesson` is the one it learnt from."""
        self.lesson = lesson
        self.method = self.method or make(self.name)
        self.method.restore(self._final_course(silent), _under("method.", arrays))
        errors = _under("errors.", arrays)
        if errors:
            self.errors = ErrorField.from_arrays(lesson.kind, errors)
        return self

    def _fitted(self) -> Method:
        if self.method is None:
            raise NotFitted("The rival is not fitted; call fit(history) first.")
        return self.method

    def _final_course(self, progress: Progress) -> Course:
        everything = self.lesson.split(folds=FOLDS, gap=0).all_folds >= 0
        return Course(self.lesson, everything, steps=self.steps, seed=self.seed, progress=progress)

    def _errors(self, calibrate: NDArray[np.bool_]) -> ErrorField:
        """Learn the errors on validation frames that nothing else used."""
        lesson, frames = self.lesson, np.flatnonzero(calibrate)
        coarse, fine = lesson.record.coarse, lesson.record.fine.astype(np.float64)
        means, hidden = [], []
        for pattern, missing, number in self.trials:
            seen = observation_mask(pattern, missing, len(coarse), lesson.shape, number)
            given = Observations(
                lesson.record.times, np.where(seen, coarse, np.nan), lesson.context, lesson.cells
            )
            means.append(self._fitted().predict(given, frames))
            hidden.append(_hidden(given, frames, lesson.record.factor))
        follows = np.concatenate([[False], np.diff(frames) == 1])
        return ErrorField.fit(
            lesson.kind, lesson.record.aggregation, np.concatenate(means),
            np.concatenate([fine[frames]] * len(self.trials)), np.concatenate(hidden),
            np.tile(follows, len(self.trials)),
        )  # fmt: skip


def _hidden(given: Observations, frames: NDArray[np.int64], factor: int) -> NDArray[np.bool_]:
    return repeat(np.isnan(given.coarse[frames]), factor)


def _under(prefix: str, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _summary(forecast: Forecast) -> Summary:
    assert forecast.draws is not None
    of_draws = Summary.of_draws(forecast.draws)
    if forecast.distribution is None:
        return of_draws
    quantiles = {name: forecast.distribution.quantile(q) for name, q in QUANTILES.items()}
    return Summary(forecast.mean, of_draws.std, quantiles)
