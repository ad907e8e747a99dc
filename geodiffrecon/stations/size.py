"""How many stations a model takes: what they cost, estimated before it is spent."""

from __future__ import annotations

from ..errors import InvalidParameter, MemoryEstimateExceeded
from ..memory import BYTES, SHARE, free_memory

MOST_READINGS = 2000  # that one map is solved from; the time grows with their cube
MATRICES = 16  # of readings by readings that exist at once


def check_size(stations: int, lags: int) -> None:
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
    if stations > most:
        several = "1 step" if lags == 1 else f"{lags} steps at once"
        raise InvalidParameter(
            f"There are {stations} stations, and kriging from {several} takes at most {most}; "
            "thin them out, take a smaller region, or fit a model of fine maps."
        )
    needed = MATRICES * BYTES * (stations * lags) ** 2
    free = free_memory()
    if free and needed > SHARE * free:
        raise MemoryEstimateExceeded(
            f"Kriging from {stations} stations at {lags} steps needs about "
            f"{needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free; thin the stations out "
            "or close other programs."
        )
