"""Files that appear whole or not at all, and what they say about their origin."""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InvalidParameter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import xarray as xr

SPARED: ContextVar[frozenset[Path]] = ContextVar("spared", default=frozenset())
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
        for part in Path(name).iterdir():
            if (folder / part.name).resolve() in SPARED.get():
                raise InvalidParameter(
                    f"{folder / part.name} is an input, which the output would replace; choose "
                    "another place."
                )
        for part in sorted(Path(name).iterdir()):
            os.replace(part, folder / part.name)


@contextmanager
def spared(inputs: Sequence[Path]) -> Iterator[None]:
    """Let no output of the body replace one of its inputs."""
    token = SPARED.set(frozenset(path.resolve() for path in inputs))
    try:
        yield
    finally:
        SPARED.reset(token)


def check_targets(inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Refuse outputs that are inputs or each other, or that cannot be written, before any work.

    Raises
    ------
    InvalidParameter
        With the first such output.
    """
    known = {path.resolve() for path in inputs}
    for output in outputs:
        place = output.resolve()
        if place in known:
            raise InvalidParameter(
                f"{output} is given twice, and the output would replace what stands there; give "
                "each file a name of its own."
            )
        known.add(place)
        while not place.exists():
            place = place.parent
        try:
            if place.is_file() and place != output.resolve():
                raise NotADirectoryError(0, f"{place.name} is a file")
            tempfile.TemporaryFile(dir=place if place.is_dir() else place.parent).close()
        except OSError as error:
            raise InvalidParameter(
                f"{output} cannot be written ({error.strerror}); choose another place."
            ) from error


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
