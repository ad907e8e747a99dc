"""The gate of every input: a file or folder of this machine that leads nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

from .errors import UnreadableFile

NETWORK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # more letters than a drive of Windows has
# What begins a file that only says where the data are: virtual rasters and tables, web services.
POINTERS = (
    b"<vrtdataset", b"<ogrvrtdatasource", b"<gdal_wms", b"<wms", b"<wcs", b"<wfs", b"<wmts",
    b"<ogrwfsdatasource", b"<gdal_wmts", b"<vrtlayer", b"http://", b"https://", b"/vsi",
)  # fmt: skip
LOOKED_AT = 512  # bytes


def local_file(path: str | Path, what: str = "the file") -> Path:
    """Return an input that may be opened: a regular file, or a folder.

    Parameters
    ----------
    path : str or Path
        What the user gave.
    what : str
        What it is, for the sentence where there is nothing.

    Raises
    ------
    UnreadableFile
        If it is on the network, a place of GDAL, a pipe or a device, leads to other data, or is
        not there.

    Examples
    --------
    >>> local_file("https://example.org/a")
    Traceback (most recent call last):
    geodiffrecon.errors.UnreadableFile: https://example.org/a is on the network; download it first.
    """
    if NETWORK.match(str(path)):
        raise UnreadableFile(f"{path} is on the network; download it first.")
    path = Path(path)
    if path.parts[1:2] and path.parts[1].startswith("vsi"):
        raise UnreadableFile(f"{path} is a place of GDAL, not of the disk; unpack or download it.")
    if not path.exists():
        raise UnreadableFile(f"{path} does not exist; check the path of {what}.")
    if path.is_dir():
        return path
    if not path.is_file():
        raise UnreadableFile(f"{path} is a pipe or a device, no file; write it to a file first.")
    try:
        with path.open("rb") as file:
            begins = file.read(LOOKED_AT)
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read ({error.strerror}).") from error
    text = begins.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<?xml"):
        text = text.partition(b"?>")[2].lstrip()
    if text.startswith(POINTERS):
        raise UnreadableFile(
            f"{path.name} holds no data but says where they are; give these, or make a file of "
            "them (gdal_translate, ogr2ogr)."
        )
    return path
