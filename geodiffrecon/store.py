"""The model directory: config.json and model.safetensors, written whole, read without code."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
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

SCHEMA = 2
CONFIG, WEIGHTS = "config.json", "model.safetensors"


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
        members = [getattr(architecture, stage)(noisy=False) for _ in range(networks[stage])]
        setattr(model, stage, members)
        if networks[f"{stage}_diffusion"]:
            network = getattr(architecture, stage)(noisy=True)
            factor = 1 if stage == "completion" else prior.factor
            low, high = config["bounds"][stage]
            layer = ResidualDiffusion(
                network, process_of(settings.chain), settings.chain.sampler, settings.chain.steps,
                (low, high), lattice, factor,
            )  # fmt: skip
            setattr(model, f"{stage}_diffusion", layer)
    for name, network in _networks(model):
        _load_weights(network, name, arrays)
        network.to(device).eval()
    return model


def round_weights(model: Reconstructor) -> None:
    """Round all weights to what the file keeps, so that saving changes no result."""
    for _, network in _networks(model):
        for parameter in network.parameters():
            parameter.data = parameter.data.half().to(parameter.dtype)


def model_hash(config: Mapping[str, Any], arrays: Arrays) -> str:
    """Return the hash that results carry: of everything that decides them."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()[:16]


def write(path: str | Path, config: Mapping[str, Any], arrays: Arrays) -> None:
    """Write a model directory; it appears whole or not at all.

    Raises
    ------
    IncompatibleModel
        If `path` exists and is not a model directory.
    """
    from safetensors.numpy import save

    target = Path(path)
    if target.exists() and not (target / CONFIG).is_file() and any(target.iterdir()):
        raise IncompatibleModel(
            f"{target} exists and is not a model; give another directory for the model."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        # not save_file, whose files only their owner can read
        (staging / WEIGHTS).write_bytes(save(plain))
        text = json.dumps({"schema": SCHEMA, **config}, indent=1, sort_keys=True)
        (staging / CONFIG).write_text(text + "\n", encoding="utf-8")
        staging.chmod(0o755)
        _swap(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def read(path: str | Path) -> tuple[dict[str, Any], Arrays]:
    """Read a model directory; nothing in it is ever executed.

    Raises
    ------
    IncompatibleModel
        If it is missing, damaged, or of a schema that this version does not know.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    source = Path(path)
    if not (source / CONFIG).is_file():
        raise IncompatibleModel(
            f"{source} is not a model directory: it has no {CONFIG}. Make one with "
            "geodiffrecon fit."
        )
    try:
        config = json.loads((source / CONFIG).read_text(encoding="utf-8"))
        arrays = load_file(source / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise IncompatibleModel(
            f"The model in {source} is damaged ({error}); fit it again or restore it."
        ) from error
    schema = config.pop("schema", None)
    if schema != SCHEMA:
        raise IncompatibleModel(
            f"The model in {source} has schema {schema!r}, this version reads "
            f"schema {SCHEMA}; fit it again or use the version that wrote it."
        )
    return config, arrays


def _swap(staging: Path, target: Path) -> None:
    if target.exists():
        retired = staging.with_name(staging.name + ".old")
        os.replace(target, retired)
        os.replace(staging, target)
        shutil.rmtree(retired, ignore_errors=True)
    else:
        os.replace(staging, target)


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
    if "completion" in meta:
        stored = meta["completion"]
        covariance = arrays.get("prior.covariance")
        completion = GaussianCompletion(
            tuple(stored["lags"]), SpaceTimeKernel(**stored["kernel"]), arrays["prior.positions"],
            None if covariance is None else covariance.astype(np.float64), stored["level"],
        )  # fmt: skip
    if "dispersion" in meta:
        refinement = ShareRefinement(arrays["prior.shares"], meta["dispersion"])
    elif "radius" in meta:
        refinement = OffsetRefinement(
            arrays["prior.offsets"],
            meta["radius"],
            arrays["prior.offset_spread"],
            arrays.get("prior.offset_colour"),
        )
    rows, columns = meta["shape"]
    low, high = meta["fine_level"]
    return Prior(
        Transform(meta["kind"]), Calendar(**meta["calendar"]), (rows, columns), meta["factor"],
        Climatology(arrays["prior.climatology"], arrays["prior.spread"]),
        completion, refinement, arrays["prior.representativeness"], (low, high),
        meta["point_noise"],
    )  # fmt: skip


def calibrations_to_dict(calibrations: Mapping[str, Calibration]) -> dict[str, Any]:
    """Return named calibrations as JSON types."""
    return {name: asdict(found) for name, found in calibrations.items()}


def calibrations_from_dict(stored: Mapping[str, Any]) -> dict[str, Calibration]:
    """Rebuild what `calibrations_to_dict` gave."""
    return {
        name: Calibration(**{**values, "levels": tuple(values["levels"])})
        for name, values in stored.items()
    }
