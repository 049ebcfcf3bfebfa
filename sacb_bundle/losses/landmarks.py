"""Distance of landmarks as a loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class LandmarkLoss(nn.Module):
    """Mean distance between the landmarks that a field maps from the fixed image, and those of the moving image.

    The field maps the landmark p of the fixed image to p + u(p), with u interpolated trilinearly; the distance is |p +
    u(p) - q| to the same landmark q of the moving image (the target registration error).

    Source: J. M. Fitzpatrick et al., "Predicting error in rigid-body point-based registration", IEEE Transactions on
    Medical Imaging 17, 1998.

    Example:
        >>> import torch
        >>> field = torch.zeros(1, 3, 8, 8, 8)
        >>> field[:, 2] = 1
        >>> moving, fixed = torch.tensor([[[2.0, 3, 7]]]), torch.tensor([[[2.0, 3, 4]]])
        >>> LandmarkLoss()(field, moving, fixed).item()
        2.0
    """

    def forward(self, field: torch.Tensor, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        """Return the loss of a displacement field.

        Args:
            field: displacement field (B, 3, D, H, W), in voxels.
            moving: landmarks (B, N, 3) of the moving image, in voxels of the grid of the field, along D, H and W.
            fixed: the same landmarks in the fixed image, likewise. Outside the grid, the field continues as at its
                border.

        Returns:
            Scalar, in voxels.
        """
        # grid_sample takes (x, y, z) = (W, H, D), from -1 at the centre of the first voxel to 1 at that of the last.
        places = [2 * fixed[..., axis] / max(field.shape[axis + 2] - 1, 1) - 1 for axis in (2, 1, 0)]
        grid = torch.stack(places, dim=-1)[:, :, None, None].float()
        moved = F.grid_sample(field.float(), grid, padding_mode="border", align_corners=True).flatten(2).mT
        return torch.linalg.vector_norm(fixed + moved - moving, dim=-1).mean()
