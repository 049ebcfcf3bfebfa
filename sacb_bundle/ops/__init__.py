"""Operations of SACB-Net as pure functions on tensors.

In every shape, D, H and W are the first, second and third axis of the array as nibabel gives it.
"""

from .adaptive_conv import adaptive_residual_conv3d
from .captured import Captured, CapturedGradients
from .conv import conv3d, conv_norm_leaky_relu
from .descriptors import channel_descriptor, spatial_descriptor
from .fused import fused_kernels
from .instance_norm import instance_norm_leaky_relu
from .jacobian import determinant, jacobian
from .kmeans import initial_centroids, kmeans
from .label_sums import label_sums, warped_label_sums
from .lncc import box_sum, local_ncc
from .masked import common_mask, masked_mean
from .matching import match_similarity
from .mind import self_similarity
from .pool import halve
from .smoothness import squared_differences
from .tetrahedra import TETRAHEDRA, Corner, orientation
from .unfold import unfolded
from .warp import compose, integrate, upsample_field, voxel_index, warp

__all__ = [
    "TETRAHEDRA",
    "Captured",
    "CapturedGradients",
    "Corner",
    "adaptive_residual_conv3d",
    "box_sum",
    "channel_descriptor",
    "common_mask",
    "compose",
    "conv3d",
    "conv_norm_leaky_relu",
    "determinant",
    "fused_kernels",
    "halve",
    "initial_centroids",
    "instance_norm_leaky_relu",
    "integrate",
    "jacobian",
    "kmeans",
    "label_sums",
    "local_ncc",
    "masked_mean",
    "match_similarity",
    "orientation",
    "self_similarity",
    "spatial_descriptor",
    "squared_differences",
    "unfolded",
    "upsample_field",
    "voxel_index",
    "warp",
    "warped_label_sums",
]
