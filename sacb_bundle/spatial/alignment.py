"""Initial affine alignment of two images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import distance_transform_edt

from ..errors import InputError
from .itk import itk_image, itk_mask, to_ras
from .resampling import averaged
from .transform import Transform
from .volume import Volume

ITK_THREADS = Lock()
INITIAL = ("none", "center", "rigid", "affine")
# Images are averaged to about this spacing, which is fine enough for alignment.
SPACING_MM = 3.0
SHRINK_FACTORS = (2, 1)
# ITK needs this size along each axis to smooth an image.
LEAST_SIZE_VOXELS = 4
# Number of voxels sampled to compare the images.
NUM_SAMPLES = 50_000
SEED = 1
# Share of the range of intensities above which a voxel is foreground.
FOREGROUND_SHARE = 0.05
# Margin of background around the foreground that an affine alignment uses.
MARGIN_MM = 10.0
# Least share of the fixed image that must overlap the moving image.
LEAST_OVERLAP_SHARE = 0.05


def align(
    fixed: Volume,
    moving: Volume,
    initial: str,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
) -> np.ndarray:
    """Find the affine transform from fixed to moving world coordinates that aligns the images.

    The transform maximises Mattes' mutual information (SimpleITK). The search starts from the centres of mass or the
    centres of the images, whichever is better. It runs on one thread, so that the result is reproducible bit by bit.

    Args:
        fixed: fixed image.
        moving: moving image.
        initial: "none" (identity), "center" (translation), "rigid" (translation and rotation) or "affine".
        fixed_mask: mask of the part of the fixed image that counts, used unchanged. By default, the whole image counts,
            and for the affine step the foreground with a margin of 10 mm.
        moving_mask: mask of the part of the moving image that counts, with the same default.

    Returns:
        The 4x4 matrix, in mm, RAS.

    Raises:
        InputError: if `initial` is invalid, an image is too small, or the aligned images hardly overlap.
    """
    if initial not in INITIAL:
        raise InputError(f"initial is {initial!r}; it must be one of {', '.join(INITIAL)}.")
    matrix = np.eye(4)
    if initial != "none":
        with _one_thread():
            matrix = _maximise_mutual_information(fixed, moving, initial, fixed_mask, moving_mask)
    overlap = Transform(matrix).share_inside(fixed.grid, moving.grid)
    if overlap < LEAST_OVERLAP_SHARE:
        raise InputError(
            f"After the initial alignment ({initial}), {overlap:.0%} of the fixed image overlaps the moving image; "
            f"at least {LEAST_OVERLAP_SHARE:.0%} must. Do both show the same part of the body?"
            + (' Try the initial alignment "affine".' if initial == "none" else "")
        )
    return matrix


def _maximise_mutual_information(
    fixed: Volume, moving: Volume, initial: str, fixed_mask: Volume | None, moving_mask: Volume | None
) -> np.ndarray:
    """Search for the transform of `align`, for any `initial` except "none".

    Raises:
        InputError: if an image is too small, or the images do not overlap.
    """
    fixed, moving = averaged(fixed, SPACING_MM), averaged(moving, SPACING_MM)
    for name, image in (("fixed", fixed), ("moving", moving)):
        if min(image.grid.shape) < LEAST_SIZE_VOXELS:
            raise InputError(
                f"The {name} image has {min(image.grid.shape)} voxels along an axis at {SPACING_MM:g} mm, but the "
                f'alignment needs {LEAST_SIZE_VOXELS}; choose the initial alignment "none".'
            )
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
    transform: sitk.Transform = _best_start(registration, *images)
    if initial in ("rigid", "affine"):
        transform = _optimised(registration, *images, sitk.Euler3DTransform(transform))
    if initial == "affine":
        # Background near the body shows where the body ends; background further away gives no information on its size.
        registration.SetMetricFixedMask(itk_mask(fixed_mask or widened(foreground(fixed), MARGIN_MM)))
        registration.SetMetricMovingMask(itk_mask(moving_mask or widened(foreground(moving), MARGIN_MM)))
        transform = _optimised(registration, *images, _as_affine(transform))
    return to_ras(transform)


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


def foreground(volume: Volume) -> Volume:
    """Return a mask of the voxels that are brighter than the background.

    Args:
        volume: image of any type of real numbers.
    """
    low, high = volume.values.min(), np.percentile(volume.values, 99.5)
    return Volume(volume.values > low + FOREGROUND_SHARE * (high - low), volume.grid)


def widened(mask: Volume, margin: float) -> Volume:
    """Dilate a mask by a margin in mm."""
    distance = distance_transform_edt(mask.values == 0, sampling=mask.grid.spacing)
    return Volume(distance <= margin, mask.grid)


def _best_start(
    registration: sitk.ImageRegistrationMethod, fixed: sitk.Image, moving: sitk.Image
) -> sitk.Euler3DTransform:
    """Return the translation between the centres of mass or of the images, whichever has higher mutual information.

    Raises:
        InputError: if the images do not overlap after either.
    """
    lifted = [sitk.Cast(image, sitk.sitkFloat32) - _least(image) for image in (fixed, moving)]
    starts: list[tuple[float, int, sitk.Transform]] = []
    for kind in (sitk.CenteredTransformInitializerFilter.MOMENTS, sitk.CenteredTransformInitializerFilter.GEOMETRY):
        transform = sitk.CenteredTransformInitializer(*lifted, sitk.Euler3DTransform(), kind)
        registration.SetInitialTransform(transform, inPlace=False)
        try:
            starts.append((registration.MetricEvaluate(fixed, moving), len(starts), transform))
        except RuntimeError:  # too few of the sampled voxels map into the moving image
            continue
    if not starts:
        raise InputError(
            "The images, or their masks, do not overlap when their centres of mass or their centres are aligned."
        )
    return sitk.Euler3DTransform(min(starts)[2])


def _least(image: sitk.Image) -> float:
    """Return the smallest value of an image.

    Subtracting it gives an image a valid centre of mass even if air is negative, as in a CT.
    """
    return float(sitk.GetArrayViewFromImage(image).min())


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
