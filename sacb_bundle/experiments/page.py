"""Page of a comparison, with its table, plot and pictures."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from matplotlib import colormaps, rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..engine.scores import TABLE
from ..files import read_text, real_path, whole_file
from ..study.pages import data_url, write_page
from ..tables import parse_table
from .tables import Column, Row, filled

PAGE, PLOT = "comparison.html", "dice_per_label.png"
# Width of the plot in inches, of which each box takes a share, and the most boxes in a row of it.
WIDTH, MOST_BOXES = 13.0, 90

# Dice of each label in all pairs.
Scores = dict[int, list[float]]


def write_comparison_page(
    folder: Path,
    pair: str,
    dataset_dir: Path,
    columns: Sequence[Column],
    rows: Sequence[Row],
    notes: Sequence[str],
) -> None:
    """Write the plot of the labels, if there are labels, and the page.

    Args:
        folder: folder of the comparison, with a folder for each method.
        pair: id of the pair whose pictures are shown.
        dataset_dir: folder of the data set, whose name is the title.
        columns: columns of the table.
        rows: rows of the table, one for each method.
        notes: what a reader of the table must know, such as why a method is left out.

    Raises:
        InputError: if a file cannot be read or written.
    """
    names = [row["method"] for row in rows]
    scores = {name: _dice_of_labels(folder / name / TABLE) for name in names}
    plot = b""
    if any(scores.values()):
        plot = _box_plot(scores)
        with whole_file(folder / PLOT) as unfinished:
            unfinished.write_bytes(plot)
    folders = {name: folder / name / "pictures" / pair for name in names}
    last = folders[names[-1]]
    values = {
        "title": real_path(dataset_dir).name,
        "written": datetime.now().strftime("%Y-%m-%d %H:%M"),
        "columns": filled(columns, rows),
        "rows": rows,
        "notes": notes,
        "plot": data_url(plot, "image/png") if plot else "",
        "fixed": _picture(last / "fixed.png"),
        "moving": _picture(last / "moving.png"),
        "pictures": [
            (name, _picture(path / "warped.png"), _picture(path / "grid.png")) for name, path in folders.items()
        ],
    }
    write_page(folder / PAGE, __package__, PAGE, values)


def _picture(path: Path) -> str:
    """Return the data URL of a picture; "" if the pair to draw was left out."""
    return data_url(path.read_bytes(), "image/png") if path.is_file() else ""


def _dice_of_labels(path: Path) -> Scores:
    """Read the Dice of each label in all pairs from metrics.csv."""
    scores: Scores = {}
    for _, cells in parse_table(read_text(path), ["label", "dice_after"], path).rows:
        scores.setdefault(int(cells["label"]), []).append(float(cells["dice_after"]))
    return scores


def _box_plot(scores: Mapping[str, Scores]) -> bytes:
    """Draw the Dice of each label over the pairs, with a box for each method, as PNG.

    Args:
        scores: Dice of each label in all pairs, by the name of the method.
    """
    labels = sorted(set[int]().union(*scores.values()))
    in_row = max(1, min(len(labels), MOST_BOXES // len(scores)))
    parts = [labels[start : start + in_row] for start in range(0, len(labels), in_row)]
    colours = colormaps["tab10"].colors  # type: ignore[attr-defined]
    with rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(WIDTH, 0.4 + 2.2 * len(parts)), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, part in zip(figure.subplots(len(parts), 1, squeeze=False)[:, 0], parts, strict=True):
            for number, of_labels in enumerate(scores.values()):
                places = [place + 0.8 * ((number + 0.5) / len(scores) - 0.5) for place in range(len(part))]
                line = {"color": colours[number % len(colours)]}
                axes.boxplot(
                    [of_labels.get(label, []) for label in part],
                    positions=places,
                    widths=0.7 / len(scores),
                    boxprops=line,
                    medianprops=line | {"linewidth": 2},
                    whiskerprops=line,
                    capprops=line,
                    flierprops={"markersize": 2, "markeredgecolor": line["color"]},
                )
            axes.set_xticks(range(len(part)), [str(label) for label in part])
            axes.set_xlim(-0.6, in_row - 0.4)
            axes.set_ylim(0, 1)
            axes.set_ylabel("Dice")
        axes.set_xlabel("label")
        handles = [Patch(color=colours[number % len(colours)]) for number in range(len(scores))]
        figure.legend(handles, list(scores), loc="outside upper center", ncols=len(scores), frameon=False)
        stream = io.BytesIO()
        figure.savefig(stream, dpi=110)
    return stream.getvalue()
