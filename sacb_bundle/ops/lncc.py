"""Local normalised cross-correlation by box sums."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .fused import runs_fused


def box_sum(x: torch.Tensor, window: int, step: int = 1) -> torch.Tensor:
    """Sum over a cubic window around each voxel, zeros outside, one axis after the other.

    Args:
        x: (B, C, D, H, W).
        window: odd edge length in voxels.
        step: along each axis, from one voxel that has a sum to the next.

    Returns:
        (B, C, D, H, W), sizes divided by the step and rounded up.
    """
    for axis in range(3):
        kernel, stride, padding = [1, 1, 1], [1, 1, 1], [0, 0, 0]
        kernel[axis], stride[axis], padding[axis] = window, step, window // 2
        x = F.avg_pool3d(x, kernel, stride=stride, padding=padding)
    return x * window**3


def local_ncc(
    first: torch.Tensor, second: torch.Tensor, window: int = 9, eps: float = 1e-5, step: int = 1
) -> torch.Tensor:
    """Squared correlation coefficient of two images in a window around each voxel.

    cross^2 / (variance_first * variance_second + eps), each a sum over the window with the windowed means
    removed. Computed in fp32.

    Args:
        first: (B, 1, D, H, W).
        second: (B, 1, D, H, W).
        window: odd edge length in voxels.
        eps: added to the product of the variances.
        step: along each axis, from one voxel that is looked at to the next.

    Returns:
        (B, 1, D, H, W), sizes divided by the step and rounded up.

    Source: B. B. Avants et al., "Symmetric diffeomorphic image registration with cross-correlation", Medical Image
    Analysis 12, 2008, with the guard of the variances that the published SACB-Net has.
    """
    if first.shape != second.shape or first.shape[1] != 1:
        raise ValueError(
            f"The images are {tuple(first.shape)} and {tuple(second.shape)}; both must be (B, 1, D, H, W)."
        )
    if step == 1 and runs_fused(first):
        from .triton.lncc import LocalNCC

        with torch.cuda.device_of(first):
            # Whether there will be a backward pass is hidden from the function itself.
            return LocalNCC.apply(first, second, window, eps, torch.is_grad_enabled())
    first, second = first.float(), second.float()
    moments = torch.cat([first, second, first * first, second * second, first * second], dim=1)
    sum_1, sum_2, sum_11, sum_22, sum_12 = box_sum(moments, window, step).split(1, dim=1)
    num_voxels = window**3
    cross = sum_12 - sum_1 * sum_2 / num_voxels
    variance_1 = sum_11 - sum_1 * sum_1 / num_voxels
    variance_2 = sum_22 - sum_2 * sum_2 / num_voxels
    return cross * cross / (variance_1 * variance_2 + eps)
