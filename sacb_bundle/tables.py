"""Tables of text: CSV as programs and spreadsheets write it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import whole_file

_DELIMITERS = (",", ";", "\t")
# First line by which a spreadsheet learns the delimiter.
_HINT = re.compile(r"\s*sep=.(?=[\r\n])", re.IGNORECASE)

# First characters of cells that a spreadsheet may run as a formula.
_FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns.

    Attributes:
        columns: names of the columns, in lower case and without spaces around them.
        header: names of the columns as the file has them.
        rows: number in the file of the line that each row ends at, and the cells of the row by column.
        delimiter: character between cells.
    """

    columns: list[str]
    header: list[str]
    rows: list[tuple[int, dict[str, str]]]
    delimiter: str


def parse_table(text: str, required: Sequence[str], path: Path) -> Table:
    """Parse a table whose cells are separated by commas, semicolons or tabs. Rows without any text are left out.

    Args:
        text: text of the file.
        required: columns that the table must have, in lower case.
        path: path of the file, for the error messages.

    Returns:
        The table. Cells that are missing at the end of a row are empty.

    Raises:
        InputError: if it is not a table, lacks a required column or any row, has a column twice, or a row has more
            cells than there are columns.
    """
    text = _HINT.sub("", text, count=1) if _HINT.match(text) else text
    delimiter = max(_DELIMITERS, key=lambda mark: sum(name in _columns(text, mark) for name in required))
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        lines = [(reader.line_num, filled) for cells in reader if (filled := _without_empty_end(cells))]
    except csv.Error as error:
        raise InputError(f"{path}: not a table (CSV): {error}.") from error
    (_, header), *rows = lines or [(0, [])]
    columns = [name.strip().lower() for name in header]
    if missing := [name for name in required if name not in columns]:
        raise InputError(f"{path}: has no column {' and no column '.join(missing)}; it has {columns}.")
    if len(set(columns)) < len(columns):
        raise InputError(f"{path}: has a column twice: {columns}.")
    for line, cells in rows:
        if len(cells) > len(columns):
            raise InputError(f"{path}, line {line}: has more cells than there are columns ({len(columns)}).")
    padded = [(line, [*cells, *[""] * (len(columns) - len(cells))]) for line, cells in rows]
    return Table(columns, header, [(line, dict(zip(columns, cells, strict=True))) for line, cells in padded], delimiter)


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


def _without_empty_end(cells: list[str]) -> list[str]:
    """Drop the empty cells at the end of a row, which spreadsheets add."""
    while cells and not cells[-1].strip():
        cells = cells[:-1]
    return cells


def _columns(text: str, delimiter: str) -> list[str]:
    """Return the cells of the first line that is not empty, in lower case, if this delimiter separates them."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return [name.strip().strip('"').strip().lower() for name in first.split(delimiter)]


def _safe(value: object) -> object:
    """Return the value of a cell that is no formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_MARKS) else value
