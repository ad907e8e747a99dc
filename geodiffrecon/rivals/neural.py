"""Training and use of neural rivals: one loop, one early stop and one budget for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..training import optimise
from .views import Case, Scale, Views, mixed_masks, usual_level

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..assembly import Observations
    from ..lesson import Lesson
    from .method import Course

    Array = NDArray[np.float64]

VIEWS = 12  # mask patterns that a rival trains on, the first of them complete
CHECKS = 192  # validation problems of an early stop
AT_ONCE = 64  # problems of one forward pass


@dataclass(frozen=True)
class Size:
    """What a network must fit.

    Parameters
    ----------
    shape : tuple of int
        Coarse rows and columns.
    factor : int
        N.
    features : int
        Length of the context vector.
    slots : int
        Steps of a day.
    signed : bool
        Whether values may lie below zero.
    """

    shape: tuple[int, int]
    factor: int
    features: int
    slots: int
    signed: bool


class Recipe(Protocol):
    """What makes one neural rival different from another."""

    def lags(self, slots: int) -> tuple[int, ...]:
        """Return the frames back that are read, oldest first, 0 last; a day has `slots` steps."""
        ...

    def build(self, size: Size) -> nn.Module:
        """Return a new network; torch's generator is seeded when this is called."""
        ...

    def train(self, network: nn.Module, lessons: Lessons) -> None:
        """Train the network in place, in one `Lessons.phase` or several."""
        ...

    def fine(self, network: nn.Module, case: Case) -> Tensor:
        """Return the mean fine maps (B, N I, N J) in scaled units."""
        ...


@dataclass
class Lessons:
    """Batches, early stop and budget of one training.

    Parameters
    ----------
    course : Course
        Frames, seed, deadline.
    views : Views
        Masked views of the record.
    lags : tuple of int
        Frames back that a problem holds.
    slots : int
        Steps of a day.
    """

    course: Course
    views: Views
    lags: tuple[int, ...]
    slots: int

    def __post_init__(self) -> None:
        self.taken: dict[str, int] = {}
        self._started = self.course.clock()

    def phase(
        self,
        name: str,
        network: nn.Module,
        loss: Callable[[Any, Case], Tensor],
        *,
        steps: int,
        rate: float,
        batch: int,
        share: float = 1.0,
    ) -> None:
        """Optimise `network` in place on ``loss(network, case)`` and keep the best weights.

        Parameters
        ----------
        name : str
            Of the phase; unique in a recipe.
        network : Module
            What is optimised.
        loss : callable
            Mean loss of a batch.
        steps : int
            Most steps.
        rate : float
            Learning rate.
        batch : int
            Problems per step.
        share : float
            Share of the whole time budget after which this phase ends at the latest, counted
            from the start of training.
        """
        course = self.course
        seed = course.seed * 101 + len(self.taken)
        earlier = course.steps.get(name)
        outcome = optimise(
            network,
            lambda step: loss(network, self.batch(seed, step, batch)),
            steps=steps if earlier is None else earlier, rate=rate, seed=seed, decay_over=steps,
            check=None if course.stop is None else self._check(network, loss),
            until=self._deadline(share), clock=course.clock, progress=course.progress,
            label=f"training {name}",
        )  # fmt: skip
        course.curves[name] = outcome.curve
        self.taken[name] = outcome.steps

    def batch(self, seed: int, step: int, size: int) -> Case:
        """Return the training problems of one step."""
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        frames = torch.as_tensor(np.flatnonzero(self.course.frames))
        pick = torch.randint(len(frames), (size,), generator=generator)
        variant = torch.randint(len(self.views.filled), (size,), generator=generator)
        return self.views.case(variant, frames[pick], self.lags, generator)

    def _check(
        self, network: nn.Module, loss: Callable[[Any, Case], Tensor]
    ) -> Callable[[], float]:
        assert self.course.stop is not None
        frames = torch.as_tensor(np.flatnonzero(self.course.stop))
        pairs = torch.cartesian_prod(torch.arange(len(self.views.filled)), frames)
        pairs = pairs[torch.linspace(0, len(pairs) - 1, min(CHECKS, len(pairs))).long()]

        def check() -> float:
            total = 0.0
            for number, part in enumerate(pairs.split(AT_ONCE)):
                generator = torch.Generator().manual_seed(number)
                case = self.views.case(part[:, 0], part[:, 1], self.lags, generator)
                total += float(loss(network, case)) * len(part)
            return total / len(pairs)

        return check

    def _deadline(self, share: float) -> float | None:
        if self.course.until is None:
            return None
        return self._started + share * (self.course.until - self._started)


@dataclass
class NeuralMethod:
    """A method that a `Recipe` makes of a network.

    Parameters
    ----------
    recipe : Recipe
        Architecture, losses and what it reads.
    masks : callable, optional
        ``masks(lesson, views, seed)`` of training, (R, T, I, J); mixed patterns by default.
    """

    recipe: Recipe
    masks: Callable[[Lesson, int, int], NDArray[np.bool_]] = mixed_masks

    @property
    def history(self) -> int:
        """Frames before the current one that can change its map."""
        return max(self._lags)

    @property
    def parameters(self) -> int:
        """Number of trained weights."""
        return sum(weight.numel() for weight in self._network.parameters())

    def fit(self, course: Course) -> dict[str, int]:
        """Train a new network."""
        self._prepare(course)
        seen = self.masks(course.lesson, VIEWS, course.seed)
        views = Views.of_record(course.lesson, self._scale, seen, self._level)
        lessons = Lessons(course, views, self._lags, course.lesson.calendar.n_slots)
        self.recipe.train(self._network, lessons)
        self._network.eval()
        return lessons.taken

    @torch.no_grad()
    def predict(self, given: Observations, frames: NDArray[np.int64]) -> Array:
        """Return fine means (F, N I, N J) in raw units."""
        views = Views.of_observations(given, self._scale, self._level)
        found = []
        for part in torch.as_tensor(frames).split(AT_ONCE):
            case = views.case(torch.zeros_like(part), part, self._lags)
            found.append(self.recipe.fine(self._network, case).double().numpy())
        return self._scale.raw_fine(np.concatenate(found))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the weights."""
        return {name: value.numpy() for name, value in self._network.state_dict().items()}

    def restore(self, course: Course, arrays: dict[str, NDArray[Any]]) -> None:
        """Load the weights."""
        self._prepare(course)
        self._network.load_state_dict({k: torch.as_tensor(v) for k, v in arrays.items()})
        self._network.eval()

    def _prepare(self, course: Course) -> None:
        lesson = course.lesson
        self._scale = Scale.of(lesson, course.frames)
        self._level = usual_level(lesson, course.frames)
        slots = lesson.calendar.n_slots
        self._lags = self.recipe.lags(slots)
        size = Size(
            lesson.shape, lesson.record.factor, lesson.context.shape[1], slots, self._scale.signed
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(course.seed * 7919 + 11)
            self._network = self.recipe.build(size)


def squared_error(network: nn.Module, case: Case) -> Tensor:
    """Return the mean squared error of ``network(case)`` (B, N I, N J) in scaled units."""
    _, fine = case.truth
    error: Tensor = (network(case) - fine).square().mean()
    return error
