"""The units in which fine maps are believed, corrected, scored and drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self

import torch
import torch.nn.functional as F

from .networks.heads import block_mean, block_softmax, nearest_up
from .tiling import crop_of

if TYPE_CHECKING:
    from torch import Tensor

    from .scaling import Transform
    from .series import FineCase, Window

POISSON_FLOOR = 0.1  # variance of a cell that expects nothing, in squared grains
EMPTY = 1e-7  # of the typical value: what a cell is expected to hold at least
MAX_LOG_SPREAD = 1.5
FINE_MAPS = 2  # channels of FineCase.fine_maps


class FineUnits(Protocol):
    """What the two stages need to know of an aggregation and a kind."""

    @property
    def out_channels(self) -> int:
        """Outputs of a mean network."""
        ...

    @property
    def factor(self) -> int:
        """Fine cells per coarse cell along one axis."""
        ...

    def crop(self, window: Window) -> Self:
        """Return the units of one window of coarse cells."""
        ...

    def believe(self, case: FineCase, coarse_z: Tensor, calendar: Tensor) -> FineCase:
        """Return the case with the prior's belief about the fine map."""
        ...

    def correct(self, case: FineCase, raw: Tensor) -> FineCase:
        """Return the case with the belief corrected by a mean network's output."""
        ...

    def location(self, case: FineCase) -> Tensor:
        """Return the expected fine map (B, N I, N J) in working units."""
        ...

    def scale(self, case: FineCase) -> Tensor:
        """Return the spread of the fine map about its location, given the coarse map."""
        ...

    def encode(self, fine: Tensor) -> Tensor:
        """Return raw values in working units."""
        ...

    def decode(self, field: Tensor) -> Tensor:
        """Return working units as raw values."""
        ...

    def stated(self, case: FineCase, belief: Tensor, doubt: Tensor) -> FineCase:
        """Return the case with another belief."""
        ...

    def loss(self, case: FineCase, before: FineCase, fine: Tensor) -> Tensor:
        """Return the loss of the corrected belief, given the belief `before` and the truth."""
        ...


@dataclass(frozen=True)
class ShareUnits:
    """Sums: the belief is the share of each fine cell; working units are raw values.

    Shares come from a softmax over the fine cells of a coarse one, so totals hold exactly
    (Liang et al. 2019 normalise instead; Harder et al. 2023 compare the two). The loss is the
    Poisson likelihood, which is the multinomial one wherever the coarse total is known.

    Parameters
    ----------
    factor : int
        Fine cells per coarse cell along one axis.
    shares : Tensor (G S, N I, N J)
        Prior shares per slot of the day, for each of G fits of the prior.
    slots : int
        Slots of the day S.
    dispersion : float
        Variance about the expectation, in units of the binomial one.
    level : float
        Typical raw value, to scale conditions.
    grain : float
        Size of what sums are made of: 1 for counts.
    """

    factor: int
    shares: Tensor
    slots: int
    dispersion: float
    level: float
    grain: float = 1.0
    out_channels: int = 1

    def to(self, device: torch.device) -> ShareUnits:
        """Return the same on `device`."""
        return replace(self, shares=self.shares.to(device))

    def crop(self, window: Window) -> ShareUnits:
        """Return the units of one window of coarse cells."""
        return replace(self, shares=crop_of(self.shares, window, self.factor))

    def believe(self, case: FineCase, coarse_z: Tensor, calendar: Tensor) -> FineCase:
        """Return the case with the prior's shares; `calendar` (B, 2) is the fit and the slot."""
        row = calendar[:, 0].long() * self.slots + calendar[:, 1].long()
        return self.stated(case, self.shares.to(case.coarse)[row])

    def correct(self, case: FineCase, raw: Tensor) -> FineCase:
        """Return the case with shares corrected by logits (B, 1, N I, N J)."""
        logits = (case.belief.clamp(min=1e-8)).log() + raw[:, 0]
        return self.stated(case, block_softmax(logits[:, None], self.factor)[:, 0])

    def location(self, case: FineCase) -> Tensor:
        """Return coarse x share."""
        return nearest_up(case.coarse[:, None], self.factor)[:, 0] * case.belief

    def scale(self, case: FineCase) -> Tensor:
        """Return the over-dispersed binomial spread."""
        variance = self.location(case) * (1 - case.belief) * self.dispersion
        return (variance.clamp(min=0) + POISSON_FLOOR * self.grain**2).sqrt()

    def encode(self, fine: Tensor) -> Tensor:
        """Return `fine` as it is."""
        return fine

    def decode(self, field: Tensor) -> Tensor:
        """Return the field without negative values."""
        return field.clamp(min=0)

    def loss(self, case: FineCase, before: FineCase, fine: Tensor) -> Tensor:
        """Return the Poisson deviance part that depends on the belief, per unit of total."""
        location, fine = self.location(case) / self.level, fine / self.level
        location = location.clamp(min=EMPTY)
        return (location - fine * location.log()).sum() / fine.sum().clamp(min=1.0)

    def stated(self, case: FineCase, belief: Tensor, doubt: Tensor | None = None) -> FineCase:
        """Return the case with shares `belief` (B, N I, N J) as its belief."""
        shares = belief
        cells = self.factor**2
        case = replace(case, belief=shares, doubt=torch.zeros_like(shares))
        size = (self.location(case).clamp(min=0) / self.level + 1e-3).sqrt()  # finite slope at 0
        logs = (shares.clamp(min=1e-6) * cells).log() / 2
        return replace(case, fine_maps=torch.stack([logs, size], dim=1))


@dataclass(frozen=True)
class OffsetUnits:
    """Means: the belief is a Gaussian per fine cell in transformed units.

    Parameters
    ----------
    factor : int
        Fine cells per coarse cell along one axis.
    transform : Transform
        Between raw and working units.
    coefficients : Tensor (G, I, J, F, N N), optional
        Ridge of offsets on nearby anomalies and calendar, for each of G fits of the prior; None
        for the flat prior.
    radius : int
        Neighbourhood of the ridge in coarse cells.
    spread : Tensor (N I, N J)
        Spread of the fine residuals.
    flat_mean : float
        Belief of the flat prior.
    """

    factor: int
    transform: Transform
    coefficients: Tensor | None
    radius: int
    spread: Tensor
    flat_mean: float = 0.0
    out_channels: int = 2

    def to(self, device: torch.device) -> OffsetUnits:
        """Return the same on `device`."""
        ridge = None if self.coefficients is None else self.coefficients.to(device)
        return replace(self, coefficients=ridge, spread=self.spread.to(device))

    def crop(self, window: Window) -> OffsetUnits:
        """Return the units of one window of coarse cells; the ridge then ends at its edge."""
        rows, columns = window
        ridge = None if self.coefficients is None else self.coefficients[:, rows, columns]
        return replace(self, coefficients=ridge, spread=crop_of(self.spread, window, self.factor))

    def believe(self, case: FineCase, coarse_z: Tensor, calendar: Tensor) -> FineCase:
        """Return the case with the ridge's belief; `calendar` (B, 1 + C) is the fit and design."""
        spread = self.spread.to(case.anomaly).expand(len(case.anomaly), *self.spread.shape)
        if self.coefficients is None:
            return self.stated(case, torch.full_like(spread, self.flat_mean), spread)
        offsets = torch.zeros_like(spread)
        for fit, ridge in enumerate(self.coefficients):
            rows = calendar[:, 0] == fit
            if bool(rows.any()):
                part = ridge_offsets(
                    ridge.to(case.anomaly), self.radius, case.anomaly[rows], calendar[rows, 1:]
                )
                offsets = offsets.index_put((rows,), part)
        return self.stated(case, nearest_up(coarse_z[:, None], self.factor)[:, 0] + offsets, spread)

    def correct(self, case: FineCase, raw: Tensor) -> FineCase:
        """Return the case moved by raw[:, 0] spreads and widened by exp(raw[:, 1])."""
        widen = raw[:, 1].clamp(-MAX_LOG_SPREAD, MAX_LOG_SPREAD).exp()
        return self.stated(case, case.belief + case.doubt * raw[:, 0], case.doubt * widen)

    def location(self, case: FineCase) -> Tensor:
        """Return the mean of the belief."""
        return case.belief

    def scale(self, case: FineCase) -> Tensor:
        """Return the spread of the belief."""
        return case.doubt

    def encode(self, fine: Tensor) -> Tensor:
        """Return `fine` in transformed units."""
        return self.transform.forward(fine)

    def decode(self, field: Tensor) -> Tensor:
        """Return the field in raw units."""
        return self.transform.inverse(field)

    def loss(self, case: FineCase, before: FineCase, fine: Tensor) -> Tensor:
        """Return squared error in units of the spread before, plus the spread's own likelihood."""
        truth = self.encode(fine)
        error = ((truth - case.belief) / before.doubt).square().mean() / 2
        standard = (truth - case.belief.detach()) / case.doubt
        return error + (standard.square() / 2 + case.doubt.log()).mean() / 10

    def stated(self, case: FineCase, belief: Tensor, doubt: Tensor) -> FineCase:
        """Return the case with mean `belief` and spread `doubt` (B, N I, N J)."""
        mean, spread = belief, doubt
        typical = self.spread.to(mean).mean()
        local = block_mean(mean[:, None], self.factor)
        offset = (mean - nearest_up(local, self.factor)[:, 0]) / (3 * typical)
        maps = torch.stack([offset, (spread / typical).clamp(min=1e-6).log()], dim=1)
        return replace(case, belief=mean, doubt=spread, fine_maps=maps)


def ridge_offsets(coefficients: Tensor, radius: int, anomaly: Tensor, calendar: Tensor) -> Tensor:
    """Return offsets (B, N I, N J) of `anomaly` (B, I, J); as `OffsetRefinement.predict`."""
    rows, columns, _, cells = coefficients.shape
    window = 2 * radius + 1
    near = F.unfold(anomaly[:, None], window, padding=radius)  # (B, K, I J)
    near = near.view(len(anomaly), window**2, rows, columns)
    local = torch.einsum("bkij,ijkn->bijn", near, coefficients[:, :, : window**2])
    seasonal = torch.einsum("bc,ijcn->bijn", calendar, coefficients[:, :, window**2 :])
    blocks = (local + seasonal).permute(0, 3, 1, 2)  # (B, N N, I, J)
    return F.pixel_shuffle(blocks, int(cells**0.5))[:, 0]
