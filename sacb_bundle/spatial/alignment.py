"""Initial alignment: where one image lies on the other before any deformation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import distance_transform_edt

from ..errors import InputError
from .grid import RAS_TO_LPS, Grid
from .resampling import averaged
from .transform import Transform
from .volume import Volume

INITIAL = ("none", "center", "rigid", "affine")
# Voxels of about this size, in mm, tell enough to align by; smaller ones are averaged.
SPACING = 3.0
SHRINKS = (2, 1)
# Voxels along each axis that ITK needs to smooth.
LEAST_SIZE = 4
# Voxels at which the images are compared.
SAMPLES = 50_000
SEED = 1
# Share of the range of intensities above which a voxel is not background.
FOREGROUND = 0.05
# Around a body, in mm, what of the background counts in an affine alignment.
MARGIN = 10.0
# Share of the fixed image that must lie on the moving one.
LEAST_OVERLAP = 0.05


def align(
    fixed: Volume,
    moving: Volume,
    initial: str,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
) -> np.ndarray:
    """Affine transform from fixed to moving world coordinates that lays one image on the other.

    It maximises Mattes' mutual information (SimpleITK), from the better of two starts: centres of mass, or centres of
    the images. It runs on one thread, so that the same images give the same bytes.

    Args:
        fixed: fixed image.
        moving: moving image.
        initial: "none" (the identity), "center" (a translation), "rigid" (and a rotation) or "affine".
        fixed_mask: what of the fixed image counts, taken as it is; by default all of it, and for the affine part the
            foreground with 10 mm around it.
        moving_mask: the same for the moving image.

    Returns:
        4x4 matrix, in mm, RAS.

    Raises:
        InputError: if `initial` is none of these, or the images hardly overlap then.
    """
    if initial not in INITIAL:
        raise InputError(f"initial is {initial!r}; it must be one of {', '.join(INITIAL)}.")
    matrix = np.eye(4)
    if initial != "none":
        with one_thread():
            matrix = maximise_mutual_information(fixed, moving, initial, fixed_mask, moving_mask)
    overlap = Transform(matrix).share_inside(fixed.grid, moving.grid)
    if overlap < LEAST_OVERLAP:
        raise InputError(
            f"After the initial alignment ({initial}), {overlap:.0%} of the fixed image lies on the moving one; "
            f"at least {LEAST_OVERLAP:.0%} must. Do both show the same part of the body?"
            + (' Try the initial alignment "affine".' if initial == "none" else "")
        )
    return matrix


def maximise_mutual_information(
    fixed: Volume, moving: Volume, initial: str, fixed_mask: Volume | None, moving_mask: Volume | None
) -> np.ndarray:
    """See `align`."""
    fixed, moving = averaged(fixed, SPACING), averaged(moving, SPACING)
    for name, image in (("fixed", fixed), ("moving", moving)):
        if min(image.grid.shape) < LEAST_SIZE:
            raise InputError(
                f"The {name} image has, at {SPACING:g} mm, {min(image.grid.shape)} voxels along an axis. The alignment "
                f'needs {LEAST_SIZE}: choose "none" for it.'
            )
    images = itk_image(fixed), itk_image(moving)
    registration = sitk.ImageRegistrationMethod()
    registration.SetMetricAsMattesMutualInformation(32)
    registration.SetMetricSamplingStrategy(registration.REGULAR)
    num_voxels = [images[0].GetNumberOfPixels() / shrink**3 for shrink in SHRINKS]
    registration.SetMetricSamplingPercentagePerLevel([min(1, SAMPLES / number) for number in num_voxels], SEED)
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
        registration.SetMetricFixedMask(itk_mask(fixed_mask or widened(foreground(fixed), MARGIN)))
        registration.SetMetricMovingMask(itk_mask(moving_mask or widened(foreground(moving), MARGIN)))
        transform = optimised(registration, *images, as_affine(transform))
    return to_ras(transform)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let ITK use one thread: sums over several differ in their last digits from run to run."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def itk_image(volume: Volume) -> sitk.Image:
    """Image in ITK's coordinates, without extreme intensities."""
    low, high = np.percentile(volume.values, (0.5, 99.5))
    values = np.clip(volume.values, low, high) if high > low else volume.values
    return placed(sitk.GetImageFromArray(values.transpose(2, 1, 0)), volume.grid)


def foreground(volume: Volume) -> Volume:
    """Mask of what is brighter than the background."""
    low, high = volume.values.min(), np.percentile(volume.values, 99.5)
    return Volume(volume.values > low + FOREGROUND * (high - low), volume.grid)


def widened(mask: Volume, margin: float) -> Volume:
    """Mask that reaches further by a margin in mm."""
    distance = distance_transform_edt(mask.values == 0, sampling=mask.grid.spacing)
    return Volume(distance <= margin, mask.grid)


def itk_mask(mask: Volume) -> sitk.Image:
    """Mask in ITK's coordinates."""
    values = (mask.values != 0).astype(np.uint8)
    return placed(sitk.GetImageFromArray(values.transpose(2, 1, 0)), mask.grid)


def placed(image: sitk.Image, grid: Grid) -> sitk.Image:
    """The image, which now lies where the grid does."""
    origin, spacing, direction = grid.itk_geometry
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    return image


def best_start(
    registration: sitk.ImageRegistrationMethod, fixed: sitk.Image, moving: sitk.Image
) -> sitk.Euler3DTransform:
    """Translation by the centres of mass, or else of the images, whichever gives the higher mutual information."""
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
    """The smallest value, to which the centre of mass must not be blind: air in a CT is negative."""
    return float(sitk.GetArrayViewFromImage(image).min())


def optimised(
    registration: sitk.ImageRegistrationMethod, fixed: sitk.Image, moving: sitk.Image, start: sitk.Transform
) -> sitk.Transform:
    """The transform of the kind of `start` that maximises mutual information."""
    registration.SetShrinkFactorsPerLevel(SHRINKS)
    registration.SetSmoothingSigmasPerLevel([shrink - 1 for shrink in SHRINKS])
    registration.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-3, numberOfIterations=200, relaxationFactor=0.6, gradientMagnitudeTolerance=1e-6
    )
    registration.SetOptimizerScalesFromPhysicalShift()
    registration.SetInitialTransform(start, inPlace=False)
    return registration.Execute(fixed, moving)


def as_affine(transform: sitk.Transform) -> sitk.AffineTransform:
    """The same map as an affine transform about the same centre."""
    rigid = sitk.Euler3DTransform(sitk.CompositeTransform(transform).GetNthTransform(0))
    affine = sitk.AffineTransform(3)
    affine.SetCenter(rigid.GetCenter())
    affine.SetMatrix(rigid.GetMatrix())
    affine.SetTranslation(rigid.GetTranslation())
    return affine


def to_ras(transform: sitk.Transform) -> np.ndarray:
    """Matrix (4, 4), in RAS, of an affine ITK transform, by where it moves four points."""
    corners = np.vstack([np.zeros(3), np.eye(3)])
    moved = np.array([transform.TransformPoint((RAS_TO_LPS @ corner).tolist()) for corner in corners]) @ RAS_TO_LPS
    matrix = np.eye(4)
    matrix[:3, 3] = moved[0]
    matrix[:3, :3] = (moved[1:] - moved[0]).T
    return matrix
