"""The options that several commands share, each written once."""

# No postponed annotations here: typer reads these at run time.
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Form(StrEnum):
    """Form of the reports."""

    TERMINAL = "terminal"
    JSON = "json"


class Pooling(StrEnum):
    """What pooling fine cells into a coarse one means."""

    MEAN = "mean"
    SUM = "sum"


class PointPooling(StrEnum):
    """What a cell makes of its points."""

    MEAN = "mean"
    SUM = "sum"
    COUNT = "count"


class Empty(StrEnum):
    """What a cell without points holds."""

    AUTO = "auto"
    ZERO = "zero"
    MISSING = "missing"


class Kind(StrEnum):
    """What values can be."""

    REAL = "real"
    POSITIVE = "positive"
    COUNT = "count"


class Level(StrEnum):
    """Level of a nested grid."""

    COARSE = "coarse"
    FINE = "fine"


class Label(StrEnum):
    """Which end of its interval a stamp marks."""

    START = "start"
    MIDDLE = "middle"
    END = "end"


class Negative(StrEnum):
    """What is made of readings below zero where values cannot be."""

    KEEP = "keep"
    ZERO = "zero"
    DROP = "drop"


class Device(StrEnum):
    """Where networks run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Consistency(StrEnum):
    """Whether observed cells keep their value."""

    HARD = "hard"
    SOFT = "soft"
    OFF = "off"


class Pattern(StrEnum):
    """Which coarse cells are hidden."""

    FIXED = "fixed"
    RANDOM = "random"
    BLOCK = "block"


class Scored(StrEnum):
    """What is hidden to be scored: cells of maps, or stations."""

    FIXED = "fixed"
    RANDOM = "random"
    BLOCK = "block"
    STATIONS = "stations"
    BLOCKS = "blocks"


class Published(StrEnum):
    """Data sets of the paper, as their authors publish them."""

    TAXIBJ = "taxibj"
    CITIBIKE = "citibike"
    TAP = "tap"


def option(
    text: str, *names: str, show: str | None = None, least: int | None = None
) -> typer.models.OptionInfo:
    """Return an option with its help text; `show` names its value, `least` is its least one."""
    found = typer.Option(*names, help=text, metavar=show, min=least)
    assert isinstance(found, typer.models.OptionInfo)
    return found


Progress = Annotated[Form, option("Bar and text, or one JSON object per line.", "--progress")]
Model = Annotated[Path, option("Model directory.", "--model", show="DIR")]
Seed = Annotated[int, option("Same seed, same result.", "--seed", least=0)]
Variable = Annotated[str | None, option("Variable, where the file has several.", "--variable")]
External = Annotated[
    list[Path] | None,
    option("External features, CSV or NetCDF; may be repeated.", "--external", show="FILE"),
]
Bounds = Annotated[
    tuple[float, float, float, float] | None,
    option("West, south, east and north edge.", "--bounds", show="W S E N"),
]
CalendarTz = Annotated[
    str | None, option("Zone in which days are cut.", "--calendar-tz", show="ZONE")
]
Tz = Annotated[str | None, option("Zone of time stamps that have none.", "--tz", show="ZONE")]
X = Annotated[str | None, option("Column of x or longitude.", "--x", show="COL")]
Y = Annotated[str | None, option("Column of y or latitude.", "--y", show="COL")]
Value = Annotated[str | None, option("Value column, or variable.", "--value", show="COL")]
TimeColumn = Annotated[
    str | None, option("Time column of a points file.", "--time-column", show="COL")
]
AcceptUnits = Annotated[bool, option("Map values far outside what was learnt.", "--accept-units")]
Coverage = Annotated[
    float | None,
    option("Share of its hours that a day needs; 0.75.", "--coverage", show="SHARE"),
]
StampLabel = Annotated[Label | None, option("Which end of an interval stamps mark.", "--label")]
EmptyCells = Annotated[Empty, option("What cells without points hold.", "--empty")]
PointsCrs = Annotated[
    str | None, option("CRS of the points, such as EPSG:4326, or none.", "--crs", show="CRS")
]
FileCrs = Annotated[
    str | None, option("CRS where the file has none; none for metres.", "--crs", show="CRS")
]
Shape = Annotated[tuple[int, int] | None, option("Coarse cells.", "--shape", show="ROWS COLS")]
Resolution = Annotated[float | None, option("Size of a coarse cell.", "--resolution", show="R")]
Like = Annotated[Path | None, option("Raster or cube whose grid to use.", "--like", show="FILE")]
GridCrs = Annotated[
    str | None, option("CRS of the grid; that of the points.", "--grid-crs", show="CRS")
]
Station = Annotated[str | None, option("Column of station names.", "--station", show="COL")]
Range = tuple[int, int] | None
Rows = Annotated[Range, option("Rows from the north.", "--rows", show="A B")]
Cols = Annotated[Range, option("Columns from the west.", "--cols", show="A B")]
Trim = Annotated[bool, option("Drop what the factor leaves over.", "--trim")]
Until = Annotated[str | None, option("End of training.", "--until", show="T")]
ValueKind = Annotated[Kind | None, option("What values can be.", "--kind")]
Country = Annotated[str | None, option("Country of the holidays.", "--country", show="CC")]
Zones = Annotated[
    Path | None, option("Polygons whose means are told as well.", "--zones", show="POLYGONS")
]
Weights = Annotated[
    Path | None, option("What cells of --zones count by.", "--weights", show="RASTER")
]
