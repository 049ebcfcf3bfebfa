"""Overlap of label maps as a loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..errors import InputError
from ..ops import common_mask, label_sums, warped_label_sums

# Added to numerator and denominator, as in MONAI's `DiceLoss`.
SMOOTHING = 1e-5
# Largest error of a sum of trilinear weights.
ROUNDING = 1e-4


class DiceLoss(nn.Module):
    """One minus the mean soft Dice of warped label maps; 0 if they agree everywhere.

    With w the warped map of a label (what `warp` makes of the image that is 1 in the label, so it has fractions at the
    surface) and f that of the fixed image, the Dice of the label is 2 sum(w f) / (sum w + sum f). The mean is over the
    labels that both images of a pair have, and over the pairs; without such a label, the loss is 0. It equals that of
    `monai.losses.DiceLoss` of the maps of all labels, which it does not make.

    Args:
        labels: label values that count, whole numbers above 0. Everything else is background.

    Raises:
        InputError: if there are none, or one is invalid.

    Source: F. Milletari et al., "V-Net: fully convolutional neural networks for volumetric medical image
    segmentation", 3DV 2016, with sums in place of their sums of squares.

    Example:
        >>> import torch
        >>> labels = torch.randint(0, 3, (1, 1, 8, 8, 8)).expand(1, 2, 8, 8, 8)
        >>> round(DiceLoss([1, 2])(torch.zeros(1, 3, 8, 8, 8), labels).item(), 3)
        0.0
    """

    _values: torch.Tensor

    def __init__(self, labels: Sequence[int]) -> None:
        super().__init__()
        if not labels or any(type(label) is not int or label < 1 for label in labels):
            raise InputError(f"labels is {labels!r}; it must be a list of label values, whole numbers above 0.")
        self.labels = sorted(set(labels))
        self.register_buffer("_values", torch.tensor(self.labels, dtype=torch.float32), persistent=False)

    def forward(self, field: torch.Tensor, labels: torch.Tensor, masks: torch.Tensor | None = None) -> torch.Tensor:
        """Return the loss of a displacement field.

        Args:
            field: displacement field (B, 3, D, H, W), in voxels.
            labels: label maps (B, 2, D, H, W) of the moving and the fixed image.
            masks: masks (B, 2, D, H, W) of the moving and the fixed image, 0 where an image does not count; by default,
                nothing is masked.

        Returns:
            Scalar.
        """
        numbers = self._numbered(labels)
        moving, fixed = numbers.unbind(dim=1)
        # A voxel counts only if all neighbours from which its label is interpolated count.
        mask = None if masks is None else (common_mask(masks, field)[:, 0] > 1 - ROUNDING).float()
        size = len(self.labels) + 1
        # The last number is the background's.
        in_warped, in_both = (sums[:, :-1] for sums in warped_label_sums(moving, fixed, field, size, mask))
        in_fixed, in_moving = label_sums(fixed, size, mask)[:, :-1], label_sums(moving, size)[:, :-1]
        dice = (2 * in_both + SMOOTHING) / (in_warped + in_fixed + SMOOTHING)
        shared = ((in_fixed > 0) & (in_moving > 0)).float()
        return ((1 - dice) * shared).sum() / shared.sum().clamp(min=1)

    def _numbered(self, labels: torch.Tensor) -> torch.Tensor:
        """Return the place of each label among those that count, or their number for other labels, int64."""
        values = self._values
        places = torch.bucketize(labels.float().contiguous(), values).clamp(max=len(values) - 1)
        return torch.where(values[places] == labels, places, len(values))
