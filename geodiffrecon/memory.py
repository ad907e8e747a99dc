"""Memory, estimated before it is spent."""

from __future__ import annotations

from .errors import MemoryEstimateExceeded

SHARE = 0.8  # of the free memory that an estimate may reach
BYTES = 8
COPIES = 2  # of what is read that exist at once
STATISTICS = 8  # arrays of one map's size that exist at once


def check_maps(frames: int, shape: tuple[int, int], draws: int) -> None:
    """Refuse a reconstruction that would not fit into the free memory.

    Raises
    ------
    MemoryEstimateExceeded
        With the estimate, the free memory, and what to reduce.
    """
    rows, columns = shape
    needed = frames * rows * columns * BYTES * (STATISTICS + draws)
    free = free_memory()
    if free and needed > SHARE * free:
        raise MemoryEstimateExceeded(
            f"{frames} maps of {rows} x {columns} cells with {draws} draws kept need about "
            f"{needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free; take fewer "
            "times at once (--time FROM TO) or fewer draws (--samples)."
        )


def check_read(name: str, frames: int, shape: tuple[int, int]) -> None:
    """Refuse to read maps that would not fit into the free memory.

    Raises
    ------
    MemoryEstimateExceeded
        With the estimate, the free memory, and what to reduce.
    """
    needed = frames * shape[0] * shape[1] * BYTES * COPIES
    free = free_memory()
    if free and needed > SHARE * free:
        raise MemoryEstimateExceeded(
            f"{name!r} is {frames:,} maps of {shape[0]} x {shape[1]} cells from its first time to "
            f"its last, which need about {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are "
            "free; cut a part out first, and look at the times (geodiffrecon info)."
        )


def free_memory() -> int:
    """Return the free memory in bytes, 0 where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 0


def forget_peak() -> None:
    """Let `peak_mb` start anew, where the system can (Linux)."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return


def peak_mb() -> int:
    """Return the most memory held since the start or `forget_peak`, in MiB; 0 if unknown."""
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            fields = dict(line.split(":", 1) for line in lines)
        return int(fields["VmHWM"].split()[0]) // 1024
    except (OSError, KeyError, ValueError):
        return 0
