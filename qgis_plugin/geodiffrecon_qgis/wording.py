# SPDX-License-Identifier: GPL-2.0-or-later
"""Words of the engine's command line in those of the dialogs, and where the manual is.

Standard library only.
"""

from __future__ import annotations

import configparser
import os
import re

OPTION = re.compile(r"(--[a-z][a-z-]*)( ?)")
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
    >>> of_dialog("Times have no zone; give it with --tz, as --tz UTC.", {"TZ": "Time zone"})
    'Times have no zone; give it with «Time zone», as UTC.'
    """
    named = set()

    def title(found):
        option, blank = found.groups()
        usual = (option[2:].upper().replace("-", "_"),)
        name = next((n for n in PARAMETERS.get(option, usual) if n in titles), None)
        if name is None:
            return option + blank
        if name in named:  # an example of it: the value alone says enough
            return ""
        named.add(name)
        return f"«{titles[name]}»{blank}"

    return OPTION.sub(title, sentence)


def home_page():
    """Return the address of the manual, as the metadata name it."""
    known = configparser.ConfigParser(interpolation=None)
    known.read(os.path.join(os.path.dirname(__file__), "metadata.txt"), encoding="utf-8")
    return known.get("general", "homepage", fallback="")
