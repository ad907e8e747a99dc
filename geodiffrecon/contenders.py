"""Who takes part in a comparison: this system, its layers, its ablations, and every rival."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from safetensors.numpy import load_file, save_file

from .errors import InvalidParameter
from .forecast import Forecast, of_layers
from .memory import forget_peak, peak_mb
from .model import DiffRecon
from .outputs import whole_files
from .presets import PRESETS, Settings, without
from .rivals.catalogue import RIVALS
from .rivals.neural import NeuralMethod
from .rivals.rival import DrawingMethod, Rival
from .rivals.urbansta import UrbanSTA, one_mask
from .windows import observation_mask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from .assembly import Observations
    from .covariates import Covariates
    from .lesson import Lesson
    from .progress import Progress

OURS, LAYER, OUTSIDE, ABLATION = "ours", "layer", "outside", "ablation"
PARTS = ("prior", "mean", "all")
REFINED = "completion+"  # name of this system's completion in front of a rival's refinement


@dataclass(frozen=True)
class Spec:
    """One method of a comparison.

    Parameters
    ----------
    label : str
        Name in tables.
    role : {"ours", "layer", "outside", "ablation"}
        What it is to this system.
    fit : str
        Training that it comes from; several methods may share one.
    part : {"prior", "mean", "all"}
        Layers of the fitted model that it keeps.
    one_mask : bool
        Whether it is trained anew for one fixed mask of each missing ratio.
    completed : bool
        Whether it gets maps that this system's completion has completed.
    """

    label: str
    role: str
    fit: str
    part: str = "all"
    one_mask: bool = False
    completed: bool = False


def _settings() -> dict[str, Settings]:
    """Return the settings of every training of this system."""
    default, paper = PRESETS["default"], PRESETS["paper"]
    pattern_net = replace(default.refinement_mean, d=16)
    base = replace(default, gated=False, joint=False, diffusion=False, refinement_mean=pattern_net)
    chain = replace(default, prior=False, diffusion=False, gated=False)
    return {
        **PRESETS,
        "unet": chain,
        "full": replace(base, joint=True),
        "apart": base,
        "diffused": replace(base, diffusion=True),
        "detached": replace(base, joint=True, through=False),
        "joint-only": replace(base, joint=True, pretrained=False),
        "no-point-former": without(base, "point_former"),
        "no-pattern-net": without(base, "pattern_net"),
        "no-prior": replace(base, prior=False),
        "paper-apart": without(paper, "joint"),
        "paper-joint-only": replace(paper, pretrained=False),
        "paper-no-point-former": without(paper, "point_former"),
        "paper-no-pattern-net": without(paper, "pattern_net"),
    }


METHODS: dict[str, Spec] = {
    "default": Spec("geodiffrecon", OURS, "default"),
    "mean": Spec("its mean layer", LAYER, "default", "mean"),
    "prior": Spec("its prior", LAYER, "default", "prior"),
    "paper": Spec("paper preset", LAYER, "paper"),
    "literal": Spec("paper preset, noise and eq 22 and 25 to the letter", LAYER, "literal"),
    "tiny": Spec("tiny preset", LAYER, "tiny"),
    "unet": Spec("U-Nets without prior", LAYER, "unet"),
    **{name: Spec(entry.label, OUTSIDE, name) for name, entry in RIVALS.items()},
    "urbansta-fixed": Spec("UrbanSTA, one mask", OUTSIDE, "urbansta", one_mask=True),
    "apart-prior": Spec("prior alone", ABLATION, "apart", "prior"),
    "full": Spec("prior + means + joint", ABLATION, "full"),
    "apart": Spec("no joint training", ABLATION, "apart"),
    "diffused": Spec("prior + means + diffusion", ABLATION, "diffused"),
    "detached": Spec("joint, no gradient into completion", ABLATION, "detached"),
    "joint-only": Spec("no pre-training", ABLATION, "joint-only"),
    "no-point-former": Spec("no ST-PointFormer", ABLATION, "no-point-former"),
    "no-pattern-net": Spec("no T-PatternNet", ABLATION, "no-pattern-net"),
    "no-prior": Spec("no prior", ABLATION, "no-prior"),
    "paper-apart": Spec("paper preset, no joint training", ABLATION, "paper-apart"),
    "paper-joint-only": Spec("paper preset, no pre-training", ABLATION, "paper-joint-only"),
    "paper-no-point-former": Spec(
        "paper preset, no ST-PointFormer", ABLATION, "paper-no-point-former"
    ),
    "paper-no-pattern-net": Spec("paper preset, no T-PatternNet", ABLATION, "paper-no-pattern-net"),
    **{
        f"{REFINED}{name}": Spec(
            f"completion + {RIVALS[name].label}", ABLATION, name, completed=True
        )
        for name in ("srcnn", "srresnet", "urbanfm", "fode", "stcf")
    },
}

# Names for many at once.
GROUPS: dict[str, tuple[str, ...]] = {
    "layers": ("default", "mean", "prior", "unet", "paper"),
    "rivals": (*RIVALS, "urbansta-fixed"),
    "ablations": tuple(name for name, spec in METHODS.items() if spec.role == ABLATION),
}


class Fitted(Protocol):
    """A method after its training."""

    @property
    def history(self) -> int:
        """Frames before the current one that can change its map."""
        ...

    @property
    def draws_only(self) -> bool:
        """Whether its mean is one of draws, which makes it slow to score."""
        ...

    @property
    def diffuses(self) -> bool:
        """Whether diffusion makes its draws."""
        ...

    @property
    def about(self) -> dict[str, Any]:
        """What its training was: seconds, memory, parameters, curves, verdicts."""
        ...

    def forecast(
        self, given: Observations, frames: NDArray[np.int64], *, samples: int, seed: int
    ) -> Forecast:
        """Return what it says of `frames`."""
        ...


@dataclass(frozen=True)
class Part:
    """Some layers of a fitted model.

    Parameters
    ----------
    model : DiffRecon
        Fitted.
    part : {"prior", "mean", "all"}
        Which layers stay.
    about : dict
        Of the training.
    """

    model: DiffRecon
    part: str
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def history(self) -> int:
        """Frames before the current one that can change its map."""
        return self.model.layers("all").history

    @property
    def draws_only(self) -> bool:
        """Whether its mean is one of draws."""
        return self.model.layers(self.part).samples_its_mean

    @property
    def diffuses(self) -> bool:
        """Whether diffusion makes its draws, or could if all layers were taken."""
        layers = self.model.layers("all")
        return bool(layers.completion_diffusion or layers.refinement_diffusion)

    def forecast(
        self, given: Observations, frames: NDArray[np.int64], *, samples: int, seed: int
    ) -> Forecast:
        """Return what the layers say of `frames`."""
        layers = self.model.layers(self.part)
        return of_layers(layers, given, frames, samples=samples, seed=seed)


@dataclass(frozen=True)
class Whole:
    """A fitted rival.

    Parameters
    ----------
    rival : Rival
        Fitted.
    about : dict
        Of the training.
    """

    rival: Rival
    about: dict[str, Any] = field(default_factory=dict)
    diffuses: bool = False

    @property
    def history(self) -> int:
        """Frames before the current one that can change its map."""
        return self.rival.history

    @property
    def draws_only(self) -> bool:
        """Whether its mean is one of draws."""
        method = self.rival.method
        return isinstance(method, DrawingMethod) and method.slow

    def forecast(
        self, given: Observations, frames: NDArray[np.int64], *, samples: int, seed: int
    ) -> Forecast:
        """Return what the rival says of `frames`."""
        return self.rival.forecast(given, frames, samples=samples, seed=seed)


@dataclass(frozen=True)
class Relay:
    """Completion by this system, then the refinement of a rival that gets a complete map.

    Parameters
    ----------
    model : DiffRecon
        Whose completion it is.
    rival : Rival
        Whose refinement it is.
    about : dict
        Of the rival's training.
    """

    model: DiffRecon
    rival: Rival
    about: dict[str, Any] = field(default_factory=dict)
    draws_only: bool = False
    diffuses: bool = False

    @property
    def history(self) -> int:
        """Frames before the current one that can change its map."""
        return max(self.model.layers("all").history, self.rival.history)

    def forecast(
        self, given: Observations, frames: NDArray[np.int64], *, samples: int, seed: int
    ) -> Forecast:
        """Return the mean of completed maps; no draws, as errors are known of filled ones only."""
        layers = self.model.layers("all")
        _, belief = layers.complete(layers.series(given, hard=True), given, hard=True)
        completed = replace(given, coarse=belief.raw)
        return Forecast(self.rival.forecast(completed, frames, seed=seed).mean, None, None)


def relay(default: Fitted, rival: Fitted) -> Fitted:
    """Return a rival that gets the maps which a fitted model of this system has completed."""
    assert isinstance(default, Part)
    assert isinstance(rival, Whole)
    return Relay(default.model, rival.rival, rival.about)


@dataclass(frozen=True)
class Training:
    """Everything that a training needs to know.

    Parameters
    ----------
    history : Dataset
        Fine cube.
    lesson : Lesson
        Read off it, up to `until`.
    until : str
        End of training and validation.
    kind : str, optional
        Of the variable.
    external : Covariates, optional
        Weather per time, land use per cell.
    country : str, optional
        Of the holidays.
    max_minutes : float, optional
        Minutes of the processor that every training may take.
    device : str
        Where the networks of this system run.
    progress, log : callable
        Told of every step and decision.
    """

    history: xr.Dataset
    lesson: Lesson
    until: str
    kind: str | None = None
    external: Covariates | None = None
    country: str | None = None
    max_minutes: float | None = None
    device: str = "auto"
    progress: Progress = lambda done, total, message: None
    log: Callable[[str], None] = lambda sentence: None


def methods_of(names: list[str]) -> list[str]:
    """Return the methods that names of methods and of `GROUPS` mean, each once.

    Raises
    ------
    InvalidParameter
        With the first unknown name and all known ones.
    """
    found: dict[str, None] = {}
    for name in names:
        if name not in GROUPS and name not in METHODS:
            raise InvalidParameter(
                f"There is no method {name!r}; there are {', '.join(METHODS)}, and the groups "
                f"{', '.join(GROUPS)}."
            )
        found |= dict.fromkeys(GROUPS.get(name, (name,)))
    return list(found)


def train(
    fit: str, seed: int, mask: tuple[float, int] | None, training: Training, folder: Path
) -> None:
    """Train what `fit` names and write it to `folder`, whole or not at all.

    `mask` is the missing ratio and the number of the fixed mask that a training is made for.
    """
    forget_peak()
    began, cpu = time.monotonic(), time.process_time()
    if fit in RIVALS:
        arrays, about = _train_rival(fit, seed, mask, training)
    else:
        model = DiffRecon(settings=_settings()[fit], seed=seed, device=training.device)
        model.fit(
            training.history, aggregation=training.lesson.record.aggregation, kind=training.kind,
            until=training.until, external=training.external, country=training.country,
            max_minutes=training.max_minutes, clock=time.process_time,
            progress=training.progress, log=training.log,
        )  # fmt: skip
        model.save(folder / "model")
        arrays, about = {}, {"verdicts": model.verdicts, "parameters": model.parameters}
    about |= {
        "seconds": round(time.monotonic() - began, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2), "peak_mb": peak_mb(),
    }  # fmt: skip
    with whole_files(folder) as draft:
        save_file(
            {k: np.asarray(v, order="C") for k, v in arrays.items()}, draft / "rival.safetensors"
        )
        (draft / "about.json").write_text(json.dumps(about, indent=1, sort_keys=True))


def restore(fit: str, seed: int, part: str, training: Training, folder: Path) -> Fitted:
    """Return what `train` wrote to `folder`."""
    about = json.loads((folder / "about.json").read_text())
    if fit not in RIVALS:
        return Part(DiffRecon.load(folder / "model", device=training.device), part, about)
    rival = Rival(fit, seed, steps=about["steps"])
    rival.restore(training.lesson, load_file(folder / "rival.safetensors"))
    return Whole(rival, about)


def _train_rival(
    fit: str, seed: int, mask: tuple[float, int] | None, training: Training
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    rival = Rival(fit, seed)
    if mask is not None:
        missing, number = mask
        seen = observation_mask("fixed", missing, 1, training.lesson.shape, number)[0]
        rival.method = NeuralMethod(UrbanSTA(), masks=one_mask(seen))
        rival.trials = (("fixed", missing, number),)
    rival.learn(
        training.lesson, max_minutes=training.max_minutes, clock=time.process_time,
        progress=training.progress,
    )  # fmt: skip
    about = {"steps": rival.steps, "curves": rival.curves, "parameters": rival.parameters}
    return rival.arrays(), about
