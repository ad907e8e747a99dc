"""Teaching the core on simulated cases: ``python -m geodiffrecon.core.teach FOLDER``.

One process simulates shards while another trains on those that are there; both go on where they
were stopped.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from .bridge import Lessons, fair_crps, moved, raw_of, score_loss, standard, velocity_loss
from .cases import write_shards
from .context import BLOCK_MAPS, COVARIATES, MAPS, NUMBERS, ODD_MAPS, ODD_NUMBERS, STAGES
from .network import CoreNetwork
from .weights import Card, save_core

SEED, HELD_BACK = 11, 9_000  # of training; first shard of validation
CASES = 400  # of a shard of 32 × 32 cells
BATCH = 24
FLOW = 0.35  # share of the time for the velocity; the rest for the CRPS
RATES = 1.5e-3, 8e-4  # of learning, for the velocity and for the CRPS
AVERAGE = 0.998  # of the weights that are kept
ENOUGH = 3  # shards to begin with
ARRAYS = tuple(f.name for f in fields(Lessons))


class Shelf:
    """Shards in memory, in half precision, and random batches of them.

    Parameters
    ----------
    folder : Path
        Where shards appear.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.shards, self.known = folder, list[dict[str, Tensor]](), set[str]()

    def look(self) -> None:
        """Take in the shards that are new."""
        for path in sorted(self.folder.glob("[0-9]*.npz")):
            if path.name not in self.known and ".part" not in path.name:
                with np.load(path) as held:
                    self.shards.append(
                        {k: torch.from_numpy(held[k]) for k in ARRAYS if k in held.files}
                    )
                self.known.add(path.name)

    def __len__(self) -> int:
        return sum(len(shard["raw"]) for shard in self.shards)

    def batch(self, count: int) -> Lessons:
        """Return cases of one size, from up to four shards, turned and reflected at random."""
        first = self.shards[int(torch.randint(len(self.shards), ()))]
        same = [s for s in self.shards if s["raw"].shape[-1] == first["raw"].shape[-1]]
        parts = []
        for _ in range(4):
            shard = same[int(torch.randint(len(same), ()))]
            rows = torch.randint(len(shard["raw"]), (count // 4,))
            parts.append({name: values[rows].float() for name, values in shard.items()})
        return turned(Lessons(**{k: torch.cat([p[k] for p in parts]) for k in parts[0]}))

    def every(self, count: int) -> list[Lessons]:
        """Return all cases in order."""
        return [
            Lessons(**{k: v.float() for k, v in rows.items()})
            for shard in self.shards
            for low in range(0, len(shard["raw"]), count)
            if (rows := {k: v[low : low + count] for k, v in shard.items()})
        ]


def turned(lessons: Lessons) -> Lessons:
    """Return the same cases seen from another side, and signed ones with either sign."""
    kind = int(torch.randint(8, ()))
    across, along, swap = bool(kind & 1), bool(kind & 2), bool(kind & 4)

    def turn(x: Tensor) -> Tensor:
        x = x.flip(-1) if across else x
        x = x.flip(-2) if along else x
        return x.transpose(-1, -2) if swap else x

    new = {
        name: turn(getattr(lessons, name))
        for name in ("maps", "location", "scale", "draws", "truth", "raw")
    }
    numbers, curve, maps = lessons.numbers.clone(), lessons.curve, new["maps"].clone()
    if across != along:
        numbers[:, NUMBERS.index("direction sin")] *= -1
    if swap:
        numbers[:, NUMBERS.index("direction cos")] *= -1
    either = numbers[:, NUMBERS.index("bound")] >= 2  # no bound: the sign says nothing
    plain = numbers[:, [NUMBERS.index(k) for k in ("root", "logarithm")]].sum(dim=1) == 0
    sign = torch.where(either & plain & (torch.rand(len(numbers)) < 0.5), -1.0, 1.0)
    for name in ODD_NUMBERS:
        numbers[:, NUMBERS.index(name)] *= sign
    for name in ODD_MAPS:
        if BLOCK_MAPS.index(name) < maps.shape[1]:
            maps[:, BLOCK_MAPS.index(name)] *= sign[:, None, None]
    first = MAPS.index("covariate 1")
    maps[:, first : first + COVARIATES] *= 2 * torch.randint(2, (len(maps), COVARIATES, 1, 1)) - 1
    high, low = MAPS.index("highest"), MAPS.index("lowest")
    down = (sign < 0)[:, None, None]
    maps[:, high], maps[:, low] = (
        torch.where(down, -maps[:, low], maps[:, high]),
        torch.where(down, -maps[:, high], maps[:, low]),
    )
    curve = torch.where((sign < 0)[:, None], -curve.flip(1), curve)
    fold = sign[:, None, None]
    blocks = None if lessons.blocks is None else turn(lessons.blocks)
    return Lessons(
        maps, numbers, new["location"] * fold, new["scale"],
        new["draws"] * fold[:, None], new["truth"] * fold, curve, new["raw"] * fold, blocks,
    )  # fmt: skip


@torch.no_grad()
def judged(network: CoreNetwork, shelf: Shelf) -> Tensor:
    """Return for each case the CRPS of moved draws over that of the belief's, in raw units."""
    ratios = []
    generator = torch.Generator().manual_seed(0)
    for lessons in shelf.every(40):
        r = standard(lessons, lessons.draws)
        noise = torch.randn((2, *r.shape), generator=generator)
        r = moved(network, lessons, r, noise)
        work = lessons.location[:, None] + lessons.scale[:, None] * r
        hidden = 1 - lessons.maps[:, MAPS.index("seen")]

        def score(draws: Tensor, lessons: Lessons = lessons, hidden: Tensor = hidden) -> Tensor:
            crps = fair_crps(raw_of(lessons, draws), lessons.raw)
            return (crps * hidden).sum(dim=(1, 2)) / hidden.sum(dim=(1, 2))

        ratios.append((score(work) + 1e-6) / (score(lessons.draws) + 1e-6))
    return torch.cat(ratios)


def begun(stage: str, start: Path | None) -> CoreNetwork:
    """Return a network of a stage; with what the other stage's weights say of the same inputs."""
    maps, numbers = STAGES[stage]
    network = CoreNetwork(len(maps), len(numbers))
    if start is None:
        return network
    with safe_open(str(start), framework="pt") as held:
        given = {name: held.get_tensor(name).float() for name in held.keys()}
    own = network.state_dict()
    for name, value in given.items():
        if name == "of_maps.weight":  # (out, maps · pixel, 3, 3): more maps, the others' weights 0
            own[name].zero_()[:, : value.shape[1]] = value
        elif name == "numbers.0.weight":  # (told, numbers + waves)
            known = len(NUMBERS)
            own[name].zero_()[:, :known] = value[:, :known]
            own[name][:, len(numbers) :] = value[:, known:]
        else:
            own[name] = value
    network.load_state_dict(own)
    return network


def teach(
    folder: Path,
    minutes: float,
    seed: int = 0,
    stage: str = "completion",
    start: Path | None = None,
) -> None:
    """Train for minutes of this process's own time; keep the average of the weights.

    Parameters
    ----------
    folder : Path
        With ``shards/`` and ``validation/``; weights and a checkpoint are written here.
    minutes : float
        In all, over every start.
    seed : int
        Of the weights and batches.
    stage : str
        "completion" or "refinement".
    start : Path, optional
        Weights of the other stage to go on from.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    shelf, held = Shelf(folder / "shards"), Shelf(folder / "validation")
    held.look()
    while len(shelf.shards) < ENOUGH:
        shelf.look()
        time.sleep(0 if len(shelf.shards) >= ENOUGH else 5)
    network = begun(stage, start)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    kept = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=RATES[0], weight_decay=1e-2, betas=(0.9, 0.98)
    )
    step, spent = 0, 0.0
    checkpoint = folder / f"checkpoint_{seed}.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        kept.load_state_dict(state["kept"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["spent"]
    started, said = time.process_time() - spent, spent
    last: list[float] = []
    while (spent := time.process_time() - started) < 60 * minutes:
        share = spent / (60 * minutes)
        first = FLOW if start is None else 0.0  # what begins from weights knows the velocity
        flow = share < first
        within = share / first if flow else (share - first) / (1 - first)
        fall = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * within))
        for group in optimiser.param_groups:
            group["lr"] = RATES[0 if flow else 1] * min(1.0, (step + 1) / 100) * fall
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = (velocity_loss if flow else score_loss)(network, shelf.batch(BATCH))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        if torch.isfinite(norm):
            optimiser.step()
        step += 1
        last.append(float(loss.detach()))
        with torch.no_grad():
            pace = 1 - min(AVERAGE, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(kept.parameters()), list(network.parameters()), pace)
        if spent - said > 120:
            said = spent
            shelf.look()
            ratio = judged(kept, held)
            line = {
                "minutes": round(spent / 60, 1), "step": step, "cases": len(shelf),
                "loss": round(float(np.mean(last[-200:])), 4),
                "held": round(float(ratio.log().mean().exp()), 4),
                "worse_by_5": round(float((ratio > 1.05).float().mean()), 3),
            }  # fmt: skip
            say(json.dumps(line))
            torch.save(
                {
                    "network": network.state_dict(), "kept": kept.state_dict(),
                    "optimiser": optimiser.state_dict(), "step": step, "spent": spent,
                },
                checkpoint,
            )  # fmt: skip
    ratio = judged(kept, held)
    card = card_of(shelf, held, ratio, minutes)
    save_core(kept, folder / f"{stage}_{seed}.safetensors", card, stage=stage)


def card_of(shelf: Shelf, held: Shelf, ratio: Tensor, minutes: float) -> Card:
    """Return what is told of trained weights, and where their cases lie."""
    numbers = torch.cat([shard["numbers"] for shard in shelf.shards])
    levels = torch.tensor([0.001, 0.999])
    low, high = torch.quantile(numbers[:100_000], levels, dim=0)
    return Card(
        cases=len(shelf), minutes=minutes, held_back=len(held),
        held_ratio=round(float(ratio.log().mean().exp()), 4),
        lowest=low.tolist(), highest=high.tolist(),
    )  # fmt: skip


def say(line: str) -> None:
    """Write a line of progress."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Simulate, or train, or both beside each other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--simulate", type=int, metavar="SHARDS", help="write shards and stop")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--validation", type=int, metavar="SHARDS", default=0)
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stage", choices=list(STAGES), default="completion")
    parser.add_argument("--start", type=Path, help="weights of the other stage to go on from")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    held_back = write_shards(
        asked.folder / "validation", SEED, HELD_BACK, asked.validation, CASES, stage=asked.stage
    )
    for path in held_back:
        say(path.name)
    if asked.simulate is not None:
        shards = asked.folder / "shards"
        written = write_shards(shards, SEED, asked.first, asked.simulate, CASES, stage=asked.stage)
        for path in written:
            say(f"{path.name} after {time.process_time():.0f} s")
    else:
        teach(asked.folder, asked.minutes, asked.seed, asked.stage, asked.start)


if __name__ == "__main__":
    main()
