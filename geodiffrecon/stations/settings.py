"""Every choice of a station model, and the named presets."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from ..errors import IncompatibleModel, InvalidParameter


@dataclass(frozen=True)
class StationSettings:
    """Everything that decides what a station model is and how it is trained.

    Parameters
    ----------
    preset : str
        Name these settings started from.
    lags : tuple of int
        Steps back whose readings kriging also reads; 0 is the current one and comes first.
    wind, place, weather : bool
        Whether readings of the past drift with the wind, whether position and covariates of the
        place have a lasting effect, and whether the network reads the weather.
    network, diffusion : bool
        Which layers there are above kriging and the local spread.
    gated : bool
        Whether validation decides; without, every layer is kept, as studies of layers need.
    kernel_steps, kernel_frames : int
        Optimiser steps of the covariance, and frames per step.
    rows : int
        Most hidden readings that a network learns from.
    neighbours : int
        Nearest stations that a network reads.
    groups : int
        Groups of stations; every member of the network leaves the readings of one group out.
    width, heads : int
        Of the attention between stations.
    dropout : float
        Share of values dropped while training.
    steps, batch : int
        Optimiser steps of a member, and rows per step.
    rate : float
        Learning rate.
    recent_days : float
        Days whose errors at reporting stations correct the stated spread; 0 for none.
    fields : int
        Waves that a random field is made of.
    chain : int
        Network calls per draw of the diffusion layer.
    """

    preset: str = "default"
    lags: tuple[int, ...] = (0, 1, 2, 4)
    wind: bool = True
    place: bool = True
    weather: bool = True
    network: bool = True
    diffusion: bool = True
    gated: bool = True
    kernel_steps: int = 80
    kernel_frames: int = 100
    rows: int = 150_000
    neighbours: int = 32
    groups: int = 3
    width: int = 24
    heads: int = 4
    dropout: float = 0.3
    steps: int = 500
    batch: int = 512
    rate: float = 2e-3
    recent_days: float = 14.0
    fields: int = 256
    chain: int = 8

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Rebuild settings; an unknown key is an error.

        Raises
        ------
        IncompatibleModel
            If there is a setting that this version does not know.
        """
        unknown = sorted(set(data) - {known.name for known in fields(cls)})
        if unknown:
            raise IncompatibleModel(
                f"The station model has the unknown setting {unknown[0]!r}; fit it again or use "
                "the version that wrote it."
            )
        return cls(**{**data, "lags": tuple(data["lags"])})


def station_preset(name: str) -> StationSettings:
    """Return the settings of a name.

    Parameters
    ----------
    name : {"default", "tiny"}
        ``tiny`` is for tests and demonstrations.

    Raises
    ------
    InvalidParameter
        For another name.

    Examples
    --------
    >>> station_preset("tiny").lags
    (0, 1)
    """
    if name == "default":
        return StationSettings()
    if name == "tiny":
        return StationSettings(
            preset="tiny", lags=(0, 1), kernel_steps=40, kernel_frames=40, rows=20_000,
            steps=100, batch=256, width=16, fields=128, recent_days=0.0,
        )  # fmt: skip
    raise InvalidParameter(
        f"preset must be default or tiny for stations, not {name!r}; the paper's model learns from "
        "complete fine maps only."
    )
