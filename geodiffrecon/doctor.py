"""What a bug report needs: versions, data of GDAL and PROJ, device, memory, and what is wrong."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

LIBRARIES = (
    "numpy", "scipy", "pandas", "xarray", "rioxarray", "geopandas", "pyogrio", "pyarrow",
    "shapely", "odc-geo", "netCDF4", "safetensors", "typer", "holidays",
)  # fmt: skip
EXTRAS = {"matplotlib": "pictures", "pykrige": "the kriging rival"}
LITTLE_MEMORY_GB = 2.0
LITTLE_DISK_GB = 1.0


@dataclass(frozen=True)
class Finding:
    """One line of the check.

    Parameters
    ----------
    name : str
        What was looked at.
    text : str
        What was found.
    problem : str
        What is wrong and what to do; empty where nothing is.
    """

    name: str
    text: str
    problem: str = ""


def examine() -> list[Finding]:
    """Look at everything that the library depends on; a check that breaks is a finding.

    Returns
    -------
    list of Finding
    """
    checks: dict[str, Callable[[], Finding]] = {
        "geodiffrecon": _self,
        "libraries": _libraries,
        "extras": _extras,
        "GDAL": _gdal,
        "PROJ": _proj,
        "NetCDF": _netcdf,
        "torch": _torch,
        "memory": _memory,
        "disk": _disk,
    }
    findings = []
    for name, check in checks.items():
        try:
            findings.append(check())
        except Exception as error:  # any broken installation must still give a report
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            findings.append(
                Finding(name, "does not work", f"{name} cannot be used ({first}); reinstall it.")
            )
    return findings


def lines(findings: list[Finding]) -> list[str]:
    """Return one line per finding, then what is wrong.

    Examples
    --------
    >>> lines([Finding("memory", "1.0 GB free", "Little memory.")])
    ['memory        1.0 GB free', 'Wrong: Little memory.']
    """
    found = [f"{finding.name:<13} {finding.text}" for finding in findings]
    wrong = [f"Wrong: {finding.problem}" for finding in findings if finding.problem]
    return [*found, *(wrong or ["Nothing is wrong."])]


def _self() -> Finding:
    text = f"{__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}"
    old = sys.version_info < (3, 11)
    return Finding("geodiffrecon", text, "Python is older than 3.11." if old else "")


def _libraries() -> Finding:
    missing, found = [], []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    problem = f"{', '.join(missing)} not installed; pip install it." if missing else ""
    return Finding("libraries", ", ".join(found), problem)


def _extras() -> Finding:
    found = []
    for name, purpose in EXTRAS.items():
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name} (for {purpose})")
    return Finding("extras", ", ".join(found))


def _gdal() -> Finding:
    import rasterio
    from rasterio.drivers import raster_driver_extensions
    from rasterio.env import GDALDataFinder

    own = os.environ.get("GDAL_DATA")
    data = own or GDALDataFinder().search() or "built in"
    text = f"{rasterio.__gdal_version__} in rasterio {rasterio.__version__}, data {data}"
    if own and not Path(own).is_dir():
        return Finding("GDAL", text, f"GDAL_DATA is {own!r}, no folder; unset it.")
    drivers = set(raster_driver_extensions().values())
    lacking = sorted({"GTiff"} - drivers)
    return Finding("GDAL", text, f"GDAL lacks the driver {lacking[0]}." if lacking else "")


def _proj() -> Finding:
    import pyproj
    from rasterio.crs import CRS

    data = pyproj.datadir.get_data_dir()
    text = f"{pyproj.proj_version_str} in pyproj {pyproj.__version__}, data {data}"
    foreign = [name for name in ("PROJ_LIB", "PROJ_DATA") if os.environ.get(name)]
    try:
        pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32650", always_xy=True).transform(117, 40)
        CRS.from_epsg(32650)
    except Exception as error:  # the PROJ database of another version, most often
        remedy = f"unset {' and '.join(foreign)}" if foreign else "reinstall pyproj and rasterio"
        first = str(error).strip().splitlines()[0]
        return Finding("PROJ", text, f"EPSG codes cannot be read ({first}); {remedy}.")
    return Finding("PROJ", text)


def _netcdf() -> Finding:
    import netCDF4

    return Finding("NetCDF", f"{netCDF4.__netcdf4libversion__}, HDF5 {netCDF4.__hdf5libversion__}")


def _torch() -> Finding:
    import torch

    device = "no CUDA device"
    if torch.cuda.is_available():
        device = f"CUDA {torch.version.cuda} on {torch.cuda.get_device_name(0)}"
    threads = f"{torch.get_num_threads()} threads on {os.cpu_count()} processors"
    return Finding("torch", f"{torch.__version__}, {device}, {threads}")


def _memory() -> Finding:
    free = _free_memory_gb()
    if free is None:
        return Finding("memory", "unknown")
    problem = f"Only {free:.1f} GB of memory are free; close other programs."
    return Finding("memory", f"{free:.1f} GB free", problem if free < LITTLE_MEMORY_GB else "")


def _free_memory_gb() -> float | None:
    table = Path("/proc/meminfo")
    if not table.is_file():
        return None
    for line in table.read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 / 1e9
    return None


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    problem = f"Only {free:.1f} GB are free here; write to another disk."
    text = f"{free:.1f} GB free in the current folder"
    return Finding("disk", text, problem if free < LITTLE_DISK_GB else "")
