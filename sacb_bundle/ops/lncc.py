"""Local normalised cross-correlation computed with box sums."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .fused import runs_fused


def box_sum(x: torch.Tensor, window: int, step: int = 1) -> torch.Tensor:
    """Sum over a cubic window around each voxel, with zeros outside the image.

    Args:
        x: images (B, C, D, H, W).
        window: odd edge length of the window, in voxels.
        step: distance between voxels at which the sum is computed, along each axis, in voxels.

    Returns:
        Sums (B, C, D, H, W), sizes divided by the step and rounded up.
    """
    for axis in range(3):
        kernel, stride, padding = [1, 1, 1], [1, 1, 1], [0, 0, 0]
        kernel[axis], stride[axis], padding[axis] = window, step, window // 2
        x = F.avg_pool3d(x, kernel, stride=stride, padding=padding)
    return x * window**3


def local_ncc(
    first: torch.Tensor, second: torch.Tensor, window: int = 9, eps: float = 1e-5, step: int = 1
) -> torch.Tensor:
    """Return the squared correlation coefficient of two images in a window around each voxel.

    cross^2 / (variance_first * variance_second + eps), each a sum over the window after subtracting the window mean.
    Computed in fp32.

    Args:
        first: image (B, 1, D, H, W).
        second: image (B, 1, D, H, W).
        window: odd edge length of the cubic window, in voxels.
        eps: value added to the product of the variances.
        step: distance between voxels at which the coefficient is computed, along each axis, in voxels.

    Returns:
        Squared coefficients (B, 1, D, H, W), sizes divided by the step and rounded up.

    Raises:
        ValueError: if the shapes differ or an image has more than one channel.

    Source: B. B. Avants et al., "Symmetric diffeomorphic image registration with cross-correlation", Medical Image
    Analysis 12, 2008, with eps as in the published SACB-Net.

    Example:
        >>> import torch
        >>> image = torch.rand(1, 1, 9, 9, 9)
        >>> bool(local_ncc(image, 2 * image).mean() > 0.99)
        True
    """
    if first.shape != second.shape or first.shape[1] != 1:
        raise ValueError(
            f"The images are {tuple(first.shape)} and {tuple(second.shape)}; both must be (B, 1, D, H, W)."
        )
    if step == 1 and runs_fused(first):
        from .triton.lncc import LocalNCC

        with torch.cuda.device_of(first):
            # An autograd function cannot tell whether a backward pass will follow.
            return LocalNCC.apply(first, second, window, eps, torch.is_grad_enabled())
    first, second = first.float(), second.float()
    moments = torch.cat([first, second, first * first, second * second, first * second], dim=1)
    sum_1, sum_2, sum_11, sum_22, sum_12 = box_sum(moments, window, step).split(1, dim=1)
    num_voxels = window**3
    cross = sum_12 - sum_1 * sum_2 / num_voxels
    variance_1 = sum_11 - sum_1 * sum_1 / num_voxels
    variance_2 = sum_22 - sum_2 * sum_2 / num_voxels
    return cross * cross / (variance_1 * variance_2 + eps)
