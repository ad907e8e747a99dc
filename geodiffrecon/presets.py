"""Every choice of a model in frozen dataclasses, and the named presets."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any, Self

from .errors import InvalidParameter


@dataclass(frozen=True)
class Layer:
    """Sizes and training of one network.

    Parameters
    ----------
    widths : tuple of int
        Channels of the U-Net's levels, finest first.
    blocks : int
        Residual blocks per level.
    d : int
        Width of the inter-encoder; 0 leaves it out (the paper's ablations).
    layers : int
        Layers of the inter-encoder.
    dropout : float
        Share of channels dropped in training.
    steps, batch : int
        Most optimiser steps, and problems per step.
    noises : int
        Noised fields per problem and step of a denoiser, which share one encoding of the history.
    rate : float
        Learning rate of AdamW.
    """

    widths: tuple[int, ...] = (64,)
    blocks: int = 2
    d: int = 32
    layers: int = 2
    dropout: float = 0.3
    steps: int = 600
    batch: int = 32
    noises: int = 1
    rate: float = 1e-3


@dataclass(frozen=True)
class Chain:
    """The diffusion process of both stages.

    Parameters
    ----------
    levels : int
        Noise levels T.
    schedule : {"cosine", "linear", "quadratic"}
        How noise grows.
    prediction : {"v", "eps", "x0"}
        What the networks predict.
    sampler : {"dpmpp_2m", "ddim", "ancestral"}
        How draws are made.
    steps : int
        Network calls per draw.
    """

    levels: int = 100
    schedule: str = "cosine"
    prediction: str = "v"
    sampler: str = "dpmpp_2m"
    steps: int = 8


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a model is and how it is trained.

    Parameters
    ----------
    preset : str
        Name these settings started from.
    prior, mean, joint, diffusion : bool
        Which layers there are; each is kept after training only if it gains on validation.
    gated : bool
        Whether validation decides; without, every layer is kept, as studies of layers need.
    pretrained : bool
        Whether the networks of both stages are trained apart before the joint phase (the paper's
        ablation).
    literal : bool
        The paper's equations to the letter where they train well (post-norm, stacking of all
        frames, channel mixing).
    feed : {"gelu", "paper"}
        Feed-forward of ST-PointFormer's layers; "paper" is eq 22 to the letter: all must pass
        through two ReLU layers, and half of the units die.
    stacked : {"out", "attention"}
        What ST-PointFormer hands on: its last layer's result (eq 23) or its attention's (eq 25).
    history : int
        Recent frames that completion reads, the current one included.
    daily : bool
        Also read the frame one day before, where the step is shorter than a day.
    pattern : int
        Frames that T-PatternNet reads.
    members : int
        Networks of the mean layer; each leaves out one block of time, which cross-fits the rest.
    variants : int
        Mask patterns of the training series.
    point_noise : float
        Relative error of one point observation of a positive field: instrument and site.
    window, overlap : int
        Lattice of windows in coarse cells, see `WindowLattice`.
    completion_mean, refinement_mean, completion_diffusion, refinement_diffusion : Layer
        The four networks.
    joint_steps : int
        Optimiser steps of the joint phase.
    through : bool
        Whether the gradient of the fine maps runs into completion in the joint phase; without,
        refinement is only tuned on what completion makes.
    chain : Chain
        The diffusion process.
    """

    preset: str = "default"
    prior: bool = True
    mean: bool = True
    joint: bool = True
    diffusion: bool = True
    gated: bool = True
    pretrained: bool = True
    literal: bool = False
    feed: str = "gelu"
    stacked: str = "out"
    history: int = 4
    daily: bool = True
    pattern: int = 16
    members: int = 3
    variants: int = 12
    point_noise: float = 0.1
    window: int = 16
    overlap: int = 4
    completion_mean: Layer = field(default_factory=Layer)
    refinement_mean: Layer = field(default_factory=lambda: Layer(d=0))
    completion_diffusion: Layer = field(default_factory=Layer)
    refinement_diffusion: Layer = field(default_factory=Layer)
    joint_steps: int = 150
    through: bool = True
    chain: Chain = field(default_factory=Chain)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Rebuild settings; an unknown key is an error."""
        return _rebuild(cls, data)


def _rebuild(cls: type[Any], data: dict[str, Any]) -> Any:
    nested = {"chain": Chain}
    known = {f.name for f in fields(cls)}
    unknown = set(data) - known
    if unknown:
        raise InvalidParameter(f"{cls.__name__} has no setting {sorted(unknown)[0]!r}.")
    values = {}
    for name, value in data.items():
        if isinstance(value, dict):
            values[name] = _rebuild(nested.get(name, Layer), value)
        else:
            values[name] = tuple(value) if isinstance(value, list) else value
    for own in fields(cls):
        value = values.get(own.name)
        if not _like(value, own.default):
            raise InvalidParameter(f"{cls.__name__} has {own.name} {value!r}.")
    return cls(**values)


def _like(value: Any, usual: Any) -> bool:
    """Tell whether a setting is of the type of its default."""
    if usual is None or usual is MISSING or value is None:
        return True
    if isinstance(usual, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is type(usual)


PAPER = Settings(
    preset="paper",
    prior=False,
    mean=False,
    literal=True,
    history=4,
    daily=False,
    pattern=12,
    members=1,
    completion_diffusion=Layer(
        widths=(64,),
        blocks=3,
        d=32,
        layers=1,
        dropout=0.0,
        steps=6000,
        batch=16,
        noises=2,
        rate=2e-3,
    ),
    refinement_diffusion=Layer(
        widths=(48, 96), blocks=1, d=32, layers=2, dropout=0.0, steps=6000, batch=12, rate=1e-3
    ),
    joint_steps=200,
    chain=Chain(steps=16),
)

PRESETS: dict[str, Settings] = {
    "default": Settings(
        completion_mean=Layer(widths=(64,), d=32, layers=1, dropout=0.3, steps=400),
        refinement_mean=Layer(widths=(64,), d=0, dropout=0.4, steps=600),
        completion_diffusion=Layer(
            widths=(48, 96), blocks=1, d=32, layers=1, dropout=0.1, steps=800
        ),
        refinement_diffusion=Layer(
            widths=(32, 64), blocks=1, d=16, layers=1, dropout=0.1, steps=800
        ),
    ),
    "tiny": Settings(
        preset="tiny",
        history=4,
        pattern=8,
        members=2,
        variants=8,
        completion_mean=Layer(widths=(32,), blocks=2, d=16, layers=1, dropout=0.2, steps=300),
        refinement_mean=Layer(widths=(32,), blocks=2, d=0, dropout=0.3, steps=300),
        completion_diffusion=Layer(
            widths=(32, 48), blocks=1, d=16, layers=1, dropout=0.1, steps=500
        ),
        refinement_diffusion=Layer(
            widths=(24, 48), blocks=1, d=8, layers=1, dropout=0.1, steps=500
        ),
        joint_steps=60,
    ),
    "paper": PAPER,
    "literal": replace(
        PAPER,
        preset="literal",
        feed="paper",
        stacked="attention",
        chain=Chain(prediction="eps", sampler="ancestral", steps=100),
    ),
}


def preset(name: str) -> Settings:
    """Return a named preset.

    Raises
    ------
    InvalidParameter
        If there is none of that name.
    """
    if name not in PRESETS:
        raise InvalidParameter(f"preset must be one of {', '.join(PRESETS)}, not {name!r}.")
    return PRESETS[name]


def without(settings: Settings, layer: str) -> Settings:
    """Return the settings with one part switched off, for ablations.

    `layer` is one of ``prior, mean, joint, diffusion, point_former, pattern_net``.
    """
    if layer in ("prior", "mean", "joint", "diffusion"):
        return replace(settings, **{layer: False})  # type: ignore[arg-type]
    parts = {"point_former": "completion", "pattern_net": "refinement"}
    if layer not in parts:
        raise InvalidParameter(f"There is no part {layer!r} to leave out.")
    names = [f"{parts[layer]}_mean", f"{parts[layer]}_diffusion"]
    return replace(settings, **{name: replace(getattr(settings, name), d=0) for name in names})
