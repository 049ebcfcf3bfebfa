"""Output files of a registration: a table from the name of each output to its file and writer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..files import whole_file

if TYPE_CHECKING:
    from .result import Registration

JPEG_QUALITY = 85


@dataclass(frozen=True)
class Output:
    """An output file of a registration.

    Attributes:
        file: file name; {fixed} and {moving} stand for the names of the images.
        text: description of the content.
        write: function that writes the file, called with the registration and the path.
        needs_labels: whether to skip the output for a pair without a moving label map.
        optional: whether to write the output only on request.
        diffeomorphic: whether to skip the output unless the registration is diffeomorphic.
    """

    file: str
    text: str
    write: Callable[[Registration, Path], object]
    needs_labels: bool = False
    optional: bool = False
    diffeomorphic: bool = False


# The writers import modules when called, so that the command line can list the names quickly.


def _write_warped(result: Registration, path: Path) -> None:
    """Write the moving image on the fixed image's grid."""
    from ..spatial import write_volume

    write_volume(result.resampled.images[0], path)


def _write_warped_labels(result: Registration, path: Path) -> None:
    """Write the moving label map on the fixed image's grid."""
    from ..spatial import write_volume

    write_volume(result.resampled.labels[0], path)


def _write_transform(result: Registration, path: Path) -> None:
    """Write alignment and displacement field as one displacement field on the fixed image's grid."""
    import numpy as np

    from ..spatial import without_folds, write_displacement

    displacement = result.resampled.displacement
    if result.diffeomorphic:  # sampling the field on another grid can fold it again
        displacement = without_folds(displacement, float(np.linalg.det(result.prepared.initial)))
    write_displacement(displacement, path)


def _write_inverse(result: Registration, path: Path) -> None:
    """Write the inverse as one displacement field on the moving image's grid."""
    from ..spatial import write_displacement

    write_displacement(result.inverse_displacement, path)


def _write_alignment(result: Registration, path: Path) -> None:
    """Write the alignment alone."""
    from ..spatial import write_composite

    write_composite(result.alignment, path)


def _write_composite_transform(result: Registration, path: Path) -> None:
    """Write alignment and displacement field as an ITK composite that covers the fixed image."""
    from ..spatial import Transform, write_composite

    field = result.transform.displacement
    covering = None if field is None else field.covering(result.fixed_grid)
    write_composite(Transform(result.transform.affine, covering), path)


def _write_learn2reg_field(result: Registration, path: Path) -> None:
    """Write the transform in the format of the Learn2Reg challenge."""
    from ..spatial import write_learn2reg

    write_learn2reg(result.resampled.displacement, result.pair.moving.grid, path)


def write_picture(result: Registration, path: Path) -> None:
    """Write the picture.

    Args:
        result: registration to draw.
        path: path of the file, .jpg.

    Raises:
        InputError: if the file cannot be written.
    """
    with whole_file(path) as unfinished:
        result.picture().save(unfinished, quality=JPEG_QUALITY)


# Add yours: OUTPUTS["jacobian"] = Output("jacobian.nii.gz", "…", write_jacobian, optional=True).
OUTPUTS = {
    "warped": Output("warped.nii.gz", "moving image on the fixed image's grid, original intensities", _write_warped),
    "warped_labels": Output(
        "warped_labels.nii.gz", "moving label map on the fixed image's grid", _write_warped_labels, needs_labels=True
    ),
    "transform": Output(
        "transform.nii.gz", "alignment and field as one ITK displacement field (LPS, mm)", _write_transform
    ),
    "inverse": Output(
        "inverse.nii.gz", "the inverse, likewise, on the moving image's grid", _write_inverse, diffeomorphic=True
    ),
    "initial": Output("initial.tfm", "the alignment alone, an ITK affine transform", _write_alignment),
    "picture": Output(
        "picture.jpg", "slices, differences, warped grid, displacement, outlines of labels", write_picture
    ),
    "h5": Output("transform.h5", "ITK composite, with the time of writing", _write_composite_transform, optional=True),
    "tfm": Output("transform.tfm", "ITK composite, as text", _write_composite_transform, optional=True),
    "learn2reg": Output(
        "disp_{fixed}_{moving}.nii.gz",
        "Learn2Reg field: voxel of the moving image minus voxel of the fixed image",
        _write_learn2reg_field,
        optional=True,
    ),
}


def formats() -> list[str]:
    """List the optional outputs.

    Returns:
        The names of those of `OUTPUTS` that are written only on request.
    """
    return [name for name, output in OUTPUTS.items() if output.optional]


def check_formats(names: Sequence[str]) -> None:
    """Check that optional outputs are known.

    Args:
        names: names of the outputs.

    Raises:
        InputError: if `names` is no list, or one of them is none of `formats`.
    """
    if not isinstance(names, (list, tuple)) or not all(name in formats() for name in names):
        raise InputError(f"formats is {names!r}; it must be a list of some of {', '.join(formats())}.")


def is_result(name: str) -> bool:
    """Return whether a file of this name in a folder of results is a result, not a user's file.

    Args:
        name: name of the file; a path is not the name of a result.

    Returns:
        True if the name is that of one of `OUTPUTS`, for images of any names.
    """
    patterns = (
        ".*".join(map(re.escape, re.split(r"\{fixed\}|\{moving\}", output.file))) for output in OUTPUTS.values()
    )
    return Path(name).name == name and any(re.fullmatch(pattern, name, re.DOTALL) for pattern in patterns)


def write_outputs(result: Registration, folder: Path, names: Sequence[str] = ()) -> dict[str, Path]:
    """Write the outputs of a registration into a folder, in parallel, since compression is slow.

    Args:
        result: registration to write.
        folder: existing folder.
        names: optional outputs to write in addition, see `formats`.

    Returns:
        The path of each output by its name.

    Raises:
        InputError: if an output cannot be written.
    """
    fixed, moving = result.pair.names
    wanted = {
        name: output
        for name, output in OUTPUTS.items()
        if (name in names or not output.optional)
        and (result.pair.moving_labels is not None or not output.needs_labels)
        and (result.diffeomorphic or not output.diffeomorphic)
    }
    paths = {name: folder / output.file.format(fixed=fixed, moving=moving) for name, output in wanted.items()}
    _ = result.resampled  # compute once, before the threads use it
    with ThreadPoolExecutor(max_workers=3) as pool:
        tasks = [pool.submit(output.write, result, paths[name]) for name, output in wanted.items()]
        for task in tasks:
            task.result()
    return paths
