"""How many stations a model takes: what they cost, estimated before it is spent."""

from __future__ import annotations

from ..errors import InvalidParameter, MemoryEstimateExceeded
from ..memory import BYTES, SHARE, free_memory
from .kriging import PAIRS as READING_PAIRS
from .surroundings import MEMORY
from .surroundings import PAIRS as STATION_PAIRS

MOST_READINGS = 2000  # that one map is solved from; the time grows with their cube
FIXED = 150 << 20  # bytes that any network needs
# Numbers that exist at once, as measured: for each pair of readings in a part of a fit (with
# wind), of stations in a part of residuals, of the readings of one step, of reading and site.
FITTING, HIDING, SOLVING, MAPPING = 20, 13, 16, 2


def memory_needed(stations: int, lags: int, sites: int) -> int:
    """Return about how many bytes a fit needs, or maps of so many `sites` at once.

    Examples
    --------
    >>> memory_needed(500, 4, 8192) // 2**20
    943
    """
    readings = stations * lags
    fitting = FITTING * min(READING_PAIRS, 2 * MEMORY * readings**2)
    hiding = HIDING * min(STATION_PAIRS, 2 * MEMORY * stations**2)
    mapping = SOLVING * readings**2 + MAPPING * readings * sites
    return FIXED + BYTES * max(fitting, hiding, mapping)


def check_size(stations: int, lags: int, sites: int = 0) -> None:
    """Refuse a network whose kriging would not end, or not fit into the free memory.

    Kriging solves one system per step in all readings of that step and of the earlier ones that
    it reads. `MOST_READINGS` of them take about a second of one processor for each step, in calls
    that are short enough to be cancelled.

    Parameters
    ----------
    stations : int
        That ever report.
    lags : int
        Steps that are read for one map.
    sites : int
        That are mapped at once; none in a fit.

    Raises
    ------
    InvalidParameter
        Above `MOST_READINGS`, with the number of stations that would do.
    MemoryEstimateExceeded
        With the estimate and the free memory.

    Examples
    --------
    >>> check_size(500, 4)
    >>> check_size(501, 4)
    Traceback (most recent call last):
    geodiffrecon.errors.InvalidParameter: There are 501 stations, and kriging from 4 steps at once \
takes at most 500; thin them out, take a smaller region, or fit a model of fine maps.
    """
    most = MOST_READINGS // lags
    if not most:
        raise InvalidParameter(
            f"Kriging is to read {lags} steps at once, but takes at most {MOST_READINGS} readings "
            "of all stations together; give settings with fewer lags."
        )
    if stations > most:
        several = "1 step" if lags == 1 else f"{lags} steps at once"
        raise InvalidParameter(
            f"There are {stations} stations, and kriging from {several} takes at most {most}; "
            "thin them out, take a smaller region, or fit a model of fine maps."
        )
    needed, free = memory_needed(stations, lags, sites), free_memory()
    if free and needed > SHARE * free:
        raise MemoryEstimateExceeded(
            f"Kriging from {stations} stations at {lags} steps needs about "
            f"{needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free; thin the stations out "
            "or close other programs."
        )
