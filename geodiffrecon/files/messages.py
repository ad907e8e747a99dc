"""The messages of a GRIB file: several variables, levels and members, each a band to GDAL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidParameter, MissingColumn

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ELEMENT, LEVEL, TIME = "GRIB_ELEMENT", "GRIB_SHORT_NAME", "GRIB_VALID_TIME"
SHOWN = 8


def is_grib(source: Any) -> bool:
    """Tell whether the bands of an opened raster are messages of GRIB."""
    return source.driver == "GRIB"


def chosen_messages(
    source: Any, path: Path, variable: str | None, select: Mapping[str, Any]
) -> list[int]:
    """Return the bands, from 1, of one variable on one level of one member.

    Raises
    ------
    MissingColumn
        If there are several variables and `variable` is none of them.
    InvalidParameter
        If there are several levels or members and `select` names none of them.
    """
    wrong = [name for name in select if name not in ("level", "member")]
    if wrong:
        raise InvalidParameter(
            f"--select {wrong[0]}={select[wrong[0]]}: {path.name} is GRIB, whose messages are "
            "chosen by band, level or member."
        )
    bands = list(source.indexes)
    tags = {band: source.tags(band) for band in bands}
    elements = list(dict.fromkeys(tags[band].get(ELEMENT, "") for band in bands))
    if variable in elements or len(elements) > 1:
        if variable not in elements:
            problem = f"has no variable {variable!r}" if variable else "holds several variables"
            raise MissingColumn(
                f"{path.name} {problem} (map variables: {_listed(elements)}); name one with "
                "--variable."
            )
        bands = [band for band in bands if tags[band].get(ELEMENT, "") == variable]
    levels = {band: tags[band].get(LEVEL, "") for band in bands}
    bands = _one(path, "level", levels, select)
    seen: dict[str, int] = {}
    members = {}
    for band in bands:
        time = tags[band].get(TIME, "")
        seen[time] = seen.get(time, -1) + 1
        members[band] = str(seen[time])
    return _one(path, "member", members, select)


def _one(path: Path, dim: str, labels: Mapping[int, str], select: Mapping[str, Any]) -> list[int]:
    """Return the bands of the label that `select` takes, all where there is only one."""
    known = list(dict.fromkeys(labels.values()))
    wanted = select.get(dim)
    if wanted is None and len(known) == 1:
        return list(labels)
    found = next((label for label in known if _same(label, wanted)), None)
    if found is None:
        problem = "several values" if wanted is None else f"no {wanted}"
        raise InvalidParameter(
            f"{path.name} has {problem} in its dimension {dim!r} ({_listed(known)}); choose one "
            f"with --select {dim}={known[0]}."
        )
    return [band for band, label in labels.items() if label == found]


def _same(label: str, wanted: Any) -> bool:
    """Tell whether a level such as 85000-ISBL is meant, also by its number alone."""
    try:
        return label == str(wanted) or bool(np.isclose(float(label.split("-")[0]), float(wanted)))
    except (TypeError, ValueError):
        return False


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
