"""Parts that the pages of a comparison and of a trial share: tables and explained words."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .comparison_tables import Table

WIDE = (
    "body{max-width:75rem}.wide{overflow-x:auto;margin:.5rem 0 1.5rem}"
    "table{font-size:.85rem;font-variant-numeric:tabular-nums}td,th{white-space:nowrap}"
    ".best{font-weight:700;background:#fdeee3}.better{color:#14532d}"
    ".worse{font-weight:700;background:#f3d9d9}.ours{font-weight:700;color:#a63603}"
    ".layer{color:#0a5c96}figure{margin:1.5rem 0}img{width:100%;background:#fff}"
    "figcaption,.note{color:#555;font-size:.9rem}summary{cursor:pointer;font-weight:600}"
)
NO_CHARTS = "The charts of this page need matplotlib: pip install 'geodiffrecon[plot]'."


def html_table(table: Table, *, title: bool = True) -> str:
    """Return a table as HTML that scrolls by itself where it is wide.

    Parameters
    ----------
    table : Table
        Its texts are escaped, its marks become classes.
    title : bool
        Whether its title stands above it.

    Examples
    --------
    >>> from geodiffrecon.comparison_tables import Entry, Table
    >>> html_table(Table("", ["a < b"], [[Entry("1")]]), title=False)[25:53]
    '<thead><tr><th>a &lt; b</th>'
    """
    head = "".join(f"<th>{html.escape(text)}</th>" for text in table.head)
    body = "".join(
        "<tr>" + "".join(f"<td{_class(e.mark)}>{html.escape(e.text)}</td>" for e in row) + "</tr>"
        for row in table.rows
    )
    name = f"<h3>{html.escape(table.title)}</h3>" if title else ""
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    return (
        f'{name}<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
        f"</table></div>{note}"
    )


def definitions(words: dict[str, str]) -> str:
    """Return words and what they mean as an HTML list; both are escaped.

    Examples
    --------
    >>> definitions({"MAE": "mean error"})
    '<dl><dt>MAE</dt><dd>mean error</dd></dl>'
    """
    pairs = (f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in words.items())
    return f"<dl>{''.join(pairs)}</dl>"


def _class(mark: str) -> str:
    return f' class="{html.escape(mark)}"' if mark else ""
