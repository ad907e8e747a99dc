"""Every rival by name: what analysts pick today, and the systems of the paper's tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import InvalidParameter

if TYPE_CHECKING:
    from collections.abc import Callable

    from .method import Method


@dataclass(frozen=True)
class Entry:
    """One rival.

    Parameters
    ----------
    label : str
        Name in tables.
    make : callable
        Returns a new method.
    """

    label: str
    make: Callable[[], Method]


def _climatology() -> Method:
    from .simple import SlotClimatology

    return SlotClimatology()


def _share() -> Method:
    from .simple import HistoricalShare

    return HistoricalShare()


def _nearest() -> Method:
    from .simple import Nearest

    return Nearest()


def _bilinear() -> Method:
    from .simple import Bilinear

    return Bilinear()


def _idw() -> Method:
    from .simple import InverseDistance

    return InverseDistance()


def _kriging() -> Method:
    from .kriging import OrdinaryKriging

    return OrdinaryKriging()


def _simulation() -> Method:
    from .kriging import ConditionalSimulation

    return ConditionalSimulation()


def _srcnn() -> Method:
    from .neural import NeuralMethod
    from .srcnn import SRCNN

    return NeuralMethod(SRCNN())


def _srresnet() -> Method:
    from .neural import NeuralMethod
    from .srresnet import SRResNet

    return NeuralMethod(SRResNet())


def _urbanfm() -> Method:
    from .neural import NeuralMethod
    from .urbanfm import UrbanFM

    return NeuralMethod(UrbanFM())


def _fode() -> Method:
    from .fode import FODE
    from .neural import NeuralMethod

    return NeuralMethod(FODE())


def _stcf() -> Method:
    from .neural import NeuralMethod
    from .stcf import STCF

    return NeuralMethod(STCF())


def _urbansta() -> Method:
    from .neural import NeuralMethod
    from .urbansta import UrbanSTA

    return NeuralMethod(UrbanSTA())


def _diffuflow() -> Method:
    from .diffuflow import DiffUFlowLike, DiffUFlowMethod

    return DiffUFlowMethod(DiffUFlowLike())


RIVALS = {
    "climatology": Entry("Climatology by slot", _climatology),
    "share": Entry("Historical share × completed coarse", _share),
    "nearest": Entry("Nearest", _nearest),
    "bilinear": Entry("Bilinear", _bilinear),
    "idw": Entry("IDW", _idw),
    "kriging": Entry("Ordinary kriging", _kriging),
    "simulation": Entry("Gaussian conditional simulation", _simulation),
    "srcnn": Entry("SRCNN", _srcnn),
    "srresnet": Entry("SRResNet", _srresnet),
    "urbanfm": Entry("UrbanFM", _urbanfm),
    "fode": Entry("FODE", _fode),
    "stcf": Entry("STCF", _stcf),
    "urbansta": Entry("UrbanSTA", _urbansta),
    "diffuflow": Entry("DiffUFlow-like", _diffuflow),
}


def make(name: str) -> Method:
    """Return a new method by its name in `RIVALS`.

    Raises
    ------
    InvalidParameter
        If there is none of that name.
    """
    if name not in RIVALS:
        raise InvalidParameter(f"There is no rival {name!r}; there are {', '.join(RIVALS)}.")
    return RIVALS[name].make()
