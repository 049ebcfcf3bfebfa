"""Initial affine alignment of two images."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import distance_transform_edt

from ..errors import InputError
from .alignment_start import StartSearch
from .body import body_of, foreground
from .grid import RAS_TO_LPS, Grid
from .itk import itk_image, itk_mask, to_ras
from .resampling import averaged
from .transform import Transform
from .volume import Volume, canonical

# Raise it when a change of the code makes `align` find other matrices for the same images, so that those kept by
# earlier versions (`AlignmentCache`) are found anew.
ALIGNMENT_FORMAT = 1
ITK_THREADS = Lock()
logger = logging.getLogger(__name__)
INITIAL = ("none", "center", "rigid", "affine")
# Images are averaged to this spacing, which is fine enough for alignment, or until a body has this size in voxels.
SPACING_MM = 3.0
SIZE_VOXELS = 36
SHRINK_FACTORS = (2, 1)
# ITK needs this size along each axis to smooth an image.
LEAST_SIZE_VOXELS = 4
# Number of voxels sampled to compare the images.
NUM_SAMPLES = 50_000
SEED = 1
# Margin of background around the foreground that an affine alignment uses.
MARGIN_VOXELS = 4.5
# An affine transform must not scale one direction by more than this relative to another: a thin slab does not show how
# large it is across.
LARGEST_SCALE_RATIO = 3.0
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

    The transform maximises Mattes' mutual information (SimpleITK). A search over rotations finds the start, see
    `sacb_bundle.spatial.alignment_start`. The result is reproducible bit by bit, and does not depend on the order in
    which the voxels are stored.

    Args:
        fixed: fixed image, whose minimum is its background.
        moving: moving image, likewise.
        initial: "none" (identity), "center" (translation), "rigid" (translation and rotation) or "affine".
        fixed_mask: mask of the part of the fixed image that counts, used unchanged. By default, the whole image counts,
            and for the affine step the foreground with a margin of 4.5 voxels of at most 3 mm.
        moving_mask: mask of the part of the moving image that counts, with the same default.

    Returns:
        The 4x4 matrix, in mm, RAS.

    Raises:
        InputError: if `initial` is invalid, an image has no foreground, or the aligned images hardly overlap.
    """
    check_initial(initial)
    matrix = np.eye(4)
    if initial != "none":
        coarse_fixed, coarse_moving = _coarse(fixed, fixed_mask), _coarse(moving, moving_mask)
        search = StartSearch(coarse_fixed, coarse_moving, scales=initial == "affine")
        start = search.best_shift() if initial == "center" else search.best()
        matrix = start.matrix
        if initial != "center":
            # Place the moving image where the start puts it; the rest is a small change.
            there = np.linalg.inv(matrix)
            moved_mask = moving_mask and _moved(moving_mask, there)
            with _one_thread():
                matrix = matrix @ _maximise_mutual_information(
                    coarse_fixed, _moved(coarse_moving, there), initial, fixed_mask, moved_mask, start.centre
                )
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


def _coarse(image: Volume, mask: Volume | None) -> Volume:
    """Average an image, with background outside its mask, and at least four slices along each axis."""
    if mask is not None:
        image = Volume(np.where(mask.values > 0, image.values, image.values.min()), image.grid)
    image = canonical(image)  # one order of the axes, so that the samples do not depend on that of the file
    image = averaged(image, min(SPACING_MM, body_of(image).size / SIZE_VOXELS))
    missing = [max(0, LEAST_SIZE_VOXELS - size) for size in image.grid.shape]
    before = [number // 2 for number in missing]
    values = np.pad(image.values, list(zip(before, np.subtract(missing, before), strict=True)), mode="edge")
    shift = np.eye(4)
    shift[:3, 3] = np.negative(before)
    return Volume(values, Grid(values.shape, image.grid.affine @ shift))


def _moved(volume: Volume, matrix: np.ndarray) -> Volume:
    """Return the same voxels at another position in the world."""
    return Volume(volume.values, Grid(volume.grid.shape, matrix @ volume.grid.affine))


def _maximise_mutual_information(
    fixed: Volume,
    moving: Volume,
    initial: str,
    fixed_mask: Volume | None,
    moving_mask: Volume | None,
    centre: np.ndarray,
) -> np.ndarray:
    """Search from the identity for the "rigid" or "affine" transform of `align`.

    Raises:
        InputError: if the images do not overlap.
    """
    images = itk_image(_without_extremes(fixed)), itk_image(_without_extremes(moving))
    registration = sitk.ImageRegistrationMethod()
    registration.SetMetricAsMattesMutualInformation(32)
    registration.SetMetricSamplingStrategy(registration.REGULAR)
    num_voxels = [images[0].GetNumberOfPixels() / shrink**3 for shrink in SHRINK_FACTORS]
    registration.SetMetricSamplingPercentagePerLevel([min(1, NUM_SAMPLES / number) for number in num_voxels], SEED)
    registration.SetInterpolator(sitk.sitkLinear)
    if fixed_mask is not None:
        registration.SetMetricFixedMask(itk_mask(fixed_mask))
    if moving_mask is not None:
        registration.SetMetricMovingMask(itk_mask(moving_mask))
    start = sitk.Euler3DTransform()
    start.SetCenter((RAS_TO_LPS @ centre).tolist())
    try:
        transform = _optimised(registration, *images, start)
        if initial == "affine":
            # Background near the body shows where the body ends; background further away gives no information on its
            # size.
            margin = MARGIN_VOXELS * min(SPACING_MM, body_of(fixed).size / SIZE_VOXELS)
            registration.SetMetricFixedMask(itk_mask(fixed_mask or widened(foreground(fixed), margin)))
            registration.SetMetricMovingMask(itk_mask(moving_mask or widened(foreground(moving), margin)))
            affine = _optimised(registration, *images, _as_affine(transform))
            matrix = to_ras(affine)
            if _is_plausible(matrix):
                return matrix
            logger.warning(
                "An affine alignment would distort the image, so the alignment has the same scale in all directions."
            )
    except RuntimeError as error:  # too few of the sampled voxels map into the moving image
        raise InputError(
            "The images, or their masks, do not overlap enough to be aligned. Do both show the same part of the body?"
        ) from error
    return to_ras(transform)


def _is_plausible(matrix: np.ndarray) -> bool:
    """Tell whether a 4x4 matrix neither mirrors nor scales one direction much more than another."""
    scales = np.linalg.svd(matrix[:3, :3])[1]
    return bool(np.linalg.det(matrix[:3, :3]) > 0 and scales[0] <= LARGEST_SCALE_RATIO * scales[-1])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit ITK to one thread, since sums over several threads vary in their last digits between runs.

    The limit holds for the whole process, so one alignment runs at a time.
    """
    with ITK_THREADS:
        before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        try:
            yield
        finally:
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _without_extremes(volume: Volume) -> Volume:
    """Clip intensities to the 0.5th and 99.5th percentiles, unless these are equal."""
    low, high = np.percentile(volume.values, (0.5, 99.5))
    return Volume(np.clip(volume.values, low, high), volume.grid) if high > low else volume


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


def _optimised(
    registration: sitk.ImageRegistrationMethod, fixed: sitk.Image, moving: sitk.Image, start: sitk.Transform
) -> sitk.Transform:
    """Maximise mutual information over transforms of the type of `start`."""
    registration.SetShrinkFactorsPerLevel(SHRINK_FACTORS)
    registration.SetSmoothingSigmasPerLevel([shrink - 1 for shrink in SHRINK_FACTORS])
    registration.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-3, numberOfIterations=200, relaxationFactor=0.6, gradientMagnitudeTolerance=1e-6
    )
    registration.SetOptimizerScalesFromPhysicalShift()
    registration.SetInitialTransform(start, inPlace=False)
    return registration.Execute(fixed, moving)


def _as_affine(transform: sitk.Transform) -> sitk.AffineTransform:
    """Convert a rigid transform to an affine one about the same centre."""
    rigid = sitk.Euler3DTransform(sitk.CompositeTransform(transform).GetNthTransform(0))
    affine = sitk.AffineTransform(3)
    affine.SetCenter(rigid.GetCenter())
    affine.SetMatrix(rigid.GetMatrix())
    affine.SetTranslation(rigid.GetTranslation())
    return affine
