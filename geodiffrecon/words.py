"""How sentences count: one row stands, two rows stand."""

from __future__ import annotations

import re

ONE = {
    "rows": "row", "cells": "cell", "values": "value", "frames": "frame", "maps": "map",
    "steps": "step", "times": "time", "bands": "band", "points": "point", "coordinates":
    "coordinate", "layers": "layer", "stations": "station", "latitudes": "a latitude", "are": "is",
    "have": "has", "stand": "stands", "lie": "lies", "fall": "falls", "last": "lasts",
    "fulfil": "fulfils", "they": "it", "gaps": "a gap", "lack": "lacks",
    "blocks": "block", "columns": "column",
}  # fmt: skip
WORD = re.compile(rf"(?<![\w'-])({'|'.join(ONE)})(?![\w'-])")


def agreed(number: int, sentence: str) -> str:
    """Return a sentence about `number` things, written for several, in the singular if it is one.

    Names between quotes stay as they are.

    Examples
    --------
    >>> agreed(1, "1 rows of 'rows' have no time; they are left out.")
    "1 row of 'rows' has no time; it is left out."
    >>> agreed(2, "2 rows have no time.")
    '2 rows have no time.'
    """
    if number != 1:
        return sentence
    return WORD.sub(lambda found: ONE[found[1]], sentence.replace("All 1 ", "The only "))
