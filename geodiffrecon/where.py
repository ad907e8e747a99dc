"""Conditions on rows, such as ``parameter == 'pm25' and Validity > 0``; nothing is evaluated."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from .columns import as_arrow, blanked, floats
from .errors import InvalidParameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Rows = NDArray[np.bool_]

QUOTED = re.compile(r"`([^`]+)`")
TEXTS = re.compile(r"('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]+`)")
SQL = ((r"<>", "!="), (r"(?<![<>=!])=(?!=)", "=="), (r"(?i)\b(and|or|not|in)\b", None))
TESTS: dict[type[ast.cmpop], str] = {
    ast.Eq: "equal",
    ast.NotEq: "not_equal",
    ast.Lt: "less",
    ast.LtE: "less_equal",
    ast.Gt: "greater",
    ast.GtE: "greater_equal",
}


class Condition:
    """A condition on the columns of a row.

    Comparisons of a column with texts and numbers (``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=``,
    ``in``) joined by ``and``, ``or``, ``not`` and brackets. A name that has blanks stands in
    backticks. Rows where a column is empty do not fulfil a comparison with it.

    Parameters
    ----------
    text : str
        The condition.

    Raises
    ------
    InvalidParameter
        If it is anything else.

    Examples
    --------
    >>> Condition("`Sample Duration` == '1 HOUR' and Validity > 0").columns
    ('Sample Duration', 'Validity')
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._names: dict[str, str] = {}
        try:
            self._tree = ast.parse(self._python(text), mode="eval").body
            self.columns = tuple(dict.fromkeys(self._columns(self._tree)))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise self._refused() from error

    def rows(self, columns: Mapping[str, Any]) -> Rows:
        """Return which rows (n,) of Arrow `columns` fulfil the condition."""
        return self._rows(self._tree, columns)

    def _python(self, text: str) -> str:
        """Return the text with plain names for quoted ones, and the operators of Python."""
        parts = TEXTS.split(text)
        for index, part in enumerate(parts):
            quoted = QUOTED.fullmatch(part)
            if quoted is not None:
                name = f"column_{index}_"
                self._names[name] = quoted[1]
                parts[index] = name
            elif index % 2 == 0:
                for pattern, new in SQL:
                    part = re.sub(pattern, new or (lambda found: found[0].lower()), part)
                parts[index] = part
        return "".join(parts).strip()

    def _columns(self, node: ast.expr) -> list[str]:
        if isinstance(node, ast.BoolOp):
            return [name for value in node.values for name in self._columns(value)]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return self._columns(node.operand)
        if not isinstance(node, ast.Compare) or not isinstance(node.left, ast.Name):
            raise self._refused()
        if len(node.ops) > 1:
            raise self._refused()
        operator, right = node.ops[0], node.comparators[0]
        listed = isinstance(operator, ast.In | ast.NotIn)
        if not listed and type(operator) not in TESTS:
            raise self._refused()
        for value in self._values(right) if listed else [self._value(right)]:
            if not isinstance(value, str | int | float) or isinstance(value, bool):
                raise self._refused()
        return [self._name(node.left)]

    def _rows(self, node: ast.expr, columns: Mapping[str, Any]) -> Rows:
        if isinstance(node, ast.BoolOp):
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            found: Rows = join.reduce([self._rows(value, columns) for value in node.values])
            return found
        if isinstance(node, ast.UnaryOp):
            return ~self._rows(node.operand, columns)
        assert isinstance(node, ast.Compare)
        assert isinstance(node.left, ast.Name)
        name, operator, right = self._name(node.left), node.ops[0], node.comparators[0]
        if isinstance(operator, ast.In | ast.NotIn):
            each = [_test(columns[name], name, "equal", v) for v in self._values(right)]
            among: Rows = np.logical_or.reduce(each)
            return ~among if isinstance(operator, ast.NotIn) else among
        return _test(columns[name], name, TESTS[type(operator)], self._value(right))

    def _name(self, node: ast.Name) -> str:
        return self._names.get(node.id, node.id)

    def _values(self, node: ast.expr) -> list[Any]:
        if not isinstance(node, ast.Tuple | ast.List | ast.Set):
            raise self._refused()
        return [self._value(each) for each in node.elts]

    def _value(self, node: ast.expr) -> Any:
        value = ast.literal_eval(node) if isinstance(node, ast.Constant | ast.UnaryOp) else None
        if value is None:
            raise self._refused()
        return value

    def _refused(self) -> InvalidParameter:
        return InvalidParameter(
            f"--where {self.text!r} is no condition; write one such as \"parameter == 'pm25' and "
            'Validity > 0", texts in quotes and names with blanks in backticks.'
        )


def _test(column: Any, name: str, test: str, value: Any) -> Rows:
    """Return which rows of a column pass a test against a text or a number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(value, str):
        text = as_arrow(column).cast(pa.string())
        passed = getattr(pc, test)(blanked(text), pa.scalar(value.strip()))
        return np.asarray(pc.fill_null(passed, False).to_numpy(zero_copy_only=False))
    numbers = floats(column, f"Values of {name!r}", "--where")
    compare = getattr(np, test)
    return np.asarray(compare(numbers, float(value)) & ~np.isnan(numbers))
