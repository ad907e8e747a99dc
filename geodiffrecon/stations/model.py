"""StationDiffRecon: the estimator for those who have stations and nothing else."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from .. import __version__
from ..calendar import Calendar
from ..device import torch_device
from ..errors import GridMismatch, InvalidParameter, NotFitted
from ..features import Features
from ..limits import limits_of, places_of
from ..memory import check_maps
from ..model import kept_draws, quiet
from ..progress import Progress, silent
from ..scaling import is_concentration, propose_kind
from ..variable import OfVariable, Record, Variable
from .forecast import Power
from .layers import TILE
from .maps import maps_of
from .network import StationNetwork
from .places import Places, centres
from .quality import cleaned
from .settings import StationSettings, station_preset
from .size import check_size
from .terrain import Terrain
from .value_checks import MADE, RARE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from ..covariates import Covariates
    from ..grid import NestedGrid
    from ..points import PointColumns, PointTable
    from ..scaling import Kind
    from .anomalies import Readings
    from .forecast import SiteForecast
    from .layers import StationLayers
    from .sky import Sky
    from .survey import Negative

    Array = NDArray[np.float64]
    Log = Callable[[str], None]

FORM = "stations"


class StationDiffRecon(OfVariable):
    """Maps with honest errors from fixed stations alone; no complete fine truth is needed.

    Kriging in space and time at the stations' true positions, a spread that follows how far
    kriging has just been off around, attention between stations that corrects both, and diffusion
    of the residual. Everything is learned by hiding whole stations; every layer is kept only if
    it gains on hidden stations of later steps. The relative of `DiffRecon` for incomplete truth:
    as a coarse average of stations is the truth of no cell, both stages are one.

    Parameters
    ----------
    preset : {"default", "tiny"}
        Named settings.
    settings : StationSettings, optional
        Own settings, in place of a preset.
    seed : int
        Of everything random in fitting.
    device : {"auto", "cpu", "cuda"}
        Checked as in `DiffRecon`; these networks are small and run on the processor even where
        there is a GPU.

    Attributes
    ----------
    variable : Variable
        What the model is about; known, as all below, after `fit` or `load`.
    kind : {"real", "positive"}
        What values can be.
    trained : dict
        Start and end of training and validation, as ISO times.
    verdicts : list of str
        What validation decided about every layer.
    columns : PointColumns or None
        How the training file named its columns.
    label : {"start", "end"}
        Which end of its interval a stamp marks.
    negative : {"keep", "zero", "drop"}
        What is made of readings below zero where the kind is positive.
    """

    kind: Kind
    label: Literal["start", "end"]
    negative: Negative

    def __init__(
        self,
        *,
        preset: str = "default",
        settings: StationSettings | None = None,
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        self.settings = settings or station_preset(preset)
        self.seed = seed
        self.device = device
        self._layers: StationLayers | None = None

    # --- fit -----------------------------------------------------------------------------------

    def fit(
        self,
        points: PointTable | StationNetwork,
        grid: NestedGrid,
        *,
        freq: str = "1h",
        calendar_tz: str = "UTC",
        label: Literal["start", "end"] = "start",
        kind: str | None = None,
        negative: Negative = "keep",
        until: str | None = None,
        external: Covariates | None = None,
        country: str | None = None,
        pretrain: xr.Dataset | None = None,
        columns: PointColumns | None = None,
        max_minutes: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        progress: Progress = silent,
        log: Log = quiet,
    ) -> Self:
        """Fit to readings of fixed stations.

        Parameters
        ----------
        points : PointTable or StationNetwork
            Readings; a table is cut into steps of `freq`.
        grid : NestedGrid
            Of the maps; stations up to its own size away from it are used.
        freq, calendar_tz, label
            As in `bin_points`; read from a network that has them.
        kind : {"real", "positive"}, optional
            What values can be; proposed from the values by default.
        negative : {"keep", "zero", "drop"}
            What is made of readings below zero where the kind is positive: instruments give them
            near zero, so that means without them are too high.
        until : str, optional
            End of training and validation (exclusive).
        external : Covariates, optional
            Weather per time (with ``wind_u`` and ``wind_v`` readings of the past drift), maps of
            elevation or land use.
        country : str, optional
            Country code of the public holidays.
        pretrain : Dataset, optional
            Fine-level cube of a complete history (a reanalysis, a transport model): networks learn
            first from its cells, as if they were stations.
        columns : PointColumns, optional
            Names in the file and the unit of its values, kept for later files.
        max_minutes : float, optional
            Training of networks stops in time for this.
        clock : callable
            Seconds that count for it.
        progress, log : callable
            Told of every step, and of every decision in one sentence.

        Returns
        -------
        StationDiffRecon
            Itself.

        Raises
        ------
        NoObservations
            If there are fewer than three stations, or too few steps.
        InvalidParameter
            If stations move, values contradict the kind, there are more stations than `size` says,
            or the device is cuda and there is none.
        """
        from .fitting import StationFitting
        from .pretraining import pretrained

        began = clock()
        torch_device(self.device)
        network = self._network(points, grid, freq, calendar_tz, label, columns=columns)
        units = network.units or (columns.units if columns else None)
        self.variable = Variable(
            network.value, grid, network.freq, network.calendar_tz, "mean",
            {"units": units} if units else {},
        )  # fmt: skip
        if until:
            network = network.before(self.variable.instant(until))
        self.kind, self.negative = self._kind(network, kind, negative, log), negative
        network, _ = cleaned(network, self.kind, negative)
        self.variable = replace(self.variable, record=Record.of(network.values))
        network = network.only(np.isfinite(network.values).sum(axis=0) > 0)  # before `until`
        self.variable.check_varied(network.values[np.isfinite(network.values)])
        check_size(len(network.names), len(self.settings.lags))
        self.columns, self.label = columns, label
        calendar = Calendar.seen_in(network.times, tz=network.calendar_tz, country=country)
        self.features = Features.of(external, network.times)
        self.terrain = Terrain.of(external, grid)
        deadline = None if max_minutes is None else began + 60 * max_minutes
        fitting = StationFitting(
            network, Places.of(grid).km(network.x, network.y),
            self.terrain.at(external, grid, network.x, network.y),
            self._sky(calendar, external, network.times), calendar, self._power(), self.settings,
            self.seed, deadline=deadline, clock=clock, progress=progress, log=log,
        )  # fmt: skip
        if pretrain is not None and self.settings.network:
            fitting.pretrained = pretrained(fitting, pretrain, self.features, external)
        self._layers = fitting.run()
        self.verdicts = [verdict.sentence() for verdict in fitting.verdicts]
        self.trained = fitting.split.spans(network.times, network.freq, network.calendar_tz)
        self.data_fingerprint = network.fingerprint()
        self.n_stations = len(network.names)
        self.pretrained = pretrain is not None
        self._seal()
        return self

    # --- use -----------------------------------------------------------------------------------

    def reconstruct(
        self,
        points: PointTable | StationNetwork,
        *,
        samples: int = 0,
        seed: int = 0,
        times: tuple[str, str] | None = None,
        external: Covariates | None = None,
        exceed: Any = (),
        keep_draws: bool = False,
        accept_units: bool = False,
        progress: Progress = silent,
        log: Log = quiet,
    ) -> xr.Dataset:
        """Return complete fine maps of readings.

        Parameters
        ----------
        points : PointTable or StationNetwork
            Readings; those before the first step mapped serve as history.
        samples : int
            Draws to keep; mean, spread and quantiles do not depend on it.
        seed : int
            Of the draws.
        times : tuple of str, optional
            First and last time (inclusive) to map.
        external : Covariates, optional
            The features that the model was fitted with.
        exceed : float or sequence of float
            Thresholds whose probability of exceedance is mapped, in the unit of the values.
        keep_draws : bool
            Return the draws as ``<value>_draws``.
        accept_units : bool
            Map readings as they are although they lie far outside what the model has learnt.
        progress, log : callable
            Told of every step, and of every decision in one sentence.

        Returns
        -------
        Dataset
            ``<value>`` (conditional mean), ``_std``, ``_q05``, ``_q25``, ``_q50``, ``_q75``,
            ``_q95``, ``_n_obs``, ``_distance`` (km to the nearest station that reported),
            ``_information`` (0 where that is farther than stated errors were ever checked), and
            ``_exceed_35`` and so on.

        Raises
        ------
        InvalidParameter
            If there are more stations than kriging takes: `size.MOST_READINGS` over its steps, or
            the readings seem to be in other units.
        """
        layers, limits = self._fitted(), limits_of(exceed)
        network = self._given(points, sites=math.prod(self.grid.fine_shape))
        self.variable.check_units(network.values, accept=accept_units, log=log)
        frames = self.variable.frames(network.times, times)
        samples = kept = kept_draws(samples, keep_draws, log)
        check_maps(len(frames), self.grid.fine_shape, kept)
        x, y = centres(self.grid)
        readings = self._readings(network, external)
        found = layers.forecast(
            readings, network.times, frames, Places.of(self.grid).cells_km(self.grid),
            self.terrain.at(external, self.grid, x, y), draws=range(kept), seed=seed,
            progress=progress, log=log,
        )  # fmt: skip
        return maps_of(
            found, self.variable, network, frames, exceed=limits,
            attrs=self._attrs(frames, samples=samples, seed=seed),
        )  # fmt: skip

    def at(
        self,
        points: PointTable | StationNetwork,
        x: Array,
        y: Array,
        *,
        times: tuple[str, str] | None = None,
        external: Covariates | None = None,
        samples: int = 0,
        seed: int = 0,
        progress: Progress = silent,
        log: Log = quiet,
    ) -> SiteForecast:
        """Return the forecast of what stations would read at `x`, `y` in the grid's CRS.

        The other parameters are those of `reconstruct`; the same seed gives the same draws as in
        the maps.
        """
        layers = self._fitted()
        x, y = places_of(x, y)
        network = self._given(points, sites=len(x))
        frames = self.variable.frames(network.times, times)
        return layers.forecast(
            self._readings(network, external), network.times, frames,
            Places.of(self.grid).km(x, y), self.terrain.at(external, self.grid, x, y),
            draws=range(samples), seed=seed, progress=progress, log=log,
        )  # fmt: skip

    # --- files ---------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the model directory, whole or not at all."""
        from ..archive import write

        self._fitted()
        write(path, self._config, self._arrays)

    def info(self) -> dict[str, Any]:
        """Return what the model is, as JSON types."""
        layers = self._fitted()
        return {
            "form": FORM, "value": self.value, "units": self.variable.attrs.get("units", ""),
            "aggregation": "mean", "kind": self.kind, "freq": self.freq,
            "calendar_tz": self.calendar_tz, "country": layers.climate.calendar.country,
            "grid": str(self.grid), "preset": self.settings.preset,
            "pretrained": self.pretrained, "stations": self.n_stations,
            **self.trained, "history": self.history, "reach_km": round(layers.reach_km, 1),
            "verdicts": self.verdicts,
            "external_features": [*self.features.names, *self.terrain.names],
            "data_fingerprint": self.data_fingerprint, "model_hash": self.model_hash,
            "geodiffrecon_version": self.version, "seed": self.seed,
        }  # fmt: skip

    @classmethod
    def _from_parts(cls, config: dict[str, Any], arrays: dict[str, Any], device: str) -> Self:
        from ..archive import model_hash
        from . import store

        torch_device(device)
        model = cls(
            settings=StationSettings.from_dict(config["settings"]), seed=config["about"]["seed"],
            device=device,
        )  # fmt: skip
        model._layers = store.restore(model, config, arrays)
        model._config, model._arrays = config, arrays
        model.model_hash = model_hash(config, arrays)
        return model

    @property
    def history(self) -> int:
        """Steps before a map that can change it."""
        return self._fitted().history

    # --- inside --------------------------------------------------------------------------------

    def _fitted(self) -> StationLayers:
        if self._layers is None:
            raise NotFitted("The model is not fitted; call fit(points, grid) or load one first.")
        return self._layers

    def _network(
        self, points: PointTable | StationNetwork, grid: NestedGrid, freq: str, calendar_tz: str,
        label: Literal["start", "end"], least: int = 3, columns: PointColumns | None = None,
    ) -> StationNetwork:  # fmt: skip
        if isinstance(points, StationNetwork):
            return points
        share = {} if columns is None else {"coverage": columns.coverage}
        return StationNetwork.of(
            points, grid, freq=freq, calendar_tz=calendar_tz, label=label, least=least, **share
        )

    def _given(self, points: PointTable | StationNetwork, *, sites: int) -> StationNetwork:
        """Return readings as the model takes them: cleaned, silent stations left out, in order."""
        network = self._network(
            points, self.grid, self.freq, self.calendar_tz, self.label, least=0,
            columns=self.columns,
        )  # fmt: skip
        if network.freq != self.freq:
            raise GridMismatch(
                f"The readings have steps of {network.freq}, the model of {self.freq}; cut them "
                f"with freq {self.freq}."
            )
        network, _ = cleaned(network, self.kind, self.negative)
        network = network.canonical()
        lags = len(self._fitted().around.kriging.lags)
        check_size(len(network.names), lags, min(sites, TILE))
        return network

    def _readings(self, network: StationNetwork, external: Covariates | None) -> Readings:
        layers = self._fitted()
        return layers.readings(
            network, Places.of(self.grid).km(network.x, network.y),
            self._sky(layers.climate.calendar, external, network.times),
            self.terrain.at(external, self.grid, network.x, network.y),
        )  # fmt: skip

    def _sky(
        self, calendar: Calendar, external: Covariates | None, times: NDArray[np.datetime64]
    ) -> Sky:
        from .sky import Sky

        return Sky.of(
            calendar, self.features, external, times, weather=self.settings.weather,
            wind=self.settings.wind,
        )  # fmt: skip

    def _kind(
        self, network: StationNetwork, asked: str | None, negative: Negative, log: Log
    ) -> Kind:
        """Return the kind asked for or proposed, and say it, with the share below zero."""
        known = network.values[np.isfinite(network.values)]
        below = known < 0
        noise = below.sum() < RARE * len(known) or is_concentration(
            network.value, self.variable.attrs.get("units", "")
        )
        kind = asked or propose_kind(known[~below] if noise else known, "mean")
        if kind not in ("real", "positive"):
            raise InvalidParameter(
                f"kind must be real or positive for stations, not {kind!r}; leave it out to have "
                "it proposed."
            )
        why = "as asked" if asked else "proposed from them"
        share = f"none is below zero; --kind {'real' if kind == 'positive' else 'positive'} differs"
        if below.any():
            made = "values like others" if kind == "real" else MADE[negative]
            share = (
                f"{100 * below.mean():.2g} % of the readings are below zero (down to "
                f"{known.min():g}) and {made}; --kind and --negative say otherwise"
            )
        log(f"Values are {kind}, {why}: {share}.")
        return "real" if kind == "real" else "positive"

    def _power(self) -> Power:
        return Power(0.5) if self.kind == "positive" else Power(1.0, signed=True)

    def _attrs(self, frames: NDArray[np.int64], *, samples: int, seed: int) -> dict[str, Any]:
        return {
            "geodiffrecon_version": __version__, "model_hash": self.model_hash,
            "data_fingerprint": self.data_fingerprint, "seed": seed, "samples": samples,
            "history_used": int(min(frames[0], self.history)),
        }  # fmt: skip

    def _seal(self) -> None:
        """Fix JSON and hash, so that the model in memory is the one that is saved."""
        from ..archive import model_hash
        from . import store

        self.version = __version__
        self._config, self._arrays = store.seal(self, self._fitted())
        self.model_hash = model_hash(self._config, self._arrays)
