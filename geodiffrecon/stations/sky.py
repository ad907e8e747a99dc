"""Weather and calendar of every step, and the way that the wind goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..calendar import Calendar
    from ..covariates import Covariates
    from ..features import Features

WIND = ("wind_u", "wind_v")
KM_PER_HOUR = 3.6  # of one metre per second
HOUR_NS = 3_600_000_000_000
LONGEST_WAY_HOURS = 6.0  # steps longer than this say nothing of where the wind went


@dataclass(frozen=True)
class Sky:
    """What is known of every step, wherever a spot is.

    Parameters
    ----------
    context : float32, (T, E)
        Calendar and weather, standardised.
    wind : array (T, 2), optional
        Wind towards east and north in m/s, zero where unknown; from the columns ``wind_u`` and
        ``wind_v``.
    way : array (T, 2), optional
        Kilometres that the wind goes in one step; None for long steps.
    """

    context: NDArray[np.float32]
    wind: NDArray[np.float64] | None = None
    way: NDArray[np.float64] | None = None

    @classmethod
    def of(
        cls,
        calendar: Calendar,
        features: Features,
        external: Covariates | None,
        times: NDArray[np.datetime64],
        *,
        weather: bool,
        wind: bool,
    ) -> Sky:
        """Return the sky of `times` (T,)."""
        weathers = features.context(external, times)
        parts = [calendar.context(times), *([weathers] if weather else [])]
        context = np.concatenate(parts, axis=1)
        blowing = _wind(external, times) if wind and set(WIND) <= set(features.names) else None
        hours = calendar.step_ns / HOUR_NS
        if blowing is None or hours > LONGEST_WAY_HOURS:
            return cls(context, blowing)
        return cls(context, blowing, blowing * KM_PER_HOUR * hours)

    def upwind(self, frames: NDArray[np.int64], towards: Tensor) -> Tensor:
        """Return the wind (m, Q, K) along directions (Q, K, 2), in 2 m/s; zero without wind."""
        if self.wind is None:
            return torch.zeros(len(frames), *towards.shape[:2], dtype=towards.dtype)
        wind = torch.as_tensor(self.wind[frames] / 2)
        return torch.einsum("mc,qkc->mqk", wind, towards)


def _wind(external: Covariates | None, times: NDArray[np.datetime64]) -> NDArray[np.float64] | None:
    if external is None or external.per_time is None:
        return None
    columns = list(map(str, external.per_time.columns))
    found = external.align(times)[:, [columns.index(name) for name in WIND]]
    return np.nan_to_num(found)
