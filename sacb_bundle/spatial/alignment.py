"""Initial affine alignment of two images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import distance_transform_edt

from ..errors import InputError
from .itk import itk_image, itk_mask, to_ras
from .resampling import averaged
from .transform import Transform
from .volume import Volume

INITIAL = ("none", "center", "rigid", "affine")
# Voxels of about this size tell enough to align by; smaller ones are averaged.
SPACING_MM = 3.0
SHRINK_FACTORS = (2, 1)
# ITK needs this size along each axis to smooth an image.
LEAST_SIZE_VOXELS = 4
# Number of voxels at which the images are compared.
NUM_SAMPLES = 50_000
SEED = 1
# A voxel above this share of the range of intensities is not background.
FOREGROUND_SHARE = 0.05
# An affine alignment takes the background into account as far as this from the foreground.
MARGIN_MM = 10.0
# At least this share of the fixed image must lie on the moving one.
LEAST_OVERLAP_SHARE = 0.05


def align(
    fixed: Volume,
    moving: Volume,
    initial: str,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
) -> np.ndarray:
    """Find the affine transform from fixed to moving world coordinates that lays one image on the other.

    The transform maximises Mattes' mutual information (SimpleITK). The search starts from the centres of mass or from
    the centres of the images, whichever is better. It runs on one thread, so that the same images give the same bytes.

    Args:
        fixed: fixed image.
        moving: moving image.
        initial: "none" (the identity), "center" (a translation), "rigid" (and a rotation) or "affine".
        fixed_mask: mask of the part of the fixed image that counts, used as it is. Without one, the whole image
            counts, and for the affine part the foreground with 10 mm around it.
        moving_mask: mask of the part of the moving image that counts, with the same default.

    Returns:
        4x4 matrix, in mm, RAS.

    Raises:
        InputError: if `initial` is none of these, an image is too small, or the aligned images hardly overlap.
    """
    if initial not in INITIAL:
        raise InputError(f"initial is {initial!r}; it must be one of {', '.join(INITIAL)}.")
    matrix = np.eye(4)
    if initial != "none":
        with one_thread():
            matrix = maximise_mutual_information(fixed, moving, initial, fixed_mask, moving_mask)
    overlap = Transform(matrix).share_inside(fixed.grid, moving.grid)
    if overlap < LEAST_OVERLAP_SHARE:
        raise InputError(
            f"After the initial alignment ({initial}), {overlap:.0%} of the fixed image lies on the moving one; "
            f"at least {LEAST_OVERLAP_SHARE:.0%} must. Do both show the same part of the body?"
            + (' Try the initial alignment "affine".' if initial == "none" else "")
        )
    return matrix


def maximise_mutual_information(
    fixed: Volume, moving: Volume, initial: str, fixed_mask: Volume | None, moving_mask: Volume | None
) -> np.ndarray:
    """Search for the transform of `align`, of any kind but "none"."""
    fixed, moving = averaged(fixed, SPACING_MM), averaged(moving, SPACING_MM)
    for name, image in (("fixed", fixed), ("moving", moving)):
        if min(image.grid.shape) < LEAST_SIZE_VOXELS:
            raise InputError(
                f"The {name} image has, at {SPACING_MM:g} mm, {min(image.grid.shape)} voxels along an axis. The "
                f'alignment needs {LEAST_SIZE_VOXELS}: choose "none" for it.'
            )
    images = itk_image(without_extremes(fixed)), itk_image(without_extremes(moving))
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
    transform: sitk.Transform = best_start(registration, *images)
    if initial in ("rigid", "affine"):
        transform = optimised(registration, *images, sitk.Euler3DTransform(transform))
    if initial == "affine":
        # Background far from either body says nothing of its size; that next to it tells where it ends.
        registration.SetMetricFixedMask(itk_mask(fixed_mask or widened(foreground(fixed), MARGIN_MM)))
        registration.SetMetricMovingMask(itk_mask(moving_mask or widened(foreground(moving), MARGIN_MM)))
        transform = optimised(registration, *images, as_affine(transform))
    return to_ras(transform)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit ITK to one thread, since sums over several threads differ in their last digits from run to run."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def without_extremes(volume: Volume) -> Volume:
    """Clip intensities to their 0.5th and 99.5th percentiles, unless these are equal."""
    low, high = np.percentile(volume.values, (0.5, 99.5))
    return Volume(np.clip(volume.values, low, high), volume.grid) if high > low else volume


def foreground(volume: Volume) -> Volume:
    """Return a mask of the voxels that are brighter than the background."""
    low, high = volume.values.min(), np.percentile(volume.values, 99.5)
    return Volume(volume.values > low + FOREGROUND_SHARE * (high - low), volume.grid)


def widened(mask: Volume, margin: float) -> Volume:
    """Widen a mask on all sides by a margin in mm."""
    distance = distance_transform_edt(mask.values == 0, sampling=mask.grid.spacing)
    return Volume(distance <= margin, mask.grid)


def best_start(
    registration: sitk.ImageRegistrationMethod, fixed: sitk.Image, moving: sitk.Image
) -> sitk.Euler3DTransform:
    """Return the translation between the centres of mass or of the images with the higher mutual information."""
    lifted = [sitk.Cast(image, sitk.sitkFloat32) - least(image) for image in (fixed, moving)]
    starts: list[tuple[float, int, sitk.Transform]] = []
    for kind in (sitk.CenteredTransformInitializerFilter.MOMENTS, sitk.CenteredTransformInitializerFilter.GEOMETRY):
        transform = sitk.CenteredTransformInitializer(*lifted, sitk.Euler3DTransform(), kind)
        registration.SetInitialTransform(transform, inPlace=False)
        try:
            starts.append((registration.MetricEvaluate(fixed, moving), len(starts), transform))
        except RuntimeError:  # hardly any of the sampled voxels lies on the moving image
            continue
    if not starts:
        raise InputError(
            "Neither the centres of mass nor those of the images lay one image, or its mask, on the other."
        )
    return sitk.Euler3DTransform(min(starts)[2])


def least(image: sitk.Image) -> float:
    """Return the smallest value of an image.

    Less this value, an image has a centre of mass even where air is negative, as in a CT.
    """
    return float(sitk.GetArrayViewFromImage(image).min())


def optimised(
    registration: sitk.ImageRegistrationMethod, fixed: sitk.Image, moving: sitk.Image, start: sitk.Transform
) -> sitk.Transform:
    """Maximise mutual information over the transforms of the kind of `start`."""
    registration.SetShrinkFactorsPerLevel(SHRINK_FACTORS)
    registration.SetSmoothingSigmasPerLevel([shrink - 1 for shrink in SHRINK_FACTORS])
    registration.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-3, numberOfIterations=200, relaxationFactor=0.6, gradientMagnitudeTolerance=1e-6
    )
    registration.SetOptimizerScalesFromPhysicalShift()
    registration.SetInitialTransform(start, inPlace=False)
    return registration.Execute(fixed, moving)


def as_affine(transform: sitk.Transform) -> sitk.AffineTransform:
    """Convert a rigid transform to an affine one about the same centre."""
    rigid = sitk.Euler3DTransform(sitk.CompositeTransform(transform).GetNthTransform(0))
    affine = sitk.AffineTransform(3)
    affine.SetCenter(rigid.GetCenter())
    affine.SetMatrix(rigid.GetMatrix())
    affine.SetTranslation(rigid.GetTranslation())
    return affine
