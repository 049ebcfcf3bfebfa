"""Score label maps and transforms in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import check_results
from ..metrics import dice, folding_percentage, non_diffeomorphic_volume, sd_log_jacobian, surface_distances
from ..spatial import read_label_map, read_transform
from ..tables import write_csv


def score_registration(
    fixed_labels: Path | None,
    warped_labels: Path | None,
    transform: Path | None,
    output: Path | None,
    overwrite: bool = False,
) -> None:
    """Print the agreement of label maps, and the folding of a transform.

    Args:
        fixed_labels: label map of the fixed image.
        warped_labels: moving label map, warped onto the same grid.
        transform: transform, see `sacb_bundle.spatial.read_transform`.
        output: CSV file for the scores of each label.
        overwrite: whether it may replace a file.

    Raises:
        InputError: if a file is invalid, there is nothing to score, or the table would replace a file.
    """
    if bool(fixed_labels) != bool(warped_labels):
        raise InputError("Label maps are scored in pairs; give both fixed_labels and warped_labels.")
    if not fixed_labels and not transform:
        raise InputError("There is nothing to score; give fixed_labels and warped_labels, or a transform, or all.")
    if output and not fixed_labels:
        raise InputError(f"output is {output}, but without label maps there is no table to write.")
    if output:
        check_results([output], [path for path in (fixed_labels, warped_labels, transform) if path], overwrite)
    if fixed_labels and warped_labels:
        rows = _scores_per_label(fixed_labels, warped_labels)
        for name, unit in (("dice", ""), ("hd95", " mm"), ("assd", " mm")):
            values = [value for row in rows if (value := row[name]) is not None]
            mean = f"{np.mean(values):.4f}{unit}, mean over {len(values)} labels" if values else "no label to measure"
            print(f"{name:<20}{mean}")
        if lost := [row["label"] for row in rows if row["dice"] == 0 and row["hd95"] is None]:
            print(f"{'Dice 0':<20}{', '.join(map(str, lost))}: missing from the warped label map")
        if output:
            write_csv(output, ["label", "dice", "hd95", "assd"], rows)
    if transform:
        displacement = read_transform(transform).displacement
        if displacement is None:
            print("The transform is affine and does not fold.")
            return
        field = displacement.in_voxels_of(displacement.grid)
        print(f"{'folding':<20}{folding_percentage(field):.4f} % of the voxels")
        print(f"{'folded volume (NDV)':<20}{non_diffeomorphic_volume(field):.4f} %")
        print(f"{'SD of log Jacobian':<20}{sd_log_jacobian(field):.4f}")


def _scores_per_label(fixed_path: str | Path, warped_path: str | Path) -> list[dict[str, float | None]]:
    """Return Dice, HD95 and ASSD (mm) of each label of the fixed map; no distances if the warped map lacks the label.

    Raises:
        InputError: if a label map is invalid, the fixed one is empty, or the two are on different grids.
    """
    fixed, warped = read_label_map(fixed_path), read_label_map(warped_path)
    if not warped.grid.coincides_with(fixed.grid):
        raise InputError(
            f"{warped_path} has {warped.grid}, but {fixed_path} has {fixed.grid}; both must be on the same grid."
        )
    labels = [int(label) for label in np.unique(fixed.values) if label]
    if not labels:
        raise InputError(f"{fixed_path}: every voxel is 0, so there is no label to score.")
    overlap = dice(fixed.values, warped.values, labels)
    distances = surface_distances(fixed.values, warped.values, labels, fixed.grid.spacing)
    rows: list[dict[str, float | None]] = []
    for label in labels:
        hd95, assd = distances.get(label, (None, None))
        rows.append({"label": label, "dice": overlap.get(label, 0.0), "hd95": hd95, "assd": assd})
    return rows
