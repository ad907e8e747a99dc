"""Findings: one sentence on each thing that looks wrong in a stations file, and their table."""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Action = Literal["kept", "left out", "averaged, said"]
KEPT: Action = "kept"
LEFT_OUT: Action = "left out"
AVERAGED: Action = "averaged, said"
MOST_LINES = 12
WIDTH = 100


@dataclass(frozen=True)
class Finding:
    """One thing that looks wrong at one station, or in the file.

    Parameters
    ----------
    check : str
        What was looked for, such as ``spike``.
    station : str or None
        The station; None where the finding is about several.
    count : int
        How many rows, readings, runs, days or stations, as the sentence says.
    first : str or None
        First time, ISO 8601 with the offset of the calendar zone.
    sentence : str
        What was seen, where, and what to do.
    action : {"kept", "left out", "averaged, said"}
        What happens to the values.
    """

    check: str
    station: str | None
    count: int
    first: str | None
    sentence: str
    action: Action = KEPT


def to_rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return the findings as JSON types, one dict each.

    Examples
    --------
    >>> to_rows([Finding("spike", "S01", 1, None, "One spike.")])[0]["action"]
    'kept'
    """
    return [asdict(finding) for finding in findings]


def findings_table(findings: Sequence[Finding], *, most: int = MOST_LINES) -> str:
    """Return aligned text for a terminal: each check's largest findings, `most` in all.

    Examples
    --------
    >>> print(findings_table([Finding("spike", "S01", 1, None, "One spike.")]))
    spike  One spike. [kept]
    """
    if not findings:
        return "Nothing stands out in the data."
    shown, rest = _chosen(findings, most)
    width = max(len(finding.check) for finding in shown) + 2
    lines = [
        textwrap.fill(
            f"{finding.sentence} [{finding.action}]",
            WIDTH,
            initial_indent=finding.check.ljust(width),
            subsequent_indent=" " * width,
            break_on_hyphens=False,
        )
        for finding in shown
    ]
    if rest:
        listed = ", ".join(f"{check} {number}" for check, number in rest.items())
        lines.append(f"and {sum(rest.values())} more ({listed})")
    return "\n".join(lines)


def joined(names: Sequence[str], most: int = 4) -> str:
    """Return names for a sentence, the first `most` of them.

    Examples
    --------
    >>> joined(["a", "b", "c"]), joined(list("abcdef"))
    ('a, b and c', 'a, b, c, d and 2 more')
    """
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def counted(number: int, what: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> counted(1, "row"), counted(2, "row")
    ('1 row', '2 rows')
    """
    return f"{number} {what}" + ("" if number == 1 else "s")


def _chosen(findings: Sequence[Finding], most: int) -> tuple[list[Finding], Counter[str]]:
    """Return the findings shown, and how many of each check are not."""
    by_check: dict[str, list[Finding]] = {}
    for finding in findings:
        by_check.setdefault(finding.check, []).append(finding)
    ranked = {check: sorted(held, key=lambda f: -f.count) for check, held in by_check.items()}
    depth = max(len(held) for held in ranked.values())
    turns = [held[turn] for turn in range(depth) for held in ranked.values() if turn < len(held)]
    order = list(ranked)
    shown = sorted(turns[:most], key=lambda f: order.index(f.check))
    return shown, Counter(finding.check for finding in turns[most:])
