# SPDX-License-Identifier: GPL-2.0-or-later
"""Words of the engine's command line in those of the dialogs, and where the manual is.

Standard library only.
"""

from __future__ import annotations

import configparser
import os
import re

OPTION = re.compile(r"--[a-z][a-z-]*")
# Parameters that an option may have become, where the name alone does not say it.
PARAMETERS = {
    "--time": ("FROM", "TIME"),
    "--from": ("FROM",),
    "--time-column": ("TIME",),
    "--max-minutes": ("MINUTES",),
    "--buffer-km": ("BUFFER",),
    "--bounds": ("EXTENT",),
    "--shape": ("ROWS",),
    "--grid-crs": ("CRS",),
    "--crs": ("HISTORY_CRS",),
}


def of_dialog(sentence, titles):
    """Return a sentence of the engine with options named as the dialog names them.

    Parameters
    ----------
    sentence : str
        Such as ``Times have no zone; give it with --tz.``
    titles : dict of str
        Title of each parameter, such as ``{"TZ": "Time zone"}``.

    Examples
    --------
    >>> of_dialog("Times have no zone; give it with --tz.", {"TZ": "Time zone"})
    'Times have no zone; give it with «Time zone».'
    """

    def title(found):
        option = found.group()
        usual = (option[2:].upper().replace("-", "_"),)
        for name in PARAMETERS.get(option, usual):
            if name in titles:
                return f"«{titles[name]}»"
        return option

    return OPTION.sub(title, sentence)


def home_page():
    """Return the address of the manual, as the metadata name it."""
    known = configparser.ConfigParser(interpolation=None)
    known.read(os.path.join(os.path.dirname(__file__), "metadata.txt"), encoding="utf-8")
    return known.get("general", "homepage", fallback="")
