"""Station models as JSON and arrays, and back; nothing that is loaded is ever executed."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..calendar import Calendar
from ..errors import IncompatibleModel
from ..features import Features
from ..points import PointColumns
from ..variable import Variable
from .anomalies import UsualSteps
from .climate import Climate, PlaceEffect
from .forecast import Power
from .kernel import StationKernel
from .kriging import StationKriging
from .layers import StationLayers
from .memory import ErrorMemory
from .recent import RecentErrors
from .spread import LocalSpread
from .surroundings import Surroundings
from .terrain import Terrain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import nn

    from ..steps import TimeStep
    from .model import StationDiffRecon
    from .settings import StationSettings

    Arrays = dict[str, NDArray[Any]]


def pack(layers: StationLayers) -> tuple[dict[str, Any], Arrays]:
    """Return the JSON part and the arrays of fitted layers."""
    arrays: Arrays = {
        "climate": layers.climate.coefficients, "place.centre": layers.place.centre,
        "place.width": layers.place.width, "place.coefficients": layers.place.coefficients,
    }  # fmt: skip
    for name, network in _networks(layers):
        for key, tensor in network.state_dict().items():
            arrays[f"{name}.{key}"] = tensor.detach().numpy()
    around = layers.around
    config = {
        "power": asdict(layers.power), "calendar": asdict(layers.climate.calendar),
        "lags": list(around.kriging.lags), "unit_km": around.unit_km, "level": list(around.level),
        "stations": around.stations, "typical": around.typical,
        "local": asdict(layers.local), "shape": list(layers.shape),
        "memory": asdict(layers.memory), "recent": asdict(layers.recent),
        "usual": asdict(layers.usual),
        "reach_km": layers.reach_km, "waves": layers.waves, "chain": layers.chain,
        "members": [_sizes(layers)] * len(layers.members), "denoiser": _conditions(layers),
    }  # fmt: skip
    return config, arrays


def unpack(
    config: Mapping[str, Any], arrays: Arrays, settings: StationSettings, step: TimeStep
) -> StationLayers:
    """Rebuild the layers that `pack` took apart; `step` is that of the readings.

    Raises
    ------
    IncompatibleModel
        If arrays are missing or do not fit.
    """
    from ..networks.points import PointDenoiser, PointFormer

    try:
        kernel = StationKernel()
        _fill(kernel, "kernel", arrays)
        around = Surroundings(
            StationKriging(kernel, tuple(config["lags"])), config["unit_km"],
            tuple(config["level"]), settings.neighbours, config["stations"],
            config["typical"],
        )  # fmt: skip
        layers = StationLayers(
            Power(**config["power"]), Climate(Calendar(**config["calendar"]), arrays["climate"]),
            PlaceEffect(
                arrays["place.centre"], arrays["place.width"], arrays["place.coefficients"]
            ),
            around, step, LocalSpread(**_tuples(config["local"])), shape=tuple(config["shape"]),
            memory=ErrorMemory(**_tuples(config["memory"])),
            recent=RecentErrors(**config["recent"]), usual=UsualSteps(**config["usual"]),
            reach_km=config["reach_km"], waves=config["waves"], chain=config["chain"],
        )  # fmt: skip
        for number, sizes in enumerate(config["members"]):
            member = PointFormer(**sizes, width=settings.width, heads=settings.heads)
            layers.members.append(member)
            _fill(member, f"members.{number}", arrays)
        if config["denoiser"] is None:
            return layers
        denoiser = PointDenoiser(conditions=config["denoiser"])
        _fill(denoiser, "denoiser", arrays)
    except (KeyError, TypeError, RuntimeError) as error:
        raise IncompatibleModel(
            f"The station model does not fit its settings ({error}); fit it again."
        ) from error
    return replace(layers, denoiser=denoiser)


FORM = "stations"
PLAIN = (
    "trained", "verdicts", "data_fingerprint", "version", "kind", "label", "n_stations",
    "pretrained", "seed",
)  # fmt: skip


def seal(model: StationDiffRecon, layers: StationLayers) -> tuple[dict[str, Any], Arrays]:
    """Return everything that a model is, as JSON and arrays; its networks are settled."""
    settle(layers)
    config, arrays = pack(layers)
    about = {name: getattr(model, name) for name in PLAIN}
    about |= {
        "variable": model.variable.to_dict(), "features": asdict(model.features),
        "terrain": asdict(model.terrain), "negative": model.negative,
        "columns": asdict(model.columns) if model.columns else None,
    }  # fmt: skip
    settings = model.settings.to_dict()
    return {"form": FORM, "settings": settings, "layers": config, "about": about}, arrays


def restore(model: StationDiffRecon, config: Mapping[str, Any], arrays: Arrays) -> StationLayers:
    """Give `model` what `seal` took from another, and return its layers.

    Raises
    ------
    IncompatibleModel
        If something is missing or does not fit.
    """
    about = config["about"]
    missing = sorted({*PLAIN, "variable", "features", "terrain", "columns"} - set(about))
    if missing:
        raise IncompatibleModel(
            f"The station model does not say its {missing[0]!r}; fit it again with this version."
        )
    for name in PLAIN:
        setattr(model, name, about[name])
    model.variable = Variable.from_dict(about["variable"])
    model.features = Features(**_tuples(about["features"]))
    model.terrain = Terrain(**_tuples(about["terrain"]))
    model.negative = about.get("negative", "drop")  # what models did that do not say
    model.columns = PointColumns.from_dict(about["columns"]) if about["columns"] else None
    return unpack(config["layers"], arrays, model.settings, model.variable.step)


def settle(layers: StationLayers) -> None:
    """Leave all networks ready to be used, without gradients or dropout."""
    for _, network in _networks(layers):
        network.eval().requires_grad_(False)


def _networks(layers: StationLayers) -> list[tuple[str, nn.Module]]:
    found: list[tuple[str, nn.Module]] = [("kernel", layers.around.kriging.kernel)]
    found += [(f"members.{i}", member) for i, member in enumerate(layers.members)]
    if layers.denoiser is not None:
        found.append(("denoiser", layers.denoiser))
    return found


def _sizes(layers: StationLayers) -> dict[str, int]:
    if not layers.members:
        return {}
    first = layers.members[0]
    tokens, queries = first.token[0], first.query[0]
    return {"tokens": tokens.in_features, "queries": queries.in_features}  # type: ignore[dict-item]


def _conditions(layers: StationLayers) -> int | None:
    if layers.denoiser is None:
        return None
    entering = layers.denoiser.layers[0].in_features
    return int(entering) - 1 - 2 * layers.denoiser.WAVES  # type: ignore[arg-type]


def _fill(network: nn.Module, name: str, arrays: Arrays) -> None:
    import torch

    prefix = f"{name}."
    state = {
        key.removeprefix(prefix): torch.from_numpy(np.array(array))
        for key, array in arrays.items()
        if key.startswith(prefix)
    }
    network.load_state_dict(state)
    network.eval().requires_grad_(False)


def _tuples(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) for key, value in stored.items()}
