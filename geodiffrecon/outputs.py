"""Files that appear whole or not at all, and what they say about their origin."""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InvalidParameter

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

PROVENANCE = ("model_hash", "data_fingerprint", "seed", "samples", "history_used")


@contextmanager
def whole_files(folder: str | Path) -> Iterator[Path]:
    """Give a hidden folder inside `folder`; what was written in it is moved out at the end.

    Nothing is left behind if the work fails or is cancelled.

    Raises
    ------
    InvalidParameter
        If `folder` cannot be written to.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as place:
    ...     with whole_files(place) as draft:
    ...         _ = (draft / "a.txt").write_text("whole")
    ...     sorted(os.listdir(place))
    ['a.txt']
    """
    folder = Path(folder)
    if folder.parts[1:2] and folder.parts[1].startswith("vsi"):
        raise InvalidParameter(
            f"{folder} is a place of GDAL, not of the disk; give a real file or folder."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = tempfile.TemporaryDirectory(dir=folder, prefix=".partial-")
    except OSError as error:
        raise InvalidParameter(
            f"{folder} cannot be written to ({error.strerror}); choose another --out."
        ) from error
    with draft as name:
        yield Path(name)
        for part in sorted(Path(name).iterdir()):
            os.replace(part, folder / part.name)


def file_name(value: str) -> str:
    """Return the name of a value as files and variables in them can be called.

    Letters of any script, figures and ``. _ + -`` stay; whatever else there is becomes ``_``.

    Examples
    --------
    >>> file_name("PM2.5 (ug/m3)"), file_name("pm25"), file_name("../x")
    ('PM2.5_ug_m3', 'pm25', 'x')
    """
    return re.sub(r"[^\w.+-]+", "_", value).strip("._-") or "value"


def software() -> str:
    """Return the name and version of the library."""
    try:
        return f"geodiffrecon {version('geodiffrecon')}"
    except PackageNotFoundError:
        return "geodiffrecon"


def provenance(dataset: xr.Dataset) -> dict[str, str]:
    """Return version, model hash, data fingerprint, seed and samples, as far as known."""
    written_by = dataset.attrs.get("geodiffrecon_version")
    known = {key: str(dataset.attrs[key]) for key in PROVENANCE if key in dataset.attrs}
    return {"software": f"geodiffrecon {written_by}" if written_by else software(), **known}
