"""Hidden readings to learn from: cases of stations whose own readings are the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .surroundings import MEMORY, Cases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..progress import Progress
    from .anomalies import Readings
    from .forecast import Power
    from .surroundings import Surroundings

    Frames = NDArray[np.int64]

LEAST_AROUND = 2  # other stations that must have reported


@dataclass(frozen=True)
class Hidden:
    """Readings hidden from what predicts them; rows without a truth are not there.

    Parameters
    ----------
    cases : Cases
        What is known of each spot.
    truth : Tensor, shape (n,)
        Raw readings.
    frame, station : array of int, (n,)
        Which reading it is.
    """

    cases: Cases
    truth: Tensor
    frame: Frames
    station: Frames

    @classmethod
    def of(
        cls,
        around: Surroundings,
        readings: Readings,
        frames: Frames,
        power: Power,
        *,
        most: int,
        tokens: bool = True,
        among: Sequence[Frames] = (),
        progress: Progress,
    ) -> Hidden:
        """Hide every station in turn, in at most so many frames that about `most` rows come out.

        `tokens` as in `Surroundings.of_stations`. Some frames are in each of `among`.
        """
        chosen = _chosen(frames, max(1, most // len(readings.km)), among)
        parts, total = [], 0

        def told(done: int, of: int, what: str) -> None:
            progress(total + done, len(chosen), "hiding stations")

        for part, cases in around.of_stations(readings, chosen, tokens=tokens, progress=told):
            parts.append(_known(cases, readings, part, power))
            total += len(part)
            told(0, len(part), "")
        return cls.joined(parts)

    @classmethod
    def joined(cls, parts: list[Hidden]) -> Hidden:
        """Return the rows of all `parts`."""
        return cls(
            Cases.joined([part.cases for part in parts]),
            torch.cat([part.truth for part in parts]),
            np.concatenate([part.frame for part in parts]),
            np.concatenate([part.station for part in parts]),
        )

    def only(self, rows: NDArray[np.bool_]) -> Hidden:
        """Return some rows."""
        chosen = torch.as_tensor(np.flatnonzero(rows))
        return Hidden(
            self.cases.only(chosen), self.truth[chosen], self.frame[rows], self.station[rows]
        )

    def within(self, frames: Frames) -> NDArray[np.bool_]:
        """Return which rows (n,) lie in `frames`."""
        return np.isin(self.frame, frames)


def _known(cases: Cases, readings: Readings, part: Frames, power: Power) -> Hidden:
    z = readings.anomalies[part]
    known = (np.isfinite(z).ravel()) & (cases.seen.sum(dim=1).numpy() >= LEAST_AROUND)
    raw = power.inverse(readings.transformed(part))
    rows = torch.as_tensor(np.flatnonzero(known))
    stations = z.shape[1]
    return Hidden(
        cases.only(rows), torch.as_tensor(raw.ravel()[known]),
        part[rows.numpy() // stations], rows.numpy() % stations,
    )  # fmt: skip


def _chosen(frames: Frames, most: int, among: Sequence[Frames]) -> Frames:
    """Return about `most` frames; of each part by itself where all together would miss one."""
    found = _spread_out(frames, most)
    if all(np.isin(part, found).any() for part in among):
        return found
    shares = [max(1, most * len(part) // len(frames)) for part in among]
    parts = [_spread_out(part, share) for part, share in zip(among, shares, strict=True)]
    return np.sort(np.concatenate(parts))


def _spread_out(frames: Frames, most: int) -> Frames:
    """Return at most about `most` frames, in runs long enough to share their past."""
    if len(frames) <= most:
        return frames
    runs = np.array_split(frames, max(1, len(frames) // (2 * MEMORY)))
    kept = np.linspace(0, len(runs) - 1, max(1, most * len(runs) // len(frames))).astype(int)
    return np.concatenate([runs[index] for index in np.unique(kept)])
