"""Write tables that spreadsheets take for text and numbers alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .files import whole_file

# First characters of cells that a spreadsheet may run as a formula.
_FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r", "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table as CSV in UTF-8, which appears once it is complete.

    A text that a spreadsheet may run as a formula gets an apostrophe in front, as OWASP recommends.

    Args:
        path: path of the file; its folder is made if necessary.
        columns: names of the columns.
        rows: values of each row by column; None and missing values give empty cells.

    Raises:
        InputError: if the file cannot be written.
    """
    table = io.StringIO(newline="")
    # With the line ends of RFC 4180, which are the default, a cell that holds either character is quoted.
    writer = csv.DictWriter(table, columns)
    writer.writeheader()
    writer.writerows({column: _safe(value) for column, value in row.items()} for row in rows)
    with whole_file(path) as unfinished:
        unfinished.write_text(table.getvalue(), encoding="utf-8", newline="")


def _safe(value: object) -> object:
    """Return the value of a cell that is no formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_MARKS) else value
