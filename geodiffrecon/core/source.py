"""The randomness of a simulated sequence: parameters that stay, and noise that evolves."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = NDArray[np.float64]


class Source:
    """Where a family of fields takes every random number from.

    A family is written as if there were one date. Its parameters (:meth:`between`,
    :meth:`chance`, ...) come from a generator that starts anew on each date, so they are the same
    on all; its noise (:meth:`white`, :meth:`evolving`, :meth:`places`) evolves from date to date
    as an autoregression of first order. A family run once a date thus gives a coherent sequence,
    as long as it never lets noise decide which parameters are drawn.

    Parameters
    ----------
    rng : numpy.random.Generator
        What everything is drawn from.
    size : int
        Rows and columns of the fields.
    memory : float
        Correlation of the noise from one date to the next, from 0 to below 1.
    drift : tuple of float
        Rows and columns by which the noise moves from one date to the next.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        size: int,
        *,
        memory: float = 0.0,
        drift: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.size = size
        self._seed = int(rng.integers(2**62))
        self._news = np.random.default_rng(int(rng.integers(2**62)))
        self._memory = memory
        self._drift = np.array(drift)
        self._past: list[Array] = []
        self._frozen = False
        self._date = -1
        self.next_date()

    def next_date(self) -> None:
        """Go on to the next date: the same parameters again, and noise one step on."""
        #: The generator of the parameters, for what the methods below do not offer.
        self.parameters = np.random.default_rng(self._seed)
        self._date += 1
        # A list, as the views of :attr:`still` and the source itself count together.
        self._calls = [0]

    @property
    def still(self) -> Source:
        """The same source with noise that stays: for land, relief, streets and sites."""
        view = copy(self)
        view._frozen = True
        return view

    # ---- parameters: the same on all dates

    def between(self, low: float, high: float) -> float:
        """Draw a number, all values equally likely."""
        return float(self.parameters.uniform(low, high))

    def ratio(self, low: float, high: float) -> float:
        """Draw a positive number, all orders of magnitude equally likely."""
        return float(np.exp(self.parameters.uniform(np.log(low), np.log(high))))

    def normal(self, spread: float = 1.0) -> float:
        """Draw a number around zero."""
        return float(spread * self.parameters.standard_normal())

    def whole(self, low: int, high: int) -> int:
        """Draw a whole number, both ends included."""
        return int(self.parameters.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        """Decide something that holds with this probability."""
        return bool(self.parameters.random() < probability)

    def pick(self, options: Sequence[float]) -> float:
        """Choose one of some numbers."""
        return float(options[int(self.parameters.integers(len(options)))])

    def heading(self) -> float:
        """Draw a direction, in radians."""
        return self.between(0.0, 2.0 * np.pi)

    def several(self, mean: float) -> int:
        """Draw a number of objects, one at least."""
        return 1 + int(self.parameters.poisson(mean))

    # ---- noise: one step further on each date

    def white(self, size: int | None = None) -> Array:
        """White noise on a square raster, of this source's size unless told."""
        side = self.size if size is None else size
        return self._noise((side, side), moves=True)

    def evolving(self, count: int) -> Array:
        """Return standard normal numbers, e.g. the strengths of some objects."""
        return self._noise((count,), moves=False)

    def places(self, count: int, margin: float = 3.0) -> Array:
        """Rows and columns (count, 2) of objects in the raster or at most `margin` outside it."""
        room = self.size + 2.0 * margin
        shares = ndtr(self._noise((count, 2), moves=False))
        moved = 0.0 if self._frozen else self._date * self._drift
        return np.asarray((shares * room + moved) % room - margin)

    def uniform(self) -> Array:
        """Noise between 0 and 1, all values equally likely."""
        return np.asarray(ndtr(self.white()))

    def gamma(self, shape: float, noise: Array | None = None) -> Array:
        """Skewed positive noise with a mean of one, in each cell or in place of given noise.

        The cube of a normal number (Wilson and Hilferty's approximation), so that it evolves
        with the white noise it is made of.
        """
        normal = self.white() if noise is None else noise
        root = 1.0 - 1.0 / (9.0 * shape) + normal / (3.0 * np.sqrt(shape))
        return np.asarray(np.maximum(root, 0.0) ** 3)

    def student(self, freedom: float) -> Array:
        """White noise with heavy tails: Student's distribution, six at most.

        One value beyond that, in an exponential, would leave nothing else to see.
        """
        noise = self.white() / np.sqrt(np.maximum(self.gamma(freedom / 2.0), 0.01))
        return np.clip(noise, -6.0, 6.0)

    def poisson(self, mean: Array) -> Array:
        """Draw counts of events, each independent of all others given its mean."""
        return self._news.poisson(np.clip(mean, 0.0, 1e5)).astype(np.float64)

    def _noise(self, shape: tuple[int, ...], moves: bool) -> Array:
        if self._frozen:
            return self.parameters.standard_normal(shape)
        noise = self._news.standard_normal(shape)
        call = self._calls[0]
        self._calls[0] += 1
        if call == len(self._past):
            self._past.append(noise)
            return noise
        past = self._past[call]
        if moves:
            past = np.roll(past, self._step(), axis=(0, 1))
        noise = self._memory * past + np.sqrt(1.0 - self._memory**2) * noise
        self._past[call] = noise
        return noise

    def _step(self) -> tuple[int, int]:
        """Whole cells to move by today: rounding the way so far keeps slow drifts alive."""
        way = np.rint(self._date * self._drift) - np.rint((self._date - 1) * self._drift)
        return int(way[0]), int(way[1])
