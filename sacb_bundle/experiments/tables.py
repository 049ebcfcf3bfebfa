"""Tables of an experiment, as CSV and Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import whole_file
from ..tables import write_csv

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: heading in Markdown and on a page.
        key: key of its value in a row, and heading in CSV.
        digits: number of digits after the point; None for text.
        spread: key of the standard deviation to show with it; "" for none.
    """

    heading: str
    key: str
    digits: int | None = None
    spread: str = ""

    def cell(self, row: Row) -> str:
        """Return the value of a row, as text.

        Args:
            row: row of the table.

        Returns:
            The text; a dash for a missing value.
        """
        value = row.get(self.key)
        if value is None or self.digits is None:
            return "–" if value is None else str(value)
        spread = row.get(self.spread)
        return f"{value:.{self.digits}f}" + ("" if spread is None else f" ± {spread:.{self.digits}f}")


# Columns of the scores of an evaluation, and of the network.
SCORE_COLUMNS = (
    Column("Dice", "dice", 3, "dice_std"),
    Column("HD95 (mm)", "hd95_mm", 2, "hd95_mm_std"),
    Column("ASSD (mm)", "assd_mm", 2, "assd_mm_std"),
    Column("similarity", "similarity", 3, "similarity_std"),
    Column("folding (%)", "folding_percent", 3, "folding_percent_std"),
    Column("SD log J", "sd_log_jacobian", 3, "sd_log_jacobian_std"),
    Column("parameters (M)", "parameters_millions", 2),
)


def filled(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """Return the columns that have a value in any row.

    Args:
        columns: columns of the table.
        rows: its rows.

    Returns:
        The columns, in their order.
    """
    return [column for column in columns if any(row.get(column.key) is not None for row in rows)]


def write_tables(path: Path, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Write a table as CSV, with all digits and columns, and as Markdown, without columns that are empty.

    Args:
        path: path of the files, without an ending.
        columns: columns of the table.
        rows: its rows.

    Raises:
        InputError: if a file cannot be written.
    """
    keys = [key for column in columns for key in (column.key, column.spread) if key]
    write_csv(path.with_suffix(".csv"), keys, [{key: row.get(key) for key in keys} for row in rows])
    shown = filled(columns, rows)
    lines = [[column.heading for column in shown], ["---"] * len(shown)]
    lines += [[_escaped(column.cell(row)) for column in shown] for row in rows]
    with whole_file(path.with_suffix(".md")) as unfinished:
        unfinished.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines), encoding="utf-8")


def _escaped(text: str) -> str:
    """Return text for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")
