"""SACB-Net: coarse-to-fine deformable registration with spatial-awareness convolutions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from ..ops import compose, integrate, upsample_field, warp
from .checks import check_pair, check_whole
from .encoder import Encoder
from .matching import SimilarityMatching
from .refinement import Refinement
from .sacb import SACB

MATCHING_LEVELS = (5, 4, 3, 2)
BEYOND_PAPER = ("scaled_matching", "integration_steps")


class SACBNet(nn.Module):
    """Network that predicts the displacement field that warps a moving image onto a fixed image.

    One encoder processes both images. From the coarsest level (one sixteenth of the resolution) to level 2, the current
    field warps the moving features, both feature maps pass a SACB, and similarity matching gives the remaining
    displacement. At full resolution, a few convolutions estimate it.

    Source: Cheng et al., "SACB-Net: Spatial-awareness Convolutions for Medical Image Registration", CVPR 2025.

    Args:
        base_channels: number of base channels c; the five levels have 2c, 4c, 8c, 16c and 16c channels.
        num_clusters: number of k-means clusters in each SACB: one number, or one for each of levels 5, 4, 3 and 2.
        descriptor: descriptor by which voxels are clustered: "spatial", "channel" or "mix", see `SACB`.
        sacb_levels: levels (of 5, 4, 3 and 2) that have a SACB; the others match the encoder's features. An empty
            sequence gives the baseline of the paper's ablation (its Table 3).
        clustering_backend: "lloyd" or "torch-kmeans".
        max_iterations: maximum number of k-means iterations.
        seed: seed of the initial k-means centroids.
        scaled_matching: whether the matching scores are divided by the square root of the number of channels, as in
            attention. Training is then stable at higher learning rates. The paper does not scale them.
        integration_steps: number of squarings that integrate each displacement as a velocity, so that few voxels fold;
            0 uses it as a displacement, as in the paper.

    Raises:
        InputError: if an option is invalid; names it.

    Example:
        >>> import torch
        >>> SACBNet(base_channels=2)(torch.rand(1, 2, 32, 32, 48)).shape
        torch.Size([1, 3, 32, 32, 48])
    """

    # Level 5 has a sixteenth of the resolution.
    size_divisor = 16

    def __init__(
        self,
        base_channels: int = 4,
        num_clusters: int | Sequence[int] = 7,
        descriptor: str = "spatial",
        sacb_levels: Sequence[int] = MATCHING_LEVELS,
        clustering_backend: str = "lloyd",
        max_iterations: int = 5,
        seed: int = 0,
        scaled_matching: bool = False,
        integration_steps: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(sacb_levels, (list, tuple)) or any(level not in MATCHING_LEVELS for level in sacb_levels):
            raise InputError(f"sacb_levels is {sacb_levels!r}; it must be a list, of {list(MATCHING_LEVELS)} at most.")
        clusters_per_level: list[Any] = (
            list(num_clusters) if isinstance(num_clusters, (list, tuple)) else [num_clusters] * 4
        )
        if len(clusters_per_level) != len(MATCHING_LEVELS):
            raise InputError(
                f"num_clusters is {num_clusters}; give one number, or one for each of {list(MATCHING_LEVELS)}."
            )
        check_whole("num_clusters", 2, *clusters_per_level)
        check_whole("base_channels", 1, base_channels)
        check_whole("max_iterations", 1, max_iterations)
        check_whole("seed", 0, seed)
        check_whole("integration_steps", 0, integration_steps)
        if type(scaled_matching) is not bool:
            raise InputError(f"scaled_matching is {scaled_matching!r}; it must be true or false.")
        self.scaled_matching = scaled_matching
        self.integration_steps = integration_steps
        self.options = {
            "base_channels": base_channels,
            "num_clusters": num_clusters if isinstance(num_clusters, int) else clusters_per_level,
            "descriptor": descriptor,
            "sacb_levels": list(sacb_levels),
            "clustering_backend": clustering_backend,
            "max_iterations": max_iterations,
            "seed": seed,
            "scaled_matching": scaled_matching,
            "integration_steps": integration_steps,
        }
        # Weights fit only a network with these options, which have no parameters; so their names are in the state dict.
        for name in BEYOND_PAPER:
            if self.options[name]:
                self.register_buffer(f"option_{name}_{self.options[name]}", torch.zeros(()))
        self.encoder = Encoder(base_channels)
        self.sacb = nn.ModuleDict(
            {
                str(level): SACB(
                    self.encoder.channels[level], clusters, descriptor, clustering_backend, max_iterations, seed
                )
                for level, clusters in zip(MATCHING_LEVELS, clusters_per_level, strict=True)
                if level in sacb_levels
            }
        )
        self.matching = SimilarityMatching()
        self.refinement = Refinement(self.encoder.channels[1])

    # Half precision saves no time on a CPU, and some weight gradients are wrong (torch 2.13, bf16, convolutions with
    # 32 or more channels, two voxels wide).
    @torch.autocast("cpu", enabled=False)
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Register a batch of pairs, in fp32 on the CPU and in the autocast dtype elsewhere.

        Args:
            image: pairs (B, 2, D, H, W), channel 0 moving and channel 1 fixed, every size divisible by 16.

        Returns:
            Displacement field (B, 3, D, H, W) fp32 in voxels of the fixed grid, components along D, H and W:
            warped(v) = moving(v + field(v)).

        Raises:
            InputError: if the image does not have two channels, or a size is not divisible by 16.
        """
        check_pair(image, self.size_divisor)
        images = torch.cat(image.chunk(2, dim=1))
        pyramid = [maps.chunk(2) for maps in self.encoder(images)]

        field = upsample_field(self.match_level(5, *pyramid.pop()))
        for level in (4, 3, 2):
            moving, fixed = pyramid.pop()
            displacement = self.match_level(level, warp(moving, field), fixed)
            field = upsample_field(compose(field, displacement))

        moving, fixed = pyramid.pop()
        return compose(field, integrate(self.refinement(warp(moving, field), fixed), self.integration_steps))

    def load_state_dict(self, state_dict: Mapping[str, Any], *arguments: Any, **options: Any) -> Any:
        """Load weights, see `torch.nn.Module.load_state_dict`.

        Args:
            state_dict: state dict of a `SACBNet`.
            arguments: further arguments of `torch.nn.Module.load_state_dict`.
            options: further arguments, likewise.

        Returns:
            What `torch.nn.Module.load_state_dict` returns.

        Raises:
            InputError: if the weights belong to a network with other options beyond the paper's.
        """
        here, there = (
            sorted(name.removeprefix("option_") for name in names if name.startswith("option_"))
            for names in (self.state_dict(), state_dict)
        )
        if here != there:
            theirs, ours = ", ".join(there) or "the options of the paper", ", ".join(here) or "those of the paper"
            raise InputError(
                f"The weights belong to a SACBNet with {theirs}, but this one has {ours}; configs/networks/paper.json "
                "sets those of the paper."
            )
        return super().load_state_dict(state_dict, *arguments, **options)

    def match_level(self, level: int, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        """Return the displacement between the features of one level.

        Args:
            level: 5, 4, 3 or 2.
            moving: moving features (B, C, d, h, w).
            fixed: fixed features (B, C, d, h, w).

        Returns:
            Displacement field (B, 3, d, h, w), in voxels of the level.
        """
        if str(level) in self.sacb:
            moving, fixed = self.sacb[str(level)](torch.cat([moving, fixed])).chunk(2)
        if self.scaled_matching:
            moving = moving / math.sqrt(moving.shape[1])
        return integrate(self.matching(moving, fixed), self.integration_steps)
