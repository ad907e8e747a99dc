"""A series of coarse maps as tensors, and the batches of conditions that networks read from it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from .networks.completion import Completion
    from .networks.refinement import Refinement
    from .scaling import Transform

    Window = tuple[slice, slice]


class _Tensors:
    """Dataclass of tensors that are moved, cropped and detached together."""

    def _map(
        self, change: Callable[[Tensor], Tensor], names: tuple[str, ...] | None = None
    ) -> Self:
        chosen = names or tuple(f.name for f in fields(self))  # type: ignore[arg-type]
        changed = {
            name: change(value)
            for name in chosen
            if isinstance(value := getattr(self, name), Tensor)
        }
        return replace(self, **changed)  # type: ignore[type-var]

    def to(self, device: torch.device) -> Self:
        """Return the same on `device`."""
        return self._map(lambda tensor: tensor.to(device))

    def repeat(self, times: int) -> Self:
        """Return every problem `times` times in a row; what has no batch axis stays."""
        names = tuple(f.name for f in fields(self) if f.name != "statics")  # type: ignore[arg-type]
        return self._map(lambda tensor: tensor.repeat_interleave(times, dim=0), names)

    def every(self, times: int) -> Self:
        """Return each `times`-th problem: the first of each run that `repeat` makes."""
        names = tuple(f.name for f in fields(self) if f.name != "statics")  # type: ignore[arg-type]
        return self._map(lambda tensor: tensor[::times], names)


@dataclass(frozen=True)
class CoarseCase(_Tensors):
    """Completion problems: what is seen of the last maps, and what is believed of the current.

    All values are standardised anomalies; B problems, t frames, the current one last.

    Parameters
    ----------
    tokens : Tensor (B, t, 2, I, J)
        Observed anomaly (0 where not observed) and the spread of its error.
    observed : Tensor (B, t, I, J)
        Which are observed.
    past : Tensor (B, t - 1, I, J)
        What the prior believed of the earlier frames, each from its own past.
    context : Tensor (B, t, E)
        Calendar and covariates of every frame.
    mean, spread : Tensor (B, I, J)
        Belief about the current map: of the prior, or of the mean layer.
    statics : Tensor (S, I, J)
        What tells one cell from another.
    """

    tokens: Tensor
    observed: Tensor
    past: Tensor
    context: Tensor
    mean: Tensor
    spread: Tensor
    statics: Tensor

    def maps(self) -> Tensor:
        """Return the conditions of the U-Net, (B, 3 t + 2 + S, I, J).

        Values and beliefs of all frames enter here too, beside the history encoder.
        """
        seen = self.observed.to(self.mean.dtype)
        now = torch.stack([self.tokens[:, -1, 1], self.mean, self.spread], dim=1)
        statics = self.statics.expand(len(self.mean), *self.statics.shape)
        return torch.cat([self.tokens[:, :, 0], seen, self.past, now, statics], dim=1)

    def encode(self, network: Completion) -> Tensor | None:
        """Return the features of the history, once per map."""
        return network.encode(self.tokens, self.observed, self.context)

    def run(
        self, network: Completion, x: Tensor, level: Tensor | None, features: Tensor | None
    ) -> Tensor:
        """Return the network's output for noisy fields x (B, C, I, J)."""
        return network(x, level, self.maps(), self.context[:, -1], features)

    def crop(self, window: Window, factor: int = 1) -> CoarseCase:
        """Return the problems of one window of coarse cells."""
        return self._map(
            lambda tensor: tensor[..., window[0], window[1]],
            ("tokens", "observed", "past", "mean", "spread", "statics"),
        )


def coarse_channels(frames: int, statics: int) -> int:
    """Return the channels of `CoarseCase.maps`."""
    return 3 * frames + 2 + statics


@dataclass(frozen=True)
class FineCase(_Tensors):
    """Refinement problems: a complete coarse map, how sure it is, and its completed past.

    Parameters
    ----------
    coarse : Tensor (B, I, J)
        Coarse map in raw units.
    anomaly, spread : Tensor (B, I, J)
        The same map as standardised anomalies, and how uncertain each is.
    past : Tensor (B, t, 1, I, J)
        Completed anomalies of the last frames, the current one last.
    known : Tensor (B, t, I, J)
        Which of them exist (False before the start and in gaps).
    context : Tensor (B, t, E)
        Calendar and covariates of every frame.
    belief, doubt : Tensor (B, N I, N J)
        What is believed of the fine map and how surely, in the terms of `FineUnits`.
    fine_maps : Tensor (B, M, N I, N J)
        The same, scaled to be conditions of a network.
    statics : Tensor (S, I, J)
        What tells one cell from another.
    """

    coarse: Tensor
    anomaly: Tensor
    spread: Tensor
    past: Tensor
    known: Tensor
    context: Tensor
    belief: Tensor
    doubt: Tensor
    fine_maps: Tensor
    statics: Tensor

    def encode(self, network: Refinement) -> Tensor | None:
        """Return the features of the history, once per map."""
        return network.encode(self.past, self.known, self.context)

    def run(
        self, network: Refinement, x: Tensor, level: Tensor | None, features: Tensor | None
    ) -> Tensor:
        """Return the network's output for noisy fields x (B, C, N I, N J)."""
        return network(x, level, self.lattice(), self.fine_maps, self.context[:, -1], features)

    def lattice(self) -> Tensor:
        """Return the conditions on the coarse grid, (B, 2 + S, I, J)."""
        statics = self.statics.expand(len(self.anomaly), *self.statics.shape)
        return torch.cat([torch.stack([self.anomaly, self.spread], dim=1), statics], dim=1)

    def crop(self, window: Window, factor: int) -> FineCase:
        """Return the problems of one window of coarse cells."""
        fine = tuple(slice(s.start * factor, s.stop * factor) for s in window)
        case = self._map(
            lambda tensor: tensor[..., window[0], window[1]],
            ("coarse", "anomaly", "spread", "past", "known", "statics"),
        )
        return case._map(
            lambda tensor: tensor[..., fine[0], fine[1]], ("belief", "doubt", "fine_maps")
        )


LATTICE_MAPS = 2  # channels of FineCase.lattice without the statics


@dataclass(frozen=True)
class Series(_Tensors):
    """R variants (mask patterns) of one series of T coarse maps, and its truth where known.

    Parameters
    ----------
    values, error : Tensor (R, T, I, J)
        Observed anomalies (0 where not observed) and the spread of their error.
    observed : Tensor (R, T, I, J)
        Which are observed.
    mean, spread : Tensor (R, T, I, J)
        Prior belief about the anomalies.
    completed : Tensor (R, T, I, J)
        Best completion so far, the past that refinement reads.
    exists : Tensor (T,)
        False in gaps of the record.
    context : Tensor (T, E)
        Calendar and covariates.
    centre : Tensor (T, I, J)
        Climatology in transformed units.
    scale : Tensor (I, J)
        Spread of the anomalies in transformed units.
    calendar : Tensor (T, C)
        What the refinement prior needs of the time: slot number or design.
    statics : Tensor (S, I, J)
        What tells one coarse cell from another.
    transform : Transform
        Between raw and transformed units.
    truth : Tensor (T, I, J), optional
        True anomalies; NaN where they are unknown.
    coarse, fine : Tensor (T, I, J) and (T, N I, N J), optional
        True raw maps; NaN where they are unknown.
    """

    values: Tensor
    error: Tensor
    observed: Tensor
    mean: Tensor
    spread: Tensor
    completed: Tensor
    exists: Tensor
    context: Tensor
    centre: Tensor
    scale: Tensor
    calendar: Tensor
    statics: Tensor
    transform: Transform
    truth: Tensor | None = None
    coarse: Tensor | None = None
    fine: Tensor | None = None

    def coarse_case(self, variant: Tensor, frame: Tensor, lags: tuple[int, ...]) -> CoarseCase:
        """Return the completion problems of `frame` (B,) of `variant` (B,)."""
        past, inside = self._past(frame, lags)
        rows = variant[:, None].expand_as(past)
        seen = self.observed[rows, past] & inside[..., None, None]
        values = torch.stack([self.values[rows, past], self.error[rows, past]], dim=2)
        return CoarseCase(
            tokens=values * seen[:, :, None],
            observed=seen,
            past=(self.mean[rows, past] * inside[..., None, None])[:, :-1],
            context=self.context[past],
            mean=self.mean[variant, frame],
            spread=self.spread[variant, frame],
            statics=self.statics,
        )

    def fine_case(
        self,
        variant: Tensor,
        frame: Tensor,
        lags: tuple[int, ...],
        *,
        coarse: Tensor,
        anomaly: Tensor,
        spread: Tensor,
    ) -> FineCase:
        """Return refinement problems of the given current maps (B, I, J), belief still empty.

        The past is read from `completed`, the current frame included, so that its encoding serves
        every draw of the current map.
        """
        past, inside = self._past(frame, lags)
        rows = variant[:, None].expand_as(past)
        known = (inside & self.exists[past])[..., None, None].expand(-1, -1, *anomaly.shape[1:])
        series = self.completed[rows, past]
        empty = coarse.new_zeros(0)
        return FineCase(
            coarse=coarse,
            anomaly=anomaly,
            spread=spread,
            past=(series * known)[:, :, None],
            known=known,
            context=self.context[past],
            belief=empty,
            doubt=empty,
            fine_maps=empty,
            statics=self.statics,
        )

    def first(self, variants: int) -> Series:
        """Return the series of the first `variants` mask patterns."""
        names = ("values", "error", "observed", "mean", "spread", "completed")
        return self._map(lambda tensor: tensor[:variants], names)

    def crop(self, window: Window, factor: int) -> Series:
        """Return the series of one window of coarse cells."""
        fine = tuple(slice(s.start * factor, s.stop * factor) for s in window)
        maps = ("values", "error", "observed", "mean", "spread", "completed", "centre", "scale")
        small = self._map(
            lambda tensor: tensor[..., window[0], window[1]], (*maps, "statics", "truth", "coarse")
        )
        return small._map(lambda tensor: tensor[..., fine[0], fine[1]], ("fine",))

    def _past(self, frame: Tensor, lags: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        past = frame[:, None] - torch.tensor(lags, device=frame.device)[None, :]
        return past.clamp(min=0), past >= 0
