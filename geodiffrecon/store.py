"""A fitted model as JSON and arrays, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from .architecture import Architecture
from .assembly import STATICS, units_of
from .calendar import Calendar
from .calibration import Calibration
from .errors import IncompatibleModel
from .priors.climatology import Climatology
from .priors.completion import GaussianCompletion
from .priors.kernel import SpaceTimeKernel
from .priors.offsets import OffsetRefinement
from .priors.prior import Prior
from .priors.shares import ShareRefinement
from .reconstruction import Reconstructor
from .scaling import Transform
from .stages import ResidualDiffusion, process_of
from .tiling import WindowLattice

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray
    from torch import nn

    from .presets import Settings
    from .steps import TimeStep

    Arrays = dict[str, NDArray[Any]]


def pack(model: Reconstructor, settings: Settings) -> tuple[dict[str, Any], Arrays]:
    """Return the JSON part and the arrays of a fitted model."""
    prior, arrays = _pack_prior(model.prior)
    networks: dict[str, Any] = {
        "completion": len(model.completion),
        "refinement": len(model.refinement),
        "completion_diffusion": model.completion_diffusion is not None,
        "refinement_diffusion": model.refinement_diffusion is not None,
    }
    for name, network in _networks(model):
        for key, tensor in network.state_dict().items():
            arrays[f"{name}.{key}"] = tensor.detach().cpu().numpy().astype(np.float16)
    config = {
        "settings": settings.to_dict(),
        "prior": prior,
        "networks": networks,
        "bounds": {
            stage: list(layer.bounds)
            for stage in ("completion", "refinement")
            if (layer := getattr(model, f"{stage}_diffusion")) is not None
        },
        "aggregation": model.aggregation,
        "kind": model.kind,
    }
    return config, arrays


def unpack(
    config: Mapping[str, Any],
    arrays: Arrays,
    settings: Settings,
    *,
    step: TimeStep,
    external: int,
    cells: int,
    device: torch.device,
) -> Reconstructor:
    """Rebuild the model that `pack` took apart.

    `step` is that of the maps; `external` and `cells` are the numbers of covariates per time and
    per cell.
    """
    prior = _unpack_prior(config["prior"], arrays)
    units = units_of([prior]).to(device)
    lattice = WindowLattice(prior.shape, settings.window, settings.overlap)
    calendar = prior.calendar.context(np.zeros(1, "datetime64[ns]")).shape[1]
    architecture = Architecture(
        settings, lattice, prior.factor, calendar + external + bool(external),
        prior.calendar.n_slots, units.out_channels, STATICS + cells,
    )  # fmt: skip
    model = Reconstructor(
        prior, units, config["aggregation"], config["kind"], lattice,
        architecture.coarse_lags, architecture.fine_lags, step, device=device,
    )  # fmt: skip
    networks = config["networks"]
    for stage in ("completion", "refinement"):
        members: list[nn.Module] = []
        for number in range(networks[stage]):  # each has its weights before the next is made
            network = getattr(architecture, stage)(noisy=False)
            _load_weights(network, f"{stage}.{number}", arrays)
            members.append(network)
        setattr(model, stage, members)
        if networks[f"{stage}_diffusion"]:
            network = getattr(architecture, stage)(noisy=True)
            _load_weights(network, f"{stage}_diffusion", arrays)
            factor = 1 if stage == "completion" else prior.factor
            low, high = config["bounds"][stage]
            layer = ResidualDiffusion(
                network, process_of(settings.chain), settings.chain.sampler, settings.chain.steps,
                (low, high), lattice, factor,
            )  # fmt: skip
            setattr(model, f"{stage}_diffusion", layer)
    for _, network in _networks(model):
        network.to(device).eval()
    return model


def round_weights(model: Reconstructor) -> None:
    """Round all weights to what the file keeps, so that saving changes no result."""
    for _, network in _networks(model):
        for parameter in network.parameters():
            parameter.data = parameter.data.half().to(parameter.dtype)


def _networks(model: Reconstructor) -> list[tuple[str, nn.Module]]:
    found: list[tuple[str, nn.Module]] = []
    for stage in ("completion", "refinement"):
        found += [(f"{stage}.{i}", network) for i, network in enumerate(getattr(model, stage))]
        layer = getattr(model, f"{stage}_diffusion")
        if layer is not None:
            found.append((f"{stage}_diffusion", layer.network))
    return found


def _load_weights(network: nn.Module, name: str, arrays: Arrays) -> None:
    import torch

    prefix = f"{name}."
    state = {
        key.removeprefix(prefix): torch.from_numpy(array.astype(np.float32))
        for key, array in arrays.items()
        if key.startswith(prefix)
    }
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise IncompatibleModel(
            f"The weights of {name} do not fit the model's settings; fit the model again."
        ) from error


def _pack_prior(prior: Prior) -> tuple[dict[str, Any], Arrays]:
    arrays: Arrays = {
        "prior.climatology": prior.climatology.coefficients,
        "prior.spread": prior.climatology.spread,
        "prior.representativeness": prior.representativeness,
    }
    meta: dict[str, Any] = {
        "kind": prior.transform.kind,
        "calendar": asdict(prior.calendar),
        "shape": list(prior.shape),
        "factor": prior.factor,
        "fine_level": list(prior.fine_level),
        "point_noise": prior.point_noise,
    }
    if prior.completion is not None:
        kriging = prior.completion
        meta["completion"] = {
            "lags": list(kriging.lags), "level": kriging.level, "kernel": asdict(kriging.kernel),
        }  # fmt: skip
        arrays["prior.positions"] = kriging.positions
        if kriging.covariance is not None:
            arrays["prior.covariance"] = kriging.covariance.astype(np.float32)
    if isinstance(prior.refinement, ShareRefinement):
        meta["dispersion"] = prior.refinement.dispersion
        arrays["prior.shares"] = prior.refinement.shares
    elif isinstance(prior.refinement, OffsetRefinement):
        meta["radius"] = prior.refinement.radius
        arrays["prior.offsets"] = prior.refinement.coefficients
        arrays["prior.offset_spread"] = prior.refinement.spread
        if prior.refinement.colour is not None:
            arrays["prior.offset_colour"] = prior.refinement.colour
    return meta, arrays


def _unpack_prior(meta: Mapping[str, Any], arrays: Arrays) -> Prior:
    completion: GaussianCompletion | None = None
    refinement: ShareRefinement | OffsetRefinement | None = None
    rows, columns = (int(n) for n in meta["shape"])
    cells, within = rows * columns, int(meta["factor"]) ** 2
    calendar = Calendar(**meta["calendar"])
    regressors = calendar.climatology(np.zeros(1, "datetime64[ns]")).shape[1]
    if "completion" in meta:
        stored = meta["completion"]
        covariance = None
        if "prior.covariance" in arrays:
            both = cells * len(stored["lags"])
            covariance = _array(arrays, "prior.covariance", both, both).astype(np.float64)
        completion = GaussianCompletion(
            tuple(stored["lags"]), SpaceTimeKernel(**stored["kernel"]),
            _array(arrays, "prior.positions", cells, 2), covariance, stored["level"],
        )  # fmt: skip
    if "dispersion" in meta:
        slots = 1 if len(arrays["prior.shares"]) == 1 else calendar.n_slots
        shares = _array(arrays, "prior.shares", slots, cells, within)
        refinement = ShareRefinement(shares, meta["dispersion"])
    elif "radius" in meta:
        known = len(arrays["prior.offsets"][0])
        colour = None
        if "prior.offset_colour" in arrays:
            colour = _array(arrays, "prior.offset_colour", cells, within, within)
        refinement = OffsetRefinement(
            _array(arrays, "prior.offsets", cells, known, within), meta["radius"],
            _array(arrays, "prior.offset_spread", cells, within), colour,
        )  # fmt: skip
    low, high = meta["fine_level"]
    climatology = Climatology(
        _array(arrays, "prior.climatology", regressors, cells),
        _array(arrays, "prior.spread", cells),
    )
    return Prior(
        Transform(meta["kind"]), calendar, (rows, columns), meta["factor"], climatology,
        completion, refinement, _array(arrays, "prior.representativeness", rows, columns),
        (low, high), meta["point_noise"],
    )  # fmt: skip


def _array(arrays: Arrays, name: str, *shape: int) -> NDArray[Any]:
    """Return an array of numbers of a shape, or refuse the model."""
    found = arrays[name]
    if found.shape != shape or found.dtype.kind != "f":
        raise IncompatibleModel(
            f"{name} of the model has {found.dtype} of shape {found.shape} where numbers of "
            f"{shape} belong; fit the model again."
        )
    return found


def calibrations_to_dict(calibrations: Mapping[str, Calibration]) -> dict[str, Any]:
    """Return named calibrations as JSON types."""
    return {name: asdict(found) for name, found in calibrations.items()}


def calibrations_from_dict(stored: Mapping[str, Any]) -> dict[str, Calibration]:
    """Rebuild what `calibrations_to_dict` gave."""
    return {
        name: Calibration(**{**values, "levels": tuple(values["levels"])})
        for name, values in stored.items()
    }
