"""Weights of the core as a file: safetensors with a card in it; loading runs no code."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import IncompatibleModel
from .context import STAGES

if TYPE_CHECKING:
    from .network import CoreNetwork

FORM = "1"  # of the file; changes with the meaning of maps and numbers


@dataclass(frozen=True)
class Card:
    """What is told of trained weights.

    Parameters
    ----------
    cases, minutes : int, float
        Simulated for it, and trained on one core.
    held_back : int
        Simulated cases that were never trained on.
    held_ratio : float
        Geometric mean over them of the CRPS over the belief's.
    lowest, highest : list of float
        Range of each number of the context in training: 0.1 % and 99.9 %.
    """

    cases: int
    minutes: float
    held_back: int
    held_ratio: float
    lowest: list[float]
    highest: list[float]


def save_core(network: CoreNetwork, path: Path, card: Card, *, stage: str) -> None:
    """Write weights of a stage in half precision with their card."""
    from safetensors.torch import save_file

    tensors = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    about = {"config": json.dumps(network.config), "card": json.dumps(asdict(card))}
    told = {"form": FORM, "stage": stage, **about}
    save_file(tensors, str(path), metadata=told)


def shipped(stage: str) -> Path:
    """Return where the weights of a stage that come with the package lie."""
    return Path(str(files("geodiffrecon.core") / f"{stage}.safetensors"))


@lru_cache(maxsize=4)
def load_core(stage: str, path: Path | None = None) -> tuple[CoreNetwork, Card]:
    """Return network and card of a stage, "completion" or "refinement"; the shipped by default.

    Raises
    ------
    IncompatibleModel
        If the file is missing, damaged or of another form.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    from .network import CoreNetwork

    path = path or shipped(stage)
    maps, numbers = STAGES[stage]
    try:
        with safe_open(str(path), framework="pt") as held:
            told = held.metadata() or {}
            tensors = {name: held.get_tensor(name).float() for name in held.keys()}
        if told.get("form") != FORM:
            raise ValueError(f"form {told.get('form')!r} where {FORM!r} is read")
        config = json.loads(told["config"])
        if (config["maps"], config["numbers"]) != (len(maps), len(numbers)):
            raise ValueError("other maps or numbers than this version has")
        network = CoreNetwork(**{k: config[k] for k in ("maps", "numbers", "widths", "told")})
        network.load_state_dict(tensors)
        if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
            raise ValueError("weights that are no numbers")
        card = Card(**{f.name: json.loads(told["card"])[f.name] for f in fields(Card)})
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise IncompatibleModel(
            f"The core's weights {path} cannot be used ({str(error).splitlines()[0]}); "
            "install geodiffrecon again."
        ) from error
    return network.eval(), card
