# SPDX-License-Identifier: GPL-2.0-or-later
"""Results to where the user wants them: whole, or not at all. Standard library only."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid

SIDECARS = (".aux.xml", ".ovr", ".msk")


class OutputError(Exception):
    """Why a result cannot be put where the user wants it: one sentence."""


def check_writable(path):
    """Raise OutputError if nothing can be written at `path`; try it, for rights are not enough."""
    if path.replace("\\", "/").startswith("/vsi"):
        raise OutputError(f"{path} is a place of GDAL, not of the disk; give the name of a file.")
    if os.path.isdir(path):
        raise OutputError(f"{path} is a folder; give the name of a file.")
    folder = os.path.dirname(os.path.abspath(path))
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        if os.path.lexists(folder):
            raise OutputError(f"{folder} is a file, so {path} cannot be; choose another output.")
        folder = os.path.dirname(folder)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(_unwritable(folder, error)) from None
    if os.path.isfile(path) and not os.access(path, os.W_OK):
        raise OutputError(f"{path} is read-only; choose another output.")


def check_suffix(path, suffixes):
    """Raise OutputError if the name of a file ends in something else."""
    if not path.lower().endswith(tuple(suffixes)):
        raise OutputError(f"{path} does not end in {' or '.join(suffixes)}; give another name.")


def real(path):
    """Return the one spelling of a path."""
    return os.path.normcase(os.path.realpath(path))


def check_spared(path, read):
    """Raise OutputError if an output would replace a file that is `read`; see `inputs`."""
    title = read.get(real(path))
    if title is not None:
        raise OutputError(f"{path} is read as «{title}»; choose another file for the output.")


def publish(moves):
    """Move finished files to their places: all of them appear, or none.

    Parameters
    ----------
    moves : list of (str, str)
        A finished file, and where it goes; one may go to several places.

    Raises
    ------
    OutputError
        If a place cannot be written to.
    """
    drafts = {}
    for _, target in moves:
        if os.path.isdir(target):
            raise OutputError(f"{target} is a folder; give the name of a file.")
    try:
        for made, target in moves:
            drafts[_draft(made, target)] = target
        for draft, target in drafts.items():
            _replace(draft, target)
    except OSError as error:
        raise OutputError(_unwritable(error.filename or target, error)) from None
    finally:
        for draft in drafts:
            _remove(draft)


def _draft(made, target):
    """Copy `made` beside `target` under a hidden name, and return that."""
    folder = os.path.dirname(os.path.abspath(target))
    os.makedirs(folder, exist_ok=True)
    draft = os.path.join(folder, f".partial-{uuid.uuid4().hex}")
    try:
        shutil.copyfile(made, draft)
    except OSError:
        _remove(draft)
        raise
    return draft


def _replace(draft, target):
    os.replace(draft, target)
    for suffix in SIDECARS:  # statistics of the file that stood here before
        _remove(target + suffix)


def _remove(path):
    with contextlib.suppress(OSError):
        os.remove(path)


def _unwritable(path, error):
    return f"{path} cannot be written to ({error.strerror}); choose another output."
