"""Initial affine alignment of two images."""

from __future__ import annotations

import logging

import numpy as np
from scipy.ndimage import distance_transform_edt

from ..errors import InputError
from .affine_fit import COARSE_FIT, FINE_FIT, AffineFit
from .alignment_start import StartSearch
from .body import body_of
from .grid import Grid
from .resampling import averaged
from .transform import Transform
from .volume import Volume, canonical

# Raise it when a change of the code makes `align` find other matrices for the same images, so that those kept by
# earlier versions (`AlignmentCache`) are found anew.
ALIGNMENT_FORMAT = 4
logger = logging.getLogger(__name__)
INITIAL = ("none", "center", "rigid", "affine")
# Images are averaged to this spacing, which is fine enough for alignment, or until a body has this size in voxels.
SPACING_MM = 3.0
SIZE_VOXELS = 36
# An affine transform must not scale one direction by more than this relative to another, or to the start: a thin slab
# does not show how large it is across.
LARGEST_SCALE_RATIO = 3.0
# Precision of the grid of an image to align, relative to the leading digit of its spacing. Halves are common, since
# pixels are often a whole multiple of 1/512 mm, so they are rounded down with some tolerance.
GRID_PRECISION, BELOW_HALF = 1e-4, 0.499
# Least share of the smaller image that must overlap the other.
LEAST_OVERLAP_SHARE = 0.05


def align(
    fixed: Volume,
    moving: Volume,
    initial: str,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
) -> np.ndarray:
    """Find the affine transform from fixed to moving world coordinates that aligns the images.

    The transform maximises mutual information, see `sacb_bundle.spatial.affine_fit`. A search over rotations finds the
    start, see `sacb_bundle.spatial.alignment_start`. The result is reproducible bit by bit. It does not depend on the
    order in which the voxels are stored, and hardly on the rotation in the headers.

    Args:
        fixed: fixed image, whose minimum is its background.
        moving: moving image, likewise.
        initial: "none" (identity), "center" (translation), "rigid" (translation and rotation) or "affine".
        fixed_mask: mask of the part of the fixed image that counts, used unchanged. By default, the whole image counts,
            near its foreground.
        moving_mask: mask of the part of the moving image that counts, with the same default.

    Returns:
        The 4x4 matrix, in mm, RAS.

    Raises:
        InputError: if `initial` is invalid, an image has no foreground, or the aligned images hardly overlap.
    """
    check_initial(initial)
    matrix = np.eye(4)
    if initial != "none":
        (fixed_body, fixed_shown), (moving_body, moving_shown) = (
            _coarse(fixed, fixed_mask),
            _coarse(moving, moving_mask),
        )
        search = StartSearch(fixed_body, moving_body, scales=initial == "affine")
        matrix = search.best_shift().matrix if initial == "center" else _fitted(search, fixed_shown, moving_shown)
    overlap = max(
        Transform(matrix).share_inside(fixed.grid, moving.grid),
        Transform(np.linalg.inv(matrix)).share_inside(moving.grid, fixed.grid),
    )
    if overlap < LEAST_OVERLAP_SHARE:
        raise InputError(
            f"After the initial alignment ({initial}), {overlap:.0%} of the smaller image overlaps the other; "
            f"at least {LEAST_OVERLAP_SHARE:.0%} must. Do both show the same part of the body?"
            + (' Try the initial alignment "affine".' if initial == "none" else "")
        )
    return matrix


def check_initial(initial: str) -> None:
    """Check the type of an alignment.

    Args:
        initial: type, see `align`.

    Raises:
        InputError: if it is none of `INITIAL`.
    """
    if initial not in INITIAL:
        raise InputError(f"initial is {initial!r}; it must be one of {', '.join(INITIAL)}.")


def _coarse(image: Volume, mask: Volume | None) -> tuple[Volume, Volume | None]:
    """Average an image, with background outside its mask, and its mask."""
    if mask is not None:
        image = Volume(np.where(mask.values > 0, image.values, image.values.min()), image.grid)
        mask = canonical(Volume((mask.values > 0).astype(np.uint8), mask.grid))
    image = canonical(image)  # one order of the axes, so that the samples do not depend on that of the file
    spacing = min(SPACING_MM, body_of(image).size / SIZE_VOXELS)
    return averaged(image, spacing), mask and averaged(mask, spacing)


def _moved(volume: Volume, matrix: np.ndarray) -> Volume:
    """Return the same voxels at another position in the world."""
    return Volume(volume.values, Grid(volume.grid.shape, matrix @ volume.grid.affine))


def _fitted(search: StartSearch, fixed_mask: Volume | None, moving_mask: Volume | None) -> np.ndarray:
    """Return the "rigid" or "affine" transform of `align` for the images of a search.

    Args:
        search: search for the start; its scales tell whether the transform is affine.
        fixed_mask: mask of the fixed image, on its grid, or None.
        moving_mask: mask of the moving image, likewise.

    Returns:
        The 4x4 matrix from fixed to moving world coordinates, in mm, RAS.
    """
    found = []
    for start in search.finalists():
        rotation = search.upright(start)
        moving, frame = _in_frame(search.images[1], rotation)
        images = search.images[0], moving
        masks = fixed_mask, moving_mask and _in_frame(moving_mask, rotation)[0]
        back = np.linalg.inv(frame)
        places = StartSearch(*images, search.scales).settled(start.moved(frame))
        fits = [AffineFit(images, masks, place, search.scales).improve(COARSE_FIT) for place in places]
        found.append((fits[search.best_of([back @ fit.matrix for fit in fits])], back))
    fit, back = found[search.chosen([back @ fit.matrix for fit, back in found])]
    matrix = fit.improve(FINE_FIT).matrix
    if not _is_plausible(matrix, fit.start.matrix):
        logger.warning(
            "An affine alignment would distort the image, so the alignment has the same scale in all directions."
        )
        matrix = AffineFit(fit.images, fit.masks, fit.start, strains=False).improve(COARSE_FIT).improve(FINE_FIT).matrix
    return back @ matrix


def _in_frame(volume: Volume, rotation: np.ndarray) -> tuple[Volume, np.ndarray]:
    """Place an image so that its position does not depend on the rotation and the shift in its header.

    Args:
        volume: image.
        rotation: 4x4 matrix that rotates it upright.

    Returns:
        The image with its first voxel at the origin, its axes close to those of the world, and a grid rounded to hide
        the rounding of the header; and the 4x4 matrix that moves the image there.
    """
    upright = canonical(_moved(volume, rotation))
    unit = GRID_PRECISION * 10.0 ** np.floor(np.log10(min(volume.grid.spacing)))
    affine = np.eye(4)
    affine[:3, :3] = unit * np.floor(upright.grid.affine[:3, :3] / unit + BELOW_HALF)
    frame = affine @ np.linalg.inv(upright.grid.affine) @ rotation
    return Volume(upright.values, Grid(upright.grid.shape, affine)), frame


def _is_plausible(matrix: np.ndarray, start: np.ndarray) -> bool:
    """Tell whether a 4x4 matrix neither mirrors, nor scales one direction much more than another or than the start."""
    scales, first = (np.linalg.svd(given[:3, :3])[1] for given in (matrix, start))
    near = max(scales[0] / first[0], first[-1] / scales[-1]) <= LARGEST_SCALE_RATIO
    return bool(np.linalg.det(matrix[:3, :3]) > 0 and scales[0] <= LARGEST_SCALE_RATIO * scales[-1] and near)


def widened(mask: Volume, margin: float) -> Volume:
    """Dilate a mask.

    Args:
        mask: mask of any type.
        margin: margin in mm.

    Returns:
        The dilated mask, bool, on the same grid.
    """
    distance = distance_transform_edt(mask.values == 0, sampling=mask.grid.spacing)
    return Volume(distance <= margin, mask.grid)


def motion(initial: np.ndarray, grid: Grid) -> dict[str, float]:
    """Measure the motion of an alignment.

    Args:
        initial: 4x4 matrix from fixed to moving world coordinates in mm, RAS.
        grid: grid whose centre is shifted.

    Returns:
        "shift_mm" of the centre, "turn_degrees" and "scale".
    """
    centre = grid.corners.mean(axis=0)
    left, sizes, right = np.linalg.svd(initial[:3, :3])
    return {
        "shift_mm": float(np.linalg.norm(initial[:3, :3] @ centre + initial[:3, 3] - centre)),
        "turn_degrees": float(np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1)))),
        "scale": float(np.prod(sizes) ** (1 / 3)),
    }
