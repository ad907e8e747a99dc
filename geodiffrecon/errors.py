"""One error class per kind of user mistake; the message is the one sentence a user reads."""

from __future__ import annotations


class GeoDiffReconError(Exception):
    """Base of every error that the user's data or parameters cause: exit code 1, no traceback."""


class MissingCRS(GeoDiffReconError):
    """Points, raster or grid carry no coordinate reference system and none was given."""


class MissingColumn(GeoDiffReconError):
    """A named column or variable does not exist in the input."""


class InvalidTime(GeoDiffReconError):
    """Times cannot be parsed, have no zone, or a raster has no times at all."""


class NoObservations(GeoDiffReconError):
    """Nothing usable is left: no point inside the grid, or every value missing."""


class GridMismatch(GeoDiffReconError):
    """Two grids that must agree do not, or a factor does not divide a grid."""


class UnreadableFile(GeoDiffReconError):
    """A file is missing, truncated or of an unknown format."""


class InvalidParameter(GeoDiffReconError):
    """A parameter has a value outside what is allowed."""


class IncompatibleModel(GeoDiffReconError):
    """A model directory is damaged, of an unknown schema, or unfit for the request."""


class NotFitted(GeoDiffReconError):
    """The model must be fitted or loaded before it can be used."""


class MemoryEstimateExceeded(GeoDiffReconError):
    """The estimated memory of the request is larger than what may be spent."""


class Cancelled(GeoDiffReconError):
    """The user cancelled the work; nothing partial is left behind (exit code 130)."""
