"""Loading a model, whichever kind it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .archive import read, sound
from .device import torch_device
from .model import DiffRecon

if TYPE_CHECKING:
    from pathlib import Path

    from .stations.model import StationDiffRecon


def load(path: str | Path, *, device: str = "auto") -> DiffRecon | StationDiffRecon:
    """Load a model directory; what it is stands in it.

    Parameters
    ----------
    path : str or Path
        What `save` wrote.
    device : {"auto", "cpu", "cuda"}
        Where networks run.

    Returns
    -------
    DiffRecon or StationDiffRecon

    Raises
    ------
    IncompatibleModel
        If it is missing, damaged, or of a schema that this version does not know.
    """
    torch_device(device)
    config, arrays = read(path)
    with sound(path):
        if config.get("form") == "stations":
            from .stations.model import StationDiffRecon

            return StationDiffRecon._from_parts(config, arrays, device)
        return DiffRecon._from_parts(config, arrays, device)
