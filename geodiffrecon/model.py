"""DiffRecon: the estimator that users hold. Fit on fine history, reconstruct from sparse points."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from . import __version__
from .conditioning import consistency_of, split_points
from .cube import as_cube, fingerprint
from .device import torch_device
from .errors import IncompatibleModel, InvalidParameter, NotFitted
from .features import Features
from .memory import check_maps
from .presets import Settings
from .presets import preset as named_preset
from .progress import Progress, silent
from .variable import OfVariable, Record, Variable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from .assembly import Observations
    from .conditioning import Readings
    from .covariates import Covariates
    from .reconstruction import Reconstructor
    from .summary import Summary

DEFAULT_DRAWS = 8  # of models that have no mean but that of draws


def quiet(sentence: str) -> None:
    """Take a sentence and tell nobody."""


class DiffRecon(OfVariable):
    """Two-stage reconstruction of complete fine maps from sparse coarse observations.

    A closed-form prior, a mean layer and a diffusion layer, each kept only if it gains on
    validation. After Sun et al., arXiv 2410.05323; `default` differs from the paper, `paper`
    follows it.

    Parameters
    ----------
    preset : {"default", "paper", "literal", "tiny"}
        Named settings.
    settings : Settings, optional
        Own settings, in place of a preset.
    history : int, optional
        Recent frames that completion reads, the current one included.
    seed : int
        Of everything random in fitting.
    device : {"auto", "cpu", "cuda"}
        Where networks run; "auto" takes a GPU when there is one.

    Attributes
    ----------
    variable : Variable
        What the model is about; known, as all below, after `fit` or `load`.
    grid, value, aggregation, freq, calendar_tz
        Of the variable.
    kind : str
        What values can be.
    trained : dict
        Start and end of training and validation, as ISO times.
    verdicts : list of str
        What validation decided about every layer.
    """

    def __init__(
        self,
        *,
        preset: str = "default",
        settings: Settings | None = None,
        history: int | None = None,
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        chosen = settings or named_preset(preset)
        self.settings = chosen if history is None else replace(chosen, history=history)
        self.seed = seed
        self.device = device
        self._model: Reconstructor | None = None

    # --- fit -----------------------------------------------------------------------------------

    def fit(
        self,
        history: xr.Dataset,
        *,
        aggregation: str | None = None,
        kind: str | None = None,
        until: str | None = None,
        external: Covariates | None = None,
        country: str | None = None,
        max_minutes: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        progress: Progress = silent,
        log: Callable[[str], None] = quiet,
    ) -> DiffRecon:
        """Fit to a fine history, with holes or without.

        Parameters
        ----------
        history : Dataset
            Fine-level cube, see `open_history`; cells may be missing.
        aggregation : {"mean", "sum"}, optional
            How fine values make a coarse one; what the cube says by default.
        kind : {"real", "positive", "count"}, optional
            What values can be; proposed from the values by default.
        until : str, optional
            End of training and validation (exclusive), in the cube's time zone if it names none.
        external : Covariates, optional
            Weather per time, land use per cell.
        country : str, optional
            Country code of the public holidays.
        max_minutes : float, optional
            Phases stop in time for this.
        clock : callable
            Seconds that count for it; ``time.process_time`` has those of the processor.
        progress, log : callable
            Told of every step, and of every decision in one sentence.

        Returns
        -------
        DiffRecon
            Itself.

        Raises
        ------
        GridMismatch
            If the cube is not a fine one whose factor divides it.
        NoObservations
            If fewer than 40 usable maps lie before `until`: with a fifth of their coarse cells.
        """
        from .fitting import Fitting
        from .lesson import Lesson

        _check_members(self.settings)
        history = as_cube(history)
        self.variable = Variable.of_history(history, aggregation)
        lesson = Lesson.of(
            history, self.variable, kind=kind, until=until, external=external, country=country,
            log=log,
        )  # fmt: skip
        self.kind, self.features = lesson.kind, lesson.features
        self.variable = replace(self.variable, record=Record.of(lesson.record.coarse))
        fitting = Fitting(
            lesson, self.settings, seed=self.seed, max_minutes=max_minutes, clock=clock,
            progress=progress, log=log, device=torch_device(self.device),
        )  # fmt: skip
        self._model, self._calibrations, self.prior_calibration = fitting.run()
        self.version = __version__
        self.verdicts = [verdict.sentence() for verdict in fitting.verdicts]
        self.trained = fitting.split.spans(lesson.record.times)
        seen = slice(0, len(lesson.record.times))
        self.data_fingerprint = fingerprint(history.isel(time=seen))
        self._seal()
        return self

    # --- use -----------------------------------------------------------------------------------

    def reconstruct(
        self,
        observations: xr.Dataset,
        *,
        samples: int = 0,
        steps: int | None = None,
        seed: int = 0,
        times: tuple[str, str] | None = None,
        external: Covariates | None = None,
        consistency: str | None = None,
        keep_draws: bool = False,
        accept_units: bool = False,
        progress: Progress = silent,
        log: Callable[[str], None] = quiet,
    ) -> xr.Dataset:
        """Return complete fine maps of sparse coarse observations.

        Parameters
        ----------
        observations : Dataset
            Coarse-level cube; with ``<value>_n_obs`` its values are means of that many points. For
            a model of means also points binned with ``bin_points(..., level="fine")``: soft
            consistency then knows the fine cell in which each of them stands.
        samples : int
            Draws to keep; mean, spread and quantiles do not depend on it.
        steps : int, optional
            Network calls per draw.
        seed : int
            Of the draws.
        times : tuple of str, optional
            First and last time (inclusive) to reconstruct; earlier ones still serve as history.
        external : Covariates, optional
            The features that the model was fitted with.
        consistency : {"hard", "soft", "off"}, optional
            Whether observed cells keep their value: "hard" for coarse cells and sums, "soft" for
            means of points; "off" completes as "hard" does, but leaves fine maps as refinement
            makes them, whatever they add up to.
        keep_draws : bool
            Return the draws as ``<value>_draws``.
        accept_units : bool
            Map values as they are although they lie far outside what the model has learnt.
        progress, log : callable
            Told of every step, and of every decision in one sentence.

        Returns
        -------
        Dataset
            ``<value>``, ``_std``, ``_q05``, ``_q50``, ``_q95`` and ``_n_obs`` on the fine grid.

        Raises
        ------
        GridMismatch
            If the observations are on another grid.
        """
        from .summary import summarise

        model = self._fitted()
        observations, readings = split_points(as_cube(observations), self.aggregation)
        self.variable.check_observations(observations)
        self.variable.check_units(self.variable.values(observations), accept=accept_units, log=log)
        mode = consistency_of(observations, self.aggregation, consistency)
        hard = mode != "soft"
        model = replace(model, calibration=self._calibrations["hard" if hard else "soft"])
        given = self._observations(observations, external, readings if mode == "soft" else None)
        frames = self.variable.frames(given.times, times)
        if model.samples_its_mean and samples < 2:
            samples = DEFAULT_DRAWS
            log(f"This model has no mean of its own: mean and spread are of {samples} draws.")
        if not model.samples_its_mean:
            samples = kept_draws(samples, keep_draws, log)
        check_maps(
            len(frames), self.grid.fine_shape,
            samples,
        )  # fmt: skip
        series, belief = model.complete(
            model.series(given, hard=hard), given, hard=hard, progress=progress
        )
        draws = None
        if samples:
            draws = model.collect(
                series, belief, given.times, frames, range(samples), seed, steps=steps,
                consistent=mode != "off", progress=progress,
            )  # fmt: skip
        summary = summarise(model, series, belief, frames, draws, consistent=mode != "off")
        return self._maps(
            summary, given, frames, draws if keep_draws else None, samples=samples, seed=seed,
            consistency=mode,
        )  # fmt: skip

    # --- files ---------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the model directory, whole or not at all."""
        from . import archive

        self._fitted()
        archive.write(path, self._config, self._arrays)

    def info(self) -> dict[str, Any]:
        """Return what the model is, as JSON types."""
        self._fitted()
        return {
            "value": self.value,
            "units": self.variable.attrs.get("units", ""),
            "aggregation": self.aggregation,
            "kind": self.kind,
            "freq": self.freq,
            "calendar_tz": self.calendar_tz,
            "grid": str(self.grid),
            "preset": self.settings.preset,
            **self.trained,
            "verdicts": self.verdicts,
            "external_features": [*self.features.names, *self.features.cell_names],
            "data_fingerprint": self.data_fingerprint,
            "model_hash": self.model_hash,
            "geodiffrecon_version": self.version,
            "seed": self.seed,
        }

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto") -> DiffRecon:
        """Load a model directory; `geodiffrecon.load` opens models of any kind.

        Raises
        ------
        IncompatibleModel
            If it is missing, damaged, of stations, or of a schema that this version does not know.
        """
        from . import archive

        torch_device(device)
        config, arrays = archive.read(path)
        if "prior" not in config:
            raise IncompatibleModel(f"{path} is no model of maps; open it with geodiffrecon.load.")
        with archive.sound(path):
            return cls._from_parts(config, arrays, device)

    @classmethod
    def _from_parts(cls, config: dict[str, Any], arrays: dict[str, Any], device: str) -> DiffRecon:
        from . import archive, store

        about = config["about"]
        settings = Settings.from_dict(config["settings"])
        model = cls(settings=settings, seed=about["seed"], device=device)
        for name in ("trained", "verdicts", "data_fingerprint", "version"):
            setattr(model, name, about[name])
        model.variable = Variable.from_dict(about["variable"])
        model.features = Features(**{k: tuple(v) for k, v in about["features"].items()})
        model.kind = config["kind"]
        model._calibrations = store.calibrations_from_dict(config["calibration"])
        model._model = store.unpack(
            config, arrays, settings, step=model.variable.step, external=len(model.features.names),
            cells=len(model.features.cell_names), device=torch_device(device),
        )  # fmt: skip
        model.prior_calibration = model._calibrations.pop("prior")
        model._config, model._arrays = config, arrays
        model.model_hash = archive.model_hash(config, arrays)
        return model

    def layers(self, part: str = "all") -> Reconstructor:
        """Return the fitted layers, calibrated for coarse cells that are held.

        Parameters
        ----------
        part : {"all", "mean", "prior"}
            Which layers: all, those without diffusion, or the prior alone.
        """
        model = self._fitted()
        bare = replace(model, completion_diffusion=None, refinement_diffusion=None)
        if part == "prior":
            return replace(bare, completion=[], refinement=[], calibration=self.prior_calibration)
        return replace(model if part == "all" else bare, calibration=self._calibrations["hard"])

    @property
    def parameters(self) -> int:
        """Number of trained weights of all networks."""
        model = self._fitted()
        diffusions = (model.completion_diffusion, model.refinement_diffusion)
        networks = [*model.completion, *model.refinement, *(d.network for d in diffusions if d)]
        return sum(weight.numel() for net in networks for weight in net.parameters())

    # --- inside --------------------------------------------------------------------------------

    def _fitted(self) -> Reconstructor:
        if self._model is None:
            raise NotFitted("The model is not fitted; call fit(history) or load a model first.")
        return self._model

    def _seal(self) -> None:
        """Fix weights, JSON and hash, so that the model in memory is the one that is saved."""
        from . import archive, store

        model = self._fitted()
        store.round_weights(model)
        config, self._arrays = store.pack(model, self.settings)
        about = {
            "variable": self.variable.to_dict(),
            "features": asdict(self.features),
            "trained": self.trained,
            "verdicts": self.verdicts,
            "data_fingerprint": self.data_fingerprint,
            "version": self.version,
            "seed": self.seed,
        }
        calibration = store.calibrations_to_dict(
            {**self._calibrations, "prior": self.prior_calibration}
        )
        self._config = {**config, "about": about, "calibration": calibration}
        self.model_hash = archive.model_hash(self._config, self._arrays)

    def _observations(
        self, cube: xr.Dataset, external: Covariates | None, readings: Readings | None = None
    ) -> Observations:
        from .assembly import Observations

        times = cube["time"].to_numpy()
        counts = f"{cube.attrs['value']}_n_obs"
        return Observations(
            times, self.variable.values(cube).astype(np.float64), self.context(times, external),
            self.features.cells(external, self.grid),
            cube[counts].to_numpy() if counts in cube else None, readings,
        )  # fmt: skip

    def context(
        self, times: NDArray[np.datetime64], external: Covariates | None
    ) -> NDArray[np.float32]:
        """Return calendar and external features (T, E) as the networks read them."""
        calendar = self._fitted().prior.calendar.context(times)
        return np.concatenate([calendar, self.features.context(external, times)], axis=1)

    def _maps(
        self,
        summary: Summary,
        given: Observations,
        frames: NDArray[np.int64],
        draws: NDArray[np.float64] | None,
        *,
        samples: int,
        seed: int,
        consistency: str,
    ) -> xr.Dataset:
        from .windows import repeat

        seen = np.isfinite(given.coarse[frames])
        count = seen if given.n_obs is None else np.where(seen, given.n_obs[frames], 0)
        attrs = {
            "geodiffrecon_version": __version__, "model_hash": self.model_hash,
            "data_fingerprint": self.data_fingerprint, "seed": seed, "samples": samples,
            "consistency": consistency, "history_used": int(min(frames[0], self._fitted().history)),
        }  # fmt: skip
        fine_count = repeat(count.astype(np.int32), self.grid.factor)
        return self.variable.maps(
            summary, given.times[frames], fine_count, draws=draws, attrs=attrs
        )


def kept_draws(samples: int, keep: bool, log: Callable[[str], None]) -> int:
    """Return how many draws are made: as many as are kept.

    Raises
    ------
    InvalidParameter
        If draws shall be kept and there are none.
    """
    if keep and not samples:
        raise InvalidParameter(
            "keep_draws is set but samples is 0, so there is nothing to keep; give samples=32 or "
            "leave keep_draws out."
        )
    if samples and not keep:
        log(
            f"The {samples} draws are not made: mean, spread and quantiles do not depend on them; "
            "keep_draws=True returns them."
        )
    return samples if keep else 0


def _check_members(settings: Settings) -> None:
    """Refuse a diffusion whose residuals are those of networks that have seen the truth."""
    if settings.members < 2 and settings.mean and settings.diffusion:
        raise InvalidParameter(
            f"members is {settings.members}, so diffusion would learn from residuals of networks "
            "that have seen the same maps; give 2 or more members, or leave diffusion out."
        )
