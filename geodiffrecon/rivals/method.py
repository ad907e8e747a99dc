"""What every rival is to the rest: something that learns, and maps holes to complete fine means."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from ..assembly import Observations
    from ..lesson import Lesson

    Array = NDArray[np.float64]


@dataclass
class Course:
    """One course of learning: from which frames, and when to stop.

    Parameters
    ----------
    lesson : Lesson
        The record; frames outside `frames` and `stop` are never looked at.
    frames : array (T,) of bool
        Frames to learn from.
    stop : array (T,) of bool, optional
        Validation frames for early stopping; without them the course takes `steps`.
    steps : dict of str to int
        Steps of every phase, as an earlier course chose them.
    seed : int
        Of everything random.
    until : float, optional
        Value of `clock` after which learning stops.
    clock : callable
        Seconds that count.
    progress : Progress
        Told of every step; may cancel by raising.
    curves : dict
        Filled with ``(step, score)`` of every check of every phase.
    """

    lesson: Lesson
    frames: NDArray[np.bool_]
    stop: NDArray[np.bool_] | None = None
    steps: dict[str, int] = field(default_factory=dict)
    seed: int = 0
    until: float | None = None
    clock: Callable[[], float] = time.monotonic
    progress: Progress = silent
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)


class Method(Protocol):
    """A rival: it learns from complete maps and answers with a mean.

    How sure it may be is not its business: `Rival` learns that from its errors on validation.
    """

    @property
    def history(self) -> int:
        """Frames before the current one that can change its map."""
        ...

    def fit(self, course: Course) -> dict[str, int]:
        """Learn, forgetting all learnt before; return the steps that every phase took."""
        ...

    def predict(self, given: Observations, frames: NDArray[np.int64]) -> Array:
        """Return fine means (F, N I, N J) in raw units; nothing after a frame may change it."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what was learnt in long training; empty where learning takes seconds."""
        ...

    def restore(self, course: Course, arrays: dict[str, NDArray[Any]]) -> None:
        """Become what `arrays` was taken from; `course` is the one that it learnt from."""
        ...


class Quick:
    """Methods that learn in seconds: nothing is stored, restoring is learning again."""

    history = 0

    def fit(self, course: Course) -> dict[str, int]:
        """Learn from the course."""
        raise NotImplementedError

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return nothing: learning again is as quick as reading."""
        return {}

    def restore(self, course: Course, arrays: dict[str, NDArray[Any]]) -> None:
        """Learn again."""
        self.fit(course)
