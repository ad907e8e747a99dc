"""What the published data sets have in common: their shape, their files, their split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..calendar import iso
from ..errors import NoObservations, UnreadableFile
from ..grid import NestedGrid

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    Bounds = tuple[float, float, float, float]
    Period = tuple[str, str]

FACTOR = 4
SIDE = 32  # fine cells of every map of the paper, both ways
LEAST_FRAMES = 4  # of the split 2:1:1


def files(source: str | Path | Sequence[str | Path], suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files of `source` in order of name: those given, or those within a folder.

    Raises
    ------
    UnreadableFile
        If there is none.
    """
    if not isinstance(source, str | Path):
        return [Path(path) for path in source]
    folder = Path(source)
    if not folder.is_dir():
        return [folder]
    found = [path for path in folder.rglob("*") if path.name.lower().endswith(suffixes)]
    if not found:
        raise UnreadableFile(f"{folder} holds no file of type {', '.join(suffixes)}.")
    return sorted(found)


def area(bounds: Bounds, shape: tuple[int, int] = (SIDE, SIDE)) -> NestedGrid:
    """Return the grid of `bounds` in degrees with a fine `shape`."""
    coarse = (shape[0] // FACTOR, shape[1] // FACTOR)
    return NestedGrid.from_bounds(bounds, crs="EPSG:4326", shape=coarse, factor=FACTOR)


def with_split(cube: xr.Dataset) -> xr.Dataset:
    """Return `cube` with the ends of training and validation of the split 2:1:1 by frames.

    Raises
    ------
    NoObservations
        If there are fewer than four frames.
    """
    times = cube["time"].values
    if len(times) < LEAST_FRAMES:
        raise NoObservations(f"{len(times)} frames cannot be split 2:1:1; give more files.")
    train = len(times) // 2
    return cube.assign_attrs(
        train_end=iso(times[train]), valid_end=iso(times[train + len(times) // 4])
    )
