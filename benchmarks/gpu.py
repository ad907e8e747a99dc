"""Both diffusion stages on a GPU: whether it agrees with the CPU, and how much of it is used.

    python benchmarks/gpu.py [--device cuda] [--preset paper] [--out gpu.json]
    python benchmarks/gpu.py --device cpu --small

Under five minutes in all. Trains completion and refinement for the same steps on the device and on
the CPU, from the same weights and batches, and puts the two loss curves side by side (dropout draws
other numbers on a GPU). Draws the same maps with the same weights on both. Then measures, in this
order and on this device, the rate of large matrix products in fp32 and bf16 and of copies in
memory, and what share of them training and sampling reach, per stage. FLOPs are counted operation
by operation; bytes are what every operation reads and writes, which fusing would save. Leaves with
1 where draws differ by more than 1e-2 of their spread, or final losses by more than 10 %.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from exact import cube
from exact_worlds import WORLDS, mask
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from geodiffrecon.fitting import Fitting
from geodiffrecon.lesson import Lesson
from geodiffrecon.presets import PRESETS, Settings, preset
from geodiffrecon.stages import ResidualDiffusion
from geodiffrecon.variable import Variable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodiffrecon.assembly import Observations
    from geodiffrecon.reconstruction import Reconstructor

STAGES = ("completion", "refinement")
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
DRAWS_APART, LOSSES_APART = 1e-2, 0.1
STEPS = 8  # network calls per draw, whatever the preset has
BACKWARD = 3  # forward and backward cost three forwards
WARM = 5  # steps and calls that are not timed


@dataclass(frozen=True)
class Size:
    """How much is done.

    Parameters
    ----------
    frames : int
        That are learnt from.
    steps, batch : int
        Optimiser steps of each stage, and problems in one.
    maps, draws : int
        That are sampled on the device.
    matrix : int
        Side of the matrices whose product gives the matrix rate.
    copied : int
        Values of the copies that give the bandwidth.
    """

    frames: int = 400
    steps: int = 100
    batch: int = 32
    maps: int = 64
    draws: int = 16
    matrix: int = 8192
    copied: int = 2**28


SMALL = Size(frames=80, steps=8, batch=4, maps=4, draws=2, matrix=256, copied=2**20)


def main() -> None:
    """Measure, print the table, and say whether the device agrees with the CPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--preset", default="paper", choices=PRESETS)
    parser.add_argument("--small", action="store_true", help="seconds, for a check of this script")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    if chosen.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch finds no GPU; use --device cpu --small to check this script.")
    result = measure(
        torch.device(chosen.device), preset(chosen.preset), SMALL if chosen.small else Size()
    )
    if chosen.out:
        chosen.out.write_text(json.dumps(result, indent=1))
    print("\n".join(lines(result)))
    sys.exit(0 if agrees(result) else 1)


def measure(device: torch.device, settings: Settings, size: Size = SMALL) -> dict[str, Any]:
    """Return everything that `lines` prints."""
    started = time.perf_counter()
    settings, lesson, given = prepared(settings, size)
    here, own = trained(lesson, settings, device)
    beside, _ = trained(lesson, settings, torch.device("cpu"))
    compared = draws_apart(own, given)
    rates = measured_rates(device, size)
    stages = [
        {"stage": stage, "type": name, **found}
        for name in TYPES
        for stage, found in sampled(own, given, size, name).items()
    ]
    work = counted(own, given, size, "fp32", steps=1)
    batches = {stage: getattr(settings, f"{stage}_diffusion").batch for stage in STAGES}
    training = {
        stage: _of_step(here.seconds[stage], work[stage], batches[stage]) for stage in STAGES
    }
    return {
        "device": _name(device),
        "preset": settings.preset,
        "torch": torch.__version__,
        "rates": rates,
        "training": training,
        "sampling": stages,
        "draws apart": compared,
        "losses": {"device": here.curves, "cpu": beside.curves},
        "cpu seconds per step": {stage: beside.seconds[stage] for stage in STAGES},
        "seconds": time.perf_counter() - started,
    }


def _of_step(seconds: float, work: Work, batch: int) -> dict[str, float]:
    per = BACKWARD * batch / work.fields
    return {"seconds": seconds, "flops": per * work.flops, "bytes": per * work.bytes}


def prepared(settings: Settings, size: Size) -> tuple[Settings, Lesson, Observations]:
    """Return the diffusion alone, a simulated history, and later maps with 40 % of cells hidden."""
    from geodiffrecon.assembly import Observations

    few = {
        f"{stage}_diffusion": replace(
            getattr(settings, f"{stage}_diffusion"), steps=size.steps, batch=size.batch
        )
        for stage in STAGES
    }
    settings = replace(settings, mean=False, joint=False, gated=False, **few)
    world = WORLDS["exponential"]
    history = cube(world, world.simulate(size.frames, 0), "fine")
    lesson = Lesson.of(history, Variable.of_history(history, "mean"), kind="real")
    coarse = world.simulate(size.maps, 1).reshape(size.maps, -1) @ world.pool.T
    coarse = coarse.reshape(size.maps, world.side, world.side)
    seen = mask(("random", 0.4), size.maps, world.side, 0)
    times = cube(world, coarse, "coarse", 2 * size.frames)["time"].to_numpy()
    return (
        settings,
        lesson,
        Observations(
            times,
            np.where(seen, coarse, np.nan),
            lesson.calendar.context(times),
            np.zeros((0, world.side, world.side), np.float32),
        ),
    )


# --- training ------------------------------------------------------------------------------------


@dataclass
class Watch:
    """Seconds per optimiser step and validation losses of one fit.

    Parameters
    ----------
    device : torch.device
        Waited for before the clock is read.
    """

    device: torch.device
    stamps: dict[str, list[float]] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def __call__(self, done: int, total: int, message: str) -> None:
        """Take the time of one step."""
        if message.startswith("diffusion "):
            wait(self.device)
            self.stamps.setdefault(message.split()[-1], []).append(time.perf_counter())

    @property
    def seconds(self) -> dict[str, float]:
        """Median seconds of a step of each stage, checks and first steps left out."""
        return {
            stage: float(np.median(np.diff(stamps)[min(WARM, len(stamps) - 2) :]))
            for stage, stamps in self.stamps.items()
        }


def trained(
    lesson: Lesson, settings: Settings, device: torch.device
) -> tuple[Watch, Reconstructor]:
    """Return what training both stages on a device took and reached, and the layers."""
    watch = Watch(device)
    fitting = Fitting(lesson, settings, device=device, progress=watch)
    layers, _, _ = fitting.run()
    watch.curves = {stage: fitting.curves[f"{stage} diffusion"] for stage in STAGES}
    return watch, layers


# --- sampling ------------------------------------------------------------------------------------


@dataclass
class Work:
    """Fields drawn, and the FLOPs, bytes and seconds they took."""

    fields: int = 0
    flops: float = 0.0
    bytes: float = 0.0
    seconds: float = 0.0


@dataclass
class Watched(ResidualDiffusion):
    """A stage that notes what its draws take: seconds, or (much slower) operations.

    Parameters
    ----------
    type : {"fp32", "bf16"}
        In which the network computes.
    counting : bool
        Count operations instead of seconds.
    work : Work
        What was noted.
    """

    type: str = "fp32"
    counting: bool = False
    work: Work = field(default_factory=Work)

    def draw(self, case: Any, start: torch.Tensor, **options: Any) -> torch.Tensor:
        """Draw, and note it."""
        device = start.device
        wait(device)
        began = time.perf_counter()
        with contextlib.ExitStack() as stack:
            if self.type == "bf16":
                stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16))
            if self.counting:
                traffic = stack.enter_context(Traffic())
                flops = stack.enter_context(FlopCounterMode(display=False))
            drawn = super().draw(case, start, **options)
        wait(device)
        self.work.seconds += time.perf_counter() - began
        self.work.fields += len(start)
        if self.counting:
            self.work.flops += flops.get_total_flops()
            self.work.bytes += traffic.bytes
        return drawn


class Traffic(TorchDispatchMode):
    """Sum of the bytes that every operation reads and writes; views cost nothing."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and add its tensors."""
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = (x for x in tree_leaves((args, kwargs, result)) if torch.is_tensor(x))
            self.bytes += sum(x.numel() * x.element_size() for x in tensors)
        return result


def watched(layers: Reconstructor, type: str, *, counting: bool = False) -> Reconstructor:
    """Return the same layers with stages that note what their draws take."""
    stages = {f"{stage}_diffusion": getattr(layers, f"{stage}_diffusion") for stage in STAGES}
    return replace(
        layers,
        **{
            name: Watched(**{**vars(stage), "type": type, "counting": counting, "work": Work()})
            for name, stage in stages.items()
        },
    )


def drawn(
    layers: Reconstructor, given: Observations, maps: int, draws: int, steps: int = STEPS
) -> np.ndarray:
    """Return draws (K, F, N I, N J) of the first `maps`."""
    series, belief = layers.complete(layers.series(given, hard=True), given, hard=True)
    return layers.collect(
        series, belief, given.times, np.arange(maps), range(draws), 0, steps=steps
    )


def counted(
    layers: Reconstructor, given: Observations, size: Size, type: str, *, steps: int
) -> dict[str, Work]:
    """Return the operations of draws of a few maps, each drawn once."""
    layers = watched(layers, type, counting=True)
    drawn(layers, given, min(4, size.maps), 1, steps)
    return {stage: getattr(layers, f"{stage}_diffusion").work for stage in STAGES}


def sampled(
    layers: Reconstructor, given: Observations, size: Size, type: str
) -> dict[str, dict[str, float]]:
    """Return maps per second of both stages and of all, FLOPs and bytes per map, and the error."""
    few = min(4, size.maps)
    drawn(watched(layers, type), given, few, 2)  # kernels are chosen, memory is had
    timed = watched(layers, type)
    began = time.perf_counter()
    drawn(timed, given, size.maps, size.draws)
    whole = size.maps * size.draws / (time.perf_counter() - began)
    exact, fast = (drawn(watched(layers, name), given, few, 2) for name in ("fp32", type))
    counting = watched(layers, type, counting=True)
    drawn(counting, given, few, size.draws)  # histories are shared by draws, as when timed
    found = {}
    for stage in STAGES:
        clock, work = (getattr(x, f"{stage}_diffusion").work for x in (timed, counting))
        found[stage] = {
            "maps per second": clock.fields / clock.seconds,
            "flops": work.flops / work.fields,
            "bytes": work.bytes / work.fields,
            "whole maps per second": whole,
            "error": apart(fast, exact),
        }
    return found


def draws_apart(layers: Reconstructor, given: Observations) -> float:
    """Return how far draws of the device are from those of the CPU with the same weights."""
    few = min(4, len(given.times))
    return apart(drawn(layers, given, few, 2), drawn(on_cpu(layers), given, few, 2))


def on_cpu(layers: Reconstructor) -> Reconstructor:
    """Return a copy of the layers on the CPU."""
    import copy

    cpu = torch.device("cpu")
    stages = {f"{stage}_diffusion": getattr(layers, f"{stage}_diffusion") for stage in STAGES}
    moved = {
        name: replace(stage, network=copy.deepcopy(stage.network).to(cpu))
        for name, stage in stages.items()
    }
    return replace(layers, units=layers.units.to(cpu), device=cpu, **moved)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference of two sets of draws, over the spread of their values."""
    return float(np.abs(one - other).max() / other.std())


# --- the device ----------------------------------------------------------------------------------


def measured_rates(device: torch.device, size: Size) -> dict[str, float]:
    """Return the matrix rates (FLOP/s) and the bandwidth (bytes/s) that the device reaches."""
    found = {}
    for name, type in TYPES.items():
        left, right = (
            torch.randn(size.matrix, size.matrix, device=device).to(type) for _ in range(2)
        )
        with _without_shortcuts():
            found[name] = 2 * size.matrix**3 / best(lambda a=left, b=right: a @ b, device)
    source = torch.zeros(size.copied, device=device)
    target = torch.empty_like(source)
    seconds = best(lambda: target.copy_(source), device)
    return {**found, "bandwidth": 2 * source.numel() * source.element_size() / seconds}


@contextlib.contextmanager
def _without_shortcuts() -> Iterator[None]:
    """Let fp32 products be fp32 throughout: the rate of TF32 is not theirs."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


def best(work: Any, device: torch.device, repeats: int = 10) -> float:
    """Return the seconds of the quickest of some repeats."""
    taken = []
    for _ in range(WARM + repeats):
        wait(device)
        began = time.perf_counter()
        work()
        wait(device)
        taken.append(time.perf_counter() - began)
    return min(taken[WARM:])


def wait(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


# --- tables --------------------------------------------------------------------------------------


def losses_apart(result: dict[str, Any]) -> dict[str, float]:
    """Return how far the last losses of both stages are from those on the CPU, relatively."""
    here, cpu = (result["losses"][name] for name in ("device", "cpu"))
    return {stage: abs(here[stage][-1][1] / cpu[stage][-1][1] - 1) for stage in STAGES}


def agrees(result: dict[str, Any]) -> bool:
    """Return whether the device draws and learns what the CPU does."""
    return result["draws apart"] < DRAWS_APART and (
        max(losses_apart(result).values()) < LOSSES_APART
    )


def lines(result: dict[str, Any]) -> list[str]:
    """Return everything as Markdown."""
    rates = result["rates"]
    text = [
        f"{result['device']}, torch {result['torch']}, preset {result['preset']}: fp32 "
        f"{rates['fp32'] / 1e12:.3g} TFLOP/s, bf16 {rates['bf16'] / 1e12:.3g} TFLOP/s, memory "
        f"{rates['bandwidth'] / 1e9:.3g} GB/s.",
        "",
        "| stage | type | per second | GFLOP each | share of the matrix rate | share of bandwidth "
        "| error |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for stage, step in result["training"].items():
        text.append(
            _row(f"training {stage}, steps", "fp32", 1 / step["seconds"], step, rates, None)
        )
    for found in result["sampling"]:
        text.append(
            _row(
                f"sampling {found['stage']}, maps",
                found["type"],
                found["maps per second"],
                found,
                rates,
                found["error"],
            )
        )
    for name in TYPES:
        whole = next(x for x in result["sampling"] if x["type"] == name)["whole maps per second"]
        text.append(f"| both stages, maps | {name} | {whole:.4g} | | | | |")
    text += [
        "",
        f"Draws differ from the CPU's by at most {result['draws apart']:.1e} of their spread.",
    ]
    for stage, gap in losses_apart(result).items():
        pairs = zip(*(result["losses"][name][stage] for name in ("device", "cpu")), strict=False)
        curve = ", ".join(f"{a[0]}: {a[1]:.4f} ({b[1]:.4f})" for a, b in pairs)
        slow = result["cpu seconds per step"][stage] / result["training"][stage]["seconds"]
        text.append(
            f"Loss of {stage} by step (CPU): {curve}; {gap:.1%} apart in the end; "
            f"{slow:.1f} times the steps per second of the CPU."
        )
    return [*text, f"{result['seconds']:.0f} s in all."]


def _row(
    name: str,
    type: str,
    rate: float,
    work: dict[str, float],
    rates: dict[str, float],
    error: float | None,
) -> str:
    shares = rate * work["flops"] / rates[type], rate * work["bytes"] / rates["bandwidth"]
    return (
        f"| {name} | {type} | {rate:.4g} | {work['flops'] / 1e9:.3g} | {shares[0]:.1%} | "
        f"{shares[1]:.1%} | {'' if error is None else f'{error:.1e}'} |"
    )


if __name__ == "__main__":
    main()
