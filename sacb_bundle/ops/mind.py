"""Self-similarity descriptors, which compare images of different contrasts."""

from __future__ import annotations

import torch

from .masked import masked_mean

# Neighbours of a voxel along the axes; pairs of them that are not opposite are compared.
NEIGHBOURS = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))
PAIRS = [(i, j) for i in range(6) for j in range(i + 1, 6) if i // 2 != j // 2]
RADIUS, DISTANCE = 1, 2
# Limits of the local variance, relative to its mean over the image.
VARIANCE_LIMITS = (1e-3, 1e3)


def self_similarity(image: torch.Tensor, step: int = 1, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Describe each voxel by how patches around it resemble each other.

    The descriptor hardly depends on the contrast of an image, so descriptors of a T1 and a FLAIR of one person agree.

    Args:
        image: image (B, 1, D, H, W).
        step: distance between the voxels that are described, along each axis.
        mask: weights (B, 1, D, H, W) of the voxels in the mean of the local variance, which limits it; by default, all
            count alike.

    Returns:
        Descriptors (B, 12, D, H, W) from 0 to 1, sizes divided by the step and rounded up.

    Source: M. P. Heinrich et al., "Towards realtime multimodal fusion for image-guided interventions using
    self-similarities", MICCAI 2013 (MIND-SSC).

    Example:
        >>> import torch
        >>> image = torch.rand(1, 1, 9, 9, 9)
        >>> bool((self_similarity(image) - self_similarity(1 - image)).abs().max() < 1e-4)
        True
    """
    padded = _padded(image, DISTANCE)
    shifted = []
    for neighbour in NEIGHBOURS:
        first = [DISTANCE * (1 + offset) for offset in neighbour]
        slices = tuple(slice(start, start + size) for start, size in zip(first, image.shape[2:], strict=True))
        shifted.append(padded[:, :, slices[0], slices[1], slices[2]])
    differences = torch.cat([(shifted[i] - shifted[j]).square() for i, j in PAIRS], dim=1)
    # On the CPU, one pair at a time stays in the cache.
    groups = differences.split(1, dim=1) if image.device.type == "cpu" else [differences]
    means = torch.cat([_box_mean(_padded(group, RADIUS)) for group in groups], dim=1)
    distances = means[:, :, ::step, ::step, ::step]
    distances = distances - distances.amin(dim=1, keepdim=True)
    variance = distances.mean(dim=1, keepdim=True)
    mean = masked_mean(variance, None if mask is None else mask[:, :, ::step, ::step, ::step])
    low, high = (mean.detach() * limit for limit in VARIANCE_LIMITS)
    return torch.exp(-distances / variance.clamp(low.clamp(min=1e-12), high.clamp(min=1e-12)))


# PyTorch's padding by the border and its average pooling add gradients in an order that varies on a GPU.
def _padded(image: torch.Tensor, width: int) -> torch.Tensor:
    """Continue images (B, C, D, H, W) beyond their faces by the values there."""
    for axis in (2, 3, 4):
        faces = [image.narrow(axis, place, 1) for place in (0, image.shape[axis] - 1)]
        first, last = (torch.cat([face] * width, dim=axis) for face in faces)
        image = torch.cat([first, image, last], dim=axis)
    return image


def _box_mean(image: torch.Tensor) -> torch.Tensor:
    """Average images (B, C, D, H, W) over a cubic window around each voxel that it fits around."""
    window = 2 * RADIUS + 1
    for axis in (2, 3, 4):
        size = image.shape[axis] - window + 1
        first, *others = (image.narrow(axis, start, size) for start in range(window))
        image = sum(others, first)
    return image / window**3
