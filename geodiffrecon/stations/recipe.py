"""A model's recipe in a trial: fitted anew in every fold, to the stations that are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..calendar import iso
from ..errors import IncompatibleModel, InvalidParameter, NoObservations
from ..stamps import utc_stamp
from .bench import Bench

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..covariates import Covariates
    from ..grid import NestedGrid
    from ..progress import Progress
    from .bench import Contender
    from .folds import Fold
    from .forecast import SiteForecast
    from .network import StationNetwork

    Array = NDArray[np.float64]


class StationModel(Protocol):
    """What a trial needs of a fitted model: its recipe, and when its training ended."""

    settings: Any
    seed: int
    device: str

    @property
    def grid(self) -> NestedGrid:
        """Of its maps."""
        ...

    @property
    def kind(self) -> str:
        """What values can be."""
        ...

    @property
    def freq(self) -> str:
        """Its step."""
        ...

    @property
    def calendar_tz(self) -> str:
        """Where its days are cut."""
        ...

    @property
    def trained(self) -> dict[str, str]:
        """``train_start`` and ``end`` among others, as ISO times."""
        ...

    @property
    def history(self) -> int:
        """Steps before a map that it reads."""
        ...

    def fit(self, *data: Any, **options: Any) -> Any:
        """Fit to the stations of a network, for a grid."""
        ...

    def at(self, *data: Any, **options: Any) -> SiteForecast:
        """Predict the sites x, y from a network."""
        ...

    def info(self) -> dict[str, Any]:
        """Return its provenance, as JSON types."""
        ...


def contender(
    model: StationModel,
    bench: Bench,
    *,
    max_minutes: float | None,
    progress: Progress,
    log: Callable[[str], None],
) -> Contender:
    """Return the recipe of `model` as a method of `bench`.

    Parameters
    ----------
    model : StationModel
        Its settings, seed, grid and end of training are taken, nothing that it has learned.
    bench : Bench
        Stations, folds and steps.
    max_minutes : float, optional
        For fitting in each fold.
    progress, log : callable
        Told of every step.
    """
    if model.info().get("pretrained"):
        log("The model was pre-trained; its recipe is scored without that.")

    def contend(number: int, fold: Fold) -> SiteForecast:
        network, frames = bench.given(fold), bench.frames
        build: Any = type(model)
        fresh = build(settings=model.settings, seed=model.seed, device=model.device)
        ended = bench.network.times[bench.train_steps]
        fresh.fit(
            network.between(network.times[0], ended), model.grid, freq=model.freq,
            calendar_tz=model.calendar_tz, kind=model.kind, until=model.trained["end"],
            country=model.info().get("country"), external=bench.external,
            max_minutes=max_minutes, progress=progress, log=log,
        )  # fmt: skip
        tested = network.times[frames]
        before = max(0, int(frames[0]) - fresh.history)
        held = bench.network.only(fold.held)
        found = fresh.at(
            network.between(network.times[before], tested[-1] + np.timedelta64(1, "ns")),
            held.x, held.y, times=(iso(tested[0]), iso(tested[-1])), external=bench.external,
            samples=bench.samples, seed=bench.seed + number, progress=progress, log=log,
        )  # fmt: skip
        return _aligned(found, tested)

    return contend


def bench_of(
    model: StationModel, network: StationNetwork, folds: tuple[Fold, ...],
    asked: tuple[str | None, str | None], *, buffer: int, **options: Any,
) -> Bench:  # fmt: skip
    """Return the bench of `network` from the model's first step of training on.

    Parameters
    ----------
    model : StationModel
        Fitted: its training is that of all methods.
    network : StationNetwork
        Of all stations.
    folds : tuple of Fold
        Of its stations.
    asked : (str or None, str or None)
        First and last step that is scored.
    buffer : int
        Steps between training and test.
    **options
        Of `Bench`.

    Raises
    ------
    InvalidParameter
        If the period begins before the model's training ended.
    NoObservations
        If there is nothing to train or test on.
    IncompatibleModel
        If external features that the model was fitted with are missing.
    """
    options["external"] = _features(model, options.get("external"))
    zone = model.calendar_tz
    begun, ended = (utc_stamp(model.trained[key], zone) for key in ("train_start", "end"))
    first = ended if asked[0] is None else utc_stamp(asked[0], zone)
    if first < ended:
        raise InvalidParameter(
            f"{asked[0]} lies before {model.trained['end']}, where the model's training ended; "
            "score later steps."
        )
    last = network.times[-1] if asked[1] is None else utc_stamp(asked[1], zone)
    if last < first:
        raise NoObservations(
            f"Scoring would begin at {iso(first)} and end at {iso(last)}, so there is nothing to "
            f"score; the model's training ended at {model.trained['end']}, so give later readings "
            "or times, or fit with an earlier --until."
        )
    network = network.between(begun, last + np.timedelta64(1, "ns"))
    train = int(np.searchsorted(network.times, ended))
    begins = max(int(np.searchsorted(network.times, first)), train + buffer)
    signed = model.kind == "real"
    return Bench(network, model.grid, folds, train, begins, signed=signed, **options)


def _features(model: StationModel, external: Covariates | None) -> Covariates | None:
    """Return the external features that the model was fitted with, and no others."""
    names = list(map(str, model.info().get("external_features", ())))
    if not names or external is None:
        absent, kept = names, None
    else:
        kept = external.only(names)
        absent = [name for name in names if name not in kept.names]
    if absent:
        raise IncompatibleModel(
            f"The model was fitted with the external feature {absent[0]!r}, which is missing; give "
            "it again with --external."
        )
    return kept


def _aligned(found: SiteForecast, times: NDArray[np.datetime64]) -> SiteForecast:
    """Return a forecast at `times` alone, with its draws."""
    steps = np.minimum(np.searchsorted(found.times, times), len(found.times) - 1)
    if not (found.times[steps] == times).all():
        raise InvalidParameter(
            f"The model predicts {len(found.times)} steps and not all of the {len(times)} that "
            "are scored; give a network whose steps are those of the model."
        )
    chosen = found.only(steps)
    return chosen if found.draws is None else chosen.with_draws(found.draws[:, steps])
