"""The paper's own data sets, from the files as they are published, into cubes.

None of the files comes with the library: TaxiBJ P1 is published with UrbanFM, trip histories by
Citi Bike, and PM2.5 maps by Tracking Air Pollution in China (TAP). Areas, periods and the split
2:1:1 are those of table I and section V-A of the paper (arXiv 2410.05323).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import InvalidParameter
from ..progress import silent
from .citibike import open_citibike
from .tap import open_tap
from .taxibj import open_taxibj

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from ..covariates import Covariates
    from ..progress import Progress

__all__ = ["Published", "open_citibike", "open_tap", "open_taxibj", "read_published"]


@dataclass(frozen=True, eq=False)
class Published:
    """One of the paper's data sets, ready for `DiffRecon.fit` and for comparing methods.

    Parameters
    ----------
    name : {"taxibj", "citibike", "tap"}
        Which.
    cube : xarray.Dataset
        Complete fine maps.
    covariates : Covariates or None
        External features where they are published with the maps.
    value, aggregation : str
        Variable of the cube, and what pooling it means.
    factor : int
        Fine cells per coarse cell and direction.
    train_until, until : str
        ISO ends of the training part, and of training and validation (start of the test part).
    """

    name: str
    cube: xr.Dataset
    covariates: Covariates | None
    value: str
    aggregation: str
    factor: int
    train_until: str
    until: str


def read_published(name: str, folder: str | Path, *, progress: Progress = silent) -> Published:
    """Open one of the paper's data sets from a folder of the published files.

    Parameters
    ----------
    name : {"taxibj", "citibike", "tap"}
        Which data set: see `open_taxibj`, `open_citibike` and `open_tap`.
    folder : str or Path
        Where its files are.

    Raises
    ------
    InvalidParameter
        If the name is another.
    UnreadableFile, MissingColumn, InvalidTime, GridMismatch, NoObservations
        As the readers do.
    """
    covariates = None
    if name == "taxibj":
        cube, covariates = open_taxibj(folder)
    elif name == "citibike":
        cube = open_citibike(folder, progress=progress)
    elif name == "tap":
        cube = open_tap(folder, progress=progress)
    else:
        raise InvalidParameter(f"Data set must be taxibj, citibike or tap, got {name!r}.")
    about = cube.attrs
    return Published(
        name,
        cube,
        covariates,
        str(about["value"]),
        str(about["aggregation"]),
        int(about["factor"]),
        str(about["train_end"]),
        str(about["valid_end"]),
    )
