"""Report of a study as an HTML file, with its pictures unless there are many."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..files import check_results, real_path, write_json
from ..quality import flags
from .pages import data_url, write_page
from .records import (
    LABELS,
    OWN_FILES,
    REPORT,
    SUMMARY,
    TABLE,
    CaseRecord,
    read_records,
    summary_of,
    write_label_table,
    write_table,
)

# Scores whose distributions are plotted: title, and the names before and after, or one name.
DISTRIBUTIONS = (
    ("Dice", ("dice_before", "dice_after")),
    ("HD95 (mm)", ("hd95_before", "hd95_after")),
    ("similarity", ("similarity_before", "similarity_after")),
    ("folding (% of voxels)", ("folding_percent",)),
    ("largest displacement (mm)", ("displacement_max_mm",)),
)

# Columns of the table: heading, score, digits. A column without values is left out.
COLUMNS = (
    ("Dice before", "dice_before", 3),
    ("Dice after", "dice_after", 3),
    ("HD95 before (mm)", "hd95_before", 2),
    ("HD95 after (mm)", "hd95_after", 2),
    ("similarity before", "similarity_before", 3),
    ("similarity after", "similarity_after", 3),
    ("folding (%)", "folding_percent", 3),
    ("largest displacement (mm)", "displacement_max_mm", 1),
)

# Number of cases from which on the page links to pictures, since browsers read a page as a whole.
LEAST_CASES_WITH_LINKS = 500

# Width and height of the curve of a loss, in pixels.
CURVE_SIZE = 150, 36

logger = logging.getLogger(__name__)


def write_report(output_dir: str | Path) -> list[CaseRecord]:
    """Write cases.csv, labels.csv, summary.json and report.html of a study from the records in its case folders.

    Args:
        output_dir: folder of the study.

    Returns:
        The records.

    Raises:
        InputError: if the folder holds no study, or cannot be written to.
    """
    output_dir = Path(output_dir)
    check_results([output_dir / name for name in OWN_FILES], [])
    records = read_records(output_dir)
    write_table(records, output_dir / TABLE)
    write_label_table(records, output_dir / LABELS)
    summary = summary_of(records)
    write_json(summary, output_dir / SUMMARY)
    values = {
        "title": real_path(output_dir).name,
        "written": datetime.now().strftime("%Y-%m-%d %H:%M"),
        "summary": summary,
        "records": records,
        "columns": [column for column in COLUMNS if any(r.measures.get(column[1]) is not None for r in records)],
        "limits": flags,
        "distributions": _distributions(records),
        "curve": _curve,
        "curve_size": CURVE_SIZE,
        "picture": lambda record: _picture(record, inlined=len(records) < LEAST_CASES_WITH_LINKS),
    }
    write_page(output_dir / REPORT, __package__, "report.html", values)
    logger.info("report written to %s", output_dir / REPORT)
    return records


def _picture(record: CaseRecord, inlined: bool) -> str:
    """Return the URL of the picture of a case: its data, or its path; "" if there is none, or it is a link."""
    path = record.folder / "picture.jpg"
    if not record.measures or path.is_symlink() or not path.is_file():
        return ""
    return data_url(path.read_bytes(), "image/jpeg") if inlined else quote(f"{path.parent.name}/{path.name}")


def _curve(measures: Mapping[str, Any]) -> str:
    """Return the points of the loss of a refinement, for a polyline of SVG; "" if there are fewer than two."""
    width, height = CURVE_SIZE
    losses = measures.get("loss_curve", [])
    finite = [(place, loss) for place, loss in enumerate(losses) if loss is not None]
    if len(finite) < 2:
        return ""
    least, largest = (limit(loss for _, loss in finite) for limit in (min, max))
    across, down = width / (len(losses) - 1), height / max(largest - least, 1e-12)
    return " ".join(f"{place * across:.1f},{(largest - loss) * down:.1f}" for place, loss in finite)


def _distributions(records: Sequence[CaseRecord]) -> str:
    """Plot the scores, and return the data URL of the PNG; "" for fewer than two cases."""
    columns = []
    for title, names in DISTRIBUTIONS:
        values = [[r.measures[name] for r in records if r.measures.get(name) is not None] for name in names]
        if min(map(len, values)) >= 2:
            columns.append((title, values))
    if not columns:
        return ""
    with rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(2.6 * len(columns), 2.6), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, (title, values) in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
            axes.boxplot(values, widths=0.5, showfliers=False, medianprops={"color": "#1b5e9c"})
            for place, of_one in enumerate(values, start=1):
                # Spread the points, in the order of the cases, so that equal values do not hide each other.
                spread = [place + 0.3 * (index / max(1, len(of_one) - 1) - 0.5) for index in range(len(of_one))]
                axes.plot(spread, of_one, ".", color="#d1495b", markersize=3, alpha=0.6)
            axes.set_title(title)
            axes.set_xticks(range(1, len(values) + 1), ["before", "after"] if len(values) == 2 else [""])
        stream = io.BytesIO()
        figure.savefig(stream, dpi=110)
    return data_url(stream.getvalue(), "image/png")
