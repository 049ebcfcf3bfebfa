"""A picture of a registration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

GRID_STEP = 4


def save_picture(
    path: str | Path, moving: np.ndarray, fixed: np.ndarray, warped: np.ndarray, field: np.ndarray, title: str = ""
) -> None:
    """Draw a registration in its middle slices: the images, their differences and the warped grid.

    Args:
        path: of the PNG file.
        moving: (D, H, W), RAS.
        fixed: (D, H, W), RAS.
        warped: (D, H, W), the moving image on the fixed grid.
        field: displacement field (D, H, W, 3), in voxels.
        title: above the picture.
    """
    figure = Figure(figsize=(15, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    brightest = float(np.percentile(fixed, 99.9))
    grey = {"cmap": "gray", "vmin": 0.0, "vmax": brightest}
    red_blue = {"cmap": "RdBu", "vmin": -brightest, "vmax": brightest}
    columns = [
        ("moving", moving, grey),
        ("fixed", fixed, grey),
        ("warped", warped, grey),
        ("fixed − moving", fixed - moving, red_blue),
        ("fixed − warped", fixed - warped, red_blue),
    ]
    axes = figure.subplots(2, len(columns) + 1)
    for row, axis, view in zip(axes, (2, 1), ("axial", "coronal"), strict=True):
        middle = fixed.shape[axis] // 2
        for plot, (name, volume, style) in zip(row, columns, strict=False):
            # Rows from the bottom: in RAS the second axis of the slice then points up, as anatomists draw it.
            plot.imshow(np.take(volume, middle, axis).T, origin="lower", **style)
            plot.set_title(f"{name}, {view}")
        draw_grid(row[-1], np.take(field, middle, axis), [other for other in range(3) if other != axis])
    for plot in axes.flat:
        plot.set_axis_off()
    figure.savefig(path, dpi=80)


def draw_grid(plot: Axes, displacement: np.ndarray, in_plane: list[int]) -> None:
    """Draw where the lines of the fixed grid come from in the moving image.

    Args:
        plot: to draw in.
        displacement: (rows, columns, 3), in voxels.
        in_plane: the two components that lie in the slice.
    """
    first, second = (
        place + displacement[..., component]
        for place, component in zip(np.indices(displacement.shape[:2]), in_plane, strict=True)
    )
    plot.plot(first[::GRID_STEP].T, second[::GRID_STEP].T, color="tab:blue", linewidth=0.6)
    plot.plot(first[:, ::GRID_STEP], second[:, ::GRID_STEP], color="tab:blue", linewidth=0.6)
    plot.set_aspect("equal")
    plot.set_title("warped grid")
